//! Proofs of possession (DPoP, RFC 9449): a client signs each request with its own key, so that a
//! token that is bound to the key is worthless to others.
//!
//! 1. The proof is checked without I/O (§4.3): its form, its key, its signature, the method and URI
//!    of the request, and its age, which can be as much as that of a signed request.
//! 2. With a token, it must name the token and be signed with the key that the token is bound to.
//! 3. Only if everything else about the request is in order, the proof is spent with one
//!    conditional write, so that it cannot be used again.
//!
//! The server gives no nonces (§8): every proof is stored until it has expired.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::external::numeric_date;
use crate::{
    context::Context,
    core::{
        clock::{LEEWAY, after},
        credential_header::DPOP,
        error::{Error, Refusal},
        id::AttemptId,
        json::unique::Members,
        request_uri::RequestUri,
    },
    crypto::{Digest, jwt, thumbprint::KeyThumbprint},
    http::CredentialSource,
    store::nonce::{self, Nonce},
};

/// The maximum length of the identifier of a proof, in bytes.
const LONGEST_ID: usize = 256;

/// The claim of a token that names the key that it is bound to (RFC 7800 §3.1, RFC 9449 §6.1).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub struct Confirmation {
    /// The thumbprint of the key.
    pub jkt: KeyThumbprint,
}

/// A proof for this request that was not used before, as far as that is known without I/O.
#[derive(Debug)]
pub struct DpopProof {
    /// The key that signed it.
    pub key: KeyThumbprint,
    id: Digest,
    issued_at: Timestamp,
    /// The digest of the access token that it is sent with.
    token: Option<Digest>,
}

impl DpopProof {
    /// Reads the proof of a request, if it has one.
    ///
    /// # Errors
    /// [`Refusal::DpopProofMalformed`], [`Refusal::DpopProofForged`],
    /// [`Refusal::DpopProofClaimsInvalid`], [`Refusal::DpopProofRequestWrong`],
    /// [`Refusal::DpopProofStale`].
    pub fn read(context: &Context, source: &dyn CredentialSource) -> Result<Option<Self>, Refusal> {
        let Some(text) = source.header(DPOP) else {
            // An empty one is no sign that the client wants tokens that are not bound to its key.
            let is_sent = source.header_names().contains(&DPOP);
            return if is_sent { Err(Refusal::DpopProofMalformed) } else { Ok(None) };
        };
        let (key, payload) = jwt::proof_payload(text)?;
        let Members(claims) =
            serde_json::from_slice(&payload).map_err(|_| Refusal::DpopProofClaimsInvalid)?;
        let text = |name: &str| {
            claims.get(name).and_then(Value::as_str).ok_or(Refusal::DpopProofClaimsInvalid)
        };
        let id = text("jti")?;
        if id.is_empty() || id.len() > LONGEST_ID {
            return Err(Refusal::DpopProofClaimsInvalid);
        }
        let token = match claims.get("ath") {
            None => None,
            Some(_) => {
                Some(Digest::from_base64url(text("ath")?).ok_or(Refusal::DpopProofClaimsInvalid)?)
            }
        };
        let uri = RequestUri::parse(text("htu")?).ok_or(Refusal::DpopProofClaimsInvalid)?;
        if text("htm")? != source.method() || !source.uris(&context.config).contains(&uri) {
            return Err(Refusal::DpopProofRequestWrong);
        }
        let issued_at = check_times(context, &claims)?;
        Ok(Some(Self { key, id: Digest::of(id.as_bytes()), issued_at, token }))
    }

    /// Checks that the proof was made for `token`, with the key that the token is bound to.
    ///
    /// # Errors
    /// [`Refusal::DpopProofKeyWrong`], [`Refusal::DpopProofTokenWrong`].
    pub fn check_token(&self, token: &str, bound_to: &KeyThumbprint) -> Result<(), Refusal> {
        let is_named = |named: &Digest| named.matches(&Digest::of(token.as_bytes()));
        if self.key != *bound_to {
            Err(Refusal::DpopProofKeyWrong)
        } else if !self.token.as_ref().is_some_and(is_named) {
            Err(Refusal::DpopProofTokenWrong)
        } else {
            Ok(())
        }
    }

    /// Spends the proof: one write.
    ///
    /// # Errors
    /// [`Refusal::DpopProofReplayed`], or a failure of the store.
    pub async fn spend(&self, context: &Context) -> Result<(), Error> {
        let now = context.clock.now();
        let attempt = AttemptId::mint(&context.entropy)?;
        let window = context.config.lifetimes.signature_window;
        let expires_at = nonce::kept_until(self.issued_at.max(now), window);
        let spent =
            context.store.spend_proof(&self.key, &self.id, &attempt, now, expires_at).await?;
        match spent {
            Nonce::Fresh => Ok(()),
            Nonce::Replayed => Err(Refusal::DpopProofReplayed.into()),
        }
    }
}

/// Returns when the proof was issued, if it is neither too old nor of the future, and other times
/// that it names allow it too.
fn check_times(context: &Context, claims: &Map<String, Value>) -> Result<Timestamp, Refusal> {
    let now = context.clock.now();
    let time = |name: &str| {
        let value = claims.get(name);
        value.map(|value| numeric_date(value).ok_or(Refusal::DpopProofClaimsInvalid)).transpose()
    };
    let issued_at = time("iat")?.ok_or(Refusal::DpopProofClaimsInvalid)?;
    let is_recent =
        now.duration_since(issued_at).abs() <= context.config.lifetimes.signature_window;
    let has_ended = time("exp")?.is_some_and(|end| after(end, LEEWAY) <= now);
    let has_begun = time("nbf")?.is_none_or(|begin| begin <= after(now, LEEWAY));
    if is_recent && has_begun && !has_ended { Ok(issued_at) } else { Err(Refusal::DpopProofStale) }
}
