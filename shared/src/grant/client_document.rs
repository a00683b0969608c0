//! Clients whose id is the URL of their metadata (OAuth Client ID Metadata Document, draft 00).
//!
//! 1. The URL is one that the configuration allows ([`Config::client_url`]).
//! 2. If the document is not cached, the caller's network is counted, and the document is fetched:
//!    without redirects, only from public addresses, limited in time and size.
//! 3. The document names the same URL, has no secret, and at least one redirect URI. A client that
//!    authenticates with a key publishes its public keys there, or names their URL on the same
//!    host.
//!
//! [`Config::client_url`]: crate::config::Config::client_url

use serde_json::{Map, Value};

use super::throttle;
use crate::{
    config::{Client, ClientMetadataSource},
    context::Context,
    core::{
        client_url::ClientUrl,
        error::{Error, Refusal},
        json::{self, unique::Members},
        name::Name,
        network::Destinations,
        redirect_uri::RedirectUri,
    },
    crypto::ClientKeys,
    fetch::document_cache::{DocumentProblem, ReadDocument},
    telemetry,
};

/// The most redirect URIs of a document that are used.
const MOST_REDIRECT_URIS: usize = 50;

/// Returns the client whose id is `url`, for a caller at `address`.
///
/// # Errors
/// [`Refusal::ClientDocumentInvalid`]; [`Refusal::ClientDocumentUnavailable`], whose exact cause is
/// only logged; [`Refusal::RequestsTooMany`]; a fault.
pub(super) async fn find(
    context: &Context,
    url: &ClientUrl,
    address: &str,
) -> Result<Client, Error> {
    let now = context.clock.now();
    let fetch = async {
        throttle::count_document(context, address).await?;
        Ok::<_, Error>(fetch(context, url).await)
    };
    let found = context.client_documents.get(url.as_str(), now, fetch).await?;
    found.map_err(|problem| refuse(url, problem))
}

fn refuse(url: &ClientUrl, problem: DocumentProblem) -> Error {
    telemetry::client_document_refused(url.host(), problem.reason());
    match problem {
        // The reason can describe the network.
        DocumentProblem::NotFetched(_) => Refusal::ClientDocumentUnavailable.into(),
        DocumentProblem::Invalid(reason) => {
            let refusal = Refusal::ClientDocumentInvalid;
            let sentence = refusal.public().description.trim_end_matches('.');
            let remedy = "Whoever provides the app can correct the document.";
            Error::with_detail(refusal, format!("{sentence}: {reason}. {remedy}"))
        }
    }
}

async fn fetch(context: &Context, url: &ClientUrl) -> ReadDocument<Client> {
    let fetched = context.fetcher.client_document(url).await;
    let document = fetched.map_err(DocumentProblem::NotFetched)?;
    let client = parse(url, &document.body).map_err(DocumentProblem::Invalid)?;
    Ok((client, document.max_age))
}

/// Parses a document. The reasons for refusing it quote nothing of it.
fn parse(url: &ClientUrl, body: &[u8]) -> Result<Client, String> {
    let Members(document) = serde_json::from_slice(json::without_bom(body))
        .map_err(|_| "it is not a JSON object, or has a member twice".to_owned())?;
    if document.get("client_id").and_then(Value::as_str) != Some(url.as_str()) {
        return Err("its client_id is not its URL".into());
    }
    if document.keys().any(|name| name.starts_with("client_secret")) {
        return Err("it contains a client_secret, which everyone could read".into());
    }
    let keys = match document.get("token_endpoint_auth_method").map(Value::as_str) {
        // The default of RFC 7591 needs a secret, which no such client can have.
        None | Some(Some("none")) => None,
        Some(Some("private_key_jwt")) => Some(keys(url, &document)?),
        Some(_) => {
            return Err("its token_endpoint_auth_method is neither none nor private_key_jwt".into());
        }
    };
    let uris = document.get("redirect_uris").and_then(Value::as_array);
    let uris = uris.ok_or("its redirect_uris are missing")?.iter();
    let redirect_uris: Vec<_> = uris
        .filter_map(|uri| RedirectUri::try_from(uri.as_str()?.to_owned()).ok())
        .take(MOST_REDIRECT_URIS)
        .collect();
    if redirect_uris.is_empty() {
        return Err("none of its redirect_uris is https, or of the user's machine".into());
    }
    let name = document.get("client_name").and_then(Value::as_str);
    let name = name.and_then(|name| Name::try_from(name.to_owned()).ok());
    Ok(Client {
        id: url.as_str().into(),
        name: name.map_or_else(|| url.host().to_owned(), String::from),
        redirect_uris,
        source: ClientMetadataSource::Document(url.host().to_owned()),
        keys,
    })
}

