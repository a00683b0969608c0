//! The operator's key, which creates organizations. The operator is not a principal.

use crate::{
    context::Context, core::error::Refusal, credential::OperatorKey, http::CredentialSource,
};

/// Checks that the caller is the operator. The digest is part of the deployment's secret, so no I/O
/// is needed.
///
/// # Errors
/// A 401 if the key is absent or wrong. Without a digest in the secret, every key is wrong.
pub fn authenticate(context: &Context, source: &dyn CredentialSource) -> Result<(), Refusal> {
    let text = source.bearer().ok_or(Refusal::CredentialMissing)?;
    let key =
        OperatorKey::parse(&context.config.brand, text).ok_or(Refusal::CredentialMalformed)?;
    let known =
        context.keyring.operator_key_digest().is_some_and(|digest| digest.matches(&key.digest));
    if known { Ok(()) } else { Err(Refusal::OperatorKeyWrong) }
}
