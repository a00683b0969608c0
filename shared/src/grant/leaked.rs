//! Revoking a credential that was found where it does not belong. Possession is enough, and nothing
//! is revealed: the response is the same for every text.

use crate::{
    context::Context,
    core::{error::Fault, secret::Secret},
    credential::{
        AgentSecret, CredentialKind, OperatorKey, ParsedApiKey, ParsedAuthorizationCode,
        ParsedCliToken, ParsedDeviceCode, ParsedInvitation, RefreshToken, RunnerToken, ServiceKey,
        SessionToken, SignInState, opaque::ParsedSecret,
    },
    store::Deletion,
    telemetry, token,
};

/// Revokes the credential in `text`, of whatever kind: with its record, or with the family that it
/// belongs to. Text that is not a valid credential of ours costs no I/O.
///
/// The operator's key cannot be revoked here. It is reported in the log, and raises an alarm.
///
/// # Errors
/// A fault: the credential may still be valid.
pub async fn revoke_leaked(context: &Context, text: &Secret) -> Result<(), Fault> {
    let (brand, text) = (&context.config.brand, credential_in(text.expose()));
    let now = context.clock.now();
    let store = &context.store;
    let revoked = if let Some(key) = ParsedApiKey::parse(brand, text) {
        deleted_id(store.delete_key_by_secret(&key, now).await?, &key.id)
    } else if let Some(token) = ParsedCliToken::parse(brand, text) {
        delete_record(context, &token).await?
    } else if let Some(secret) = AgentSecret::parse(brand, text) {
        delete_record(context, &secret).await?
    } else if let Some(token) = RunnerToken::parse(brand, text) {
        delete_record(context, &token).await?
    } else if let Some(key) = ServiceKey::parse(brand, text) {
        delete_record(context, &key).await?
    } else if let Some(code) = ParsedAuthorizationCode::parse(brand, text) {
        deleted_id(store.revoke_code(&code, now).await?, &code.id)
    } else if let Some(code) = ParsedDeviceCode::parse(brand, text) {
        deleted_id(store.revoke_code(&code, now).await?, &code.id)
    } else if let Some(state) = SignInState::parse(brand, text) {
        deleted_id(store.revoke_code(&state, now).await?, &state.id)
    } else if let Some(invitation) = ParsedInvitation::parse(brand, text) {
        deleted_id(store.delete_invitation(&invitation).await?, &invitation.id)
    } else if let Some(key) = OperatorKey::parse(brand, text) {
        report_operator_key(context, &key);
        None
    } else if let Ok(token) = RefreshToken::parse(brand, &context.keyring, text) {
        store.revoke_family(&token.family, now).await?;
        Some(token.family.to_string())
    } else if let Ok(session) = SessionToken::parse(&context.keyring, text) {
        deleted_id(store.end_session(&session.id, &session.digest).await?, &session.id)
    } else {
        revoke_access_token(context, text).await?
    };
    if let Some(id) = revoked {
        telemetry::leaked_key_revoked(&id);
    }
    Ok(())
}

/// Returns the longest part of `text` that can be a credential. Whoever reports one copies it from
/// where it was found: with a line break, quotation marks or the header that contained it.
fn credential_in(text: &str) -> &str {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let parts = text.split(|c| !is_part(c)).map(|part| part.trim_matches('.'));
    parts.max_by_key(|part| part.len()).unwrap_or_default()
}

/// Deletes the record of a presented credential.
async fn delete_record<K: CredentialKind>(
    context: &Context,
    presented: &ParsedSecret<K>,
) -> Result<Option<String>, Fault> {
    let deletion = context.store.delete_by_secret(&presented.id, &presented.digest).await?;
    Ok(deleted_id(deletion, &presented.id))
}

/// Returns the id of the credential, if it was deleted.
fn deleted_id(deletion: Deletion, id: &impl ToString) -> Option<String> {
    match deletion {
        Deletion::Deleted => Some(id.to_string()),
        Deletion::Unknown => None,
    }
}

fn report_operator_key(context: &Context, key: &OperatorKey) {
    let known = context.keyring.operator_key_digest();
    if known.is_some_and(|digest| digest.matches(&key.digest)) {
        telemetry::operator_key_leaked();
    }
}

/// Revokes a valid access token, with the family that it was issued with.
async fn revoke_access_token(context: &Context, text: &str) -> Result<Option<String>, Fault> {
    let now = context.clock.now();
    let Ok(claims) = token::verify::access_token(context, text, now) else { return Ok(None) };
    match claims.sid {
        Some(family) => {
            context.store.revoke_family(&family, now).await?;
            Ok(Some(family.to_string()))
        }
        None => {
            context.store.revoke_access_token(&claims.jti, claims.exp).await?;
            Ok(Some(claims.jti.to_string()))
        }
    }
}
