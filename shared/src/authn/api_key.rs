//! API keys and CLI tokens, in `X-API-Key` or as bearer tokens.

use async_trait::async_trait;
use serde_json::Map;

use super::{
    Outcome, Provider, into_outcome,
    signature::{self, Signature},
};
use crate::{
    context::Context,
    core::{
        credential_header::API_KEY,
        error::{Error, Fault, Refusal},
        principal::{Kind, Principal},
    },
    credential::{ApiKey, CliToken, CredentialKind, opaque},
    crypto::Digest,
    grant::session::is_enrolled,
    http::CredentialSource,
    store::{Record, api_key::ApiKeyRecord, cli_token::CliTokenRecord},
};

/// The checksum without I/O, then one consistent read, and another one of an enrolled user's organization for their CLI tokens; where the request is signed, one write for its nonce.
#[derive(Debug)]
pub(super) struct ApiKeys;

#[async_trait]
impl Provider for ApiKeys {
    fn name(&self) -> &'static str {
        "api_key"
    }

    fn headers(&self) -> Vec<String> {
        vec![API_KEY.to_owned()]
    }

    fn knows_bearer(&self, context: &Context, token: &str) -> bool {
        let brand = &context.config.brand;
        ApiKey::has_prefix(brand, token) || CliToken::has_prefix(brand, token)
    }

    async fn authenticate(
        &self,
        context: &Context,
        source: &dyn CredentialSource,
    ) -> Result<Outcome, Fault> {
        let given = [source.header(API_KEY), source.bearer()];
        let Some(text) = given.into_iter().flatten().find(|text| self.knows_bearer(context, text))
        else {
            return Ok(Outcome::NotPresented);
        };
        into_outcome(match ApiKey::has_prefix(&context.config.brand, text) {
            true => authenticate_key::<ApiKeyRecord>(context, source, text).await,
            false => authenticate_key::<CliTokenRecord>(context, source, text).await,
        })
    }
}

/// A record that its key opens.
trait KeyRecord: Record<Kind: CredentialKind> {
    /// Does a secret with `digest` open it?
    fn accepts_secret(&self, digest: &Digest, now_ms: i64) -> bool;
    /// Must the request be signed?
    fn requires_signature(&self) -> bool;
    /// The enrolled user who made it for themselves, and without whom it opens nothing.
    fn enrolled_owner(&self) -> Option<&str> {
        None
    }
    fn into_principal(self) -> Principal;
}

/// The protocol of a key: form, lookup, comparison, signature.
async fn authenticate_key<R: KeyRecord>(
    context: &Context,
    source: &dyn CredentialSource,
    text: &str,
) -> Result<Outcome, Error> {
    let key = opaque::ParsedSecret::<R::Kind>::parse(&context.config.brand, text)
        .ok_or(Refusal::CredentialMalformed)?;
    let now = context.clock.now();
    let signature = Signature::read(context, source, now)?;
    let record =
        context.store.record::<R>(&key.id, now.as_second()).await?.ok_or(Refusal::ApiKeyUnknown)?;
    if !record.accepts_secret(&key.digest, now.as_millisecond()) {
        return Err(Refusal::ApiKeyWrong.into());
    }
    if let Some(user_id) = record.enrolled_owner() {
        // A user who was dismissed has no organization any more.
        let organization = context.store.organization_of(user_id).await?;
        organization
            .filter(|organization| *organization == record.org_id())
            .ok_or(Refusal::ApiKeyUnknown)?;
    }
    signature::verify_required(
        context,
        signature.as_ref(),
        record.requires_signature(),
        text,
        &key.id.to_string(),
        now,
    )
    .await?;
    let principal = record.into_principal();
    Ok(if signature.is_some() {
        Outcome::AuthenticatedWithSignature(principal)
    } else {
        Outcome::Authenticated(principal)
    })
}

impl KeyRecord for ApiKeyRecord {
    fn accepts_secret(&self, digest: &Digest, now_ms: i64) -> bool {
        ApiKeyRecord::accepts_secret(self, digest, now_ms)
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

impl KeyRecord for CliTokenRecord {
    fn accepts_secret(&self, digest: &Digest, _now_ms: i64) -> bool {
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
