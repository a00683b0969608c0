//! Verification of signed JWTs (RFC 7515, RFC 7519, RFC 8725), ours and those of other issuers.
//!
//! `jsonwebtoken` verifies the signature. What a header may contain is decided here, because the
//! library ignores `crit` and `typ` and accepts any algorithm of a key's family. What the claims
//! must contain is decided by the callers, because the library accepts an `iss` that is an array,
//! an `aud` that is a number, and duplicate members.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{
    jws::JwsAlgorithm,
    key_set::{Found, KeySet},
    thumbprint::KeyThumbprint,
    verifying_key::VerifyingKey,
};
use crate::core::{
    error::Refusal,
    json::{lenient::LenientObject, unique::Members},
};

/// The longest token of ours: all headers of a request together may have 10 KB.
const LONGEST: usize = 8 * 1024;
/// The longest token of another issuer. An ID token comes in a response, and may list hundreds of
/// groups.
const LONGEST_OF_OTHERS: usize = 64 * 1024;
/// The longest header. Ours has about 90 characters; others carry thumbprints and certificate
/// chains.
const LONGEST_HEADER: usize = 4 * 1024;

/// The type of a proof of possession.
const PROOF: &str = "dpop+jwt";

/// The requirements for the header of a token.
#[derive(Clone, Copy, Debug)]
pub struct HeaderRequirements<'a> {
    /// The media types that `typ` may be, in lower case and without `application/` (RFC 7515
    /// §4.1.9).
    pub types: &'a [&'a str],
    /// Whose tokens they are.
    pub issued_by: IssuedBy,
}

/// The issuer of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IssuedBy {
    /// Ours: the header contains `typ`, `alg` and `kid`, and nothing else.
    Postern,
    /// Another issuer: `typ` and `kid` may be absent, and unknown members of the header are
    /// ignored, except `crit`.
    Other,
}

/// Reports whether a bearer value looks like a JWT: it has three parts, the first of which is an
/// object with `alg` (RFC 7515 §4.1.1), whatever else it contains.
pub fn looks_like_jwt(text: &str) -> bool {
    let mut parts = text.split('.');
    let header = parts.next().filter(|_| parts.count() == 2).and_then(decode_header);
    let header = header.and_then(|json| String::from_utf8(json).ok());
    header.is_some_and(|json| {
        LenientObject::parse(&json).is_some_and(|header| header.contains("alg"))
    })
}

/// Reports whether `token` looks like a JWT and names `issuer`. This only selects who verifies the
/// token, and proves nothing about it.
pub fn names_issuer(token: &str, issuer: &str) -> bool {
    looks_like_jwt(token)
        && unverified_claims(token)
            .is_some_and(|claims| claims.get("iss").and_then(Value::as_str) == Some(issuer))
}

/// Returns the claims of a token that may be forged.
pub fn unverified_claims(token: &str) -> Option<Map<String, Value>> {
    let payload = token.split('.').nth(1).filter(|_| token.len() <= LONGEST_OF_OTHERS)?;
    let Members(claims) = serde_json::from_slice(&BASE64URL.decode(payload).ok()?).ok()?;
    Some(claims)
}

/// Returns the type in the header of a token that may be forged.
pub fn unverified_type(token: &str) -> Option<String> {
    let (header, _) = token.split_once('.')?;
    parse_header(header)?.get("typ")?.as_str().map(str::to_ascii_lowercase)
}

/// Returns the algorithm in the header of a token that may be forged.
pub fn unverified_algorithm(token: &str) -> Option<JwsAlgorithm> {
    let (header, _) = token.split_once('.')?;
    parse_header(header)?.get("alg")?.as_str().and_then(JwsAlgorithm::from_name)
}

/// Reports whether `text` is the beginning of a JWT, without its end.
pub fn is_cut_off(text: &str) -> bool {
    let mut parts = text.split('.');
    let header = parts.next().filter(|_| parts.count() < 2);
    header.and_then(parse_header).is_some_and(|header| header.contains_key("alg"))
}

/// Verifies `token` with the key that it names, and returns its claims. Issuer, audience and times
/// are for the caller to check.
///
/// # Errors
/// Those of [`signed_payload`], and [`Refusal::TokenClaimsInvalid`] for claims that are missing, of
/// the wrong type or duplicate.
pub fn verify<C: DeserializeOwned>(
    token: &str,
    keys: &KeySet,
    expected: HeaderRequirements<'_>,
) -> Result<C, Refusal> {
    serde_json::from_slice(&signed_payload(token, keys, expected)?)
        .map_err(|_| Refusal::TokenClaimsInvalid)
}

/// Verifies `token`, as [`verify`] does, and returns all its claims.
///
/// # Errors
/// Those of [`verify`].
pub fn signed_claims(
    token: &str,
    keys: &KeySet,
    expected: HeaderRequirements<'_>,
) -> Result<Map<String, Value>, Refusal> {
    verify(token, keys, expected).map(|Members(claims)| claims)
}

