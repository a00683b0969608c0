//! Verifying access tokens, up to the point where the store must be asked.

use jiff::Timestamp;

use super::{Claims, TYP};
use crate::{
    app::App,
    clock::LEEWAY_S,
    crypto::jwt::{self, Expected},
    error::Refusal,
};

/// The longest token that is looked at: headers of a request may hold 10 KB in all.
const LONGEST: usize = 8 * 1024;

/// Does a bearer value look like a JWT, whatever is in it?
pub fn is_meant(text: &str) -> bool {
    text.starts_with("ey") && text.bytes().filter(|byte| *byte == b'.').count() == 2
}

/// Verifies signature, type, issuer, audience and times. Whether it was revoked, only the store knows.
///
/// # Errors
/// The exact cause; all of them look alike to the caller.
pub fn verify(app: &App, token: &str, now: Timestamp) -> Result<Claims, Refusal> {
    if token.len() > LONGEST {
        return Err(Refusal::TokenForged);
    }
    let expected = Expected { typ: TYP, issuer: &app.config.issuer, audience: &app.config.issuer };
    let claims: Claims = jwt::verify(token, app.keyring.verifying(), &expected)?;
    let now = now.as_second();
    match () {
        () if claims.exp.saturating_add(LEEWAY_S) <= now => Err(Refusal::TokenExpired),
        () if claims.nbf > now + LEEWAY_S || claims.iat > now + LEEWAY_S => Err(Refusal::TokenEarly),
        () if claims.sub != claims.agent_id.to_string() || claims.client_id != claims.agent_id => {
            Err(Refusal::TokenMisfit)
        }
        () => Ok(claims),
    }
}
