//! Access tokens that are bound to a key (RFC 9449 §7): how they are sent, and the proof that the
//! caller has the key.

use serde_json::{Map, Value};

use super::{Outcome, into_outcome};
use crate::{
    context::Context,
    core::error::{Fault, Refusal},
    http::{CredentialSource, Purpose},
    token::dpop::{Confirmation, DpopProof},
};

/// A proof that is left to spend once everything else about the token is in order.
#[derive(Debug)]
#[must_use]
pub(super) struct UnspentProof(Option<DpopProof>);

impl UnspentProof {
    /// Spends the proof, if the caller is authenticated.
    ///
    /// # Errors
    /// A [`Fault`] if the store does not answer.
    pub(super) async fn spend(self, context: &Context, outcome: Outcome) -> Result<Outcome, Fault> {
        match (outcome, self.0) {
            (outcome @ Outcome::Authenticated(_), Some(proof)) => {
                into_outcome(proof.spend(context).await.map(|()| outcome))
            }
            (outcome, _) => Ok(outcome),
        }
    }
}

/// Checks that `token` is sent as its `confirmation` requires: after the word `DPoP` with a proof
/// if it is bound to a key, otherwise as a bearer token. No I/O.
///
/// # Errors
/// [`Refusal::TokenBound`], [`Refusal::TokenNotBound`], [`Refusal::DpopProofMissing`], and those of
/// the proof.
pub(super) fn check(
    context: &Context,
    source: &dyn CredentialSource,
    token: &str,
    confirmation: Option<&Confirmation>,
) -> Result<UnspentProof, Refusal> {
    match source.purpose() {
        Purpose::Introspection => return Ok(UnspentProof(None)), // the owner of the key does not ask
        Purpose::Use => {}
    }
    match (source.bound_token().is_some(), confirmation) {
        (false, None) => Ok(UnspentProof(None)),
        (false, Some(_)) => Err(Refusal::TokenBound),
        (true, None) => Err(Refusal::TokenNotBound),
        (true, Some(Confirmation { jkt })) => {
            let proof = DpopProof::read(context, source)?.ok_or(Refusal::DpopProofMissing)?;
            proof.check_token(token, jkt)?;
            Ok(UnspentProof(Some(proof)))
        }
    }
}

/// Returns the confirmation of another issuer's token, if it has one.
///
/// # Errors
/// [`Refusal::TokenBindingUnknown`] if it is not, or not only, the thumbprint of a key.
pub(super) fn confirmation(claims: &Map<String, Value>) -> Result<Option<Confirmation>, Refusal> {
    let cnf = claims.get("cnf").filter(|cnf| !cnf.is_null());
    let cnf = cnf.map(|cnf| serde_json::from_value(cnf.clone())).transpose();
    cnf.map_err(|_| Refusal::TokenBindingUnknown)
}
