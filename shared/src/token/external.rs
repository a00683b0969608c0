//! Verifying JWTs of other issuers (RFC 7519, RFC 8725).

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{claims::Times, verify::check_times};
use crate::{
    core::{error::Refusal, json::unique::Members, subject::is_issued_user_id},
    crypto::{
        jwt::{self, HeaderRequirements, IssuedBy},
        key_set::KeySet,
    },
};

/// A trusted issuer, and the required audience.
#[derive(Clone, Copy, Debug)]
pub struct ExpectedIssuer<'a> {
    /// `iss`, exactly.
    pub name: &'a str,
    /// `aud`, or a member of it.
    pub audience: &'a str,
}

/// Verifies signature, type, issuer, audience and times, and returns the claims.
///
/// The issuer must match exactly; the audience must be ours, or a list of strings that contains it;
/// times must be numbers. A token that reports an event is not one that identifies a caller.
///
/// # Errors
/// The exact cause, which the caller does not see. [`Refusal::TokenKeyUnknown`] if newer keys might
/// help.
pub fn verify(
    token: &str,
    keys: &KeySet,
    issuer: ExpectedIssuer<'_>,
    now: Timestamp,
) -> Result<Map<String, Value>, Refusal> {
    let expected = HeaderRequirements { types: &["jwt", "at+jwt"], issued_by: IssuedBy::Other };
    let Members(claims) = jwt::verify(token, keys, expected)?;
    if is_security_event(&claims) {
        return Err(Refusal::SecurityEventNotAccepted);
    }
    let is_for_us = match claims.get("aud") {
        Some(Value::String(audience)) => audience == issuer.audience,
        Some(Value::Array(all)) => {
            all.iter().all(Value::is_string) && all.iter().any(|one| one == issuer.audience)
        }
        _ => false,
    };
    if !is_for_us {
        return Err(Refusal::TokenAudienceWrong);
    }
    if claims.get("iss").and_then(Value::as_str) != Some(issuer.name) {
        return Err(Refusal::TokenClaimsInvalid);
    }
    check_lifetime(&claims, now)?;
    Ok(claims)
}

/// Checks that claims are valid at `now`, and returns when they expire. `exp` is required.
///
/// # Errors
/// [`Refusal::TokenExpired`], [`Refusal::TokenNotYetValid`], or [`Refusal::TokenClaimsInvalid`] for
/// a time that is not a number.
pub fn check_lifetime(claims: &Map<String, Value>, now: Timestamp) -> Result<Timestamp, Refusal> {
    let time = |name: &str| {
        let value = claims.get(name).filter(|value| !value.is_null());
        value.map(|value| numeric_date(value).ok_or(Refusal::TokenClaimsInvalid)).transpose()
    };
    let exp = time("exp")?.ok_or(Refusal::TokenClaimsInvalid)?;
    check_times(
        Times {
            exp,
            nbf: time("nbf")?.unwrap_or(Timestamp::MIN),
            iat: time("iat")?.unwrap_or(Timestamp::MIN),
        },
        now,
    )?;
    Ok(exp)
}

/// Reports whether a token is a security event token (RFC 8417 §2.2), such as the logout token of
/// OpenID Connect Back-Channel Logout §2.4. Issuers send those to everyone whose users they are,
/// with issuer, audience, subject and times of the others, and not all of them set a `typ`.
pub(super) fn is_security_event(claims: &Map<String, Value>) -> bool {
    claims.get("events").is_some_and(Value::is_object)
}

/// Refuses an ID token, which tells a client who signed in: every client that users sign in to has
/// one, so it is no proof that the user has authorized its bearer.
///
/// # Errors
/// [`Refusal::IdTokenNotAccepted`]
pub fn refuse_id_token(claims: &Map<String, Value>) -> Result<(), Refusal> {
    if is_id_token(claims) { Err(Refusal::IdTokenNotAccepted) } else { Ok(()) }
}

