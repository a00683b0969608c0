//! What is wrong with the text of a `postern.toml`, with the line.

use serde::de::DeserializeOwned;
use toml::{
    Spanned,
    de::{DeTable, DeValue, Error, ValueDeserializer},
};

use super::{ProviderKind, SignInSettings};

/// The tables of which there can be several.
const ARRAYS: [&str; 8] =
    ["client", "provider", "resource", "role", "route", "scope", "signin", "trust"];

/// A part of the text, as the range of its bytes.
type Span = std::ops::Range<usize>;

/// Returns the line and what is wrong with it.
pub(super) fn explain(toml: &str, error: &Error) -> String {
    let Ok(document) = DeTable::parse(toml) else { return error.to_string().trim().to_owned() };
    let document = document.get_ref();
    let (span, sentence) = None
        .or_else(|| in_array::<ProviderKind>(document, "provider"))
        .or_else(|| in_array::<SignInSettings>(document, "signin"))
        .unwrap_or_else(|| (error.span().unwrap_or_default(), error.message().to_owned()));
    let array = ARRAYS.into_iter().find(|name| {
        document.get(*name).is_some_and(|value| value.get_ref().is_table() && value.span() == span)
    });
    let single = document.iter().find_map(|(name, value)| {
        let name = name.get_ref();
        (is_array_of_tables(value.get_ref()) && !ARRAYS.contains(&name.as_ref())).then_some(name)
    });
    let sentence = match (array, single) {
        (Some(name), _) => {
            format!("{name} can be listed several times: write [[{name}]], with two brackets")
        }
        (None, Some(name)) if sentence.starts_with("invalid type: map, expected a sequence") => {
            format!("{name} can be listed once: write [{name}], with one bracket")
        }
        (None, _) => with_remedy(member(toml, &span), &sentence),
    };
    located(toml, &span, &sentence)
}

fn is_array_of_tables(value: &DeValue<'_>) -> bool {
    value.as_array().is_some_and(|items| items.iter().any(|item| item.get_ref().is_table()))
}

/// Returns the first error in an array of tables whose type decides their members. The parser
/// reports such an error at the first table, wherever it is.
fn in_array<T: DeserializeOwned>(document: &DeTable<'_>, name: &str) -> Option<(Span, String)> {
    let tables = document.get(name)?.get_ref().as_array()?;
    tables.iter().find_map(|table| {
        let error = T::deserialize(ValueDeserializer::from(table.clone())).err()?;
        let sentence = error.message().to_owned();
        let members = table.get_ref().as_table().into_iter().flatten();
        let named = members.filter_map(|(key, value)| span_of(&sentence, key.get_ref(), value));
        Some((named.into_iter().next().unwrap_or_else(|| table.span()), sentence))
    })
}

/// Returns the place of a member, if the sentence is about it.
fn span_of(sentence: &str, key: &str, value: &Spanned<DeValue<'_>>) -> Option<Span> {
    let is_named = sentence.starts_with(&format!("{key}: "))
        || sentence.starts_with(&format!("unknown field `{key}`"));
    is_named.then(|| value.span())
}

/// Returns the name of the member at `span`.
fn member<'t>(toml: &'t str, span: &Span) -> &'t str {
    let line = toml[..span.start].rsplit('\n').next().unwrap_or_default();
    let line_and_rest = &toml[span.start - line.len()..];
    line_and_rest.split(['=', '\n']).next().unwrap_or_default().trim()
}

/// Says what to write, if the sentence is one of the parser's own.
fn with_remedy(member: &str, sentence: &str) -> String {
    let sentence = sentence.replace("expected i64", "expected a whole number");
    let sentence = sentence.replace("expected u32", "expected a whole number that is not negative");
    if member == "lifetime" && sentence.starts_with("invalid type: string") {
        return format!("{sentence}: write seconds without quotation marks, such as 300");
    }
    if sentence.starts_with("id ") {
        return match member {
            "agent" => format!(
                "{sentence}: write the id of the agent, which is agt_ and 26 characters and not its \
                 name. GET /v1/agents lists them"
            ),
            "organization" => format!(
                "{sentence}: write the id of the organization, which is org_ and 26 characters"
            ),
            _ => sentence,
        };
    }
    if let Some((before, _)) = sentence.split_once(", expected a sequence") {
        let text = before.split_once("invalid type: string ").map(|(_, text)| text);
        return format!("{before}, expected a list: write [{}]", text.unwrap_or("\"…\""));
    }
    if member == "method" && sentence.starts_with("invalid type: sequence") {
        return format!("{sentence}: write a rule for each method, or \"*\" for all");
    }
    let is_choice = sentence.contains("wanted string or table");
    match member {
        "signup" if is_choice => "signup must be \"operator\" or \"open\"".into(),
        "auth" if is_choice => "auth must be \"none\" or \"required\"".into(),
        _ => sentence.replace("wanted string or table", "expected text in quotation marks"),
    }
}

/// Returns the sentence after the line that it is about.
fn located(toml: &str, span: &Span, sentence: &str) -> String {
    let before = &toml[..span.start];
    let number = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count();
    let line = toml.lines().nth(number - 1).unwrap_or_default();
    let rest = line.chars().count().saturating_sub(column).max(1);
    let gutter = " ".repeat(number.to_string().len());
    let mark = " ".repeat(column) + &"^".repeat(span.len().clamp(1, rest));
    format!(
        "TOML parse error at line {number}, column {}\n{gutter} |\n{number} | {line}\n{gutter} | \
         {mark}\n{sentence}",
        column + 1
    )
}
