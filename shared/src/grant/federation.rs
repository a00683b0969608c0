//! Exchanging the token of a workload for one of ours, without a secret: the grants of RFC 7523
//! §2.1 and RFC 8693 §2.1, over the rules of `[[trust]]`.
//!
//! 1. The form of the token, its issuer, audience and times, before it is known who signed it. No
//!    I/O, so that whoever has no token for us costs nothing.
//! 2. The keys of the issuer, which are cached.
//! 3. The signature, by the key that the token names; then the claims again, as they were signed.
//! 4. The rules about its issuer and audience, in their order. The first one whose clauses the
//!    token meets decides; those in audit mode are only logged.
//! 5. The API and the scopes that are requested, which must be those of the rule.
//! 6. One read: the agent of the rule still exists, or the workload is no user of ours.
//! 7. The token is made. It ends with the token of the workload, and is never renewed.
//! 8. The token of the workload is spent, with one conditional write. Each is accepted once; with a
//!    proof of possession, again from the same key.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{Tokens, permitted_use, presenter::Presenter};
use crate::{
    config::{Config, ConfiguredAudience, TrustOwner, TrustRule, trust::TrustMode},
    context::Context,
    core::{
        clock::{LEEWAY, after, at_most},
        epoch::Epoch,
        error::{Error, Refusal},
        event::{
            ActorKind, EventActor, EventContents, EventSubject, SubjectKind, TrustMatchedData,
            TrustRefusedData,
        },
        id::{AgentId, AttemptId, ClientId, OrganizationId},
        scope::Scopes,
        secret::Secret,
        subject::Subject,
    },
    crypto::thumbprint::KeyThumbprint,
    store::{
        membership::MembershipRecord, nonce::Nonce, service_account::AgentRecord,
        token_owner::TokenOwner,
    },
    telemetry,
    token::{
        NewAccessToken, external,
        issuer_keys::{IssuerKeys, KeySetFormat},
        workload::{UnverifiedWorkloadToken, WorkloadClaims},
    },
};

/// The keys of the issuers that the rules name.
#[derive(Debug, Default)]
pub struct TrustedIssuers(Vec<IssuerKeys>);

impl TrustedIssuers {
    /// Creates empty caches for the issuers of the rules, without I/O.
    pub fn new(config: &Config) -> Self {
        let mut issuers: Vec<IssuerKeys> = Vec::new();
        for rule in &config.trust {
            if issuers.iter().all(|known| known.issuer() != rule.issuer) {
                let keys = IssuerKeys::new(rule.issuer.clone(), rule.jwks_url.clone());
                let format = match rule.trust_domain() {
                    Some(_) => KeySetFormat::SpiffeBundle,
                    None => KeySetFormat::Jwks,
                };
                issuers.push(keys.in_format(format));
            }
        }
        Self(issuers)
    }

    /// Verifies a token with the keys of its issuer.
    pub(super) async fn verify(
        &self,
        context: &Context,
        text: &str,
        token: &UnverifiedWorkloadToken<'_, '_>,
        now: Timestamp,
    ) -> Result<WorkloadClaims, Error> {
        let keys = self.0.iter().find(|keys| keys.issuer() == token.issuer());
        let keys = keys.ok_or(Refusal::TrustIssuerUnknown)?;
        let verified = keys.verify_with(context, text, |keys| token.verify(keys, now)).await?;
        Ok(verified.map_err(|refusal| {
            let is_unknown = refusal == Refusal::TokenKeyUnknown;
            if is_unknown { Refusal::TrustTokenKeyUnknown } else { refusal }
        })?)
    }
}

/// The token of a workload, and what is requested for it.
#[derive(Debug)]
pub struct WorkloadRequest<'a> {
    /// The token.
    pub token: &'a Secret,
    /// The client that the request names, if it names one.
    pub client: Option<ClientId>,
    /// The scopes. By default, all of the rule.
    pub scopes: Option<&'a Scopes>,
    /// The API that the new token is for. By default, that of the rule.
    pub audience: Option<ConfiguredAudience<'a>>,
    /// The caller, to whom the new token is bound.
    pub presenter: &'a Presenter<'a>,
}

