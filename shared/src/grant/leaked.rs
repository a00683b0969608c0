//! Revoking a credential that was found where it does not belong. Possession is enough, and nothing
//! is revealed: the response is the same for every text.

use super::family;
use crate::{
    context::Context,
    core::{
        audience::RequiredAudience,
        error::Fault,
        event::{ActorKind, Event, EventActor, EventContents, LeakedData, LeakedPart, Reporter},
        id::FamilyId,
        secret::Secret,
    },
    credential::{
        self, AgentSecret, CredentialKind, OperatorKey, ParsedApiKey, ParsedAuthorizationCode,
        ParsedCliToken, ParsedDeviceCode, ParsedInvitation, RefreshToken, RunnerToken, ServiceKey,
        SessionToken, SignInState, opaque::ParsedSecret,
    },
    store::{
        Deletion, Record,
        api_key::ApiKeyRecord,
        cli_token::CliTokenRecord,
        runner::RunnerRecord,
        service_account::{AgentRecord, ServiceRecord},
    },
    telemetry, token,
};

/// How many credentials of one report are revoked.
const MOST: usize = 8;

/// How many parts of one report are verified that can be a JWT or a session.
const MOST_SIGNED: usize = 64;

/// Revokes the credentials in `text`, of whatever kind: each with its record, or with the family
/// that it belongs to. Text without a valid credential of ours, or a form of `[[import]]`, costs no
/// I/O.
///
/// The operator's key cannot be revoked here. It is reported in the log, and raises an alarm.
///
/// # Errors
/// A fault: a credential may still be valid.
pub async fn revoke_leaked(context: &Context, text: &Secret) -> Result<(), Fault> {
    let found = LeakFound { reported_by: Reporter::Anyone, source: None, host: None };
    revoke_all(context, text, &found).await.map(drop)
}

/// Where a credential was found, and by whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct LeakFound<'r> {
    pub(super) reported_by: Reporter,
    /// The kind of place.
    pub(super) source: Option<&'static str>,
    pub(super) host: Option<&'r str>,
}

impl LeakFound<'_> {
    fn log(&self, id: &str) {
        match self.reported_by {
            Reporter::Anyone => telemetry::leaked_key_revoked(id),
            Reporter::Github => {
                let source = self.source.unwrap_or_default();
                telemetry::leaked_key_revoked_for_github(id, source, self.host);
            }
        }
    }

    /// Returns the event that reports the leak of a record.
    fn event<R: Record>(
        &self,
        context: &Context,
        record: &R,
        ended: LeakedPart,
    ) -> Result<Event, Fault> {
        context.event(EventContents {
            organization: Some(record.meta().org_id),
            subject: record.event_subject(),
            actor: EventActor::unauthenticated(ActorKind::Anyone),
            data: self.data(ended).into(),
        })
    }

    fn data(&self, ended: LeakedPart) -> LeakedData {
        LeakedData {
            reported_by: self.reported_by,
            source: self.source.map(str::to_owned),
            host: self.host.map(str::to_owned),
            ended,
        }
    }
}

/// What `text` contains, whether or not it is still valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contents {
    /// A credential of ours, by its checksum, its MAC or its signature.
    Credential,
    /// None.
    Other,
}

/// Revokes the credentials in `text` as [`revoke_leaked`] does, and reports each that was valid.
pub(super) async fn revoke_all(
    context: &Context,
    text: &Secret,
    leak: &LeakFound<'_>,
) -> Result<Contents, Fault> {
    let text = text.expose();
    let prefixed = credential::find_all(&context.config.brand, text);
    let imported = distinct(context.config.find_imported(text), MOST);
    let ours = distinct(prefixed, MOST).into_iter().chain(distinct(signed(text), MOST_SIGNED));
    let mut contents = Contents::Other;
    for found in ours.chain(imported) {
        match revoke(context, found, leak).await? {
            Outcome::Foreign => {}
            Outcome::Unchanged => contents = Contents::Credential,
            Outcome::Revoked(id) => {
                contents = Contents::Credential;
                leak.log(&id);
            }
        }
    }
    Ok(contents)
}

/// What became of a part of a text.
enum Outcome {
    /// It is no credential of ours.
    Foreign,
    /// It is one that is not valid, or cannot be revoked.
    Unchanged,
    /// It was valid. This is the id of what has ended.
    Revoked(String),
}

