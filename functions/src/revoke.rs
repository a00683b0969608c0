//! `POST /v1/auth/revoke` (RFC 7009): ends the family of a token. The response is 200 for every
//! token, even an unknown one.

use postern::{
    App, Error, Refusal,
    core::secret::Secret,
    grant::revoke::revoke,
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

/// Handles the route.
///
/// # Errors
/// A 400 if the token is missing, or a fault of the store.
pub async fn handle(app: &App, request: &Request) -> Result<Response, Error> {
    let token = if request.is_form() {
        request.form()?.remove("token").ok_or(Refusal::ParameterMissing)?
    } else {
        Secret::new(request.json::<Revocation>()?.token)
    };
    revoke(&app.context, &token).await?;
    Ok(Response::ok(&json!({}))?)
}
