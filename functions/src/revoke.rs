//! Routes that end whatever is presented, for everyone who has it. The response is the same for
//! every token, even an unknown one.
//!
//! `POST /v1/auth/revoke` (RFC 7009): ends the family of a token.
//!
//! `POST /v1/keys/revoke-leaked`: ends a leaked credential of any kind.

use postern::{
    App, Error, Refusal,
    core::secret::Secret,
    grant::{leaked::revoke_leaked, revoke::revoke},
    http::{Request, Response},
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::json;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Revocation {
    token: Option<Secret>,
    /// Accepted and ignored: the token itself shows its type.
    #[serde(default, rename = "token_type_hint")]
    _hint: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Leaked {
    token: Secret,
}

/// Handles the routes.
///
/// # Errors
/// A 400 if the token is missing, or a fault of the store.
pub async fn handle(app: &App, request: &Request) -> Result<Response, Error> {
    match request.route() {
        "POST /v1/auth/revoke" => revoke_token(app, request).await,
        "POST /v1/keys/revoke-leaked" => {
            let Leaked { token } = request.json()?;
            revoke_leaked(&app.context, &token).await?;
            Ok(Response::accepted())
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
