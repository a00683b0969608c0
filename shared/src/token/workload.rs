//! The tokens with which workloads identify themselves to other servers (RFC 7523 §3,
//! draft-ietf-oauth-rfc7523bis §5): those of CI jobs, pods, cloud roles and the like.
//!
//! They are for one audience, and only for it: whoever receives such a token for another server, or
//! for several, cannot use it here.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use super::external;
use crate::{
    config::{
        TrustRule,
        trust::{SPIFFE, kind::ID_JAG},
    },
    core::{
        clock::{LEEWAY, after},
        error::Refusal,
    },
    crypto::{
        Digest,
        jwt::{self, HeaderRequirements, IssuedBy},
        key_set::KeySet,
    },
};

/// The longest token, in bytes.
const LONGEST: usize = 16 * 1024;
/// How far in the future a token can expire: as far as those of the slowest cloud.
const LONGEST_LIFETIME: SignedDuration = SignedDuration::from_hours(24);
/// The longest `jti` that identifies a token, in bytes.
const LONGEST_ID: usize = 256;

/// A token, and the rules about its issuer. Nothing about it is verified.
#[derive(Debug)]
pub struct UnverifiedWorkloadToken<'r, 't> {
    text: &'t str,
    rules: Vec<&'r TrustRule>,
}

/// The claims of a verified token, and what identifies it.
#[derive(Debug)]
pub struct WorkloadClaims {
    /// The claims.
    pub claims: Map<String, Value>,
    /// When the token expires.
    pub expires_at: Timestamp,
    /// The `jti`, or the digest of what was signed if there is none.
    pub id: String,
}

impl<'r, 't> UnverifiedWorkloadToken<'r, 't> {
    /// Finds the rules about the issuer of a token, and checks everything about it that needs no
    /// key: whoever has no token that could be valid causes no fetch.
    ///
    /// # Errors
    /// The exact cause, which the caller does not see.
    pub fn parse(rules: &'r [TrustRule], text: &'t str, now: Timestamp) -> Result<Self, Refusal> {
        if text.len() > LONGEST || !jwt::looks_like_jwt(text) {
            return Err(Refusal::TrustTokenMalformed);
        }
        let claims = jwt::unverified_claims(text).ok_or(Refusal::TrustTokenMalformed)?;
        let first = rules.iter().find(|rule| !rule.is_disabled() && is_issuer(rule, &claims));
        let first = first.ok_or(Refusal::TrustIssuerUnknown)?;
        // A token can name an issuer and a trust domain. Only one of them has signed it.
        let is_of = |rule: &&TrustRule| !rule.is_disabled() && rule.issuer == first.issuer;
        let rules = rules.iter().filter(is_of).collect();
        let algorithm = jwt::unverified_algorithm(text);
        if !algorithm.is_some_and(|algorithm| first.kind.algorithms().contains(&algorithm)) {
            return Err(Refusal::TrustTokenForged);
        }
        if is_id_jag(text) != first.is_about_users() {
            return Err(Refusal::TrustTokenForged);
        }
        let token = Self { text, rules };
        token.check(&claims, now)?;
        Ok(token)
    }

    /// Returns the issuer, as the rules name it.
    pub fn issuer(&self) -> &'r str {
        self.rules.first().map_or("", |rule| rule.issuer.as_str())
    }

    /// Returns the rules about this issuer and the audience of verified claims, in their order.
    pub fn rules_for(&self, claims: &WorkloadClaims) -> impl Iterator<Item = &'r TrustRule> {
        let audience = only_audience(&claims.claims).map(str::to_owned);
        self.rules.iter().copied().filter(move |rule| audience.as_deref() == Some(&rule.audience))
    }

    /// Verifies the signature, and the claims as they were signed.
    ///
    /// # Errors
    /// The exact cause; [`Refusal::TokenKeyUnknown`] if newer keys might help.
    pub fn verify(&self, keys: &KeySet, now: Timestamp) -> Result<WorkloadClaims, Refusal> {
        let types = self.rules.first().map_or(&[][..], |rule| rule.kind.types());
        let expected = HeaderRequirements { types, issued_by: IssuedBy::Other };
        let claims = jwt::signed_claims(self.text, keys, expected).map_err(|refusal| {
            let is_unknown = refusal == Refusal::TokenKeyUnknown;
            if is_unknown { refusal } else { Refusal::TrustTokenForged }
        })?;
        let expires_at = self.check(&claims, now)?;
        let id = claims.get("jti").and_then(Value::as_str);
        let id = id.filter(|id| (1..=LONGEST_ID).contains(&id.len()));
        let id = id.map_or_else(|| digest_of_signed(self.text), str::to_owned);
        Ok(WorkloadClaims { claims, expires_at, id })
    }

    /// Checks the claims, and returns when the token expires.
    fn check(&self, claims: &Map<String, Value>, now: Timestamp) -> Result<Timestamp, Refusal> {
        if !self.rules.iter().all(|rule| is_issuer(rule, claims)) {
            return Err(Refusal::TrustIssuerUnknown);
        }
        if external::is_security_event(claims) {
            return Err(Refusal::TrustTokenForged);
        }
        let audience = only_audience(claims).ok_or(Refusal::TrustAudienceWrong)?;
        if !self.rules.iter().any(|rule| rule.audience == audience) {
            return Err(Refusal::TrustAudienceWrong);
        }
        external::refuse_id_token(claims).map_err(|_| Refusal::TrustTokenOfUser)?;
        let expires_at = external::check_lifetime(claims, now).map_err(|refusal| {
            let is_early_or_late =
                matches!(refusal, Refusal::TokenExpired | Refusal::TokenNotYetValid);
            if is_early_or_late { Refusal::TrustTokenExpired } else { Refusal::TrustTokenForged }
        })?;
        // What is granted ends with it, so that nothing is left within the leeway.
        if expires_at <= now {
            Err(Refusal::TrustTokenExpired)
        } else if expires_at > after(now, LONGEST_LIFETIME + LEEWAY) {
            Err(Refusal::TrustTokenTooLong)
        } else {
            Ok(expires_at)
        }
    }
}

/// Reports whether a token says that it is an identity assertion.
pub(crate) fn is_id_jag(token: &str) -> bool {
    let typ = jwt::unverified_type(token);
    typ.is_some_and(|typ| typ.strip_prefix("application/").unwrap_or(&typ) == ID_JAG)
}

/// Reports whether a rule is about the issuer that `claims` name: for a trust domain, the one of
/// the subject (JWT-SVID §3.1), whatever `iss` says.
pub(crate) fn is_issuer(rule: &TrustRule, claims: &Map<String, Value>) -> bool {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    match rule.trust_domain() {
        None => text("iss") == Some(rule.issuer.as_str()),
        Some(domain) => {
            let id = text("sub").and_then(|subject| subject.strip_prefix(SPIFFE));
            id.and_then(|id| id.split_once('/')).is_some_and(|(of, _)| of == domain)
        }
    }
}

/// Returns the audience, if it is the only one.
pub(crate) fn only_audience(claims: &Map<String, Value>) -> Option<&str> {
    let audience = claims.get("aud")?;
    let only = audience.as_array().map_or(Some(audience), |all| match all.as_slice() {
        [only] => Some(only),
        _ => None,
    });
    only?.as_str()
}

/// Returns the digest of what was signed. The signature is left out: of an ECDSA signature,
/// everyone can make a second one.
fn digest_of_signed(token: &str) -> String {
    let signed = token.rsplit_once('.').map_or(token, |(signed, _)| signed);
    Digest::of(signed.as_bytes()).to_hex()
}