/// Revokes one credential.
async fn revoke(context: &Context, text: &str, leak: &LeakFound<'_>) -> Result<Outcome, Fault> {
    let brand = &context.config.brand;
    let now = context.clock.now();
    let store = &context.store;
    let id = if let Some(key) = ParsedApiKey::parse(brand, text) {
        revoke_key(context, &key, leak).await?
    } else if let Some(token) = ParsedCliToken::parse(brand, text) {
        delete_record::<CliTokenRecord>(context, &token, leak).await?
    } else if let Some(secret) = AgentSecret::parse(brand, text) {
        delete_record::<AgentRecord>(context, &secret, leak).await?
    } else if let Some(token) = RunnerToken::parse(brand, text) {
        delete_record::<RunnerRecord>(context, &token, leak).await?
    } else if let Some(key) = ServiceKey::parse(brand, text) {
        delete_record::<ServiceRecord>(context, &key, leak).await?
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
        revoke_grant(context, &token.family, leak).await?
    } else if let Ok(session) = SessionToken::parse(&context.keyring, text) {
        deleted_id(store.end_session(&session.id, &session.digest).await?, &session.id)
    } else if let Some(key) = context.config.parse_api_key(text) {
        let revoked = revoke_key(context, &key, leak).await?;
        // Nothing in the text of an imported key says that it was one.
        return Ok(revoked.map_or(Outcome::Foreign, Outcome::Revoked));
    } else {
        return revoke_access_token(context, text, leak).await;
    };
    Ok(id.map_or(Outcome::Unchanged, Outcome::Revoked))
}

/// Returns the first `most` different parts.
fn distinct<'a>(parts: impl Iterator<Item = &'a str>, most: usize) -> Vec<&'a str> {
    let mut found = Vec::new();
    for part in parts {
        if found.len() < most && !found.contains(&part) {
            found.push(part);
        }
    }
    found
}

/// Returns every part of `text` that can be a JWT or a session. They have no prefix of ours, but
/// begin with the base64 of a brace, and have three or two parts. Base64url can end with the same
/// characters as punctuation, so each is returned with those and without them.
fn signed(text: &str) -> impl Iterator<Item = &str> {
    const BEGINNING: &str = "eyJ";
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let words = text.split(move |c| !is_part(c));
    let starts =
        words.flat_map(|word| word.match_indices(BEGINNING).map(|(start, _)| &word[start..]));
    starts.flat_map(|rest| {
        let end_of = |parts: usize| {
            rest.match_indices('.').map(|(dot, _)| dot).nth(parts - 1).unwrap_or(rest.len())
        };
        [3, 2].map(end_of).into_iter().flat_map(|end| {
            let part = &rest[..end];
            [part, part.trim_end_matches(['_', '-', '.'])]
        })
    })
}

/// Deletes the record of a presented credential.
async fn delete_record<R: Record<Kind: CredentialKind>>(
    context: &Context,
    presented: &ParsedSecret<R::Kind>,
    leak: &LeakFound<'_>,
) -> Result<Option<String>, Fault> {
    let found = context.store.record::<R>(&presented.id, context.clock.now()).await?;
    let is_current = |record: &R| record.secret_tags().first() == Some(&(&presented.digest).into());
    let Some(record) = found.filter(is_current) else { return Ok(None) };
    let event = leak.event(context, &record, LeakedPart::Credential)?;
    let deletion = context.store.delete_by_secret(&presented.id, &presented.digest, &event).await?;
    Ok(deleted_id(deletion, &presented.id))
}

/// Ends a grant, of which a token was presented.
async fn revoke_grant(
    context: &Context,
    id: &FamilyId,
    leak: &LeakFound<'_>,
) -> Result<Option<String>, Fault> {
    let found = context.store.family(id).await?.filter(|family| family.revoked_at.is_none());
    let Some(family) = found else { return Ok(None) };
    let event = family::event(context, &family, leak.data(LeakedPart::Credential))?;
    let now = context.clock.now();
    Ok(deleted_id(context.store.revoke_family_because(id, &event, now).await?, id))
}

/// Revokes a presented key: the whole key, or only its previous secret if it is that one and both
/// are still accepted.
async fn revoke_key(
    context: &Context,
    key: &ParsedApiKey,
    leak: &LeakFound<'_>,
) -> Result<Option<String>, Fault> {
    let (store, now) = (&context.store, context.clock.now());
    if let Some(id) = delete_record::<ApiKeyRecord>(context, key, leak).await? {
        return Ok(Some(id));
    }
    let found: Option<ApiKeyRecord> = store.record(&key.id, now).await?;
    let is_previous = |record: &ApiKeyRecord| {
        record.previous_digest.as_ref().is_some_and(|previous| previous.matches(&key.digest))
    };
    let Some(record) = found.filter(is_previous) else { return Ok(None) };
    let event = leak.event(context, &record, LeakedPart::PreviousSecret)?;
    Ok(deleted_id(store.revoke_previous_secret(key, &event, now).await?, &key.id))
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
async fn revoke_access_token(
    context: &Context,
    text: &str,
    leak: &LeakFound<'_>,
) -> Result<Outcome, Fault> {
    let now = context.clock.now();
    let Ok(claims) = token::verify::access_token(context, text, RequiredAudience::Any, now) else {
        return Ok(Outcome::Foreign);
    };
    match claims.sid {
        Some(family) => {
            let ended = revoke_grant(context, &family, leak).await?;
            Ok(ended.map_or(Outcome::Unchanged, Outcome::Revoked))
        }
        None => {
            context.store.revoke_access_token(&claims.jti, claims.exp).await?;
            Ok(Outcome::Revoked(claims.jti.to_string()))
        }
    }
}
