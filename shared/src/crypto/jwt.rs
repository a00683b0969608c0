//! The gate for signed JWTs (RFC 7515, RFC 7519, RFC 8725), ours and those of others.
//!
//! The signature is `jsonwebtoken`'s to verify. What a token may say in its header is decided here,
//! since the library ignores `crit` and `typ` and takes any algorithm of a key's family; what it
//! must say in its claims is decided by who reads them, since the library takes an `iss` that is an
//! array, an `aud` that is a number, and members that stand twice.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{
    json::Members,
    jws::JwsAlgorithm,
    key_set::KeySet,
    verifying_key::{VerifyingKey, is_kid},
};
use crate::core::error::Refusal;

/// The longest token that is looked at: headers of a request may hold 10 KB in all.
const LONGEST: usize = 8 * 1024;
/// The longest header: ours has about 90 characters, others carry thumbprints and chains of
/// certificates.
const LONGEST_HEADER: usize = 4 * 1024;

/// What the header of a token must say.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The media types that `typ` may be, in lower case and without `application/` (RFC 7515
    /// §4.1.9).
    pub types: &'a [&'a str],
    /// Whose tokens they are.
    pub issued_by: IssuedBy,
}

/// Whose tokens they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IssuedBy {
    /// Ours: the header holds `typ`, `alg` and `kid`, and nothing else.
    Postern,
    /// Another issuer's: `typ` and `kid` may be absent, and what we do not know in the header is
    /// ignored, but for `crit`.
    Other,
}

/// Does a bearer value look like a JWT, whatever is in it?
pub fn looks_like_jwt(text: &str) -> bool {
    text.starts_with("ey") && text.bytes().filter(|byte| *byte == b'.').count() == 2
}

/// Who says to have issued `token`. Nothing about it is proven: good for choosing who looks at it,
/// and for no more.
pub fn unverified_issuer(token: &str) -> Option<String> {
    let payload = token.split('.').nth(1).filter(|_| token.len() <= LONGEST)?;
    let Members(claims) = serde_json::from_slice(&BASE64URL.decode(payload).ok()?).ok()?;
    claims.get("iss")?.as_str().map(str::to_owned)
}

/// Verifies `token` with the key that it means, and returns its claims. Nothing that they say is
/// looked at: issuer, audience and times are the caller's to check.
///
/// # Errors
/// Those of [`signed_payload`], and [`Refusal::TokenClaimsInvalid`] for claims that are missing, of
/// the wrong type or doubled.
pub fn verify<C: DeserializeOwned>(
    token: &str,
    keys: &KeySet,
    expected: Expected<'_>,
) -> Result<C, Refusal> {
    serde_json::from_slice(&signed_payload(token, keys, expected)?)
        .map_err(|_| Refusal::TokenClaimsInvalid)
}

/// What a JWS in compact form (RFC 7515 §3.1) says, if the key that it means has signed it.
///
/// # Errors
/// [`Refusal::TokenForged`] for a form, header or signature that does not hold,
/// [`Refusal::TokenKeyUnknown`] for a key that is not in the set.
pub fn signed_payload(
    token: &str,
    keys: &KeySet,
    expected: Expected<'_>,
) -> Result<Vec<u8>, Refusal> {
    let forged = |_| Refusal::TokenForged;
    let (message, signature) =
        token.rsplit_once('.').filter(|_| token.len() <= LONGEST).ok_or(Refusal::TokenForged)?;
    let (header, payload) = message.split_once('.').ok_or(Refusal::TokenForged)?;
    let header = parse_header(header).ok_or(Refusal::TokenForged)?;
    let key = key(&header, keys, expected)?;
    let payload = BASE64URL.decode(payload).map_err(forged)?;
    let holds = jsonwebtoken::crypto::verify(
        signature,
        message.as_bytes(),
        &key.decoding,
        key.algorithm.into(),
    );
    if holds.is_ok_and(|holds| holds) { Ok(payload) } else { Err(Refusal::TokenForged) }
}

/// The header, before anything about it is believed.
fn parse_header(encoded: &str) -> Option<Map<String, Value>> {
    let json = BASE64URL.decode(Some(encoded).filter(|part| part.len() <= LONGEST_HEADER)?).ok()?;
    let Members(header) = serde_json::from_slice(&json).ok()?;
    Some(header)
}

fn key<'k>(
    header: &Map<String, Value>,
    keys: &'k KeySet,
    expected: Expected<'_>,
) -> Result<&'k VerifyingKey, Refusal> {
    let text = |name: &str| {
        header.get(name).map(|value| value.as_str().ok_or(Refusal::TokenForged)).transpose()
    };
    let is_ours = expected.issued_by == IssuedBy::Postern;
    let is_known = |name: &String| matches!(name.as_str(), "typ" | "alg" | "kid");
    if (is_ours && !header.keys().all(is_known))
        || header.contains_key("crit")
        || header.contains_key("b64")
    {
        return Err(Refusal::TokenForged);
    }
    match text("typ")?.map(str::to_ascii_lowercase) {
        None if is_ours => return Err(Refusal::TokenForged),
        Some(typ)
            if !expected.types.contains(&typ.strip_prefix("application/").unwrap_or(&typ)) =>
        {
            return Err(Refusal::TokenForged);
        }
        None | Some(_) => {}
    }
    let algorithm = text("alg")?.and_then(JwsAlgorithm::named).ok_or(Refusal::TokenForged)?;
    let kid = text("kid")?;
    if kid.is_some_and(|kid| !is_kid(kid)) || (is_ours && kid.is_none()) {
        return Err(Refusal::TokenForged);
    }
    let key = keys.find(kid, algorithm).ok_or(Refusal::TokenKeyUnknown)?;
    if key.algorithm == algorithm { Ok(key) } else { Err(Refusal::TokenForged) }
}
