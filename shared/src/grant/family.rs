//! Families of refresh tokens: creating one with its first tokens, and whether its owner can still
//! use it.

use jiff::{SignedDuration, Timestamp};

use super::{Tokens, permitted_use, presenter::Presenter, user_status::UserStatus};
use crate::{
    config::ConfiguredAudience,
    context::Context,
    core::{
        clock::{LEEWAY, after, at_most},
        epoch::Epoch,
        error::{Error, Fault, Refusal},
        event::{ActorKind, Event, EventActor, EventContents, EventData, EventSubject},
        id::{self, AttemptId, ClientId, ConsentId, OrganizationId},
        scope::Scopes,
        subject::Subject,
    },
    credential::RefreshToken,
    store::{
        OPERATION, Record as _,
        family::FamilyRecord,
        rotation,
        service_account::{AccountCredential as _, AgentRecord},
        token_owner::TokenOwner,
    },
    telemetry, token,
};

/// How long after a redemption began its last call to the store can respond. Later responses do not
/// show that the caller got the tokens.
const REDEMPTION: SignedDuration = OPERATION;

/// A family to create.
#[derive(Debug)]
pub struct NewFamily<'a> {
    /// The agent or user who gets the tokens.
    pub owner: &'a TokenOwner,
    /// The owner's organization.
    pub organization: OrganizationId,
    /// The API that the tokens are for.
    pub audience: ConfiguredAudience<'a>,
    /// The granted scopes.
    pub scopes: &'a Scopes,
    /// The owner's current epoch.
    pub epoch: Epoch,
    /// When the owner expires: the family expires no later.
    pub not_after: Option<Timestamp>,
    /// Whether the client must authenticate whenever it refreshes.
    pub is_confidential: bool,
    /// The caller, to whom the tokens are bound.
    pub presenter: &'a Presenter<'a>,
}

/// A family that is ready to be stored, with its first tokens. Nothing can fail after it is stored.
#[derive(Debug)]
pub(super) struct PreparedFamily {
    pub(super) record: FamilyRecord,
    pub(super) tokens: Tokens,
}

/// Creates a family and returns its first tokens.
///
/// # Errors
/// A fault.
pub async fn create(
    context: &Context,
    new: &NewFamily<'_>,
    now: Timestamp,
) -> Result<Tokens, Error> {
    let prepared = prepare(context, new, now)?;
    new.presenter.spend_proof(context).await?;
    context.store.create_family(&prepared.record).await?;
    Ok(prepared.tokens)
}

fn prepare(
    context: &Context,
    new: &NewFamily<'_>,
    now: Timestamp,
) -> Result<PreparedFamily, Fault> {
    let absolute_expires_at =
        at_most(after(now, context.config.lifetimes.refresh_absolute), new.not_after);
    let record = FamilyRecord {
        id: id::mint(now, &context.entropy)?,
        generation: 1,
        kid: Some(context.keyring.current_refresh_kid()?.clone()),
        kid_before: None,
        rotated_at: now,
        rotated_from: new.presenter.address.to_owned(),
        used_from: None,
        attempt: AttemptId::mint(&context.entropy)?,
        client_id: new.owner.client_id(),
        user_id: new.owner.user_id().cloned(),
        listing: new.owner.listing(),
        org_id: new.organization,
        audience: new.audience.audience(),
        jkt: new.presenter.key().cloned(),
        scopes: new.scopes.clone(),
        epoch: new.epoch,
        consent: None,
        is_confidential: new.is_confidential,
        idle_expires_at: after(now, context.config.lifetimes.refresh_idle),
        absolute_expires_at,
        revoked_at: None,
        expires_at: FamilyRecord::item_expires_at(absolute_expires_at),
    };
    telemetry::record_family(&record.id);
    let tokens = first_tokens(context, &record, new.audience, now)?;
    Ok(PreparedFamily { record, tokens })
}

