//! OpenID discovery (OpenID Connect Discovery §4): the document in which an issuer names its
//! endpoints.

use super::external;
use crate::{
    context::Context,
    core::{
        error::Fault,
        json::lenient::{self, LenientObject},
        url,
    },
};

/// The maximum size of the document, in bytes.
const LARGEST: usize = 64 * 1024;
/// The longest issuer of a document that is shown, in bytes.
const LONGEST_SHOWN: usize = 200;

/// The members of the document that are used (OpenID Connect Discovery §3, RFC 9207 §3).
///
/// A member that is unreadable or of another type counts as absent. So does an endpoint that is not
/// `https`: a remote issuer must not make us send requests to this machine, or in clear.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the members of the document")]
pub struct Discovered {
    pub authorization_endpoint: Option<String>,
    pub token_endpoint: Option<String>,
    pub jwks_uri: Option<String>,
    pub userinfo_endpoint: Option<String>,
    pub scopes_supported: Vec<String>,
    pub token_endpoint_auth_methods_supported: Vec<String>,
    pub authorization_response_iss_parameter_supported: bool,
}

impl Discovered {
    fn new(document: &LenientObject<'_>, issuer: &str) -> Self {
        let is_allowed = |url: &String| {
            url::is_https_or_local(url)
                && (issuer.starts_with("http:") || url.starts_with("https:"))
        };
        let endpoint = |name: &str| document.text(name).filter(is_allowed);
        let texts = |name: &str| {
            let items = document.elements(name).unwrap_or_default();
            items.iter().filter_map(|item| serde_json::from_str(item.get()).ok()).collect()
        };
        Self {
            authorization_endpoint: endpoint("authorization_endpoint"),
            token_endpoint: endpoint("token_endpoint"),
            jwks_uri: endpoint("jwks_uri"),
            userinfo_endpoint: endpoint("userinfo_endpoint"),
            scopes_supported: texts("scopes_supported"),
            token_endpoint_auth_methods_supported: texts("token_endpoint_auth_methods_supported"),
            authorization_response_iss_parameter_supported: document
                .get("authorization_response_iss_parameter_supported")
                .is_some_and(|flag| external::is_true(&flag)),
        }
    }
}

/// Fetches the document of `issuer`.
///
/// # Errors
/// [`Fault::Issuer`] if it does not respond, or its document is malformed or names another issuer.
pub async fn fetch(context: &Context, issuer: &str) -> Result<Discovered, Fault> {
    let base = issuer.strip_suffix('/').unwrap_or(issuer);
    let url = format!("{base}/.well-known/openid-configuration");
    let json = context.fetcher.get(&url, LARGEST).await?;
    let json = lenient::decode(&json);
    let document = LenientObject::parse(&json);
    let named = document.as_ref().and_then(|document| document.text("issuer"));
    match (document, named) {
        (Some(document), Some(named)) if named == issuer => Ok(Discovered::new(&document, issuer)),
        (Some(_), Some(named)) => Err(fault(issuer, names_another_issuer(&named))),
        _ => Err(fault(issuer, "its discovery document is malformed".into())),
    }
}

/// Returns the fault of an issuer whose document lacks the endpoint `name`.
pub fn endpoint_missing(issuer: &str, name: &str) -> Fault {
    fault(issuer, format!("its discovery document names no {name}, or one that is not https"))
}

/// Says that a document names the issuer `found`, which is shown if it can be one.
fn names_another_issuer(found: &str) -> String {
    let is_shown = found.len() <= LONGEST_SHOWN && url::is_https_or_local(found);
    let shown = if is_shown { format!(": set issuer to {found:?}") } else { String::new() };
    format!("its discovery document names another issuer{shown}")
}

fn fault(issuer: &str, what: String) -> Fault {
    Fault::Issuer { issuer: issuer.to_owned(), source: what.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_issuer_that_a_document_names_is_shown_if_it_can_be_one() {
        let sentence = "its discovery document names another issuer";
        let shown = format!("{sentence}: set issuer to \"https://idp.example/\"");
        assert_eq!(names_another_issuer("https://idp.example/"), shown);
        let long = format!("https://idp.example/{}", "x".repeat(200));
        for hidden in ["idp.example", "http://idp.example", "https://a\nb", &long] {
            assert_eq!(names_another_issuer(hidden), sentence);
        }
    }

    #[test]
    fn an_endpoint_of_a_remote_issuer_must_be_https() {
        let jwks_uri = |issuer: &str, url: &str| {
            let json = serde_json::json!({"jwks_uri": url}).to_string();
            Discovered::new(&LenientObject::parse(&json).unwrap(), issuer).jwks_uri
        };
        let (remote, local) = ("https://idp.example", "http://127.0.0.1:9000");
        for (issuer, url, is_allowed) in [
            (remote, "https://keys.example/jwks", true),
            (local, "https://keys.example/jwks", true),
            (local, "http://127.0.0.1:9000/jwks", true),
            (remote, "http://127.0.0.1:9000/jwks", false),
            (remote, "http://idp.example/jwks", false),
            (local, "http://idp.example/jwks", false),
            (remote, "file:///etc/passwd", false),
            (remote, "", false),
        ] {
            let expected = is_allowed.then(|| url.to_owned());
            assert_eq!(jwks_uri(issuer, url), expected, "{issuer} {url}");
        }
    }
}
