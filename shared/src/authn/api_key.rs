//! API keys and CLI tokens, in `X-API-Key` or as bearer tokens.

use async_trait::async_trait;
use jiff::Timestamp;

use super::{
    Outcome, Provider, SecretHolder, into_outcome, presented_record,
    signature::{self, Signature},
};
use crate::{
    config::Config,
    context::Context,
    core::{
        caller_address::CallerAddress,
        clock::at_most,
        credential_header::API_KEY,
        epoch::Epoch,
        error::{Error, Fault, Refusal},
        id::TypeSafeId,
        principal::{InheritedLimits, Principal, PrincipalKind},
        subject::{CredentialId, KeyId, Subject},
    },
    credential::{CredentialKind, ParsedApiKey, ParsedCliToken, opaque::ParsedSecret},
    crypto::Digest,
    grant::{
        permitted_use,
        user_status::{ActiveUser, UserStatus},
    },
    http::CredentialSource,
    store::{
        api_key::{AcceptedSecret, ApiKeyRecord},
        cli_token::CliTokenRecord,
        membership::MembershipRecord,
        properties::ChangeableRecord,
    },
    token::Claims,
};

/// Verifies the checksum without I/O, then reads the record consistently, once an hour with its
/// last use. A CLI token needs another read, of its user, and a signed request one write, of its
/// nonce.
#[derive(Debug)]
pub(super) struct ApiKeyProvider;

#[async_trait]
impl Provider for ApiKeyProvider {
    fn name(&self) -> &'static str {
        "api_key"
    }

    fn headers(&self) -> Vec<String> {
        vec![API_KEY.to_owned()]
    }

    fn knows_bearer(&self, context: &Context, token: &str) -> bool {
        let brand = &context.config.brand;
        ParsedApiKey::has_prefix(brand, token)
            || ParsedCliToken::has_prefix(brand, token)
            || context.config.has_imported_form(token)
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
        let config = &context.config;
        into_outcome(if ParsedCliToken::has_prefix(&config.brand, text) {
            let token = ParsedCliToken::parse(&config.brand, text);
            authenticate_key::<CliTokenRecord>(context, source, text, token).await
        } else {
            let key = config.parse_api_key(text);
            authenticate_key::<ApiKeyRecord>(context, source, text, key).await
        })
    }
}

/// A record whose secret authenticates requests.
trait KeyRecord: ChangeableRecord<Kind: CredentialKind> {
    /// Returns for which of the record's secrets `is_presented` holds.
    fn accepted_secret(
        &self,
        is_presented: impl Fn(&Digest) -> bool,
        now: Timestamp,
    ) -> Option<AcceptedSecret>;
    /// Reports whether the request must be signed.
    fn requires_signature(&self) -> bool;
    /// Returns the id of the credential.
    fn credential_id(&self) -> CredentialId;
    /// Returns the user who created it for themselves, and the user's epoch then. It stops working
    /// when that user is deleted, is disabled or ends all credentials.
    fn owner(&self) -> Option<(&Subject, Epoch)> {
        None
    }
    /// Returns the caller, who presented `secret`, and is `owner` if it has one.
    fn into_principal(
        self,
        config: &Config,
        secret: AcceptedSecret,
        owner: Option<ActiveUser>,
    ) -> Principal;
}

/// Authenticates the key `text`, which was parsed as `key`: reads its record, compares the digest,
/// and verifies the signature.
async fn authenticate_key<R: KeyRecord>(
    context: &Context,
    source: &dyn CredentialSource,
    text: &str,
    key: Option<ParsedSecret<R::Kind>>,
) -> Result<Outcome, Error> {
    let key = key.ok_or(Refusal::CredentialMalformed)?;
    let now = context.clock.now();
    let signature = Signature::from_headers(context, source, now)?;
    let found = presented_record::read::<R>(context, source, &key.id, &key.digest, now).await?;
    let (record, unrecorded) = found.ok_or(Refusal::ApiKeyUnknown)?;
    let is_presented = |stored: &Digest| stored.matches(&key.digest);
    let secret = record.accepted_secret(is_presented, now).ok_or(Refusal::ApiKeyWrong)?;
    permitted_use::check(record.properties(), source.deciding_address())?;
    let owner = match record.owner() {
        None => None,
        Some((user_id, _)) => context.store.membership(user_id).await?,
    };
    let owner = active_owner(context, &record, owner, Refusal::ApiKeyUnknown)?;
    signature::verify_required(
        context,
        signature.as_ref(),
        record.requires_signature(),
        text,
        &record.credential_id(),
        now,
    )
    .await?;
    let principal = record.into_principal(&context.config, secret, owner);
    let is_signed = signature.is_some();
    Ok(Outcome::AuthenticatedBySecret(SecretHolder { principal, is_signed, unrecorded }))
}

/// Returns the owner of a key, of whom `member` is stored; `None` for a key that has none.
///
/// # Errors
/// [`Refusal::UserDisabled`]; `ended` for an owner who was deleted or has ended all credentials.
fn active_owner<R: KeyRecord>(
    context: &Context,
    record: &R,
    member: Option<MembershipRecord>,
    ended: Refusal,
) -> Result<Option<ActiveUser>, Refusal> {
    let Some((_, epoch)) = record.owner() else { return Ok(None) };
    // A deleted user no longer has an organization.
    let member = member.filter(|member| member.org_id == record.meta().org_id).ok_or(ended)?;
    UserStatus::new(&context.config, member, Some(epoch)).active_or(ended).map(Some)
}

