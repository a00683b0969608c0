//! Who presents a grant: what the tokens are bound to.

use crate::{
    context::Context, core::error::Error, crypto::thumbprint::KeyThumbprint, http::Request,
    token::dpop::DpopProof,
};

/// The caller who presents a grant. Refresh tokens are bound to the key that the caller has proved
/// to have, and otherwise to the network address.
#[derive(Debug)]
pub struct Presenter<'a> {
    /// The network address.
    pub address: &'a str,
    /// The proof that the caller has a key, if it was sent.
    pub proof: Option<DpopProof>,
}

impl<'a> Presenter<'a> {
    /// Returns who sent `request`, without I/O.
    ///
    /// # Errors
    /// `invalid_dpop_proof`
    pub fn of(context: &Context, request: &'a Request) -> Result<Self, Error> {
        let proof = DpopProof::read(context, request)
            .map_err(|refusal| Error::from(refusal).at_token_endpoint())?;
        Ok(Self { address: request.source_ip(), proof })
    }

    /// Returns the key that the caller has proved to have.
    pub fn key(&self) -> Option<&KeyThumbprint> {
        self.proof.as_ref().map(|proof| &proof.key)
    }

    /// Spends the proof, if there is one: one write. This is the last step before tokens are
    /// stored or returned.
    ///
    /// # Errors
    /// `invalid_dpop_proof` if it was used before; a fault.
    pub(super) async fn spend_proof(&self, context: &Context) -> Result<(), Error> {
        match &self.proof {
            Some(proof) => proof.spend(context).await.map_err(Error::at_token_endpoint),
            None => Ok(()),
        }
    }
}
