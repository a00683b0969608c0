//! Revocation (RFC 7009): possession of a token is enough to revoke it.
//!
//! A refresh token revokes its family; an access token revokes the family that it was issued with,
//! or only itself if there is none. One write in each case. Invalid tokens are ignored (§2.2).

use crate::{
    context::Context,
    core::{
        error::{Error, Refusal},
        secret::Secret,
    },
    credential::{PresentedKind, RefreshToken},
    crypto::jwt,
    telemetry,
    token::{self, DownloadClaims, ServiceClaims, TokenClaims as _},
};

/// Revokes the token `text`, and the family that it belongs to.
///
/// # Errors
/// `unsupported_token_type` for another kind of credential, which its form shows (§2.2.1); a failure
/// of the store: the token may still be valid.
pub async fn revoke(context: &Context, text: &Secret) -> Result<(), Error> {
    let now = context.clock.now();
    if let Some(error) = unsupported(context, text.expose()) {
        return Err(error);
    }
    if let Ok(token) = RefreshToken::parse(&context.config.brand, &context.keyring, text.expose()) {
        telemetry::record_family(&token.family);
        return Ok(context.store.revoke_family(&token.family, now).await?);
    }
    match token::verify::access_token(context, text.expose(), now) {
        Err(_) => Ok(()),
        Ok(claims) => match claims.sid {
            Some(family) => Ok(context.store.revoke_family(&family, now).await?),
            None => Ok(context.store.revoke_access_token(&claims.jti, claims.exp).await?),
        },
    }
}

/// Returns the refusal of a credential that this route does not end.
fn unsupported(context: &Context, text: &str) -> Option<Error> {
    let kind = PresentedKind::of(&context.config.brand, text)?;
    let delete = "delete its record, or report it to POST /v1/keys/revoke-leaked";
    let (name, remedy) = match kind {
        PresentedKind::RefreshToken => return None,
        PresentedKind::Jwt => {
            let name = match jwt::unverified_type(text)?.as_str() {
                ServiceClaims::TYPE => "a service token",
                DownloadClaims::TYPE => "a download token",
                _ => return None,
            };
            (name, "these expire within minutes")
        }
        PresentedKind::OperatorKey => (kind.name(), "replace it in the deployment's secret"),
        PresentedKind::AgentSecret
        | PresentedKind::ApiKey
        | PresentedKind::CliToken
        | PresentedKind::Code
        | PresentedKind::RunnerToken
        | PresentedKind::ServiceKey => (kind.name(), delete),
    };
    let detail = format!(
        "The token looks like {name}, and this route ends only refresh tokens and access tokens: {remedy}."
    );
    Some(Error::with_detail(Refusal::TokenTypeUnsupported, detail))
}
