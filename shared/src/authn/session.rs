//! Sessions of people: the cookie of a browser, or the same value forwarded in a header (CAT-5).

use async_trait::async_trait;

use super::{Outcome, Presented, Provider, outcome};
use crate::{
    app::App,
    credential::Session,
    error::{Error, Fault, Refusal},
    grant::{session::is_enrolled, upstream::keep_fresh},
    principal::{Kind, Principal},
    scope::Resources,
    store::session::{SessionRecord, Touch},
};

/// The name of the cookie. Its prefix makes browsers keep it to one host, and to TLS (RFC 6265bis §4.1.3.2).
pub const COOKIE: &str = "__Host-postern_session";
/// The idle clock is written once in so many parts of its length: not at every request.
const CLOCK_PARTS: i64 = 10;

/// Form and code without I/O, then one round trip for the session and its person's organization. Where the tokens of the issuer that
/// vouched for the person are due, one caller of all has them renewed.
#[derive(Debug)]
pub(super) struct Sessions;

#[async_trait]
impl Provider for Sessions {
    async fn authenticate(&self, app: &App, presented: &dyn Presented) -> Result<Outcome, Fault> {
        match find(app, presented) {
            Ok(Some(text)) => outcome(open(app, text).await.map(Outcome::Authenticated)),
            Ok(None) => Ok(Outcome::NotPresented),
            Err(refusal) => Ok(refusal.into()),
        }
    }
}

/// The session value that was presented: forwarded, or in the cookie. A browser sends the cookie whatever page asks, so there the page must be
/// ours.
///
/// # Errors
/// [`Refusal::OriginForeign`], [`Refusal::HeaderDoubled`]
pub fn find<'a>(app: &App, presented: &'a (dyn Presented + 'a)) -> Result<Option<&'a str>, Refusal> {
    if let Some(forwarded) = presented.header(&app.config.session_header) {
        return Ok(Some(forwarded));
    }
    cookie(app, presented)
}

/// The session value in the cookie.
pub(super) fn cookie<'a>(app: &App, presented: &'a (dyn Presented + 'a)) -> Result<Option<&'a str>, Refusal> {
    let Some(cookie) = presented.cookie(COOKIE)? else { return Ok(None) };
    // No CONNECT: any page may open a WebSocket, and talk over it with the cookie's rights.
    let is_safe = matches!(presented.method(), "GET" | "HEAD" | "OPTIONS");
    let is_foreign = presented.header("origin").is_some_and(|origin| !app.config.has_origin(origin));
    if is_foreign && !is_safe { Err(Refusal::OriginForeign) } else { Ok(Some(cookie)) }
}

pub(super) async fn open(app: &App, text: &str) -> Result<Principal, Error> {
    let value = Session::parse(&app.keyring, text)?;
    let now_ms = app.clock.now().as_millisecond();
    let (session, org_id) = app.store.session_and_organization(&value.id, &value.user_id).await?;
    let is_this = |session: &SessionRecord| {
        session.digest.matches(&value.digest) && session.user_id == value.user_id && now_ms < session.idle_expires_at_ms
    };
    let session = session.filter(is_this).ok_or(Refusal::SessionExpired)?;
    // Who was enrolled and has no organization any more was dismissed.
    if org_id.is_none() && is_enrolled(&session.user_id) {
        return Err(Refusal::SessionExpired.into());
    }
    keep_fresh(app, &session).await?;
    keep_alive(app, &session, now_ms).await?;
    Ok(Principal {
        user_id: session.user_id,
        kind: Kind::User,
        org_id,
        credential_id: session.id.to_string(),
        scopes: session.role.scopes(),
        resources: Resources::default(),
        on_behalf_of: None,
        metadata: session.metadata,
    })
}

async fn keep_alive(app: &App, session: &SessionRecord, now_ms: i64) -> Result<(), Error> {
    let idle_ms = app.config.lifetimes.session_idle * 1000;
    let next_end_ms = now_ms + idle_ms;
    if next_end_ms - session.idle_expires_at_ms < idle_ms / CLOCK_PARTS {
        return Ok(());
    }
    match app.store.touch_session(&session.id, next_end_ms, now_ms).await? {
        Touch::Extended => Ok(()),
        Touch::Ended => Err(Refusal::SessionExpired.into()),
    }
}
