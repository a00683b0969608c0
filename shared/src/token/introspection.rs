//! The response to an introspection: what a token is (RFC 7662 §2.2), also as a signed JWT
//! (RFC 9701 §5).

use jiff::{Timestamp, fmt::serde::timestamp::second};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    context::Context,
    core::{error::Fault, principal::Principal, subject::Subject},
};

/// The media type of a signed response (RFC 9701 §5).
pub const MEDIA_TYPE: &str = "application/token-introspection+jwt";
/// The type in its header.
const TYPE: &str = "token-introspection+jwt";

/// What a token is, if it is active.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct Introspection {
    /// Whether the credential is valid, for what was asked.
    active: bool,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    token: Option<ActiveToken>,
}

/// An active token. The caller's members are those of `GET /v1/auth/whoami`.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct ActiveToken {
    /// The scopes of the caller, space-joined. Absent if there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// The caller.
    pub sub: Subject,
    /// How it is presented.
    pub token_type: TokenUse,
    /// When it expires, if it does.
    #[serde(skip_serializing_if = "Option::is_none", with = "second::optional")]
    #[cfg_attr(feature = "openapi", schemars(with = "Option<i64>"))]
    pub exp: Option<Timestamp>,
    /// The other claims of a token that has claims.
    #[serde(flatten)]
    #[cfg_attr(feature = "openapi", schemars(with = "crate::core::schema::Claims"))]
    pub claims: Map<String, Value>,
    /// The caller.
    #[serde(flatten)]
    pub principal: Principal,
}

/// How a token is presented (RFC 6749 §7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub enum TokenUse {
    /// After the word `Bearer`.
    Bearer,
    /// After the word `DPoP`, with a proof of the key in `cnf` (RFC 9449 §6.2).
    #[serde(rename = "DPoP")]
    Dpop,
    /// In another way: an API must not accept it as a bearer token (RFC 8693 §2.2.1).
    #[serde(rename = "N_A")]
    NotApplicable,
}

impl Introspection {
    /// Returns the response for every token that is not active, which says nothing else.
    pub fn inactive() -> Self {
        Self { active: false, token: None }
    }

    /// Returns the response for an active token.
    pub fn active(token: ActiveToken) -> Self {
        Self { active: true, token: Some(token) }
    }

    /// Returns the response as a JWT for `audience`, the caller who asked.
    ///
    /// # Errors
    /// A [`Fault`] if there is no signing key, or if signing fails.
    pub fn sign(&self, context: &Context, audience: &str) -> Result<String, Fault> {
        let claims = SignedIntrospection {
            iss: &context.config.deployment.issuer,
            aud: audience,
            iat: context.clock.now(),
            token_introspection: self,
        };
        context.keyring.signing_key(None)?.sign(TYPE, &claims)
    }
}

/// The claims of RFC 9701 §5. It has neither `sub` nor `exp`, so that it is not taken for a token.
#[derive(Serialize)]
struct SignedIntrospection<'a> {
    iss: &'a str,
    aud: &'a str,
    #[serde(with = "second::required")]
    iat: Timestamp,
    token_introspection: &'a Introspection,
}
