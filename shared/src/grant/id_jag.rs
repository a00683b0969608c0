//! Exchanging an identity assertion for an access token of a user, without asking the user
//! (draft-ietf-oauth-identity-assertion-authz-grant): the identity provider of an enterprise
//! decides which apps act for its users.
//!
//! 1. The form of the assertion, its issuer, audience and times. No I/O.
//! 2. The client, which authenticates, and for which the assertion is: an app with a key, or an
//!    agent.
//! 3. The signature, by a key of the issuer; then the rules about it.
//! 4. The user, who has signed in here: one read.
//! 5. The token is made. It is never renewed: the client requests another assertion.
//! 6. The assertion is spent, with one conditional write. Each is accepted once.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{
    ClientCredentials, Tokens, agent_secret, client,
    client_assertion::ClientAssertion,
    federation::{self, TrustedIssuers},
    presenter::Presenter,
    user_status::{ActiveUser, UserStatus},
};
use crate::{
    config::{ConfiguredAudience, TrustOwner, TrustRule},
    context::Context,
    core::{
        clock::after,
        error::{Error, Refusal},
        id::ClientId,
        scope::Scopes,
        secret::Secret,
        subject::Subject,
    },
    store::{service_account::AgentRecord, token_owner::TokenOwner},
    telemetry,
    token::{
        AgentClient, NewAccessToken, external,
        workload::{self, UnverifiedWorkloadToken, WorkloadClaims},
    },
};

/// What a client is told whose assertion is refused.
const NOT_ACCEPTED: &str = "The identity assertion is not accepted: it must be current and unused, from a trusted issuer, for this deployment and this client, and about a user who has signed in here. The operator can see why with postern trust try.";

/// The client that presents an identity assertion, with what it authenticates with.
#[derive(Debug)]
pub enum ConfidentialClient {
    /// An agent.
    Agent(ClientCredentials),
    /// An app with keys.
    App(ClientAssertion),
}

/// An identity assertion, and what is requested for it.
#[derive(Debug)]
pub struct IdentityAssertionRequest<'a> {
    /// The assertion.
    pub assertion: &'a Secret,
    /// The client.
    pub client: &'a ConfidentialClient,
    /// The scopes. By default, those that the issuer and the rule allow.
    pub scopes: Option<&'a Scopes>,
    /// The API that the token is for. By default, that of the rule.
    pub audience: Option<ConfiguredAudience<'a>>,
    /// The caller, to whom the token is bound.
    pub presenter: &'a Presenter<'a>,
}

/// Reports whether an assertion says that it is an identity assertion.
pub fn is_identity_assertion(assertion: &Secret) -> bool {
    workload::is_id_jag(assertion.expose())
}

/// Exchanges an identity assertion: one read and one write, besides the authentication of the
/// client.
///
/// # Errors
/// `invalid_client`, `invalid_grant`, `invalid_scope`, `invalid_target`,
/// [`Refusal::UserForbidden`],
/// [`Refusal::UserDisabled`]; a fault.
pub async fn exchange(
    context: &Context,
    issuers: &TrustedIssuers,
    request: &IdentityAssertionRequest<'_>,
) -> Result<Tokens, Error> {
    granted(context, issuers, request).await.map_err(|error| match error.refusal() {
        Some(refusal) if error.detail().is_none() && refusal.public().code == "invalid_grant" => {
            Error::with_detail(refusal, NOT_ACCEPTED.into())
        }
        Some(_) | None => error,
    })
}

async fn granted(
    context: &Context,
    issuers: &TrustedIssuers,
    request: &IdentityAssertionRequest<'_>,
) -> Result<Tokens, Error> {
    let now = context.clock.now();
    let text = request.assertion.expose();
    let token = UnverifiedWorkloadToken::parse(&context.config.trust, text, now)?;
    let agent = authenticate(context, request, now).await?;
    let verified = Box::pin(issuers.verify(context, text, &token, now)).await?;
    let (rule, audience) = decide(context, &token, &verified, request)?;
    let (user_id, user) = user(context, rule, &verified.claims).await?;
    let scopes = scopes(context, rule, &user, &verified.claims)?;
    if audience.limit(&scopes)?.is_empty() {
        return Err(Refusal::ScopeNotGranted.into());
    }
    let scopes = audience.grant(&scopes, request.scopes)?;
    let owner = TokenOwner::User { user_id, client_id: request.client.id() };
    let by_rule = rule.lifetime.map(|longest| after(now, longest));
    let by_agent = agent.as_ref().and_then(|agent| agent.expires_at);
    let agent_client = agent.map(|agent| AgentClient { epoch: agent.epoch, delegation: None });
    let grant = NewAccessToken {
        owner: &owner,
        organization: user.org_id,
        audience,
        scopes: &scopes,
        family: None,
        epoch: user.epoch,
        not_after: [by_rule, by_agent].into_iter().flatten().min(),
        key: request.presenter.key(),
        trust_rule: Some(&rule.name),
        agent_client: agent_client.as_ref(),
    };
    let tokens = Tokens::new(context, &grant, None, now)?;
    request.presenter.spend_proof(context).await?;
    federation::spend(context, token.issuer(), &verified, None, now).await?;
    let subject = owner.subject();
    telemetry::record_client(&subject, &user.org_id);
    telemetry::trust_matched(rule.name.as_str(), &subject);
    Ok(tokens)
}

