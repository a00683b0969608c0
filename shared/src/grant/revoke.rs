//! Revocation (RFC 7009): possession of a token is enough to end it.
//!
//! A refresh token ends its family; an access token ends the family that it was issued with, or, where there is none,
//! itself. One write in each case. What is no token of ours needs no ending: the answer is the same.

use crate::{
    context::Context,
    core::{error::Fault, secret::Secret},
    credential::RefreshToken,
    telemetry, token,
};

/// Ends what `text` belongs to.
///
/// # Errors
/// A store that does not answer: then nothing was promised.
pub async fn revoke(context: &Context, text: &Secret) -> Result<(), Fault> {
    let now = context.clock.now();
    if let Ok(token) = RefreshToken::parse(&context.config.brand, &context.keyring, text.expose()) {
        telemetry::name_family(&token.family);
        return context.store.revoke_family(&token.family, now.as_millisecond()).await;
    }
    match token::verify::access_token(context, text.expose(), now) {
        Err(_) => Ok(()),
        Ok(claims) => match claims.sid {
            Some(family) => context.store.revoke_family(&family, now.as_millisecond()).await,
            None => context.store.revoke_access_token(&claims.jti, claims.exp).await,
        },
    }
}
