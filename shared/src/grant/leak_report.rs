//! Reports of leaked credentials from GitHub's secret scanning, for the partners of its program.
//!
//! 1. The signature is verified, with a key that GitHub publishes, before anything in the body is
//!    read. The key is one of a document that is cached, so a flood of made-up identifiers causes
//!    one fetch every five minutes: GitHub limits how often an address can ask.
//! 2. Each credential in the report is revoked as by `POST /v1/keys/revoke-leaked`.
//! 3. The response says which of the matches are credentials of ours. That does not depend on
//!    whether they were still valid, so a report can be repeated, and gets the same response.

use std::convert::Infallible;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::leaked::{Contents, LeakFound, revoke_all};
use crate::{
    context::Context,
    core::{
        error::{Error, Fault, Refusal},
        event::Reporter,
        json::lenient,
        secret::{Secret, shown_once},
        url,
    },
    crypto::github_keys::{GithubKeys, GithubSignature},
    fetch::document_cache::{DocumentProblem, ReadDocument},
};

/// How many matches a report can contain. A usual match has 250 bytes, so that a body contains half
/// as many.
const MOST: usize = 500;
/// The maximum length of the identifier of a key.
const LONGEST_KEY_ID: usize = 128;
/// The maximum length of a signature of ECDSA on P-256 in DER.
const LONGEST_SIGNATURE: usize = 72;
/// The maximum size of the document with the keys, in bytes.
const LARGEST_KEYS: usize = 64 * 1024;
/// How long to wait after a fetch before newer keys are fetched.
const PAUSE: SignedDuration = SignedDuration::from_mins(5);

/// A report as it was received.
#[derive(Debug)]
pub struct LeakReport<'r> {
    /// The header `Github-Public-Key-Identifier`.
    pub key_id: Option<&'r str>,
    /// The header `Github-Public-Key-Signature`.
    pub signature: Option<&'r str>,
    /// The body, which is what is signed.
    pub body: &'r [u8],
}

/// A match that GitHub found.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct LeakMatch {
    /// What was found.
    #[cfg_attr(feature = "openapi", schemars(with = "String"))]
    pub token: Secret,
    /// The name of the expression that it matches.
    #[serde(rename = "type")]
    pub token_type: Option<String>,
    /// Where it was found; can be empty.
    pub url: Option<String>,
    /// The kind of place, such as `commit`.
    pub source: Option<String>,
}

/// What GitHub is told of a match.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct LeakFeedback {
    /// The match.
    #[serde(serialize_with = "shown_once")]
    #[cfg_attr(feature = "openapi", schemars(with = "String"))]
    pub token_raw: Secret,
    /// The name of the expression that it matches.
    pub token_type: String,
    /// Whether it is a credential.
    pub label: LeakLabel,
}

/// Whether a match is a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum LeakLabel {
    /// It is, or was, one of this deployment.
    TruePositive,
    /// It is not.
    FalsePositive,
}

/// Revokes the credentials in a report of GitHub, and returns what they are.
///
/// # Errors
/// [`Refusal::RouteUnknown`] if such reports are not accepted, a refusal if GitHub did not sign it;
/// a fault if the keys of GitHub are not available, or if a credential may still be valid.
pub async fn receive_report(
    context: &Context,
    report: &LeakReport<'_>,
) -> Result<Vec<LeakFeedback>, Error> {
    if !context.config.leaks.github {
        return Err(Refusal::RouteUnknown.into());
    }
    verify(context, report).await?;
    let mut feedback = Vec::new();
    for found in parse(report.body)? {
        let host = host(found.url.as_deref());
        let leak = LeakFound {
            reported_by: Reporter::Github,
            source: Some(source(found.source.as_deref())),
            host: host.as_deref(),
        };
        let label = match revoke_all(context, &found.token, &leak).await? {
            Contents::Credential => LeakLabel::TruePositive,
            Contents::Other => LeakLabel::FalsePositive,
        };
        let token_type = found.token_type.unwrap_or_default();
        feedback.push(LeakFeedback { token_raw: found.token, token_type, label });
    }
    Ok(feedback)
}