/// The owner of the new token, and what limits it.
struct LimitedOwner {
    owner: TokenOwner,
    organization: OrganizationId,
    scopes: Scopes,
    epoch: Epoch,
    not_after: Option<Timestamp>,
}

/// Exchanges the token of a workload: at most one read, and one write.
///
/// # Errors
/// `invalid_grant`, `invalid_scope`, `invalid_target`, [`Refusal::UserForbidden`],
/// [`Refusal::UserDisabled`], [`Refusal::ClientDenied`]; a fault.
pub async fn exchange(
    context: &Context,
    issuers: &TrustedIssuers,
    request: &WorkloadRequest<'_>,
) -> Result<Tokens, Error> {
    let now = context.clock.now();
    let text = request.token.expose();
    let token = UnverifiedWorkloadToken::parse(&context.config.trust, text, now)
        .map_err(|refusal| refused_text(text, refusal))?;
    // A future that may fetch is large, and most requests need none.
    let verified = Box::pin(issuers.verify(context, text, &token, now)).await?;
    let rule = match decide(&token, &verified) {
        Ok(rule) => rule,
        Err(refusal) => {
            Box::pin(report_refused(context, &token, &verified)).await;
            return Err(refusal.into());
        }
    };
    let audience = audience(context, rule, request.audience)?;
    let limited = limited_owner(context, rule, request, &verified, now).await?;
    let scopes = granted_scopes(&limited.scopes, request.scopes)?;
    let by_rule = rule.lifetime.map(|longest| after(now, longest));
    let not_after = at_most(at_most(verified.expires_at, by_rule), limited.not_after);
    let grant = NewAccessToken {
        owner: &limited.owner,
        organization: limited.organization,
        audience,
        scopes: &scopes,
        family: None,
        epoch: limited.epoch,
        not_after: Some(not_after),
        key: request.presenter.key(),
        trust_rule: Some(&rule.name),
        agent_client: None,
    };
    let tokens = Tokens::new(context, &grant, None, now)?;
    request.presenter.spend_proof(context).await?;
    spend(context, token.issuer(), &verified, request.presenter.key(), now).await?;
    let subject = limited.owner.subject();
    telemetry::record_client(&subject, &limited.organization);
    telemetry::trust_matched(rule.name.as_str(), &subject);
    Box::pin(report_matched(context, rule, limited.organization, &subject, scopes)).await;
    Ok(tokens)
}

/// Reports the first token in an hour that a workload got by a rule.
async fn report_matched(
    context: &Context,
    rule: &TrustRule,
    organization: OrganizationId,
    subject: &Subject,
    scopes: Scopes,
) {
    let (issuer, user_id) = (rule.issuer.clone(), subject.clone());
    let contents = EventContents {
        organization: Some(organization),
        subject: EventSubject::named(SubjectKind::TrustRule, rule.name.as_str()),
        actor: EventActor { user_id: Some(user_id.clone()), ..nobody(ActorKind::External) },
        data: TrustMatchedData { issuer, user_id, scopes }.into(),
    };
    context.report_event(contents, &subject.to_string()).await;
}

/// Reports the first token in an hour of an issuer that is valid and meets no rule. Anybody can have
/// such a token, so there is one event for all of them.
async fn report_refused(
    context: &Context,
    token: &UnverifiedWorkloadToken<'_, '_>,
    verified: &WorkloadClaims,
) {
    let enforced = token.rules_for(verified).filter(|rule| rule.mode == TrustMode::Enforce);
    let rules = enforced.map(|rule| rule.name.as_str().to_owned()).collect();
    let contents = EventContents {
        organization: None,
        subject: EventSubject::named(SubjectKind::Issuer, token.issuer()),
        actor: nobody(ActorKind::Anyone),
        data: TrustRefusedData { rules }.into(),
    };
    context.report_event(contents, "").await;
}

fn nobody(kind: ActorKind) -> EventActor {
    EventActor::unauthenticated(kind)
}

