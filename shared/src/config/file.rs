//! `postern.toml`: what it may say, and what it must not.

use serde::Deserialize;

use super::{
    provider::{self, ProviderKind},
    setting,
    signin::{self, Client, SignIn, Throttle},
};
use crate::{
    core::{
        clock::LEEWAY_S, error::Fault, principal::UserAllowlist, route_pattern::RoutePattern,
        scope::Scopes,
    },
    credential::TokenPrefix,
    crypto::sign::Algorithm,
};

/// Who may create organizations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Signup {
    /// The operator alone.
    #[default]
    Operator,
    /// Anybody.
    Open,
}

/// How long things live, in seconds.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lifetimes {
    pub access_token: i64,
    pub refresh_idle: i64,
    pub refresh_absolute: i64,
    pub refresh_grace: i64,
    pub session_idle: i64,
    pub device_code: i64,
    pub authorization_code: i64,
    pub service_token: i64,
    pub download_token: i64,
    pub signature_window: i64,
    pub revocation_staleness: i64,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            access_token: 3600,
            refresh_idle: 7 * 24 * 3600,
            refresh_absolute: 90 * 24 * 3600,
            refresh_grace: 10,
            session_idle: 7 * 24 * 3600,
            device_code: 600,
            authorization_code: 60,
            service_token: 300,
            download_token: 300,
            signature_window: 300,
            revocation_staleness: 0,
        }
    }
}

/// What signs our tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Signing {
    pub algorithm: Algorithm,
}

/// Whether a route of a guarded API needs a caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteAuth {
    None,
    #[default]
    Required,
}

/// A rule of the authorizer; the first that matches decides.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteRule {
    pub method: String,
    pub path: RoutePattern,
    #[serde(default)]
    pub auth: RouteAuth,
    #[serde(default)]
    pub scopes: Scopes,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default = "default_brand")]
    brand: String,
    #[serde(default)]
    signup: Signup,
    #[serde(default = "default_session_header")]
    session_header: String,
    #[serde(default = "default_service_token_header")]
    service_token_header: String,
    #[serde(default, rename = "gate")]
    allowlist: UserAllowlist,
    #[serde(default)]
    lifetimes: Lifetimes,
    #[serde(default)]
    signing: Signing,
    #[serde(default)]
    provider: Vec<ProviderKind>,
    #[serde(default)]
    route: Vec<RouteRule>,
    #[serde(default)]
    signin: Vec<SignIn>,
    #[serde(default)]
    client: Vec<Client>,
    #[serde(default)]
    throttle: Throttle,
}

fn default_brand() -> String {
    "pst".into()
}

fn default_session_header() -> String {
    "X-Postern-Session".into()
}

fn default_service_token_header() -> String {
    "X-Service-Token".into()
}

/// The file, checked.
pub(super) struct File {
    pub brand: TokenPrefix,
    pub signup: Signup,
    pub session_header: String,
    pub service_token_header: String,
    pub allowlist: UserAllowlist,
    pub lifetimes: Lifetimes,
    pub signing: Signing,
    pub providers: Vec<ProviderKind>,
    pub routes: Vec<RouteRule>,
    pub signins: Vec<SignIn>,
    pub clients: Vec<Client>,
    pub throttle: Throttle,
}

/// Parses and checks `toml`.
pub(super) fn parse(toml: &str) -> Result<File, Fault> {
    let mut written: Written = toml::from_str(toml)
        .map_err(|error| Fault::Setting(format!("postern.toml: {}", error.to_string().trim())))?;
    lifetimes(&written.lifetimes)?;
    for rule in &written.route {
        route(rule)?;
    }
    provider::check(&written.provider)?;
    signin::check(&mut written.signin, &written.provider)?;
    signin::throttle(&written.throttle)?;
    let headers = [&written.session_header, &written.service_token_header]
        .map(|name| name.to_ascii_lowercase());
    if headers[0] == headers[1] {
        return setting(
            "postern.toml: session_header and service_token_header are the same header".into(),
        );
    }
    Ok(File {
        brand: TokenPrefix::parse(&written.brand).ok_or_else(|| {
            Fault::Setting(format!(
                "postern.toml: brand is {:?}; it is 2 to 8 of a-z",
                written.brand
            ))
        })?,
        signup: written.signup,
        session_header: header("session_header", &written.session_header)?,
        service_token_header: header("service_token_header", &written.service_token_header)?,
        allowlist: written.allowlist,
        lifetimes: written.lifetimes,
        signing: written.signing,
        providers: if written.provider.is_empty() {
            provider::defaults()
        } else {
            written.provider
        },
        routes: written.route,
        signins: written.signin,
        clients: signin::clients(written.client)?,
        throttle: written.throttle,
    })
}