/// Returns the first refresh token of a family, and an access token for `audience`, the family's.
fn first_tokens(
    context: &Context,
    family: &FamilyRecord,
    audience: ConfiguredAudience<'_>,
    now: Timestamp,
) -> Result<Tokens, Fault> {
    let grant = token::NewAccessToken {
        owner: &family.owner()?,
        organization: family.org_id,
        audience,
        scopes: &family.scopes,
        family: Some(family.id),
        epoch: family.epoch,
        not_after: Some(family.absolute_expires_at),
        key: family.jkt.as_ref(),
        trust_rule: None,
        agent_client: None,
    };
    let kid = match &family.kid {
        Some(kid) => kid,
        None => context.keyring.current_refresh_kid()?, // created by an earlier version
    };
    let first = RefreshToken::first(family.id, kid.clone());
    let refresh_token = first.encode(&context.config.brand, &context.keyring)?;
    Tokens::new(context, &grant, Some(refresh_token), now)
}

/// What a grant to a user's tool is based on. If that has ended meanwhile, nothing is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantBasis {
    /// The user's approval, in this epoch of the user; `None` if it was not recorded.
    Approval(Option<Epoch>),
    /// The user's password, which was set in this epoch.
    Password(Epoch),
}

/// A family to create for a user.
#[derive(Clone, Copy, Debug)]
pub struct NewUserFamily<'a> {
    /// The user.
    pub user_id: &'a Subject,
    /// The tool that gets the tokens.
    pub client_id: &'a ClientId,
    /// The API that the tokens are for.
    pub audience: ConfiguredAudience<'a>,
    /// The granted scopes.
    pub scopes: &'a Scopes,
    /// The consent that it is based on, if it is.
    pub consent: Option<ConsentId>,
    /// What the user has authenticated or approved with.
    pub basis: GrantBasis,
    /// The caller, to whom the tokens are bound.
    pub presenter: &'a Presenter<'a>,
}

/// Creates a family for a user who is still allowed, with the scopes that the user's role has, and
/// returns its first tokens.
///
/// # Errors
/// [`Refusal::UserForbidden`], [`Refusal::UserDisabled`], [`Refusal::UserDeleted`] for a user
/// without an organization or who has to sign in again, or a fault.
pub async fn create_for_user(
    context: &Context,
    new: NewUserFamily<'_>,
    now: Timestamp,
) -> Result<Tokens, Error> {
    let prepared = prepare_for_user(context, new, now).await?;
    context.store.create_family(&prepared.record).await?;
    Ok(prepared.tokens)
}

/// Does everything for [`create_for_user`] that can fail, except for storing the family. A proof of
/// the caller is spent.
pub(super) async fn prepare_for_user(
    context: &Context,
    new: NewUserFamily<'_>,
    now: Timestamp,
) -> Result<PreparedFamily, Error> {
    let NewUserFamily { user_id, client_id, audience, scopes, consent, basis, presenter } = new;
    context.config.allowed_users.check(user_id, None)?;
    let member = context.store.membership(user_id).await?.ok_or(Refusal::UserDeleted)?;
    let epoch = match basis {
        GrantBasis::Approval(epoch) => epoch,
        GrantBasis::Password(epoch) if epoch == member.password_epoch => None,
        GrantBasis::Password(_) => return Err(Refusal::LoginWrong.into()),
    };
    let user = UserStatus::new(&context.config, member, epoch).active_or(Refusal::UserDeleted)?;
    let owner = TokenOwner::User { user_id: user_id.clone(), client_id: client_id.clone() };
    let new = NewFamily {
        owner: &owner,
        organization: user.org_id,
        audience,
        scopes: &audience.limit(&user.limit(&context.config, scopes))?,
        epoch: user.epoch,
        not_after: None,
        is_confidential: false,
        presenter,
    };
    let PreparedFamily { record, tokens } = prepare(context, &new, now)?;
    presenter.spend_proof(context).await?;
    Ok(PreparedFamily { record: FamilyRecord { consent, ..record }, tokens })
}