/// Returns the refusal of a text, with what to correct if it is a token that was sent with more.
fn refused_text(text: &str, refusal: Refusal) -> Error {
    match wrapped_token(text).filter(|_| refusal == Refusal::TrustTokenMalformed) {
        Some(remedy) => Error::with_detail(refusal, format!("This is not a JWT: {remedy}.")),
        None => refusal.into(),
    }
}

/// Says what to send instead of a text that contains a token and more.
pub fn wrapped_token(text: &str) -> Option<&'static str> {
    let scheme = text.split_once(' ').map(|(scheme, _)| scheme);
    if scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("Bearer")) {
        Some("send the token without the word Bearer")
    } else if text.starts_with('{') {
        Some("it is the JSON of an issuer: send only the token in it, which GitHub calls value")
    } else if text.starts_with(['\'', '"']) {
        Some("send the token without quotation marks")
    } else {
        None
    }
}

/// Returns the rule that decides about a token. Rules in audit mode say what they would do.
pub(super) fn decide<'r>(
    token: &UnverifiedWorkloadToken<'r, '_>,
    verified: &WorkloadClaims,
) -> Result<&'r TrustRule, Refusal> {
    let mut unmet = Vec::new();
    let mut decided = None;
    for rule in token.rules_for(verified) {
        let outcomes = rule.outcomes(&verified.claims);
        let claims: Vec<_> =
            outcomes.into_iter().filter(|outcome| !outcome.is_met).map(|one| one.claim).collect();
        match rule.mode {
            TrustMode::Disabled => {}
            TrustMode::Audit => {
                telemetry::trust_audited(rule.name.as_str(), &claims, &rule.scopes);
            }
            TrustMode::Enforce if claims.is_empty() => decided = decided.or(Some(rule)),
            TrustMode::Enforce => unmet.push((rule.name.as_str(), claims)),
        }
    }
    if decided.is_none() {
        telemetry::trust_unmatched(&unmet);
    }
    decided.ok_or(Refusal::TrustRuleUnmatched)
}

/// Returns the API of the rule, if the request names no other one.
pub(super) fn audience<'c>(
    context: &'c Context,
    rule: &TrustRule,
    requested: Option<ConfiguredAudience<'_>>,
) -> Result<ConfiguredAudience<'c>, Error> {
    let audience = ConfiguredAudience::stored(&context.config, &rule.resource)?;
    match requested {
        Some(requested) if requested.audience() != audience.audience() => {
            let detail = "The trust rule is for another resource: send its resource, or none.";
            Err(Error::with_detail(Refusal::ResourceNotGranted, detail.into()))
        }
        Some(_) | None => Ok(audience),
    }
}

/// Returns the owner of the new token: one read.
async fn limited_owner(
    context: &Context,
    rule: &TrustRule,
    request: &WorkloadRequest<'_>,
    verified: &WorkloadClaims,
    now: Timestamp,
) -> Result<LimitedOwner, Error> {
    // Users have a grant of their own, with a client that authenticates.
    if rule.is_about_users() {
        return Err(Refusal::TrustTokenOfUser.into());
    }
    if request.client.as_ref().is_some_and(|client| *client != rule.client_id()) {
        return Err(Refusal::TrustClientMismatch.into());
    }
    let subject = subject(&context.config, &rule.owner, &verified.claims)?;
    match &rule.owner {
        TrustOwner::Agent(id) => of_agent(context, rule, *id, request.presenter.address, now).await,
        TrustOwner::User { .. } => Err(Refusal::TrustTokenOfUser.into()),
        TrustOwner::Workload { organization, .. } => {
            check_is_no_user(context.store.membership(&subject).await?.as_ref())?;
            Ok(LimitedOwner {
                owner: TokenOwner::Workload { subject, client_id: rule.client_id() },
                organization: *organization,
                scopes: rule.scopes.clone(),
                epoch: Epoch::default(),
                not_after: None,
            })
        }
    }
}

