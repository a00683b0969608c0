//! What a person holds: sessions in browsers, tokens on devices. And the first page.

use postern::{
    App, Error, Refusal,
    core::{
        id::{Family, Session},
        scope::Scopes,
    },
    http::{Request, Response, page},
    store::{Deletion, family::FamilyRecord, session::SessionRecord, time},
};

use crate::portal::{
    kinds::COLLECTIONS,
    view::{self, Card, Frame, Holding, Holdings, Moment},
    visitor::{self, forget},
};

/// `GET /`
pub(crate) async fn overview(app: &App, request: &Request) -> Result<Response, Error> {
    let visitor = visitor::signed_in!(app, request);
    let collections = COLLECTIONS.iter().filter(|collection| collection.is_open_to(&visitor));
    let cards = collections
        .map(|collection| Card {
            href: collection.path,
            title: collection.title,
            text: collection.summary,
        })
        .chain([
            Card {
                href: "/device",
                title: "Connect a device",
                text: "Enter the code that a tool in a terminal shows you.",
            },
            Card {
                href: "/sessions",
                title: "Sessions",
                text: "See where you are signed in, and sign out elsewhere.",
            },
        ])
        .collect();
    let view = view::Overview {
        frame: Frame::new(&visitor, "/"),
        user_id: visitor.principal.user_id.clone(),
        organization: visitor.principal.org_id.map(|id| id.to_string()).unwrap_or_default(),
        role: if visitor.principal.scopes.cover_all(&Scopes::all()) { "admin" } else { "user" },
        cards,
    };
    Ok(page::show(200, &view)?)
}

/// `GET /sessions`
pub(crate) async fn sessions(app: &App, request: &Request) -> Result<Response, Error> {
    let visitor = visitor::signed_in!(app, request);
    let done = is_ended(request)?.then_some("The session has ended.");
    let now_ms = app.context.clock.now().as_millisecond();
    let mut sessions = app.context.store.sessions_of(&visitor.principal.user_id, now_ms).await?;
    sessions.sort_by_key(|session| {
        (session.id.to_string() != visitor.principal.credential_id, -session.created_at_ms)
    });
    let holding = |session: SessionRecord| Holding {
        is_current: session.id.to_string() == visitor.principal.credential_id,
        id: session.id.to_string(),
        name: session.browser.as_deref().map_or_else(|| "A browser".into(), browser),
        facts: session.address.into_iter().map(|address| format!("from {address}")).collect(),
        scopes: Vec::new(),
        when: ("since", Moment::new(time(session.created_at_ms))),
    };
    let view = Holdings {
        frame: Frame::new(&visitor, "/sessions"),
        path: "/sessions",
        title: "Sessions",
        lead: "The browsers in which you are signed in. A session ends after some days without a visit, and at once when you sign out.",
        empty: "You are signed in nowhere.",
        end: "Sign out",
        rows: sessions.into_iter().map(holding).collect(),
        done,
    };
    Ok(page::show(200, &view)?)
}

/// `POST /sessions/{id}/end`
pub(crate) async fn end_session(app: &App, request: &Request) -> Result<Response, Error> {
    let visitor = visitor::signed_in!(app, request);
    visitor::form(app, request, &visitor)?;
    let id = request.path_id::<Session>()?;
    if app.context.store.end_session_of(&visitor.principal.user_id, &id).await? == Deletion::Unknown
    {
        return Err(Refusal::RecordUnknown.into());
    }
    match id.to_string() == visitor.principal.credential_id {
        true => Ok(forget(Response::see_other("/login?signed_out=1".into()))),
        false => Ok(Response::see_other("/sessions?done=ended".into())),
    }
}

/// `GET /devices`
pub(crate) async fn devices(app: &App, request: &Request) -> Result<Response, Error> {
    let visitor = visitor::signed_in!(app, request);
    let done = is_ended(request)?.then_some("The device is disconnected.");
    let now_ms = app.context.clock.now().as_millisecond();
    let families = app.context.store.families_of(&visitor.principal.user_id, now_ms).await?;
    let holding = |family: FamilyRecord| Holding {
        name: view::client_name(app, &family.client_id),
        is_current: false,
        facts: vec![format!("last from {}", family.rotated_from)],
        scopes: family.scopes.to_string().split_whitespace().map(str::to_owned).collect(),
        when: ("last used", Moment::new(time(family.rotated_at_ms))),
        id: family.id.to_string(),
    };
    let view = Holdings {
        frame: Frame::new(&visitor, "/devices"),
        path: "/devices",
        title: "Devices",
        lead: "Tools that act in your name: you approved them, or signed in there. Disconnecting one ends its tokens from the next request on.",
        empty: "No tool acts in your name. Start one in a terminal, and enter the code that it shows.",
        end: "Disconnect",
        rows: families.into_iter().map(holding).collect(),
        done,
    };
    Ok(page::show(200, &view)?)
}

/// `POST /devices/{id}/end`
pub(crate) async fn end_device(app: &App, request: &Request) -> Result<Response, Error> {
    let visitor = visitor::signed_in!(app, request);
    visitor::form(app, request, &visitor)?;
    let id = request.path_id::<Family>()?;
    let now_ms = app.context.clock.now().as_millisecond();
    match app.context.store.end_family_of(&visitor.principal.user_id, &id, now_ms).await? {
        Deletion::Deleted => Ok(Response::see_other("/devices?done=ended".into())),
        Deletion::Unknown => Err(Refusal::RecordUnknown.into()),
    }
}

/// Is this the page after something was ended? It can be loaded again, the form that ended it cannot.
fn is_ended(request: &Request) -> Result<bool, Error> {
    Ok(request.query("done")?.is_some_and(|done| done == "ended"))
}

/// What a browser is called by people, from what it calls itself. Told by its person's own eyes, so a guess is good enough.
fn browser(agent: &str) -> String {
    // In this order: most browsers call themselves by the names of others too.
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
