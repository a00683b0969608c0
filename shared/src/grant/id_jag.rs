//! Exchanging an identity assertion for an access token of a user, without asking the user
//! (draft-ietf-oauth-identity-assertion-authz-grant): the identity provider of an enterprise
//! decides which apps act for its users.
//!
//! 1. The form of the assertion, its issuer, audience and times. No I/O.
//! 2. The client, which authenticates with a key, and for which the assertion is.
//! 3. The signature, by a key of the issuer; then the rules about it.
//! 4. The user, who has signed in here: one read.
//! 5. The token is made. It is never renewed: the client requests another assertion.
//! 6. The assertion is spent, with one conditional write. Each is accepted once.

use serde_json::{Map, Value};

use super::{
    Tokens, client,
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
        scope::Scopes,
        secret::Secret,
        subject::Subject,
    },
    store::token_owner::TokenOwner,
    telemetry,
    token::{
        NewAccessToken, external,
        workload::{self, UnverifiedWorkloadToken},
    },
};

/// What a client is told whose assertion is refused.
const NOT_ACCEPTED: &str = "The identity assertion is not accepted: it must be current and unused, from a trusted issuer, for this deployment and this client, and about a user who has signed in here. The operator can see why with postern trust try.";

/// An identity assertion, and what is requested for it.
#[derive(Debug)]
pub struct IdentityAssertionRequest<'a> {
    /// The assertion.
    pub assertion: &'a Secret,
    /// The client, with what it authenticates with.
    pub client: &'a ClientAssertion,
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

/// Exchanges an identity assertion: one read, and one write besides that of the client.
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
    let (id, address) = (&request.client.client, request.presenter.address);
    client::authenticate(context, id, Some(request.client), true, address).await?;
    let verified = Box::pin(issuers.verify(context, text, &token, now)).await?;
    check_binding(&verified.claims, request)?;
    let rule = federation::decide(&token, &verified)?;
    if rule.audience != context.config.deployment.issuer {
        return Err(Refusal::TrustAudienceWrong.into());
    }
    let audience = federation::audience(context, rule, request.audience)?;
    check_resource(context, &verified.claims, audience)?;
    let (user_id, user) = user(context, rule, &verified.claims).await?;
    let scopes = scopes(context, rule, &user, &verified.claims)?;
    if audience.limit(&scopes)?.is_empty() {
        return Err(Refusal::ScopeNotGranted.into());
    }
    let scopes = audience.grant(&scopes, request.scopes)?;
    let owner = TokenOwner::User { user_id, client_id: id.clone() };
    let grant = NewAccessToken {
        owner: &owner,
        organization: user.org_id,
        audience,
        scopes: &scopes,
        family: None,
        epoch: user.epoch,
        not_after: rule.lifetime.map(|longest| after(now, longest)),
        key: request.presenter.key(),
        trust_rule: Some(&rule.name),
    };
    let tokens = Tokens::new(context, &grant, None, now)?;
    request.presenter.spend_proof(context).await?;
    federation::spend(context, token.issuer(), &verified, now).await?;
    let subject = owner.subject();
    telemetry::record_client(&subject, &user.org_id);
    telemetry::trust_matched(rule.name.as_str(), &subject);
    Ok(tokens)
}

/// Checks that the assertion is for the client that presents it, and for its key if it names one.
fn check_binding(
    claims: &Map<String, Value>,
    request: &IdentityAssertionRequest<'_>,
) -> Result<(), Refusal> {
    let client = claims.get("client_id").and_then(Value::as_str);
    if client != Some(request.client.client.as_str()) {
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
