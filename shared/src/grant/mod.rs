//! The protocols that grant, renew and revoke tokens.

pub mod agent_consent;
pub mod agent_secret;
mod audience;
pub mod authorization_code;
pub mod authorization_parameters;
pub mod authorize;
pub mod client;
pub mod client_assertion;
mod client_document;
pub mod consent;
pub mod delegation;
pub mod device_code;
pub mod family;
pub mod federation;
pub mod id_jag;
pub mod key_exchange;
pub mod last_use;
pub mod leak_report;
pub mod leaked;
pub mod password;
pub mod password_change;
pub mod permitted_use;
pub mod presented_client;
pub mod presenter;
pub mod refresh;
pub mod registration;
pub mod revoke;
pub mod session;
pub mod sign_in;
pub(crate) mod throttle;
pub mod trust_dry_run;
pub mod upstream_tokens;
pub mod usage_plan;
pub mod user_status;

use serde::Serialize;

use crate::{
    context::Context,
    core::{
        error::{Error, Fault, Refusal, SCOPE_NOT_GRANTED},
        id::AgentId,
        secret::{self, Secret},
    },
    credential::{self, PresentedKind},
};

/// The type of an access token in a token exchange (RFC 8693 §3).
pub const ACCESS_TOKEN_TYPE: &str = "urn:ietf:params:oauth:token-type:access_token";

/// The token response of RFC 6749 §5.1.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct Tokens {
    /// The access token, a JWT (RFC 9068).
    #[serde(serialize_with = "secret::shown_once")]
    access_token: Secret,
    /// How the access token is presented.
    #[cfg_attr(feature = "openapi", schemars(with = "crate::core::schema::TokenType"))]
    token_type: &'static str,
    /// How long the access token is valid, in seconds.
    expires_in: i64,
    /// The refresh token, if there is one.
    #[serde(serialize_with = "shown_once_if_any", skip_serializing_if = "Option::is_none")]
    refresh_token: Option<Secret>,
    /// The scopes of the access token, space-joined.
    #[cfg_attr(feature = "openapi", schemars(with = "crate::core::schema::ScopeList"))]
    scope: String,
    /// What was issued, in the response to a token exchange (RFC 8693 §2.2.1).
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_token_type: Option<&'static str>,
}

impl Tokens {
    fn new(
        context: &Context,
        grant: &crate::token::NewAccessToken<'_>,
        refresh_token: Option<Secret>,
        now: jiff::Timestamp,
    ) -> Result<Self, Fault> {
        Ok(Self {
            access_token: crate::token::issue::access_token(context, grant, now)?,
            token_type: if grant.key.is_some() { "DPoP" } else { "Bearer" },
            expires_in: grant.lifetime(context, now).as_secs(),
            refresh_token,
            scope: grant.scopes.to_string(),
            issued_token_type: None,
        })
    }

    /// Returns the same tokens with another refresh token.
    fn with_refresh_token(self, refresh_token: Secret) -> Self {
        Self { refresh_token: Some(refresh_token), ..self }
    }

    /// Adds what was issued, for the response to a token exchange.
    #[must_use]
    pub fn as_exchanged(self) -> Self {
        Self { issued_token_type: Some(ACCESS_TOKEN_TYPE), ..self }
    }
}

fn shown_once_if_any<S: serde::Serializer>(
    secret: &Option<Secret>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match secret {
        Some(secret) => secret::shown_once(secret, serializer),
        None => serializer.serialize_none(),
    }
}

/// Returns the refusal of a list of scopes whose scope at the place `at` is not granted.
fn scope_not_granted(at: usize) -> Error {
    let detail = format!("scope[{at}] {SCOPE_NOT_GRANTED}");
    Error::with_detail(Refusal::ScopeNotGranted, detail)
}

/// Returns the refusal of `text`, the value of `name`, which is no code for one use. If its form
/// shows what it is instead, the answer says so: the form is public.
fn not_a_code(context: &Context, refusal: Refusal, name: &str, text: &str) -> Error {
    let problem = if text.contains("://") {
        Some("is a URL: send only the value of its parameter.".into())
    } else {
        let wanted = "the value that was shown or returned for this step";
        credential::wrong_form(&context.config.brand, text, PresentedKind::Code, wanted)
    };
    match problem {
        Some(problem) => Error::with_detail(refusal, format!("The {name} {problem}")),
        None => refusal.into(),
    }
}

/// The credentials of a confidential client.
#[derive(Debug)]
pub struct ClientCredentials {
    /// The client id, which is the agent's.
    pub id: AgentId,
    /// What proves it.
    pub proof: ClientProof,
}

/// What a confidential client authenticates with.
#[derive(Debug)]
pub enum ClientProof {
    /// The client secret.
    Secret(Secret),
    /// A JWT that it signed.
    Assertion(client_assertion::ClientAssertion),
}
