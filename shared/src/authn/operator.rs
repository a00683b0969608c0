//! The operator's key, which creates organizations, issues keys for them and changes users. The
//! operator is not a principal.

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

/// Reports whether the bearer token has the form of an operator's key.
pub fn is_presented(context: &Context, source: &dyn CredentialSource) -> bool {
    source.bearer().is_some_and(|text| OperatorKey::has_prefix(&context.config.brand, text))
}