/// The longest life that may be set: ten years.
const LONGEST_S: i64 = 10 * 366 * 24 * 3600;

fn lifetimes(life: &Lifetimes) -> Result<(), Fault> {
    let within = |name: &str, value: i64, least: i64, most: i64| {
        let sentence = || {
            Fault::Setting(format!(
                "postern.toml: lifetimes.{name} is {value}; it is {least} to {most} seconds"
            ))
        };
        (least..=most).contains(&value).then_some(()).ok_or_else(sentence)
    };
    within("access_token", life.access_token, LEEWAY_S, 24 * 3600)?;
    // A family that ends before its access token would take the token with it.
    within("refresh_idle", life.refresh_idle, life.access_token, LONGEST_S)?;
    within("refresh_absolute", life.refresh_absolute, life.refresh_idle, LONGEST_S)?;
    // Longer than a minute, a stolen token could be repeated at leisure.
    within("refresh_grace", life.refresh_grace, 0, 60)?;
    within("session_idle", life.session_idle, 60, LONGEST_S)?;
    // Long enough to find the page and sign in, short enough that a code that was seen is of no use.
    within("device_code", life.device_code, 60, 3600)?;
    // RFC 6749 §4.1.2: ten minutes at the most.
    within("authorization_code", life.authorization_code, 10, 600)?;
    // Neither is revoked: their life is the bound.
    within("service_token", life.service_token, LEEWAY_S, 3600)?;
    within("download_token", life.download_token, LEEWAY_S, 3600)?;
    within("signature_window", life.signature_window, 1, 3600)?;
    within("revocation_staleness", life.revocation_staleness, 0, 0)
}

/// A header that carries a credential, in lower case.
pub(super) fn header(name: &str, value: &str) -> Result<String, Fault> {
    const TAKEN: [&str; 8] = [
        "authorization",
        "cookie",
        "host",
        "content-type",
        "origin",
        "x-api-key",
        "x-runner-token",
        "x-service-key",
    ];
    let lower = value.to_ascii_lowercase();
    let is_sound = ::http::HeaderName::from_bytes(lower.as_bytes()).is_ok();
    // Keys of the configuration share the header of all keys.
    let is_taken =
        TAKEN.contains(&lower.as_str()) && !(lower == "x-api-key" && name.ends_with(" header"));
    if is_sound && !is_taken && !lower.starts_with("x-cli-") {
        Ok(lower)
    } else {
        setting(format!(
            "postern.toml: {name} is {value:?}; it is the name of a header that has no other meaning"
        ))
    }
}

/// A method that no request has would make a rule that never holds.
const METHODS: [&str; 9] =
    ["*", "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"];

fn route(rule: &RouteRule) -> Result<(), Fault> {
    let refuse = |what: &str| {
        Err(Fault::Setting(format!("postern.toml: the rule {} {}: {what}", rule.method, rule.path)))
    };
    if !METHODS.contains(&rule.method.as_str()) {
        return refuse(&format!("method is one of {}", METHODS.join(" ")));
    }
    if rule.path.is_connect() != (rule.method == "CONNECT") {
        return refuse(
            "a connection has the method CONNECT and the path $connect, and nothing else has",
        );
    }
    if rule.auth == RouteAuth::None && !rule.scopes.is_empty() {
        return refuse("a route without authentication cannot need scopes");
    }
    Ok(())
}