/// Returns the payload of a JWS in compact form (RFC 7515 §3.1), if the key that it names signed
/// it.
///
/// # Errors
/// [`Refusal::TokenForged`] for an invalid form, header or signature, [`Refusal::TokenKeyUnknown`]
/// for a key that is not in the set, or if no key is named and the only one did not sign it.
pub fn signed_payload(
    token: &str,
    keys: &KeySet,
    expected: HeaderRequirements<'_>,
) -> Result<Vec<u8>, Refusal> {
    let forged = |_| Refusal::TokenForged;
    let longest = match expected.issued_by {
        IssuedBy::Postern => LONGEST,
        IssuedBy::Other => LONGEST_OF_OTHERS,
    };
    let (message, signature) =
        token.rsplit_once('.').filter(|_| token.len() <= longest).ok_or(Refusal::TokenForged)?;
    let (header, payload) = message.split_once('.').ok_or(Refusal::TokenForged)?;
    let header = parse_header(header).ok_or(Refusal::TokenForged)?;
    let found = find_key(&header, keys, expected)?;
    let payload = BASE64URL.decode(payload).map_err(forged)?;
    let (key, otherwise) = match found {
        Found::Named(key) => (key, Refusal::TokenForged),
        Found::Unnamed(key) => (key, Refusal::TokenKeyUnknown),
        Found::OtherAlgorithm => return Err(Refusal::TokenForged),
        Found::Nothing => return Err(Refusal::TokenKeyUnknown),
    };
    if is_signed_with(key, message, signature) { Ok(payload) } else { Err(otherwise) }
}

/// Returns the payload of a proof of possession, a JWS whose header contains the public key that
/// signed it (RFC 9449 §4.2), and the thumbprint of that key. Anyone can make one.
///
/// # Errors
/// [`Refusal::DpopProofMalformed`], [`Refusal::DpopProofForged`].
pub fn proof_payload(text: &str) -> Result<(KeyThumbprint, Vec<u8>), Refusal> {
    let malformed = Refusal::DpopProofMalformed;
    let parts = text.rsplit_once('.').filter(|_| text.len() <= LONGEST);
    let (message, signature) = parts.ok_or(malformed)?;
    let (header, payload) = message.split_once('.').ok_or(malformed)?;
    let payload = BASE64URL.decode(payload).map_err(|_| malformed)?;
    let header = parse_header(header).ok_or(malformed)?;
    let (thumbprint, key) = proof_key(&header).ok_or(malformed)?;
    if is_signed_with(&key, message, signature) {
        Ok((thumbprint, payload))
    } else {
        Err(Refusal::DpopProofForged)
    }
}

/// Returns the key in the header of a proof of possession.
fn proof_key(header: &Map<String, Value>) -> Option<(KeyThumbprint, VerifyingKey)> {
    let name = header.get("typ")?.as_str()?.to_ascii_lowercase();
    let is_plain = !header.contains_key("crit") && !header.contains_key("b64");
    if !is_plain || name.strip_prefix("application/").unwrap_or(&name) != PROOF {
        return None;
    }
    let algorithm = header.get("alg")?.as_str().and_then(JwsAlgorithm::from_name)?;
    let mut jwk = header.get("jwk")?.as_object()?.clone();
    let thumbprint = KeyThumbprint::of(&jwk)?;
    // A key that names no algorithm has the one of the header.
    jwk.entry("alg").or_insert_with(|| algorithm.name().into());
    let key = VerifyingKey::from_jwk(&jwk).ok().filter(|key| key.algorithm == algorithm)?;
    Some((thumbprint, key))
}

fn is_signed_with(key: &VerifyingKey, message: &str, signature: &str) -> bool {
    let algorithm = key.algorithm.into();
    jsonwebtoken::crypto::verify(signature, message.as_bytes(), &key.decoding, algorithm)
        .is_ok_and(|holds| holds)
}

/// Parses the header, before anything in it is trusted.
fn parse_header(encoded: &str) -> Option<Map<String, Value>> {
    let Members(header) = serde_json::from_slice(&decode_header(encoded)?).ok()?;
    Some(header)
}

fn decode_header(encoded: &str) -> Option<Vec<u8>> {
    BASE64URL.decode(Some(encoded).filter(|part| part.len() <= LONGEST_HEADER)?).ok()
}

/// Checks the header, and finds the key for it.
fn find_key<'k>(
    header: &Map<String, Value>,
    keys: &'k KeySet,
    expected: HeaderRequirements<'_>,
) -> Result<Found<'k>, Refusal> {
    let is_ours = expected.issued_by == IssuedBy::Postern;
    let text = |name: &str| match header.get(name) {
        None => Ok(None),
        Some(Value::Null) if !is_ours => Ok(None), // as some libraries write an absent member
        Some(value) => value.as_str().map(Some).ok_or(Refusal::TokenForged),
    };
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
    let algorithm = text("alg")?.and_then(JwsAlgorithm::from_name).ok_or(Refusal::TokenForged)?;
    let kid = text("kid")?;
    if is_ours && kid.is_none() {
        return Err(Refusal::TokenForged);
    }
    Ok(keys.find(kid, algorithm))
}
