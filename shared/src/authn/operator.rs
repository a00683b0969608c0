//! The operator's key: creates organizations, and is no principal.

use super::Presented;
use crate::{app::App, credential::OperatorKey, error::Refusal};

/// Is the caller the operator? No I/O: the digest came with the deployment's secret.
///
/// # Errors
/// A 401 where nothing, or anything else, was presented. Without a digest in the secret nobody is the operator.
pub fn authenticate(app: &App, presented: &dyn Presented) -> Result<(), Refusal> {
    let text = presented.bearer().ok_or(Refusal::CredentialAbsent)?;
    let key = OperatorKey::parse(&app.config.brand, text).ok_or(Refusal::CredentialMalformed)?;
    let known = app.keyring.operator().is_some_and(|digest| digest.matches(&key.digest));
    if known { Ok(()) } else { Err(Refusal::OperatorKeyWrong) }
}
