//! The browsers in which a user is signed in.

use postern::{
    App, Error,
    core::id::Session,
    http::{Request, Response},
    resource::session::{self, SessionView},
};

use crate::portal::{
    access::{self, AccessTexts},
    form, submission,
    times::DisplayTime,
    view::{AccessGroup, AccessRow},
    visitor::{self, Visitor, clear_session_cookie},
};

const TEXTS: AccessTexts = AccessTexts {
    path: "/sessions",
    title: "Sessions",
    lead: "The browsers in which you are signed in. A session ends when you sign out, or after some days without a visit.",
    empty: "You have no active sessions.",
    end: "Sign out",
    notices: &[
        ("ended", "The session has ended."),
        ("ended_others", "You are signed out in all other browsers."),
    ],
};

/// `GET /sessions`: shows the user's sessions.
pub(crate) async fn page(app: &App, request: &Request) -> Result<Response, Error> {
    let visitor = visitor::visitor_or_sign_in!(app, request);
    let sessions = session::list(&app.context, &visitor.principal).await?;
    let (now, step) = (app.context.clock.now(), SessionView::step(&app.context));
    let row = |session: SessionView| AccessRow {
        is_current: session.is_current,
        id: session.id.to_string(),
        name: session.browser.as_deref().map_or_else(|| "A browser".into(), browser),
        facts: session.address.into_iter().map(|address| format!("from {address}")).collect(),
        scopes: Vec::new(),
        times: vec![
            ("signed in", DisplayTime::new(session.created_at, now)),
            ("last seen", DisplayTime::in_steps(session.last_seen_at, now, step)),
        ],
    };
    let rows = sessions.into_iter().map(row).collect();
    access::show(app, request, &visitor, &TEXTS, vec![AccessGroup { title: "", rows }])
}

/// `POST /sessions`: ends the sessions in all other browsers.
pub(crate) async fn end_others(app: &App, request: &Request) -> Result<Response, Error> {
    let visitor = visitor::visitor_or_sign_in!(app, request);
    let form = form::form_or_return!(app, request, &visitor);
    let end = async || session::end_others(&app.context, &visitor.principal).await;
    submission::execute_repeatable(app, &visitor, &form, end).await?;
    Ok(Response::see_other("/sessions?done=ended_others".into())?)
}

/// `POST /sessions/{id}/end`: ends a session.
pub(crate) async fn end(app: &App, request: &Request) -> Result<Response, Error> {
    let visitor = visitor::visitor_or_sign_in!(app, request);
    let form = form::form_or_return!(app, request, &visitor);
    let end = async || end_one(app, request, &visitor).await;
    match submission::execute_repeatable(app, &visitor, &form, end).await? {
        Some(SessionEnd::Own) => {
            Ok(clear_session_cookie(Response::see_other("/login?signed_out=1".into())?)?)
        }
        Some(SessionEnd::Other) | None => access::ended(&TEXTS),
    }
}

/// Whose session a form ended.
enum SessionEnd {
    /// The session of this request.
    Own,
    Other,
}

/// Ends the session in the path.
async fn end_one(app: &App, request: &Request, visitor: &Visitor) -> Result<SessionEnd, Error> {
    let id = request.path_id::<Session>()?;
    let is_own = session::end(&app.context, &visitor.principal, &id).await?;
    Ok(if is_own { SessionEnd::Own } else { SessionEnd::Other })
}

/// Returns a readable browser name guessed from the `User-Agent`, for display only.
fn browser(agent: &str) -> String {
    // The order matters: most browsers also name other browsers.
    const BROWSERS: [(&str, &str); 6] = [
        ("Edg/", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
        ("curl/", "curl"),
    ];
    const SYSTEMS: [(&str, &str); 6] = [
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Android", "Android"),
        ("Windows", "Windows"),
        ("Mac OS X", "macOS"),
        ("Linux", "Linux"),
    ];
    let find = |known: &[(&str, &'static str)]| {
        known.iter().find(|(mark, _)| agent.contains(mark)).map(|(_, name)| *name)
    };
    match (find(&BROWSERS), find(&SYSTEMS)) {
        (Some(browser), Some(system)) => format!("{browser} on {system}"),
        (Some(browser), None) => browser.to_owned(),
        (None, Some(system)) => format!("A browser on {system}"),
        (None, None) => "A browser".to_owned(),
    }
}
