//! Responses without what differs between any two deployments.

use std::{borrow::Cow, collections::BTreeMap, sync::LazyLock};

use bytes::Bytes;
use http::Response;
use regex::{Captures, Regex};
use serde_json::{Map, Value, json};

/// Headers that a server adds for the connection.
const OF_THE_CONNECTION: [&str; 4] = ["connection", "content-length", "date", "transfer-encoding"];

/// Returns a response without ids, secrets and times.
pub(crate) fn normalize(response: &Response<Bytes>) -> Value {
    let headers: BTreeMap<_, _> = response
        .headers()
        .iter()
        .filter(|(name, _)| !OF_THE_CONNECTION.contains(&name.as_str()))
        .map(|(name, value)| {
            (name.as_str(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        })
        .collect();
    let text = String::from_utf8_lossy(response.body()).into_owned();
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    mask_value(json!({"status": response.status().as_u16(), "headers": headers, "body": body}))
}

/// Replaces every id, secret, token and time in a value by its kind.
pub(crate) fn mask_value(value: Value) -> Value {
    match value {
        Value::String(text) => mask(&text).into(),
        Value::Array(items) => items.into_iter().map(mask_value).collect(),
        Value::Object(members) => {
            let masked = members.into_iter().map(|(name, value)| match (name.as_str(), value) {
                ("request_id", Value::String(_)) => (name, "<request>".into()),
                ("last_four", Value::String(_)) => (name, "<last four>".into()),
                ("body", Value::String(text)) => (name, inner(text)),
                (_, value) => (name, mask_value(value)),
            });
            masked.collect::<Map<_, _>>().into()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value,
    }
}

/// Masks a body that is JSON inside a string, as functions return it.
fn inner(text: String) -> Value {
    match serde_json::from_str::<Value>(&text) {
        Ok(body) if body.is_object() => mask_value(body),
        _ => mask(&text).into(),
    }
}

fn mask(text: &str) -> String {
    static FORMS: LazyLock<Option<Regex>> = LazyLock::new(|| {
        let jwt = r"(?<jwt>ey[0-9A-Za-z_-]{10,}\.ey[0-9A-Za-z_-]{10,}\.[0-9A-Za-z_-]{10,})";
        let id = r"(?<kind>agt|cli|cod|con|dev|evt|fam|key|org|run|ses|sin|svc|tok|usr)_[0-9a-hjkmnp-tv-z]{26}";
        let session = r"(?<session>eyJzaWQi[0-9A-Za-z_-]{20,}\.[0-9A-Za-z_-]{43})";
        let user_code = r"(?<code>\b[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}\b)";
        // The forms in which pages show them.
        let form = r#"(?<form>name="csrf" value="[^"]+"|\?sent=[0-9A-Za-z_-]{43})"#;
        let hint = "(?<hint>[a-z]{2,8}_[a-z]{2}_[0-9a-z]{1,9}…[0-9A-Za-z]{4})";
        // The local program has no authorizer, so what only an authorizer has seen is unused there.
        let last_use = r"(?<last_use><span>(?:last used <time[^>]*>[^<]*</time>(?: from [^<]*)?|no recorded use)</span>)";
        let moment = r"(?<moment>\d{1,2} [A-Z][a-z]{2} \d{4}, \d\d:\d\d UTC)";
        let day = r#"min="(?<day>\d{4}-\d\d-\d\d)""#;
        let time = r"(?<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z)";
        let prefix = r"(?<prefix>[a-z]*_[a-z]{2}_[0-9a-hjkmnp-tv-z]{26})";
        let pages = format!("{session}|{user_code}|{form}|{hint}|{last_use}|{moment}|{day}");
        Regex::new(&format!(
            "(?<secret>{})|{pages}|{jwt}|{prefix}|{id}|{time}",
            postern::credential::PATTERN
        ))
        .ok()
    });
    let Some(forms) = &*FORMS else { return text.to_owned() };
    let masked: Cow<'_, str> = forms.replace_all(text, |found: &Captures<'_>| {
        const KINDS: [&str; 11] = [
            "secret", "session", "code", "form", "hint", "last_use", "moment", "day", "jwt",
            "prefix", "time",
        ];
        match KINDS.into_iter().find(|kind| found.name(kind).is_some()) {
            Some(kind) => format!("<{kind}>"),
            None => format!("<{}>", &found["kind"]),
        }
    });
    masked.into_owned()
}
