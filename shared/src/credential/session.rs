//! Session values: `base64url(payload).base64url(HMAC-SHA256 of the first part)`.
//!
//! The payload contains the session's id, its user, and a secret of 190 bits, whose digest is
//! stored. With the HMAC, a forged value is refused before any read; the secret authenticates.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use serde::{Deserialize, Serialize};

use crate::{
    core::{
        entropy::{BASE62, Entropy},
        error::{Fault, Refusal},
        id::SessionId,
        secret::Secret,
        subject::Subject,
    },
    crypto::{Digest, Keyring},
};

/// The name of the cookie. The prefix makes browsers restrict it to one host and to TLS (RFC
/// 6265bis §4.1.3.2).
pub const SESSION_COOKIE: &str = "__Host-postern_session";
/// The number of characters in the random part.
const SECRET_LEN: usize = 32;
/// The maximum length of a value, in bytes: a cookie can have 4096 with its name.
const LONGEST: usize = 4000;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    sid: SessionId,
    sub: Subject,
    key: String,
}

/// A session value with a valid HMAC. Whether the session exists has not been checked.
#[derive(Debug)]
pub struct SessionToken {
    /// The session.
    pub id: SessionId,
    /// The user.
    pub user_id: Subject,
    /// The digest of the secret.
    pub digest: Digest,
}

impl SessionToken {
    /// Parses `text` and verifies its HMAC, without I/O.
    ///
    /// # Errors
    /// [`Refusal::SessionMalformed`] for another form, [`Refusal::SessionForged`] for a wrong HMAC.
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

    /// Returns a new session and its value.
    ///
    /// # Errors
    /// A [`Fault`] if the random generator fails, or there is no session key.
    pub fn mint(
        keyring: &Keyring,
        id: SessionId,
        user_id: &Subject,
        entropy: &Entropy,
    ) -> Result<(Self, Secret), Fault> {
        let key = entropy.random_string(BASE62, SECRET_LEN)?;
        let session = Self { id, user_id: user_id.clone(), digest: Digest::of(key.as_bytes()) };
        let json = serde_json::to_vec(&Payload { sid: id, sub: user_id.clone(), key });
        let payload = BASE64URL.encode(json.map_err(|error| Fault::Corrupt(error.to_string()))?);
        let tag = BASE64URL.encode(keyring.sign_session(payload.as_bytes())?);
        Ok((session, Secret::new(format!("{payload}.{tag}"))))
    }
}
