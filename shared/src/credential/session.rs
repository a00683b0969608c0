//! Session values: `base64url(payload).base64url(HMAC-SHA256 of the first part)`.
//!
//! The payload names the session and its person, and holds a secret of 190 bits of which the store has the digest. The code lets a
//! made-up value be refused before any read; the secret is what authenticates.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use serde::{Deserialize, Serialize};

use crate::{
    core::{
        entropy::{BASE62, Entropy},
        error::{Fault, Refusal},
        id::SessionId,
        secret::Secret,
    },
    crypto::{Digest, Keyring},
};

/// The name of the cookie. Its prefix makes browsers keep it to one host, and to TLS (RFC 6265bis §4.1.3.2).
pub const SESSION_COOKIE: &str = "__Host-postern_session";
/// Characters of the random part.
const SECRET_LEN: usize = 32;
/// The longest value: a cookie may have 4096 bytes with its name.
const LONGEST: usize = 4000;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    sid: SessionId,
    sub: String,
    key: String,
}

/// A session value whose code is right; nothing is known about the session.
#[derive(Debug)]
pub struct Session {
    pub id: SessionId,
    /// The person.
    pub user_id: String,
    /// The digest of the secret.
    pub digest: Digest,
}

impl Session {
    /// Reads `text`. No I/O.
    ///
    /// # Errors
    /// [`Refusal::SessionMalformed`] for another shape, [`Refusal::SessionForged`] for a code that is not ours.
    pub fn parse(keyring: &Keyring, text: &str) -> Result<Self, Refusal> {
        let parts = text
            .split_once('.')
            .filter(|_| text.len() <= LONGEST)
            .ok_or(Refusal::SessionMalformed)?;
        let decode = |part: &str| BASE64URL.decode(part).map_err(|_| Refusal::SessionMalformed);
        let (payload, tag) = (decode(parts.0)?, decode(parts.1)?);
        let tag = tag.try_into().map_err(|_| Refusal::SessionMalformed)?;
        if !keyring.verifies_session(parts.0.as_bytes(), &tag) {
            return Err(Refusal::SessionForged);
        }
        let payload: Payload =
            serde_json::from_slice(&payload).map_err(|_| Refusal::SessionMalformed)?;
        Ok(Self {
            id: payload.sid,
            user_id: payload.sub,
            digest: Digest::of(payload.key.as_bytes()),
        })
    }

    /// Makes the value of a new session.
    ///
    /// # Errors
    /// A generator that fails, or a secret without a session key.
    pub fn mint(
        keyring: &Keyring,
        id: SessionId,
        user_id: &str,
        entropy: &Entropy,
    ) -> Result<(Self, Secret), Fault> {
        let key = entropy.letters(BASE62, SECRET_LEN)?;
        let session = Self { id, user_id: user_id.to_owned(), digest: Digest::of(key.as_bytes()) };
        let json = serde_json::to_vec(&Payload { sid: id, sub: user_id.to_owned(), key });
        let payload = BASE64URL.encode(json.map_err(|error| Fault::Serialization(error.into()))?);
        let tag = BASE64URL.encode(keyring.sign_session(payload.as_bytes())?);
        Ok((session, Secret::new(format!("{payload}.{tag}"))))
    }
}
