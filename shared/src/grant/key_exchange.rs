//! Exchanging an API key or a CLI token for a short access token with fewer scopes, for one API
//! (RFC 8693 §2.1), so that what needs little does not have the key.
//!
//! 1. The key is authenticated as on every route (`authn::subject_token`): one read, and one more
//!    of its owner. It presents no signature, so a key that requires them is refused.
//! 2. The scopes and the API that are requested, which must be those of the key.
//! 3. The token is made. It names the secret of the key, without which it ends, and is never
//!    renewed.

use super::{Tokens, presenter::Presenter};
use crate::{
    config::ConfiguredAudience,
    context::Context,
    core::{epoch::Epoch, error::Error, principal::Principal, scope::Scopes, subject::KeyId},
    crypto::Digest,
    store::token_owner::TokenOwner,
    token::NewAccessToken,
};

/// A key that was authenticated.
#[derive(Debug)]
pub struct PresentedKey {
    /// Its id.
    pub id: KeyId,
    /// The digest of the secret that was presented.
    pub digest: Digest,
    /// The caller.
    pub principal: Principal,
}

/// What is requested for a key.
#[derive(Debug)]
pub struct KeyExchangeRequest<'a> {
    /// The scopes. By default, those that the key has for the API.
    pub scopes: Option<&'a Scopes>,
    /// The API that the token is for.
    pub audience: ConfiguredAudience<'a>,
    /// The caller, to whom the token is bound.
    pub presenter: &'a Presenter<'a>,
}

/// Exchanges a key that was authenticated, without I/O: steps 2 and 3.
///
/// # Errors
/// `invalid_scope`, `invalid_dpop_proof`; a fault.
pub async fn exchange(
    context: &Context,
    key: PresentedKey,
    request: &KeyExchangeRequest<'_>,
) -> Result<Tokens, Error> {
    let PresentedKey { id, digest, principal } = key;
    let organization = principal.require_organization()?;
    let scopes = request.audience.grant(&principal.scopes, request.scopes)?;
    let owner =
        TokenOwner::Key { subject: principal.user_id, key: id, fingerprint: digest.fingerprint() };
    let grant = NewAccessToken {
        owner: &owner,
        organization,
        audience: request.audience,
        scopes: &scopes,
        family: None,
        epoch: Epoch::default(),
        not_after: principal.expires_at,
        key: request.presenter.key(),
        trust_rule: None,
        agent_client: None,
    };
    let tokens = Tokens::new(context, &grant, None, context.clock.now())?;
    request.presenter.spend_proof(context).await?;
    Ok(tokens.as_exchanged())
}
