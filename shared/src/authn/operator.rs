//! The operator's key, which creates organizations, issues keys for them and changes users. The
//! operator is not a principal.

use crate::{
    authn::misplaced,
    context::Context,
    core::{
        credential_header::{API_KEY, AUTHORIZATION},
        error::{Error, Refusal},
    },
    credential::{OperatorKey, PresentedKind},
    http::CredentialSource,
};

/// Checks that the caller is the operator. The digest is part of the deployment's secret, so no I/O
/// is needed.
///
/// # Errors
/// A 401 if the key is absent or wrong. Without a digest in the secret, every key is wrong.
pub fn authenticate(context: &Context, source: &dyn CredentialSource) -> Result<(), Error> {
    let Some(text) = source.bearer() else {
        return Err(if source.header(API_KEY).is_some() {
            Error::with_detail(Refusal::CredentialMissing, NOT_A_KEY.into())
        } else {
            misplaced::missing_operator_key(context, source)
        });
    };
    let brand = &context.config.brand;
    let Some(key) = OperatorKey::parse(brand, text) else {
        let is_operator_key = |kind| kind == PresentedKind::OperatorKey;
        let problem = misplaced::form_problem(context, source, AUTHORIZATION, is_operator_key);
        return Err(match problem {
            Some(detail) => Error::with_detail(Refusal::CredentialMalformed, detail),
            None if OperatorKey::has_prefix(brand, text) => Refusal::CredentialMalformed.into(),
            None => Error::with_detail(Refusal::CredentialMalformed, NOT_THE_OPERATOR.into()),
        });
    };
    let known =
        context.keyring.operator_key_digest().is_some_and(|digest| digest.matches(&key.digest));
    if known { Ok(()) } else { Err(Refusal::OperatorKeyWrong.into()) }
}

/// Reports whether the bearer token has the form of an operator's key.
pub fn is_presented(context: &Context, source: &dyn CredentialSource) -> bool {
    source.bearer().is_some_and(|text| OperatorKey::has_prefix(&context.config.brand, text))
}

const NOT_A_KEY: &str = "This route requires the operator key: send it as Authorization: Bearer, and not in X-API-Key. API keys are not accepted.";
const NOT_THE_OPERATOR: &str =
    "This route requires the operator key: other credentials are not accepted.";