/// Returns the subject of the new token, as far as the configuration and verified claims decide.
///
/// # Errors
/// [`Refusal::ClientDenied`], [`Refusal::TrustSubjectInvalid`], [`Refusal::UserForbidden`].
pub(super) fn subject(
    config: &Config,
    owner: &TrustOwner,
    claims: &Map<String, Value>,
) -> Result<Subject, Refusal> {
    let prefix = match owner {
        TrustOwner::Agent(id) if config.is_denied(&(*id).into()) => {
            return Err(Refusal::ClientDenied);
        }
        TrustOwner::Agent(id) => return Ok(Subject::Agent(*id)),
        TrustOwner::User { subject_prefix } | TrustOwner::Workload { subject_prefix, .. } => {
            subject_prefix.as_str()
        }
    };
    let subject = external::remove_user_id(&mut claims.clone(), &["sub"])
        .and_then(|id| config.external_subject(prefix, &id))
        .map_err(|_| Refusal::TrustSubjectInvalid)?;
    config.allowed_users.check(&subject, None)?;
    Ok(subject)
}

async fn of_agent(
    context: &Context,
    rule: &TrustRule,
    id: AgentId,
    address: &str,
    now: Timestamp,
) -> Result<LimitedOwner, Error> {
    let agent = context.store.record::<AgentRecord>(&id, now).await?;
    let agent = agent.ok_or(Refusal::TrustAgentUnknown)?;
    permitted_use::check(&agent.properties, Some(address).into())
        .map_err(|refusal| Error::from(refusal).answered_as(Refusal::TrustAgentUnknown))?;
    context.config.allowed_users.check(&Subject::Agent(id), agent.on_behalf_of.as_ref())?;
    let held = context.config.limit_scopes(agent.meta.scope_limit, &agent.scopes);
    Ok(LimitedOwner {
        owner: TokenOwner::Agent(id),
        organization: agent.meta.org_id,
        scopes: rule.scopes.intersection(&held),
        epoch: agent.epoch,
        not_after: agent.expires_at,
    })
}

/// Checks that the subject of a workload is not a user, whose token a person could send. `member`
/// is what is stored about a user with this id.
///
/// # Errors
/// [`Refusal::UserDisabled`], [`Refusal::TrustTokenOfUser`].
pub fn check_is_no_user(member: Option<&MembershipRecord>) -> Result<(), Refusal> {
    match member {
        None => Ok(()),
        Some(member) if member.disabled.is_some() => Err(Refusal::UserDisabled),
        Some(_) => Err(Refusal::TrustTokenOfUser),
    }
}

/// Returns the scopes that are granted of those that the rule and its agent have.
fn granted_scopes(held: &Scopes, requested: Option<&Scopes>) -> Result<Scopes, Error> {
    // There is no refresh token, whoever asks for one.
    let requested = requested.cloned().unwrap_or_default().without("offline_access").0;
    if requested.is_empty() {
        return if held.is_empty() {
            let detail = "The agent of the trust rule has none of its scopes: ask the operator to correct one of them.";
            Err(Error::with_detail(Refusal::ScopeNotGranted, detail.into()))
        } else {
            Ok(held.clone())
        };
    }
    match held.first_missing(&requested) {
        None => Ok(requested),
        Some(at) => {
            let detail = format!(
                "scope[{at}] was not granted: request only scopes that the trust rule and its agent have."
            );
            Err(Error::with_detail(Refusal::ScopeNotGranted, detail))
        }
    }
}

/// Step 8. A token that was used with `key` can be used with it again.
pub(super) async fn spend(
    context: &Context,
    issuer: &str,
    verified: &WorkloadClaims,
    key: Option<&KeyThumbprint>,
    now: Timestamp,
) -> Result<(), Error> {
    let attempt = AttemptId::mint(&context.entropy)?;
    // Nobody's clock accepts it any more when it is forgotten.
    let forgotten = after(verified.expires_at, LEEWAY + LEEWAY);
    let token = (issuer, verified.id.as_str());
    let spent = context.store.consume_workload_token(token, key, &attempt, now, forgotten);
    match spent.await? {
        Nonce::Fresh => Ok(()),
        Nonce::Replayed => Err(Refusal::TrustTokenReplayed.into()),
    }
}