/// Reports whether the claims are those of an ID token: OpenID Connect Core §2 and §3.3.2.11 define
/// these members for no other kind of token, and some issuers name the kind: Cognito in
/// `token_use`, Keycloak in `typ`.
fn is_id_token(claims: &Map<String, Value>) -> bool {
    let is_present = |name: &&str| claims.get(*name).is_some_and(|value| !value.is_null());
    ["nonce", "at_hash", "c_hash"].iter().any(is_present)
        || claims.get("token_use").is_some_and(|kind| kind == "id")
        || claims.get("typ").is_some_and(|kind| kind == "ID")
}

/// Returns when a verified token expires.
pub fn expires_at(claims: &Map<String, Value>) -> Option<Timestamp> {
    numeric_date(claims.get("exp")?)
}

/// Returns when a token that may be forged claims to have been issued.
pub(super) fn unverified_issued_at(token: &str) -> Option<Timestamp> {
    numeric_date(jwt::unverified_claims(token)?.get("iat")?)
}

/// Removes the id of the user from `claims`: the first of `names` that is present and not null.
///
/// # Errors
/// [`Refusal::TokenClaimsInvalid`] if none is present, or it is not a short string. Claims other
/// than `sub` may be whole numbers.
pub fn remove_user_id(claims: &mut Map<String, Value>, names: &[&str]) -> Result<String, Refusal> {
    let is_present = |name: &&&str| claims.get(**name).is_some_and(|value| !value.is_null());
    let name = names.iter().find(is_present).ok_or(Refusal::TokenClaimsInvalid)?;
    let user = match claims.remove(*name) {
        Some(Value::String(text)) => text,
        Some(Value::Number(number)) if number.is_u64() && *name != "sub" => number.to_string(),
        _ => return Err(Refusal::TokenClaimsInvalid),
    };
    if is_issued_user_id(&user) { Ok(user) } else { Err(Refusal::TokenClaimsInvalid) }
}

/// The names of an email address in a caller's metadata: one that its issuer has verified, and one
/// that anyone can have entered.
pub const EMAIL_CLAIMS: [&str; 2] = [EMAIL, EMAIL_UNVERIFIED];
/// An email address that the identity provider has verified (OpenID Connect Core §5.1).
pub const EMAIL: &str = "email";
/// An email address that nobody has verified.
pub const EMAIL_UNVERIFIED: &str = "email_unverified";

/// Reports whether the issuer says that it has verified the address in `email` (OpenID Connect Core
/// §5.1).
pub fn is_email_verified(claims: &Map<String, Value>) -> bool {
    claims.get("email_verified").is_some_and(is_true)
}

/// Reports whether a value is `true`, which two of the largest issuers write as text.
pub fn is_true(value: &Value) -> bool {
    *value == Value::Bool(true) || *value == "true"
}

/// Renames the address in `email` to `email_unverified`, unless the issuer has verified it: whoever
/// reads `email` can rely on it.
pub fn rename_unverified_email(claims: &mut Map<String, Value>) {
    if is_email_verified(claims) {
        claims.remove(EMAIL_UNVERIFIED);
    } else if let Some(email) = claims.remove(EMAIL) {
        claims.insert(EMAIL_UNVERIFIED.to_owned(), email);
    }
}

/// Parses a NumericDate (RFC 7519 §2): seconds, possibly with a fraction, which is dropped. A time
/// before the calendar's beginning or after its end is that beginning or end, however it is
/// written.
pub(super) fn numeric_date(value: &Value) -> Option<Timestamp> {
    #[expect(clippy::cast_possible_truncation, reason = "whole, and a cast saturates")]
    let whole = |seconds: f64| seconds.floor() as i64;
    let seconds = value.as_i64().or_else(|| value.as_f64().map(whole))?;
    let limit = if seconds < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Some(Timestamp::from_second(seconds).unwrap_or(limit))
}
