//! The operator's key: creates organizations, and is no principal.

use crate::{
    context::Context, core::error::Refusal, credential::OperatorKey, http::CredentialSource,
};

/// Is the caller the operator? No I/O: the digest came with the deployment's secret.
///
/// # Errors
/// A 401 where nothing, or anything else, was source. Without a digest in the secret nobody is the operator.
pub fn authenticate(context: &Context, source: &dyn CredentialSource) -> Result<(), Refusal> {
    let text = source.bearer().ok_or(Refusal::CredentialMissing)?;
    let key =
        OperatorKey::parse(&context.config.brand, text).ok_or(Refusal::CredentialMalformed)?;
    let known = context.keyring.operator().is_some_and(|digest| digest.matches(&key.digest));
    if known { Ok(()) } else { Err(Refusal::OperatorKeyWrong) }
}
