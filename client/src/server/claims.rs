//! The access tokens of the issuer (RFC 9068), verified by their signature.

use std::{
    collections::HashSet,
    time::{Duration, SystemTime},
};

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{DecodingKey, Validation};
use serde_json::{Map, Value};

use super::{issuer_keys::SigningAlgorithm, unique_json::UniqueJson};

/// The type of access tokens, which says that a JWT is one.
const TYPE: &str = "at+jwt";
/// How far the clocks of two machines can be apart.
const LEEWAY: Duration = Duration::from_secs(30);

/// What an API requires of its tokens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) audience: &'a str,
    pub(super) now: SystemTime,
}

/// The header of a token that says that it is an access token of the issuer. It may be forged.
#[derive(Debug)]
pub(super) struct UnverifiedHeader(Map<String, Value>);

impl UnverifiedHeader {
    /// Reads the header of a token, if it says that it is an access token of the issuer. All others
    /// can be tokens of an issuer that the deployment accepts.
    pub(super) fn of_issuer(token: &str, issuer: &str) -> Option<Self> {
        let mut parts = token.split('.').map(object);
        let (header, claims) = (parts.next()??, parts.next()??);
        if parts.count() != 1 {
            return None;
        }
        let is_access_token =
            text(&header, "typ").is_some_and(|kind| kind.eq_ignore_ascii_case(TYPE));
        (is_access_token && text(&claims, "iss") == Some(issuer)).then_some(Self(header))
    }

    /// Returns the algorithm, if it is one of those that the API accepts. The token cannot choose
    /// another one, and its extensions must be understood (RFC 7515 §4.1.11), of which there are
    /// none.
    pub(super) fn algorithm(&self, accepted: &[SigningAlgorithm]) -> Option<SigningAlgorithm> {
        let name = text(&self.0, "alg").filter(|_| !self.0.contains_key("crit"))?;
        accepted.iter().copied().find(|algorithm| algorithm.as_str() == name)
    }

    /// Returns the id of the key.
    pub(super) fn key_id(&self) -> Option<&str> {
        text(&self.0, "kid")
    }
}

/// Returns the claims of a token that is valid for the API now.
pub(super) fn verify(
    token: &str,
    key: &DecodingKey,
    algorithm: SigningAlgorithm,
    expected: Expected<'_>,
) -> Option<Map<String, Value>> {
    let decoded = jsonwebtoken::decode::<UniqueJson>(token, key, &validation(algorithm, expected));
    let UniqueJson(Value::Object(claims)) = decoded.ok()?.claims else { return None };
    // A token that is bound to a key needs a proof, which is not checked here.
    let is_bearer = !claims.contains_key("cnf");
    (is_bearer && is_current(&claims, expected.now)).then_some(claims)
}

/// Returns all options of the library. It reads the time of the system, so that times are compared
/// by [`is_current`].
fn validation(algorithm: SigningAlgorithm, expected: Expected<'_>) -> Validation {
    let required = ["iss", "aud", "sub", "exp"];
    Validation {
        algorithms: vec![algorithm.into()],
        required_spec_claims: required.map(str::to_owned).into(),
        iss: Some(HashSet::from([expected.issuer.to_owned()])),
        aud: Some(HashSet::from([expected.audience.to_owned()])),
        validate_aud: true,
        sub: None,
        validate_exp: false,
        validate_nbf: false,
        leeway: 0,
        reject_tokens_expiring_in_less_than: 0,
    }
}

/// Returns whether a token has not expired, and is not from the future.
fn is_current(claims: &Map<String, Value>, now: SystemTime) -> bool {
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let leeway = LEEWAY.as_secs_f64();
    let time = |name: &str| claims.get(name).map(|value| value.as_f64().unwrap_or(f64::NAN));
    // Comparisons with what is not a number are false.
    time("exp").is_some_and(|time| time > now - leeway)
        && time("iat").is_some_and(|time| time <= now + leeway)
        && time("nbf").is_none_or(|time| time <= now + leeway)
}

fn object(part: &str) -> Option<Map<String, Value>> {
    UniqueJson::parse_object(&BASE64URL_NOPAD.decode(part.as_bytes()).ok()?)
}

fn text<'a>(members: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    members.get(name).and_then(Value::as_str)
}
