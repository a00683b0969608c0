//! What a credential is, for a caller of its organization or an API that accepts it (RFC 7662).
//!
//! 1. A refresh token is checked by its MAC, and must be the current one of its family. Every other
//!    credential is presented to the provider chain where its form belongs, as at every API. Asking
//!    is not using: nothing is written, and no signature can be presented.
//! 2. The allowed users, the audience and the expiry are checked.
//! 3. It must be a credential of the caller's organization, unless an API asks, with the scopes
//!    that the caller names.
//!
//! Whatever is refused on the way, the answer is the same. A failure of ours is not an answer.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{
    ProviderChain,
    access_token::{TokenGrant, agent_principal, user_principal},
};
use crate::{
    config::ConfiguredAudience,
    context::Context,
    core::{
        audience::RequiredAudience,
        caller_address::CallerAddress,
        credential_header::{AUTHORIZATION, RUNNER_TOKEN},
        error::{Error, Refusal},
        id::OrganizationId,
        principal::Principal,
        scope::Scopes,
        secret::Secret,
        subject::CredentialId,
    },
    credential::{RefreshToken, RunnerToken, SessionToken},
    crypto::{Digest, jwt},
    http::{CredentialSource, Purpose},
    store::{family::FamilyRecord, service_account::AgentRecord, token_owner::TokenOwner},
    token::{
        Claims, ServiceClaims, TokenClaims as _,
        introspection::{ActiveToken, Introspection, TokenUse},
        verify,
    },
};

/// The question about a credential.
#[derive(Debug)]
pub struct IntrospectionRequest<'a> {
    /// The credential.
    pub token: &'a Secret,
    /// The API that a token must be for.
    pub audience: RequiredAudience<'a>,
    /// The scopes that it must have.
    pub scopes: &'a Scopes,
    /// The address of its user, if whoever asks says it: a credential that is limited to networks
    /// is active only at an address in them.
    pub address: Option<&'a str>,
    /// The organization of the caller who asks; `None` for an API, which has users of all.
    pub organization: Option<OrganizationId>,
}

/// Answers `request`.
///
/// # Errors
/// [`Refusal::TokenKeyNotFetched`] if nothing is known about the token yet; a fault.
pub async fn introspect(
    context: &Context,
    providers: &ProviderChain,
    request: &IntrospectionRequest<'_>,
) -> Result<Introspection, Error> {
    let text = request.token.expose();
    let found = match RefreshToken::parse(&context.config.brand, &context.keyring, text) {
        Ok(token) => of_refresh_token(context, &token, request).await,
        Err(_) => of_other(context, providers, text, request).await,
    };
    match found.and_then(|token| check(context, token, request)) {
        Ok(token) => Ok(Introspection::active(token)),
        Err(error @ Error::Rejected(_)) if !error.is_temporary() => Ok(Introspection::inactive()),
        Err(error) => Err(error),
    }
}

/// Steps 2 and 3, of which nothing is logged: the line of the request names the caller who asks.
fn check(
    context: &Context,
    token: ActiveToken,
    request: &IntrospectionRequest<'_>,
) -> Result<ActiveToken, Error> {
    let principal = &token.principal;
    context.config.allowed_users.check(&principal.user_id, principal.on_behalf_of.as_ref())?;
    // Providers accept a token for a moment longer, because clocks differ.
    if principal.expires_at.is_some_and(|end| end <= context.clock.now()) {
        return Err(Refusal::TokenExpired.into());
    }
    if request.organization.is_some() && principal.org_id != request.organization {
        return Err(Refusal::RecordUnknown.into());
    }
    if principal.scopes.allows_all(request.scopes) {
        Ok(token)
    } else {
        Err(Refusal::ScopeInsufficient.into())
    }
}

fn active(principal: Principal, token_type: TokenUse, claims: Map<String, Value>) -> ActiveToken {
    let scope = principal.scopes.to_string();
    ActiveToken {
        scope: (!scope.is_empty()).then_some(scope),
        sub: principal.user_id.clone(),
        token_type,
        exp: principal.expires_at,
        claims,
        principal,
    }
}

/// A credential in the place where its form belongs.
struct IntrospectedToken<'a> {
    header: &'a str,
    value: String,
    request: &'a IntrospectionRequest<'a>,
}

impl<'a> IntrospectedToken<'a> {
    fn new(context: &'a Context, text: &str, request: &'a IntrospectionRequest<'a>) -> Self {
        let config = &context.config;
        let is_service_token = jwt::looks_like_jwt(text)
            && jwt::unverified_type(text).as_deref() == Some(ServiceClaims::TYPE);
        let header = if RunnerToken::has_prefix(&config.brand, text) {
            RUNNER_TOKEN
        } else if is_service_token {
            config.service_token_header.as_str()
        } else if SessionToken::parse(&context.keyring, text).is_ok() {
            config.session_header.as_str()
        } else {
            return Self { header: AUTHORIZATION, value: format!("Bearer {text}"), request };
        };
        Self { header, value: text.to_owned(), request }
    }

    fn token_type(&self) -> TokenUse {
        if self.header == AUTHORIZATION { TokenUse::Bearer } else { TokenUse::NotApplicable }
    }
}