/// Returns the rule that decides about an assertion, and the API that the token is for.
fn decide<'c>(
    context: &'c Context,
    token: &UnverifiedWorkloadToken<'c, '_>,
    verified: &WorkloadClaims,
    request: &IdentityAssertionRequest<'_>,
) -> Result<(&'c TrustRule, ConfiguredAudience<'c>), Error> {
    check_binding(&verified.claims, request)?;
    let rule = federation::decide(token, verified)?;
    if rule.audience != context.config.deployment.issuer {
        return Err(Refusal::TrustAudienceWrong.into());
    }
    let audience = federation::audience(context, rule, request.audience)?;
    check_resource(context, &verified.claims, audience)?;
    Ok((rule, audience))
}

impl ConfidentialClient {
    fn id(&self) -> ClientId {
        match self {
            Self::Agent(credentials) => credentials.id.into(),
            Self::App(assertion) => assertion.client.clone(),
        }
    }
}

/// Authenticates the client, and returns it if it is an agent.
async fn authenticate(
    context: &Context,
    request: &IdentityAssertionRequest<'_>,
    now: Timestamp,
) -> Result<Option<AgentRecord>, Error> {
    let address = request.presenter.address;
    match request.client {
        ConfidentialClient::Agent(credentials) => {
            agent_secret::authenticate(context, credentials, address, now).await.map(Some)
        }
        ConfidentialClient::App(assertion) => {
            let id = &assertion.client;
            client::authenticate(context, id, Some(assertion), true, address).await?;
            Ok(None)
        }
    }
}

/// Checks that the assertion is for the client that presents it, and for its key if it names one.
fn check_binding(
    claims: &Map<String, Value>,
    request: &IdentityAssertionRequest<'_>,
) -> Result<(), Refusal> {
    let client = claims.get("client_id").and_then(Value::as_str);
    if client != Some(request.client.id().as_str()) {
        return Err(Refusal::IdJagClientMismatch);
    }
    let Some(cnf) = claims.get("cnf").filter(|cnf| !cnf.is_null()) else { return Ok(()) };
    let key = request.presenter.key().map(ToString::to_string);
    match cnf.get("jkt").and_then(Value::as_str) {
        Some(bound) if key.as_deref() == Some(bound) => Ok(()),
        Some(_) | None => Err(Refusal::IdJagKeyMismatch),
    }
}

/// Checks that the resources of the assertion, if it names any, include that of the rule.
fn check_resource(
    context: &Context,
    claims: &Map<String, Value>,
    audience: ConfiguredAudience<'_>,
) -> Result<(), Error> {
    let named = match claims.get("resource") {
        None | Some(Value::Null) => return Ok(()),
        Some(Value::Array(all)) => all.iter().collect(),
        Some(one) => vec![one],
    };
    let is_for_it = named.into_iter().filter_map(Value::as_str).any(|uri| {
        let named = ConfiguredAudience::requested(&context.config, &[uri]);
        named.is_ok_and(|named| named.audience() == audience.audience())
    });
    if is_for_it {
        return Ok(());
    }
    let detail = "The identity assertion is for another resource than the trust rule: request one for the resource of the rule, or for none.";
    Err(Error::with_detail(Refusal::ResourceNotGranted, detail.into()))
}

/// Returns the user whom the assertion is about: one read.
async fn user(
    context: &Context,
    rule: &TrustRule,
    claims: &Map<String, Value>,
) -> Result<(Subject, ActiveUser), Error> {
    let TrustOwner::User { subject_prefix } = &rule.owner else {
        return Err(Refusal::TrustRuleUnmatched.into());
    };
    let config = &context.config;
    let subject = external::remove_user_id(&mut claims.clone(), &["sub"])
        .and_then(|id| config.external_subject(subject_prefix.as_str(), &id))
        .map_err(|_| Refusal::TrustSubjectInvalid)?;
    config.allowed_users.check(&subject, None)?;
    let member = context.store.membership(&subject).await?.ok_or(Refusal::IdJagUserUnknown)?;
    let user = UserStatus::new(config, member, None).active_or(Refusal::IdJagUserUnknown)?;
    Ok((subject, user))
}

/// Returns the scopes that the issuer, the rule and the role of the user have in common.
fn scopes(
    context: &Context,
    rule: &TrustRule,
    user: &ActiveUser,
    claims: &Map<String, Value>,
) -> Result<Scopes, Refusal> {
    let allowed = user.limit(&context.config, &rule.scopes);
    match claims.get("scope") {
        None | Some(Value::Null) => Ok(allowed),
        Some(Value::String(text)) => {
            let named = Scopes::parse(text).map_err(|_| Refusal::TrustTokenForged)?;
            Ok(named.intersection(&allowed))
        }
        Some(_) => Err(Refusal::TrustTokenForged),
    }
}
