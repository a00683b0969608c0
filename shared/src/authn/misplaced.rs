//! Answers to credentials that are missing, or that are where they are not looked for. They name
//! places and kinds, and never repeat a value.

use std::collections::BTreeSet;

use super::signature;
use crate::{
    context::Context,
    core::{
        credential_header::{self, API_KEY, AUTHORIZATION, RUNNER_TOKEN, SERVICE_KEY},
        error::{Error, Refusal},
    },
    credential::{PresentedKind, WRAPPING, mistake},
    crypto::jwt,
    http::CredentialSource,
    token::{Claims, DownloadClaims, ServiceClaims, TokenClaims as _},
};

/// Headers in which callers of other services send credentials.
const ELSEWHERE: [&str; 9] = [
    "api-key",
    "apikey",
    "token",
    "x-access-token",
    "x-api-token",
    "x-apikey",
    "x-auth-token",
    "x-authorization",
    "x-token",
];

/// Query parameters in which callers of other services send credentials.
const PARAMETERS: [&str; 7] =
    ["access_token", "api-key", "api_key", "apikey", "key", "token", "x-api-key"];

/// Returns the credential in the header `name`, which must be there.
///
/// # Errors
/// A 401 that says where the credential belongs, or what to correct.
pub fn required<T>(
    context: &Context,
    source: &dyn CredentialSource,
    name: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, Error> {
    let presented = source.header(name).ok_or_else(|| missing(context, source, &[name]))?;
    parse(presented).ok_or_else(|| explain(context, source, &[name], Refusal::CredentialMalformed))
}

/// Returns the refusal of a request without a credential in `headers`, which are in lower case. It
/// says where one was found instead.
pub fn missing(context: &Context, source: &dyn CredentialSource, headers: &[&str]) -> Error {
    let expected = format!("No credential was presented: send one in {}.", list(headers));
    missing_with(expected, context, source, headers)
}

/// Returns the refusal of a request to a route of the operator without the operator key.
pub(super) fn missing_operator_key(context: &Context, source: &dyn CredentialSource) -> Error {
    let prefix = context.config.brand.as_str();
    let expected = format!(
        "This route requires the operator key ({prefix}_op_...): send it as Authorization: Bearer."
    );
    missing_with(expected, context, source, &[AUTHORIZATION])
}

fn missing_with(
    mut detail: String,
    context: &Context,
    source: &dyn CredentialSource,
    headers: &[&str],
) -> Error {
    if let Some(found) = found(context, source, headers) {
        detail.push(' ');
        detail.push_str(&found);
    }
    Error::with_detail(Refusal::CredentialMissing, detail)
}

/// Returns the refusal of a credential. If its form shows that it belongs elsewhere, the answer
/// says where, and if it was not sent as it was shown, what to correct.
pub fn explain(
    context: &Context,
    source: &dyn CredentialSource,
    headers: &[&str],
    refusal: Refusal,
) -> Error {
    if refusal == Refusal::SignatureStale
        && source.header(signature::TIMESTAMP).is_some_and(is_in_seconds)
    {
        let detail = "X-Cli-Timestamp is in seconds: send the time in milliseconds, and sign that.";
        return Error::with_detail(refusal, detail.into());
    }
    let is_about_form = matches!(
        refusal,
        Refusal::CredentialFormatUnknown
            | Refusal::CredentialMalformed
            | Refusal::SessionMalformed
            | Refusal::TokenForged
    );
    let detail = is_about_form
        .then(|| {
            let form = |name: &&str| {
                form_problem(context, source, name, |kind| is_read_in(kind, name, context))
            };
            let elsewhere =
                headers.iter().find_map(|name| belongs_elsewhere(context, source, name));
            elsewhere.or_else(|| headers.iter().find_map(form))
        })
        .flatten();
    match detail {
        Some(detail) => Error::with_detail(refusal, detail),
        None => refusal.into(),
    }
}

/// Reports whether a timestamp of this century is in seconds: in milliseconds it has 13 digits.
fn is_in_seconds(timestamp: &str) -> bool {
    timestamp.len() == 10
}

/// Says what to correct in the value of the header `name`, if it contains a credential of an
/// `expected` kind, but not as it was shown: with a scheme, in quotation marks, cut off. `None` for
/// anything else, also for a mistyped credential: it gets the answer of an unknown one.
pub(super) fn form_problem(
    context: &Context,
    source: &dyn CredentialSource,
    name: &str,
    expected: impl Fn(PresentedKind) -> bool,
) -> Option<String> {
    let value = if name == AUTHORIZATION { source.bearer() } else { source.header(name) }?;
    let header = credential_header::display(name);
    let is_expected = |text: &str| kind(context, text).filter(|kind| expected(*kind));
    if let Some((scheme, rest)) = value.split_once(' ')
        && scheme.trim_end_matches(':').eq_ignore_ascii_case("bearer")
        && is_expected(rest.trim_start()).is_some()
    {
        let place = if name == AUTHORIZATION { "only once" } else { "only in Authorization" };
        return Some(format!(
            "The value of {header} begins with the word Bearer: write that word {place}."
        ));
    }
    let core = value.trim_matches(WRAPPING);
    let Some(kind) = is_expected(core) else {
        let problem = mistake(&context.config.brand, value).or_else(|| jwt_problem(core))?;
        return Some(format!("The value of {header} {problem}"));
    };
    if core.len() < value.len() {
        return Some(format!(
            "The value of {header} has quotation marks, brackets or other punctuation around {}: remove them.",
            kind.name()
        ));
    }
    kind.form_problem(&context.config.brand, core)
        .map(|problem| format!("The value of {header} {problem}"))
}

/// Says what is wrong with the beginning of a JWT, as the rest of a sentence.
fn jwt_problem(text: &str) -> Option<String> {
    jwt::is_cut_off(text).then(|| "is not the whole of a JWT: copy it again.".into())
}

fn belongs_elsewhere(
    context: &Context,
    source: &dyn CredentialSource,
    name: &str,
) -> Option<String> {
    let value = if name == AUTHORIZATION { source.bearer() } else { source.header(name) }?;
    let kind = kind(context, value)?;
    let header = credential_header::display(name);
    let looks_like = |what: &str, usage: &str| {
        Some(format!("The value of {header} looks like {what}: {usage}."))
    };
    if !is_read_in(kind, name, context) {
        return looks_like(kind.name(), kind.usage());
    }
    let service_header = context.config.service_token_header.as_str();
    match (kind, jwt::unverified_type(value)?.as_str()) {
        (PresentedKind::Jwt, Claims::TYPE) if name == service_header => {
            looks_like("an access token", "send it as Authorization: Bearer")
        }
        (PresentedKind::Jwt, ServiceClaims::TYPE) if name == AUTHORIZATION => {
            let place = credential_header::display(service_header);
            looks_like("a service token", &format!("send it in {place}"))
        }
        (PresentedKind::Jwt, DownloadClaims::TYPE) => looks_like(
            "a download token",
            "send it only to the path that it was issued for, as ?token=",
        ),
        _ => None,
    }
}

/// Reports whether a credential of this kind is looked for in the header `name`.
fn is_read_in(kind: PresentedKind, name: &str, context: &Context) -> bool {
    match kind {
        PresentedKind::ApiKey | PresentedKind::CliToken => matches!(name, AUTHORIZATION | API_KEY),
        PresentedKind::Jwt => {
            name == AUTHORIZATION || name == context.config.service_token_header.as_str()
        }
        PresentedKind::RunnerToken => name == RUNNER_TOKEN,
        PresentedKind::ServiceKey => name == SERVICE_KEY,
        PresentedKind::AgentSecret
        | PresentedKind::Code
        | PresentedKind::OperatorKey
        | PresentedKind::RefreshToken => false,
    }
}

fn kind(context: &Context, value: &str) -> Option<PresentedKind> {
    PresentedKind::of(&context.config.brand, value)
}

/// Says where a credential was found that is not looked for there.
fn found(context: &Context, source: &dyn CredentialSource, headers: &[&str]) -> Option<String> {
    if let Some(value) = source.header(AUTHORIZATION) {
        let is_read = headers.contains(&AUTHORIZATION);
        return Some(match source.bearer() {
            Some(_) if !is_read => "This route does not read Authorization.".into(),
            _ if value.trim_end_matches(':').eq_ignore_ascii_case("bearer") => {
                "Authorization contains only the word Bearer, and no credential after it.".into()
            }
            _ if kind(context, value).is_some() || !value.contains(' ') => {
                "Authorization has no scheme: write Bearer and a space before the credential."
                    .into()
            }
            _ => "Authorization has another scheme than Bearer.".into(),
        });
    }
    let is_credential = |name: &str| {
        let value = source.header(name).map(|value| value.strip_prefix("Bearer ").unwrap_or(value));
        value.is_some_and(|value| ELSEWHERE.contains(&name) || kind(context, value).is_some())
    };
    let mut others = source.header_names();
    others.sort_unstable();
    if let Some(name) =
        others.into_iter().find(|name| !headers.contains(name) && is_credential(name))
    {
        return Some(match credential_header::repeatable(name) {
            Some(name) => format!("This route does not read {name}."),
            None => "This route does not read the header that has one.".into(),
        });
    }
    let (_, query) = source.target()?.split_once('?')?;
    form_urlencoded::parse(query.as_bytes())
        .any(|(name, value)| {
            let name = name.to_ascii_lowercase();
            PARAMETERS.contains(&name.as_str()) || kind(context, &value).is_some()
        })
        .then(|| "Credentials in the query are ignored.".into())
}

fn list(headers: &[&str]) -> String {
    let names: BTreeSet<_> = headers
        .iter()
        .map(|name| match *name {
            AUTHORIZATION => "Authorization (after the word Bearer)".to_owned(),
            name => credential_header::display(name),
        })
        .collect();
    names.into_iter().collect::<Vec<_>>().join(" or ")
}
