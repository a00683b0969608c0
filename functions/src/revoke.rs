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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Revocation {
    token: String,
    /// Accepted and ignored: the token itself shows its type.
    #[serde(default, rename = "token_type_hint")]
    _hint: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Leaked {
    token: String,
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
            revoke_leaked(&app.context, &Secret::new(token)).await?;
            Ok(Response::accepted())
        }
        _ => Err(Refusal::RouteUnknown.into()),
    }
}

async fn revoke_token(app: &App, request: &Request) -> Result<Response, Error> {
    request.require_form_or_json()?;
    let token = if request.is_form() {
        request.form()?.remove("token").ok_or_else(|| {
            let sentence = "The parameter 'token' is missing.".into();
            Error::with_detail(Refusal::ParameterMissing, sentence)
        })?
    } else if request.has_body() {
        Secret::new(request.json::<Revocation>()?.token)
    } else {
        let sentence = "The body is missing: send the parameter 'token' as application/x-www-form-urlencoded, or JSON with the member 'token'.";
        return Err(Error::with_detail(Refusal::BodyMissing, sentence.into()));
    };
    revoke(&app.context, &token).await?;
    Ok(Response::ok(&json!({}))?)
}