/// Authenticates the caller with an access token for which a key was exchanged: the key as it is
/// now, within the scopes of the token. One round trip.
pub(super) async fn authenticate_exchanged(
    context: &Context,
    claims: Claims,
    address: CallerAddress<'_>,
    now: Timestamp,
) -> Result<Outcome, Fault> {
    into_outcome(match KeyId::of_client(&claims.client_id) {
        Some(KeyId::ApiKey(id)) => {
            exchanged::<ApiKeyRecord>(context, &id, claims, address, now).await
        }
        Some(KeyId::CliToken(id)) => {
            exchanged::<CliTokenRecord>(context, &id, claims, address, now).await
        }
        None => Err(Refusal::TokenClaimsInvalid.into()),
    })
}

async fn exchanged<R: KeyRecord>(
    context: &Context,
    id: &TypeSafeId<R::Kind>,
    claims: Claims,
    address: CallerAddress<'_>,
    now: Timestamp,
) -> Result<Outcome, Error> {
    let owner = Some(&claims.sub).filter(|subject| subject.is_possible_user());
    let status = context.store.key_status::<R>(id, owner, &claims.jti).await?;
    if status.is_revoked {
        return Err(Refusal::TokenRevoked.into());
    }
    let record = status.record.filter(|record| !record.is_expired(now));
    let record = record.ok_or(Refusal::TokenOwnerDeleted)?;
    let is_of_token = |stored: &Digest| Some(stored.fingerprint()) == claims.key_fingerprint;
    let secret = record.accepted_secret(is_of_token, now).ok_or(Refusal::TokenRevoked)?;
    let is_same_owner = record.owner().is_none_or(|(owner, _)| *owner == claims.sub);
    let is_same = is_same_owner && record.meta().org_id == claims.org_id;
    if record.requires_signature() || !is_same {
        return Err(Refusal::TokenClaimsInvalid.into());
    }
    permitted_use::check(record.properties(), address)?;
    let owner = active_owner(context, &record, status.owner, Refusal::TokenOwnerDeleted)?;
    let key = record.into_principal(&context.config, secret, owner);
    // What the token creates ends with it: it is meant to be given away.
    let expires_at = Some(at_most(claims.exp, key.expires_at));
    Ok(Outcome::Authenticated(Principal {
        credential_id: CredentialId::AccessToken(claims.jti),
        scopes: claims.scopes.intersection(&key.scopes),
        expires_at,
        client_id: Some(claims.client_id),
        inherited: InheritedLimits { expires_at, ..key.inherited },
        ..key
    }))
}

impl KeyRecord for ApiKeyRecord {
    fn accepted_secret(
        &self,
        is_presented: impl Fn(&Digest) -> bool,
        now: Timestamp,
    ) -> Option<AcceptedSecret> {
        ApiKeyRecord::accepted_secret(self, is_presented, now)
    }

    fn requires_signature(&self) -> bool {
        self.require_signature
    }

    fn credential_id(&self) -> CredentialId {
        CredentialId::ApiKey(self.meta.id)
    }

    fn into_principal(
        self,
        config: &Config,
        secret: AcceptedSecret,
        _owner: Option<ActiveUser>,
    ) -> Principal {
        let expires_at = secret.expires_at(self.expires_at);
        let networks = self.properties.allowed_networks.clone();
        Principal {
            user_id: Subject::ApiKey(self.meta.id),
            kind: PrincipalKind::ApiKey,
            org_id: Some(self.meta.org_id),
            credential_id: CredentialId::ApiKey(self.meta.id),
            scopes: config.limit_scopes(self.meta.scope_limit, &self.scopes),
            resources: self.resources,
            on_behalf_of: self.on_behalf_of,
            actor: None,
            metadata: self.properties.of_principal(self.name),
            expires_at,
            client_id: None,
            inherited: InheritedLimits {
                expires_at,
                require_signature: self.require_signature,
                epoch: None,
                scope_limit: self.meta.scope_limit,
                plan: self.meta.plan,
                networks,
            },
        }
    }
}

impl KeyRecord for CliTokenRecord {
    fn accepted_secret(
        &self,
        is_presented: impl Fn(&Digest) -> bool,
        _now: Timestamp,
    ) -> Option<AcceptedSecret> {
        is_presented(&self.secret.digest).then_some(AcceptedSecret::Current)
    }

    fn requires_signature(&self) -> bool {
        self.require_signature
    }

    fn credential_id(&self) -> CredentialId {
        CredentialId::CliToken(self.meta.id)
    }

    fn owner(&self) -> Option<(&Subject, Epoch)> {
        Some((&self.on_behalf_of, self.epoch))
    }

    /// A user's CLI token is that user.
    fn into_principal(
        self,
        config: &Config,
        _secret: AcceptedSecret,
        owner: Option<ActiveUser>,
    ) -> Principal {
        let limited = owner.as_ref().map(|owner| owner.limit(config, &self.scopes));
        Principal {
            user_id: self.on_behalf_of.clone(),
            kind: PrincipalKind::CliToken,
            org_id: Some(self.meta.org_id),
            credential_id: CredentialId::CliToken(self.meta.id),
            scopes: limited.unwrap_or_default(),
            resources: self.resources,
            on_behalf_of: Some(self.on_behalf_of),
            actor: None,
            metadata: owner.map(|owner| owner.metadata).unwrap_or_default(),
            expires_at: self.expires_at,
            client_id: None,
            inherited: InheritedLimits {
                expires_at: self.expires_at,
                require_signature: self.require_signature,
                epoch: Some(self.epoch),
                scope_limit: self.meta.scope_limit,
                plan: self.meta.plan,
                networks: self.properties.allowed_networks,
            },
        }
    }
}
