//! The overview page.

use postern::{
    App, Error,
    core::scope::Scopes,
    http::{Request, Response, html},
};

use crate::portal::{
    credential_pages::CREDENTIAL_PAGES,
    view::{self, Card, Layout},
    visitor,
};

/// `GET /`: shows the links to all pages of the visitor.
pub(crate) async fn overview(app: &App, request: &Request) -> Result<Response, Error> {
    let visitor = visitor::visitor_or_sign_in!(app, request);
    let pages = CREDENTIAL_PAGES.iter().filter(|page| page.is_visible_to(&visitor));
    let cards = pages
        .map(|page| Card { href: page.path, title: page.title, text: page.summary })
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
    let view = view::OverviewPage {
        frame: Layout::new(&visitor, "/"),
        user_id: visitor.principal.user_id.to_string(),
        organization: visitor.principal.org_id.map(|id| id.to_string()).unwrap_or_default(),
        role: if visitor.principal.scopes.allows_all(&Scopes::all()) { "admin" } else { "user" },
        cards,
    };
    Ok(html::render(&view)?)
}
