//! Questions to the issuer about credentials (RFC 7662).

use http::{HeaderValue, StatusCode, header};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{principal::Principal, unique_json::UniqueJson};
use crate::{
    Error, ErrorCode, Result,
    http_client::Repetition,
    oauth::{Server, basic, form_request},
};

/// How an API asks the issuer about credentials.
#[derive(Clone, Debug)]
pub struct Introspection {
    asker: Asker,
    pub(super) asks_about_jwts: bool,
}

/// As whom the API asks.
#[derive(Clone, Debug)]
enum Asker {
    /// A client with a secret. Without an id, the API itself.
    Client {
        id: Option<String>,
        secret: SecretString,
    },
    ApiKey(SecretString),
}

impl Introspection {
    /// Asks as the API itself, with a secret of its `[[resource]]`.
    pub fn with_secret(secret: impl Into<SecretString>) -> Self {
        Self::by(Asker::Client { id: None, secret: secret.into() })
    }

    /// Asks as an agent that has the scope `tokens:introspect`.
    pub fn with_agent(id: impl Into<String>, secret: impl Into<SecretString>) -> Self {
        Self::by(Asker::Client { id: Some(id.into()), secret: secret.into() })
    }

    /// Asks with an API key that has the scope `tokens:introspect`.
    pub fn with_api_key(key: impl Into<SecretString>) -> Self {
        Self::by(Asker::ApiKey(key.into()))
    }

    /// Asks about access tokens, too, so that one that was revoked is refused at once. By default
    /// they are accepted until they expire.
    #[must_use]
    pub fn introspect_jwts(mut self) -> Self {
        self.asks_about_jwts = true;
        self
    }

    fn by(asker: Asker) -> Self {
        Self { asker, asks_about_jwts: false }
    }

    /// Returns the caller who presents a credential, if it is valid for the API.
    pub(super) async fn ask(
        &self,
        server: &Server,
        audience: &str,
        token: &SecretString,
    ) -> Result<Option<Principal>> {
        let metadata = server.metadata().await?;
        let endpoint = metadata.introspection_endpoint.as_ref();
        let endpoint = endpoint.ok_or_else(|| unusable(server, "its metadata has no endpoint"))?;
        let form = [("token", Some(token.expose_secret())), ("resource", Some(audience))];
        let mut request = form_request(endpoint.as_str(), &form)?;
        request.headers_mut().insert(header::AUTHORIZATION, self.asker.authorization(audience)?);
        let response = server.context.send(&request, Repetition::Always).await?.response;
        match response.status() {
            StatusCode::OK => {
                let members = UniqueJson::parse_object(response.body());
                let members =
                    members.ok_or_else(|| unusable(server, "its response is not JSON"))?;
                principal(server, audience, &members)
            }
            StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(not_allowed(server, response.status()))
            }
            status => Err(unusable(server, &format!("it answered {}", status.as_u16()))),
        }
    }
}

impl Asker {
    /// Returns the header `Authorization` of the API.
    fn authorization(&self, audience: &str) -> Result<HeaderValue> {
        let value = match self {
            Self::Client { id, secret } => basic(id.as_deref().unwrap_or(audience), secret),
            Self::ApiKey(key) => format!("Bearer {}", key.expose_secret()),
        };
        let mut value = HeaderValue::try_from(value).map_err(|_| {
            let message = "The key with which this API asks the issuer has characters that a \
                           header cannot have. Check where it is from.";
            Error::new(ErrorCode::InvalidClient, message)
        })?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// Returns the caller that a response names, if the credential is active, of this issuer, for this
/// API, and can be presented without a proof. A response without `aud` is about this API, because
/// the issuer was asked with its `resource`.
fn principal(
    server: &Server,
    audience: &str,
    response: &Map<String, Value>,
) -> Result<Option<Principal>> {
    let text = |name: &str| response.get(name).and_then(Value::as_str);
    let is_for_api = match response.get("aud") {
        None | Some(Value::Null) => true,
        Some(Value::Array(audiences)) => audiences.iter().any(|one| one == audience),
        Some(one) => one == audience,
    };
    let is_of_issuer = match response.get("iss") {
        None | Some(Value::Null) => true,
        Some(issuer) => issuer == server.issuer.as_str(),
    };
    let is_bearer = text("token_type").is_some_and(|kind| kind.eq_ignore_ascii_case("bearer"))
        && !response.contains_key("cnf");
    let is_active = response.get("active") == Some(&Value::Bool(true));
    let is_accepted = is_active && is_for_api && is_of_issuer && is_bearer;
    let known = Principal::from_claims(response).filter(|_| is_accepted);
    let Some(known) = known else { return Ok(None) };
    let resources = match response.get("resources") {
        None | Some(Value::Null) => None,
        // Limits that cannot be understood must not become none.
        Some(resources) => Some(
            Deserialize::deserialize(resources)
                .map_err(|_| unusable(server, "its member resources is not valid"))?,
        ),
    };
    Ok(Some(Principal {
        kind: text("kind").map(str::to_owned),
        resources,
        on_behalf_of: text("on_behalf_of").map(str::to_owned),
        metadata: response.get("metadata").and_then(Value::as_object).cloned(),
        ..known
    }))
}

/// The issuer does not let this API ask, which says nothing about the credential.
fn not_allowed(server: &Server, status: StatusCode) -> Error {
    let message = format!(
        "{} does not let this API ask about credentials (status {}). Check the secret of its \
         [[resource]], or that its agent or key has the scope tokens:introspect.",
        server.issuer,
        status.as_u16()
    );
    Error::new(ErrorCode::InvalidClient, message)
}

fn unusable(server: &Server, what: &str) -> Error {
    let message =
        format!("The introspection of {} cannot be used: {what}. Check the issuer.", server.issuer);
    Error::new(ErrorCode::InvalidResponse, message)
}