/// Returns the keys of a client that authenticates with one. Users see the host of the document, so
/// no other host says which keys are the client's.
fn keys(url: &ClientUrl, document: &Map<String, Value>) -> Result<ClientKeys, String> {
    let given = |name: &str| document.get(name).filter(|value| !value.is_null());
    match (given("jwks"), given("jwks_uri")) {
        (Some(jwks), None) => {
            ClientKeys::from_jwks(jwks).map_err(|_| "its jwks are not 1 to 5 valid public keys".into())
        }
        (None, Some(uri)) => {
            let allowed = if url.is_on_this_machine() {
                Destinations::PublicAndLoopback
            } else {
                Destinations::Public
            };
            let text = uri.as_str().unwrap_or_default();
            ClientUrl::parse(text, allowed)
                .filter(|uri| uri.host() == url.host())
                .map(ClientKeys::JwksUri)
                .ok_or_else(|| "its jwks_uri is not an https URL on its own host".into())
        }
        (Some(_), Some(_)) => Err("it has both jwks and jwks_uri".into()),
        (None, None) => {
            Err("its token_endpoint_auth_method is private_key_jwt, and it has neither jwks nor jwks_uri".into())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const URL: &str = "https://app.example.com/client.json";

    fn parse_with(changes: &Value) -> Result<Client, String> {
        let mut document = json!({
            "client_id": URL,
            "client_name": "The App",
            "redirect_uris": ["https://app.example.com/callback"],
            "token_endpoint_auth_method": "none",
        });
        for (name, value) in changes.as_object().unwrap() {
            if value == "(absent)" {
                document.as_object_mut().unwrap().remove(name);
            } else {
                document[name] = value.clone();
            }
        }
        let url = ClientUrl::parse(URL, Destinations::Public).unwrap();
        parse(&url, document.to_string().as_bytes())
    }

    #[test]
    fn a_document_describes_a_public_client() {
        let client = parse_with(&json!({"logo_uri": "https://app.example.com/logo.png"})).unwrap();
        assert_eq!((client.id.as_str(), client.name.as_str()), (URL, "The App"));
        let uris: Vec<_> = client.redirect_uris.iter().map(RedirectUri::as_str).collect();
        assert_eq!(uris, ["https://app.example.com/callback"]);
        assert_eq!(client.source, ClientMetadataSource::Document("app.example.com".into()));
        parse_with(&json!({"token_endpoint_auth_method": "(absent)"})).unwrap();
    }

    #[test]
    fn redirect_uris_that_cannot_be_used_are_ignored() {
        let uris =
            json!(["myapp://callback/x", 7, "http://127.0.0.1/callback", "http://evil.example/"]);
        let client = parse_with(&json!({"redirect_uris": uris})).unwrap();
        let uris: Vec<_> = client.redirect_uris.iter().map(RedirectUri::as_str).collect();
        assert_eq!(uris, ["http://127.0.0.1/callback"]);
    }

    #[test]
    fn a_name_that_people_cannot_read_is_replaced_by_the_host() {
        let long = "a".repeat(101);
        for name in [json!("(absent)"), json!(7), json!(" "), json!("App\u{202e}ppA"), json!(long)]
        {
            let client = parse_with(&json!({"client_name": name})).unwrap();
            assert_eq!(client.name, "app.example.com", "{name}");
        }
        let client = parse_with(&json!({"client_name": "  The \u{a0} App "})).unwrap();
        assert_eq!(client.name, "The App");
    }

    #[test]
    fn a_document_can_have_keys_or_name_their_url() {
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let jwks = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": x}]});
        let method = "private_key_jwt";
        let inline = json!({"token_endpoint_auth_method": method, "jwks": jwks});
        let keys = parse_with(&inline).unwrap().keys.unwrap();
        assert_eq!(keys.jwks(), Some(&jwks));
        let uri = "https://app.example.com/keys";
        let linked = json!({"token_endpoint_auth_method": method, "jwks_uri": uri});
        assert_eq!(parse_with(&linked).unwrap().keys.unwrap().uri(), Some(uri));
        // A public client may publish keys for something else.
        let public = parse_with(&json!({"jwks": jwks, "jwks_uri": uri})).unwrap();
        assert_eq!(public.keys, None);
        let private = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": x, "d": x}]});
        for (members, reason) in [
            (json!({"jwks": jwks, "jwks_uri": uri}), "both jwks and jwks_uri"),
            (json!({"jwks": private}), "1 to 5 valid public keys"),
            (json!({"jwks": {"keys": []}}), "1 to 5 valid public keys"),
            (json!({"jwks_uri": "https://keys.example.com/"}), "on its own host"),
            (json!({"jwks_uri": "http://app.example.com/keys"}), "on its own host"),
            (json!({"jwks_uri": "https://127.0.0.1/keys"}), "on its own host"),
            (json!({"jwks_uri": [uri]}), "on its own host"),
        ] {
            let mut changes = members.clone();
            changes["token_endpoint_auth_method"] = method.into();
            let refused = parse_with(&changes).unwrap_err();
            assert!(refused.contains(reason), "{members}: {refused}");
        }
    }

    #[test]
    fn every_other_document_is_refused() {
        for (changes, reason) in [
            (json!({"client_id": "(absent)"}), "its client_id is not its URL"),
            (json!({"client_id": "https://app.example.com/client.json/"}), "its client_id"),
            (json!({"client_id": "https://APP.example.com/client.json"}), "its client_id"),
            (json!({"client_id": [URL]}), "its client_id"),
            (json!({"client_secret": "hush"}), "it contains a client_secret"),
            (json!({"client_secret_expires_at": 0}), "it contains a client_secret"),
            (json!({"token_endpoint_auth_method": "private_key_jwt"}), "neither jwks nor jwks_uri"),
            (json!({"token_endpoint_auth_method": "client_secret_basic"}), "is neither none nor"),
            (json!({"token_endpoint_auth_method": null}), "is neither none nor"),
            (json!({"redirect_uris": "(absent)"}), "its redirect_uris are missing"),
            (json!({"redirect_uris": "https://app.example.com/callback"}), "are missing"),
            (json!({"redirect_uris": []}), "none of its redirect_uris"),
            (json!({"redirect_uris": ["http://app.example.com/callback"]}), "none of its"),
            (json!({"redirect_uris": ["https://app.example.com/callback#x"]}), "none of its"),
        ] {
            let refused = parse_with(&changes).unwrap_err();
            assert!(refused.contains(reason), "{changes}: {refused}");
        }
        let url = ClientUrl::parse(URL, Destinations::Public).unwrap();
        let twice = format!(r#"{{"client_id": "{URL}", "client_id": "{URL}"}}"#);
        for body in ["", "[]", "null", "<html>", "{\"client_id\":", &twice] {
            let reason = "it is not a JSON object, or has a member twice";
            assert_eq!(parse(&url, body.as_bytes()).unwrap_err(), reason);
        }
    }
}