impl CredentialSource for IntrospectedToken<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        (name == self.header).then_some(self.value.as_str())
    }

    fn method(&self) -> &str {
        "POST"
    }

    fn target(&self) -> Option<&str> {
        None
    }

    fn body_digest(&self) -> Option<Digest> {
        None
    }

    fn audience(&self) -> RequiredAudience<'_> {
        self.request.audience
    }

    fn deciding_address(&self) -> CallerAddress<'_> {
        self.request.address.into()
    }

    fn purpose(&self) -> Purpose {
        Purpose::Introspection
    }
}

/// Step 1, for every credential that is presented to an API.
async fn of_other(
    context: &Context,
    providers: &ProviderChain,
    text: &str,
    request: &IntrospectionRequest<'_>,
) -> Result<ActiveToken, Error> {
    // What no header can contain, no API can accept.
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Refusal::CredentialMalformed.into());
    }
    let source = IntrospectedToken::new(context, text, request);
    let (principal, _) = providers.identify(context, &source).await?;
    let claims = claims(context, text)?;
    let is_bound = claims.get("cnf").is_some_and(|cnf| !cnf.is_null());
    let token_type = if is_bound { TokenUse::Dpop } else { source.token_type() };
    Ok(active(principal, token_type, claims))
}

/// Returns the claims of a credential that the response repeats. A provider has verified them. Of
/// another issuer's, those are left out that could be taken for ids of ours.
///
/// # Errors
/// [`Refusal::TokenAudienceWrong`] for an access token for a resource that is no longer configured.
fn claims(context: &Context, text: &str) -> Result<Map<String, Value>, Refusal> {
    let config = &context.config;
    let issuer = &config.deployment.issuer;
    if !jwt::looks_like_jwt(text) {
        return Ok(Map::from_iter([("iss".into(), json!(issuer))]));
    }
    let mut claims = jwt::unverified_claims(text).unwrap_or_default();
    let is_ours = claims.get("iss").and_then(Value::as_str) == Some(issuer);
    if is_ours && jwt::unverified_type(text).as_deref() == Some(Claims::TYPE) {
        let audience = claims.get("aud").and_then(Value::as_str).unwrap_or_default();
        if !verify::is_known_audience(context, audience) {
            return Err(Refusal::TokenAudienceWrong);
        }
    }
    let names: &[&str] = if is_ours {
        &["act", "aud", "client_id", "cnf", "iat", "iss", "jti", "nbf"]
    } else {
        &["aud", "cnf", "iat", "iss", "nbf"]
    };
    claims.retain(|name, _| names.contains(&name.as_str()));
    Ok(claims)
}

/// Step 1, for a refresh token: one read of its family, and one of its owner.
async fn of_refresh_token(
    context: &Context,
    token: &RefreshToken,
    request: &IntrospectionRequest<'_>,
) -> Result<ActiveToken, Error> {
    let now = context.clock.now();
    let family = context.store.family(&token.family).await?;
    let is_current = |family: &FamilyRecord| {
        family.generation == token.generation
            && !family.has_other_key(token.generation, &token.kid)
            && context.keyring.accepts_issued_at(family.created_at())
            && family.is_alive(now)
    };
    let family = family.filter(is_current).ok_or(Refusal::FamilyInactive)?;
    if !context.config.accepts_client(&family.client_id) {
        return Err(Refusal::FamilyClientDenied.into());
    }
    let own = ConfiguredAudience::stored(&context.config, &family.audience)?;
    let is_for_it = match request.audience {
        RequiredAudience::Any => true,
        RequiredAudience::Only(audience) => own.audience() == *audience,
    };
    if !is_for_it {
        return Err(Refusal::TokenAudienceWrong.into());
    }
    let issuer = &context.config.deployment.issuer;
    let aud = match own {
        ConfiguredAudience::Issuer => issuer.as_str(),
        ConfiguredAudience::Resource(resource) => resource.uri.as_str(),
    };
    let mut claims = Map::from_iter([
        ("iss".into(), json!(issuer)),
        ("aud".into(), json!(aud)),
        ("client_id".into(), json!(family.client_id)),
        ("iat".into(), json!(family.rotated_at.as_second())),
    ]);
    if let Some(jkt) = &family.jkt {
        claims.insert("cnf".into(), json!({"jkt": jkt}));
    }
    let limited = own.limit(&family.scopes)?;
    let family = FamilyRecord { scopes: limited, ..family };
    let principal = owner(context, family, request.address.into(), now).await?;
    own.limit(&principal.scopes)?;
    Ok(active(principal, TokenUse::NotApplicable, claims))
}

/// Returns the principal of a family's access token, if it was presented now.
async fn owner(
    context: &Context,
    family: FamilyRecord,
    address: CallerAddress<'_>,
    now: Timestamp,
) -> Result<Principal, Error> {
    let owner = family.owner()?;
    let grant = TokenGrant {
        owner: owner.subject(),
        org_id: family.org_id,
        scopes: family.scopes,
        epoch: family.epoch,
        credential_id: CredentialId::Family(family.id),
        expires_at: family.idle_expires_at.min(family.absolute_expires_at),
        client_id: family.client_id,
    };
    let principal = match owner {
        TokenOwner::Agent(id) => {
            let agent = context.store.record::<AgentRecord>(&id, now).await?;
            agent_principal(context, agent, grant, address, now)
        }
        TokenOwner::Key { .. } | TokenOwner::Workload { .. } => Err(Refusal::FamilyOwnerDeleted),
        TokenOwner::User { user_id, .. } => {
            let member = context.store.membership(&user_id).await?;
            user_principal(context, member, grant)
        }
    };
    Ok(principal?)
}
