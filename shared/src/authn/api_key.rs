//! API keys and CLI tokens, in `X-API-Key` or as bearer tokens.

use async_trait::async_trait;
use serde_json::Map;

use super::{
    Outcome, Presented, Provider, outcome,
    signature::{self, Signature},
};
use crate::{
    app::App,
    credential::{ApiKey, CliToken, Form, opaque},
    crypto::Digest,
    error::{Error, Fault, Refusal},
    grant::session::is_enrolled,
    principal::{Kind, Principal},
    store::{Record, api_key::ApiKeyRecord, cli_token::CliTokenRecord},
};

/// The checksum without I/O, then one consistent read, and another one of an enrolled user's organization for their CLI tokens; where the request is signed, one write for its nonce.
#[derive(Debug)]
pub(super) struct ApiKeys;

#[async_trait]
impl Provider for ApiKeys {
    fn knows_bearer(&self, app: &App, token: &str) -> bool {
        let brand = &app.config.brand;
        ApiKey::is_meant(brand, token) || CliToken::is_meant(brand, token)
    }

    async fn authenticate(&self, app: &App, presented: &dyn Presented) -> Result<Outcome, Fault> {
        let given = [presented.header("x-api-key"), presented.bearer()];
        let Some(text) = given.into_iter().flatten().find(|text| self.knows_bearer(app, text)) else {
            return Ok(Outcome::NotPresented);
        };
        outcome(match ApiKey::is_meant(&app.config.brand, text) {
            true => open::<ApiKeyRecord>(app, presented, text).await,
            false => open::<CliTokenRecord>(app, presented, text).await,
        })
    }
}

/// A record that its key opens.
trait Openable: Record<Kind: Form> {
    /// Does a secret with `digest` open it?
    fn admits(&self, digest: &Digest, now_ms: i64) -> bool;
    /// Must the request be signed?
    fn requires_signature(&self) -> bool;
    /// The enrolled user who made it for themselves, and without whom it opens nothing.
    fn enrolled_owner(&self) -> Option<&str> {
        None
    }
    fn into_principal(self) -> Principal;
}

/// The protocol of a key: form, lookup, comparison, signature.
async fn open<R: Openable>(app: &App, presented: &dyn Presented, text: &str) -> Result<Outcome, Error> {
    let key = opaque::Presented::<R::Kind>::parse(&app.config.brand, text).ok_or(Refusal::CredentialMalformed)?;
    let now = app.clock.now();
    let signature = Signature::read(app, presented, now)?;
    let record = app.store.record::<R>(&key.id, now.as_second()).await?.ok_or(Refusal::ApiKeyUnknown)?;
    if !record.admits(&key.digest, now.as_millisecond()) {
        return Err(Refusal::ApiKeyWrong.into());
    }
    if let Some(user_id) = record.enrolled_owner() {
        // A user who was dismissed has no organization any more.
        let organization = app.store.organization_of(user_id).await?;
        organization.filter(|organization| *organization == record.org_id()).ok_or(Refusal::ApiKeyUnknown)?;
    }
    signature::settle(app, signature.as_ref(), record.requires_signature(), text, &key.id.to_string(), now).await?;
    let principal = record.into_principal();
    Ok(if signature.is_some() { Outcome::Signed(principal) } else { Outcome::Authenticated(principal) })
}

impl Openable for ApiKeyRecord {
    fn admits(&self, digest: &Digest, now_ms: i64) -> bool {
        ApiKeyRecord::admits(self, digest, now_ms)
    }

    fn requires_signature(&self) -> bool {
        self.require_signature
    }

    fn into_principal(self) -> Principal {
        Principal {
            user_id: self.id.to_string(),
            kind: Kind::ApiKey,
            org_id: Some(self.org_id),
            credential_id: self.id.to_string(),
            scopes: self.scopes,
            resources: self.resources,
            on_behalf_of: self.on_behalf_of,
            metadata: Map::from_iter([("name".into(), self.name.into())]),
        }
    }
}

impl Openable for CliTokenRecord {
    fn admits(&self, digest: &Digest, _now_ms: i64) -> bool {
        self.digest.matches(digest)
    }

    fn requires_signature(&self) -> bool {
        self.require_signature
    }

    fn enrolled_owner(&self) -> Option<&str> {
        Some(self.on_behalf_of.as_str()).filter(|user_id| is_enrolled(user_id))
    }

    fn into_principal(self) -> Principal {
        Principal {
            user_id: self.id.to_string(),
            kind: Kind::CliToken,
            org_id: Some(self.org_id),
            credential_id: self.id.to_string(),
            scopes: self.scopes,
            resources: self.resources,
            on_behalf_of: Some(self.on_behalf_of),
            metadata: Map::from_iter([("name".into(), self.name.into())]),
        }
    }
}