/// Verifies that GitHub signed the body.
async fn verify(context: &Context, report: &LeakReport<'_>) -> Result<(), Error> {
    let id = report.key_id.filter(|id| is_key_id(id));
    let signature = report.signature.and_then(|text| BASE64.decode(text).ok());
    let signature = signature.filter(|signature| signature.len() <= LONGEST_SIGNATURE);
    let (Some(id), Some(signature)) = (id, signature) else {
        return Err(Refusal::SignedReportSignatureMalformed.into());
    };
    let (cache, url) = (&context.github_keys, context.config.leaks.github_keys_url.as_str());
    let now = context.clock.now();
    let Ok(known) = cache.get(url, now, fetch(context, url)).await;
    let mut verified = available(url, known)?.verify(id, report.body, &signature);
    if verified == GithubSignature::KeyUnknown {
        let Ok(newer) = cache.get_newer_than(PAUSE, url, now, fetch(context, url)).await;
        verified = available(url, newer)?.verify(id, report.body, &signature);
    }
    match verified {
        GithubSignature::Valid => Ok(()),
        GithubSignature::Wrong => Err(Refusal::SignedReportSignatureWrong.into()),
        GithubSignature::KeyUnknown => Err(Refusal::SignedReportKeyUnknown.into()),
    }
}

fn is_key_id(text: &str) -> bool {
    (1..=LONGEST_KEY_ID).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

async fn fetch(context: &Context, url: &str) -> Result<ReadDocument<GithubKeys>, Infallible> {
    Ok(match context.fetcher.get(url, LARGEST_KEYS).await {
        Ok(json) => {
            let keys = GithubKeys::parse(&lenient::decode(&json));
            keys.map(|keys| (keys, None)).map_err(DocumentProblem::Invalid)
        }
        Err(Fault::Issuer { source, .. }) => Err(DocumentProblem::NotFetched(source.to_string())),
        Err(fault) => Err(DocumentProblem::NotFetched(fault.to_string())),
    })
}

/// Returns keys that were fetched. Without them, nothing is known about a report, so GitHub has to
/// send it again.
fn available(url: &str, fetched: Result<GithubKeys, DocumentProblem>) -> Result<GithubKeys, Fault> {
    fetched.map_err(|problem| Fault::Issuer {
        issuer: url.to_owned(),
        source: problem.reason().into(),
    })
}

/// Parses the matches. One that cannot be read does not protect the others.
fn parse(body: &[u8]) -> Result<Vec<LeakMatch>, Error> {
    let refuse = |detail: &str| Error::with_detail(Refusal::BodyMalformed, detail.to_owned());
    let json = lenient::decode(body);
    let elements: Vec<&RawValue> = lenient::elements(&json)
        .ok_or_else(|| refuse("The body is not valid: send a JSON list of matches."))?;
    if elements.len() > MOST {
        return Err(refuse("The body contains more than 500 matches: send them in several."));
    }
    Ok(elements.into_iter().filter_map(|one| serde_json::from_str(one.get()).ok()).collect())
}

/// Returns the kind of place, if it is one that GitHub documents.
fn source(reported: Option<&str>) -> &'static str {
    const SOURCES: [&str; 15] = [
        "commit",
        "commit_comment",
        "content",
        "discussion_body",
        "discussion_comment",
        "discussion_title",
        "gist_comment",
        "gist_content",
        "issue_comment",
        "issue_description",
        "issue_title",
        "npm",
        "pull_request_comment",
        "pull_request_description",
        "pull_request_title",
    ];
    let reported = reported.unwrap_or_default();
    let known = SOURCES.into_iter().find(|known| known.eq_ignore_ascii_case(reported));
    known.unwrap_or("unknown")
}

/// Returns the host of a URL, if it has the form of one.
fn host(url: Option<&str>) -> Option<String> {
    let (origin, _) = url::split_origin(url?);
    let (_, authority) = origin.split_once("://")?;
    let host = url::split_port(authority).0.to_ascii_lowercase();
    url::is_host_name(&host).then_some(host)
}
