//! `POST /v1/auth/revoke` (RFC 7009): ends the family of a token. The answer is 200 whatever the
//! token was.

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
    /// A hint, and no more: the token says itself what it is.
    #[serde(default, rename = "token_type_hint")]
    _hint: Option<IgnoredAny>,
}

/// Answers the route.
///
/// # Errors
/// A request without a token, or a store that does not answer.
pub async fn handle(app: &App, request: &Request) -> Result<Response, Error> {
    let token = if request.is_form() {
        request.form()?.remove("token").ok_or(Refusal::ParameterMissing)?
    } else {
        Secret::new(request.json::<Revocation>()?.token)
    };
    revoke(&app.context, &token).await?;
    Ok(Response::ok(&json!({}))?)
}
