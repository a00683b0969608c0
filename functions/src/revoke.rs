//! Routes that end whatever is presented, for everyone who has it. The response is the same for
//! every token, even an unknown one.
//!
//! `POST /v1/auth/revoke` (RFC 7009): ends the family of a token.
//!
//! `POST /v1/keys/revoke-leaked`: ends a leaked credential of any kind.
//!
//! `POST /v1/keys/revoke-leaked/github`: ends those that GitHub found.

use postern::{
    App, Error, Refusal,
    core::secret::Secret,
    grant::{
        leak_report::{LeakReport, receive_report},
        leaked::revoke_leaked,
        revoke::revoke,
    },
    http::{Request, Response},
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::json;

/// The request of RFC 7009 §2.1.
#[derive(Default, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct Revocation {
    /// The token to be revoked.
    #[cfg_attr(feature = "openapi", schemars(required, with = "String"))]
    token: Option<Secret>,
    /// Accepted and ignored: the token itself shows its type.
    #[serde(default, rename = "token_type_hint")]
    #[cfg_attr(feature = "openapi", schemars(with = "Option<serde_json::Value>"))]
    _hint: Option<IgnoredAny>,
}

/// A credential that others know.
#[derive(Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct LeakedToken {
    /// The credential, of any kind.
    #[cfg_attr(feature = "openapi", schemars(with = "String"))]
    token: Secret,
}

/// Handles the routes.
///
/// # Errors
/// A 400 if the token is missing, a 401 if GitHub did not sign a report, or a fault of the store.
pub async fn handle(app: &App, request: &Request) -> Result<Response, Error> {
    match request.route() {
        "POST /v1/auth/revoke" => revoke_token(app, request).await,
        "POST /v1/keys/revoke-leaked" => {
            let LeakedToken { token } = request.json()?;
            revoke_leaked(&app.context, &token).await?;
            Ok(Response::accepted())
        }
        "POST /v1/keys/revoke-leaked/github" => {
            let report = LeakReport {
                key_id: request.header("github-public-key-identifier"),
                signature: request.header("github-public-key-signature"),
                body: request.body(),
            };
            Ok(Response::ok(&receive_report(&app.context, &report).await?)?)
        }
        _ => Err(Refusal::RouteUnknown.into()),
    }
}

async fn revoke_token(app: &App, request: &Request) -> Result<Response, Error> {
    let sent = request.form_or_json(|mut form, _| Revocation {
        token: form.remove("token"),
        ..Revocation::default()
    })?;
    let token = sent.token.ok_or_else(|| request.parameter_missing("token"))?;
    revoke(&app.context, &token).await?;
    Ok(Response::ok(&json!({}))?)
}
