//! Browser sessions: the session cookie, or its value forwarded in a header.

use async_trait::async_trait;
use jiff::Timestamp;

use super::{Outcome, Provider, check_origin, into_outcome};
use crate::{
    config::Config,
    context::Context,
    core::{
        error::{Error, Fault, Refusal},
        principal::{Principal, PrincipalKind},
        scope::ResourceLimits,
        subject::CredentialId,
    },
    credential::{SESSION_COOKIE, SessionToken},
    grant::{upstream_tokens::renew_if_due, user_status::UserStatus},
    http::{CredentialSource, Purpose},
    identity_provider::IdentityProviders,
    store::session::{ExtendSession, IDLE_STEPS, SessionRecord},
};

/// What a request means for its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// The user sent the request, which extends the session.
    Visit,
    /// An open page asks for its current content, which does not extend the session.
    Poll,
}

/// Verifies form and MAC without I/O, then reads the session and its user in one round trip. If the
/// tokens of the user's identity provider are due, exactly one caller renews them.
#[derive(Clone, Debug)]
pub(super) struct SessionProvider {
    header: String,
    identity_providers: IdentityProviders,
}

impl SessionProvider {
    pub(super) fn new(config: &Config, identity_providers: &IdentityProviders) -> Self {
        Self {
            header: config.session_header.to_string(),
            identity_providers: identity_providers.clone(),
        }
    }
}

#[async_trait]
impl Provider for SessionProvider {
    fn name(&self) -> &'static str {
        "session"
    }

    fn headers(&self) -> Vec<String> {
        vec![self.header.clone()]
    }

    async fn authenticate(
        &self,
        context: &Context,
        source: &dyn CredentialSource,
    ) -> Result<Outcome, Fault> {
        match presented_session(context, source) {
            Ok(Some(text)) => {
                let principal = match source.purpose() {
                    Purpose::Introspection => {
                        self.verify(context, text).await.map(|(_, principal)| principal)
                    }
                    Purpose::Use => self.keep(context, text, Activity::Visit).await,
                };
                into_outcome(principal.map(Outcome::Authenticated))
            }
            Ok(None) => Ok(Outcome::NotPresented),
            Err(refusal) => Ok(refusal.into()),
        }
    }
}

/// Returns the session value that was presented: in the header, or in the cookie. A browser sends
/// the cookie with requests of any page, so a request with the cookie must come from a page of
/// ours.
///
/// # Errors
/// [`Refusal::OriginNotAllowed`], [`Refusal::DuplicateHeader`]
pub fn presented_session<'a>(
    context: &Context,
    source: &'a (dyn CredentialSource + 'a),
) -> Result<Option<&'a str>, Refusal> {
    if let Some(forwarded) = source.header(context.config.session_header.as_str()) {
        return Ok(Some(forwarded));
    }
    cookie(context, source)
}

/// Returns the session value in the cookie.
pub(super) fn cookie<'a>(
    context: &Context,
    source: &'a (dyn CredentialSource + 'a),
) -> Result<Option<&'a str>, Refusal> {
    let Some(cookie) = source.cookie(SESSION_COOKIE)? else { return Ok(None) };
    check_origin(context, source)?;
    Ok(Some(cookie))
}

impl SessionProvider {
    /// Verifies a session, and does what the activity means for it.
    pub(super) async fn keep(
        &self,
        context: &Context,
        text: &str,
        activity: Activity,
    ) -> Result<Principal, Error> {
        let (session, principal) = self.verify(context, text).await?;
        renew_if_due(context, &self.identity_providers, &session).await?;
        match activity {
            Activity::Poll => {}
            Activity::Visit => keep_alive(context, &session, context.clock.now()).await?,
        }
        Ok(principal)
    }

    /// Returns the session and its user, and changes nothing.
    async fn verify(
        &self,
        context: &Context,
        text: &str,
    ) -> Result<(SessionRecord, Principal), Error> {
        let value = SessionToken::parse(&context.keyring, text)?;
        let (config, now) = (&context.config, context.clock.now());
        let (session, member) = context.store.session_and_member(&value.id, &value.user_id).await?;
        let is_this = |session: &SessionRecord| {
            session.digest.matches(&value.digest)
                && session.user_id == value.user_id
                && session.is_alive(&config.lifetimes, now)
        };
        let session = session.filter(is_this).ok_or(Refusal::SessionExpired)?;
        if !context.keyring.accepts_issued_at(session.created_at) {
            return Err(Refusal::SessionBeforeNotBefore.into());
        }
        // A user without an organization has been deleted.
        let member = member.ok_or(Refusal::SessionExpired)?;
        let user = UserStatus::new(config, member, Some(session.epoch))
            .active_or(Refusal::SessionExpired)?;
        let principal = Principal {
            user_id: session.user_id.clone(),
            kind: PrincipalKind::User,
            org_id: Some(user.org_id),
            credential_id: CredentialId::Session(session.id),
            scopes: user.scopes(config),
            resources: ResourceLimits::default(),
            on_behalf_of: None,
            actor: None,
            client_id: None,
            inherited: user.inherited(),
            metadata: user.metadata,
            expires_at: Some(session.idle_expires_at),
        };
        Ok((session, principal))
    }
}

async fn keep_alive(
    context: &Context,
    session: &SessionRecord,
    now: Timestamp,
) -> Result<(), Error> {
    let lifetimes = &context.config.lifetimes;
    let idle_expires_at = session.idle_expiry(lifetimes, now);
    let extension = idle_expires_at.duration_since(session.idle_expires_at);
    if extension < lifetimes.session_idle / IDLE_STEPS {
        return Ok(());
    }
    match context.store.extend_session(&session.id, idle_expires_at, now).await? {
        ExtendSession::Extended => Ok(()),
        ExtendSession::Ended => Err(Refusal::SessionExpired.into()),
    }
}
