//! Revocation (RFC 7009): possession of a token is enough to revoke it.
//!
//! A refresh token revokes its family; an access token revokes the family that it was issued with,
//! or only itself if there is none. One write in each case. Invalid tokens are ignored (§2.2).

use crate::{
    context::Context,
    core::{audience::RequiredAudience, error::Fault, secret::Secret},
    credential::RefreshToken,
    telemetry, token,
};

/// Revokes the token `text`, and the family that it belongs to.
///
/// # Errors
/// A failure of the store: the token may still be valid.
pub async fn revoke(context: &Context, text: &Secret) -> Result<(), Fault> {
    let now = context.clock.now();
    if let Ok(token) = RefreshToken::parse(&context.config.brand, &context.keyring, text.expose()) {
        telemetry::record_family(&token.family);
        return context.store.revoke_family(&token.family, now).await;
    }
    match token::verify::access_token(context, text.expose(), RequiredAudience::Any, now) {
        Err(_) => Ok(()),
        Ok(claims) => match claims.sid {
            Some(family) => context.store.revoke_family(&family, now).await,
            None => context.store.revoke_access_token(&claims.jti, claims.exp).await,
        },
    }
}
