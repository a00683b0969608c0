//! Clients that authenticate with a JWT that they signed: `private_key_jwt` (OpenID Connect Core
//! §9, RFC 7521 §4.2, RFC 7523 §3, draft-ietf-oauth-rfc7523bis).
//!
//! 1. The form of the assertion and its claims, without I/O, before it is known who signed it:
//!    whoever does not sign for us and for now causes no fetch.
//! 2. The keys of the client: a set that is stored with it, or one at its URL, which is cached.
//! 3. The signature, by the key that the assertion names, with the only algorithm of that key.
//! 4. The claims, as they were signed. The audience is our issuer and nothing else: whoever
//!    receives an assertion for another server, or for a URL that another server chose, cannot use
//!    it here.
//! 5. The `jti` is spent, with one conditional write. Each assertion is accepted once.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use super::throttle;
use crate::{
    context::Context,
    core::{
        client_url::ClientUrl,
        clock::{LEEWAY, after},
        error::{Error, Refusal},
        id::{AttemptId, ClientId},
        json::{lenient, unique::Members},
        secret::Secret,
    },
    crypto::{
        ClientKeys, client_keys,
        jwt::{self, HeaderRequirements, IssuedBy},
        key_set::KeySet,
    },
    fetch::document_cache::{DocumentProblem, PAUSE_AFTER_FAILURE, ReadDocument},
    store::nonce::Nonce,
    telemetry,
    token::external,
};

/// The `client_assertion_type` of a JWT (RFC 7523 §2.2).
pub const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// How far in the future an assertion can expire.
pub const LONGEST_LIFETIME: SignedDuration = SignedDuration::from_mins(5);
/// The longest assertion, in bytes.
const LONGEST: usize = 8 * 1024;
/// The longest `jti`, in bytes.
const LONGEST_ID: usize = 256;

/// An assertion, and the client that it names. Nothing about it is verified.
#[derive(Clone, Debug)]
pub struct ClientAssertion {
    /// The client: issuer and subject.
    pub client: ClientId,
    jwt: Secret,
}

impl ClientAssertion {
    /// Parses an assertion.
    ///
    /// # Errors
    /// [`Refusal::ClientAssertionMalformed`].
    pub fn parse(jwt: Secret) -> Result<Self, Refusal> {
        let text = jwt.expose();
        let is_jwt = text.len() <= LONGEST && jwt::looks_like_jwt(text);
        let claims = is_jwt.then(|| jwt::unverified_claims(text)).flatten();
        let claims = claims.ok_or(Refusal::ClientAssertionMalformed)?;
        let named = |name: &str| claims.get(name).and_then(Value::as_str);
        match (named("iss"), named("sub")) {
            (Some(issuer), Some(subject)) if issuer == subject => {
                Ok(Self { client: subject.into(), jwt })
            }
            _ => Err(Refusal::ClientAssertionMalformed),
        }
    }

    /// Checks the claims, of which it is not known who signed them.
    pub(super) fn check_unverified(&self, context: &Context) -> Result<(), Refusal> {
        let claims = jwt::unverified_claims(self.jwt.expose());
        let claims = claims.ok_or(Refusal::ClientAssertionMalformed)?;
        AssertionClaims::check(context, &claims, &self.client, context.clock.now()).map(|_| ())
    }
}

/// Authenticates the client with these keys, for a caller at `address`: one write.
///
/// # Errors
/// `invalid_client`, [`Refusal::ClientKeysUnavailable`], [`Refusal::RequestsTooMany`]; a fault.
pub(super) async fn authenticate(
    context: &Context,
    assertion: &ClientAssertion,
    keys: &ClientKeys,
    address: &str,
) -> Result<(), Error> {
    let now = context.clock.now();
    // A future that may fetch is large, and most requests need none.
    let verified = Box::pin(verify_signature(context, assertion, keys, address));
    let claims = verified.await?;
    let claims = AssertionClaims::check(context, &claims, &assertion.client, now)?;
    let attempt = AttemptId::mint(&context.entropy)?;
    // Nobody's clock accepts it any more when it is forgotten.
    let forgotten = after(claims.expires_at, LEEWAY + LEEWAY);
    let spent =
        context.store.consume_assertion(&assertion.client, claims.id, &attempt, now, forgotten);
    match spent.await? {
        Nonce::Fresh => Ok(()),
        Nonce::Replayed => Err(Refusal::ClientAssertionReplayed.into()),
    }
}