/// Checks that the owner of a family still exists and can use it, and returns the family with the
/// scopes that it still has. It ends no later than its owner. `audience` is the family's, `agent`
/// the owner, if it has been read already, and `address` the caller's.
///
/// # Errors
/// [`Refusal::FamilyBeforeNotBefore`], [`Refusal::FamilyOwnerDeleted`],
/// [`Refusal::FamilyEpochEnded`], [`Refusal::UserDisabled`], [`Refusal::UserForbidden`]; those of
/// [`permitted_use`]; a fault.
pub(super) async fn check_owner(
    context: &Context,
    family: FamilyRecord,
    audience: ConfiguredAudience<'_>,
    agent: Option<AgentRecord>,
    address: &str,
    now: Timestamp,
) -> Result<FamilyRecord, Error> {
    if !context.keyring.accepts_issued_at(family.created_at()) {
        return Err(Refusal::FamilyBeforeNotBefore.into());
    }
    match family.owner()? {
        TokenOwner::Agent(id) => {
            let agent = match agent {
                Some(agent) => Some(agent),
                None => context.store.record(&id, now).await?,
            };
            let agent =
                agent.filter(|agent| !agent.is_expired(now)).ok_or(Refusal::FamilyOwnerDeleted)?;
            if family.epoch != agent.epoch {
                return Err(Refusal::FamilyEpochEnded.into());
            }
            permitted_use::check(&agent.properties, Some(address).into())
                .map_err(|refusal| Error::from(refusal).answered_as(Refusal::FamilyOwnerDeleted))?;
            context.config.allowed_users.check(&Subject::Agent(id), agent.on_behalf_of.as_ref())?;
            // They may have been narrowed since.
            let scopes = family.scopes.limited_by(&agent.scopes);
            let scopes = context.config.limit_scopes(agent.meta.scope_limit, &scopes);
            let scopes = audience.limit(&scopes)?;
            let absolute_expires_at = at_most(family.absolute_expires_at, agent.expires_at);
            // It may have got its keys since.
            let is_confidential = family.is_confidential || agent.credential.keys().is_some();
            Ok(FamilyRecord { scopes, absolute_expires_at, is_confidential, ..family })
        }
        TokenOwner::Key { .. } | TokenOwner::Workload { .. } => {
            Err(Refusal::FamilyOwnerDeleted.into())
        }
        TokenOwner::User { user_id, .. } => {
            let member = context.store.membership(&user_id).await?;
            let member = member
                .filter(|member| member.org_id == family.org_id)
                .ok_or(Refusal::FamilyOwnerDeleted)?;
            context.config.allowed_users.check(&user_id, None)?;
            let user = UserStatus::new(&context.config, member, Some(family.epoch))
                .active_or(Refusal::FamilyEpochEnded)?;
            let scopes = audience.limit(&user.limit(&context.config, &family.scopes))?;
            Ok(FamilyRecord { scopes, ..family })
        }
    }
}

/// Returns an event of a grant that somebody caused who did not authenticate.
pub(super) fn event(
    context: &Context,
    family: &FamilyRecord,
    data: impl Into<EventData>,
) -> Result<Event, Fault> {
    context.event(EventContents {
        organization: Some(family.org_id),
        subject: EventSubject::record(&family.id, None),
        actor: EventActor::unauthenticated(ActorKind::Anyone),
        data: data.into(),
    })
}

/// Returns the first tokens of a family again, for a caller who repeats the redemption of a code
/// because its first response may have been lost: the store is not known to have worked since, the
/// tokens have not been used, and the caller has the key that they are bound to. Returns `None`
/// otherwise.
///
/// # Errors
/// As [`check_owner`].
pub(super) async fn first_tokens_again(
    context: &Context,
    family: &FamilyRecord,
    presenter: &Presenter<'_>,
    now: Timestamp,
) -> Result<Option<Tokens>, Error> {
    // Unlike a refresh token, a code can be used only once: without a failure there is no window.
    let created_at = family.rotated_at;
    let may_be_lost = !context.store.health().has_worked_since(created_at, REDEMPTION);
    let is_timely =
        (-LEEWAY..=rotation::RETRIES + LEEWAY).contains(&now.duration_since(created_at));
    let is_unused = family.generation == 1 && family.is_alive(now);
    let is_bound_to_caller = family.jkt.as_ref() == presenter.key();
    if !(may_be_lost && is_timely && is_unused && is_bound_to_caller) {
        return Ok(None);
    }
    let audience = ConfiguredAudience::stored(&context.config, &family.audience)?;
    let family =
        check_owner(context, family.clone(), audience, None, presenter.address, now).await?;
    let tokens = first_tokens(context, &family, audience, now)?;
    presenter.spend_proof(context).await?;
    Ok(Some(tokens))
}