/// Steps 2 and 3. If the key that the assertion names is not in a set that was fetched, a newer set
/// can help.
async fn verify_signature(
    context: &Context,
    assertion: &ClientAssertion,
    keys: &ClientKeys,
    address: &str,
) -> Result<Map<String, Value>, Error> {
    let url = match keys {
        ClientKeys::Jwks(set) => return Ok(signed_claims(assertion, set.keys())?),
        ClientKeys::JwksUri(url) => url,
    };
    let (now, cache) = (context.clock.now(), &context.client_keys);
    let cached = cache.get(url.as_str(), now, fetch(context, url, address)).await?;
    match signed_claims(assertion, &available(url, cached)?) {
        Err(Refusal::ClientAssertionKeyUnknown) => {
            let newer = cache.get_newer(url.as_str(), now, fetch(context, url, address)).await?;
            Ok(signed_claims(assertion, &available(url, newer)?)?)
        }
        claims => Ok(claims?),
    }
}

async fn fetch(
    context: &Context,
    url: &ClientUrl,
    address: &str,
) -> Result<ReadDocument<KeySet>, Error> {
    throttle::count_document(context, address).await?;
    let read = match context.fetcher.client_keys(url).await {
        Ok(document) => {
            let keys = client_keys::parse_fetched(&lenient::decode(&document.body));
            let keys = keys.map_err(DocumentProblem::Invalid);
            // Anyone who knows a client can name it here, so its server is not asked more often.
            keys.map(|keys| (keys, document.max_age.map(|age| age.max(PAUSE_AFTER_FAILURE))))
        }
        Err(reason) => Err(DocumentProblem::NotFetched(reason)),
    };
    Ok(read)
}

/// Returns keys that were fetched. Without them, nothing is known about an assertion.
fn available(url: &ClientUrl, fetched: Result<KeySet, DocumentProblem>) -> Result<KeySet, Error> {
    fetched.map_err(|problem| {
        telemetry::client_keys_refused(url.host(), problem.reason());
        unavailable()
    })
}

/// Returns the refusal of a client whose keys cannot be fetched now.
pub(super) fn unavailable() -> Error {
    Error::rejected_until(Refusal::ClientKeysUnavailable, PAUSE_AFTER_FAILURE)
}

fn signed_claims(
    assertion: &ClientAssertion,
    keys: &KeySet,
) -> Result<Map<String, Value>, Refusal> {
    let types = &["jwt", "client-authentication+jwt"];
    let expected = HeaderRequirements { types, issued_by: IssuedBy::Other };
    match jwt::verify(assertion.jwt.expose(), keys, expected) {
        Ok(Members(claims)) => Ok(claims),
        Err(Refusal::TokenKeyUnknown) => Err(Refusal::ClientAssertionKeyUnknown),
        Err(Refusal::TokenClaimsInvalid) => Err(Refusal::ClientAssertionClaimsInvalid),
        Err(_) => Err(Refusal::ClientAssertionForged),
    }
}

/// What remains to be known of an assertion whose claims are valid.
#[derive(Debug)]
struct AssertionClaims<'c> {
    id: &'c str,
    expires_at: Timestamp,
}

impl<'c> AssertionClaims<'c> {
    /// Step 4.
    fn check(
        context: &Context,
        claims: &'c Map<String, Value>,
        client: &ClientId,
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        if text("iss") != Some(client.as_str()) || text("sub") != Some(client.as_str()) {
            return Err(Refusal::ClientAssertionClaimsInvalid);
        }
        // A list is refused even if it has no other element (7523bis §4).
        if text("aud") != Some(context.config.deployment.issuer.as_str()) {
            return Err(Refusal::ClientAssertionAudienceWrong);
        }
        let is_id = |id: &&str| (1..=LONGEST_ID).contains(&id.len());
        let id = text("jti").filter(is_id).ok_or(Refusal::ClientAssertionClaimsInvalid)?;
        let expires_at = external::check_lifetime(claims, now).map_err(|refusal| {
            if matches!(refusal, Refusal::TokenExpired | Refusal::TokenNotYetValid) {
                Refusal::ClientAssertionExpired
            } else {
                Refusal::ClientAssertionClaimsInvalid
            }
        })?;
        if expires_at > after(now, LONGEST_LIFETIME + LEEWAY) {
            return Err(Refusal::ClientAssertionTooLong);
        }
        Ok(Self { id, expires_at })
    }
}
