//! The overview page.

use postern::{
    App, Error,
    http::{Request, Response, html},
};

use crate::portal::{
    account,
    credential_pages::{CREDENTIAL_PAGES, CredentialPage, PageKind},
    credentials, people,
    rows::Row,
    view::{self, Card, ExpiringRow, Layout, NextStep},
    visitor::{self, Visitor},
};

/// How many credentials of a kind are counted.
const MOST_COUNTED: &str = "100";
/// How many credentials that expire soon are listed.
const MOST_EXPIRING: usize = 5;

/// The credentials of a page that the visitor sees: up to as many as are counted.
struct Counted {
    page: &'static CredentialPage,
    rows: Vec<Row>,
    has_more: bool,
}

/// `GET /`: shows what the visitor has, what expires soon, and what to do next.
pub(crate) async fn overview(app: &App, request: &Request) -> Result<Response, Error> {
    let visitor = visitor::visitor_or_sign_in!(app, request);
    let [keys, tokens, agents, services, runners] = &CREDENTIAL_PAGES;
    let count = |page| Box::pin(count(app, &visitor, page));
    let counted = tokio::try_join!(
        count(keys),
        count(tokens),
        count(agents),
        count(services),
        count(runners)
    )?;
    let (keys, tokens, agents, services, runners) = counted;
    let counted = [keys, tokens, agents, services, runners].into_iter().flatten();
    let counted: Vec<Counted> = counted.collect();
    let view = view::OverviewPage {
        frame: Layout::new(&visitor, "/"),
        next: next_step(&visitor, &counted),
        expiring: expiring(&counted),
        user_id: visitor.principal.user_id.to_string(),
        organization: visitor.principal.org_id.map(|id| id.to_string()).unwrap_or_default(),
        role: account::role(&visitor).as_str(),
        cards: cards(&visitor, &counted),
    };
    Ok(html::render(&view)?)
}

/// Returns the credentials of a page, unless the visitor is not allowed to see it.
async fn count(
    app: &App,
    visitor: &Visitor,
    page: &'static CredentialPage,
) -> Result<Option<Counted>, Error> {
    if !page.is_visible_to(visitor) {
        return Ok(None);
    }
    let (rows, next) =
        credentials::rows(app, visitor, page.kind, (Some(MOST_COUNTED), None)).await?;
    Ok(Some(Counted { page, rows, has_more: next.is_some() }))
}

fn cards(visitor: &Visitor, counted: &[Counted]) -> Vec<Card> {
    let of_page = |counted: &Counted| {
        let plus = if counted.has_more { "+" } else { "" };
        Card {
            href: counted.page.path,
            title: counted.page.title,
            text: counted.page.summary,
            count: Some(format!("{}{plus}", counted.rows.len())),
        }
    };
    let card = |href, title, text| Card { href, title, text, count: None };
    let people = people::is_visible_to(visitor).then(|| {
        card(people::PATH, "People", "Invite users, and decide what they are allowed to do.")
    });
    let others = [
        card("/device", "Connect a device", "Enter the code that a tool in a terminal shows you."),
        card("/sessions", "Sessions", "See where you are signed in, and sign out elsewhere."),
    ];
    counted.iter().map(of_page).chain(people).chain(others).collect()
}

/// Returns what expires soon, the first first.
fn expiring(counted: &[Counted]) -> Vec<ExpiringRow<'_>> {
    let rows = counted.iter().flat_map(|of| of.rows.iter().map(move |row| (of.page, row)));
    let expiring = rows.filter_map(|(page, row)| {
        let expires = row.expires.as_ref().filter(|expires| expires.is_soon)?;
        Some(ExpiringRow { page, id: &row.id, name: &row.name, expires })
    });
    let mut expiring: Vec<_> = expiring.collect();
    expiring.sort_by(|one, other| one.expires.exact.cmp(&other.expires.exact));
    expiring.truncate(MOST_EXPIRING);
    expiring
}

/// Returns what a visitor who has not done much can do next.
fn next_step(visitor: &Visitor, counted: &[Counted]) -> Option<NextStep> {
    let is_manageable = |page: &CredentialPage| {
        page.manages.is_none_or(|permission| visitor.has_permission(permission))
    };
    let of = |kind| counted.iter().find(|counted| counted.page.kind == kind);
    let number = |kind| of(kind).map_or(0, |counted| counted.rows.len());
    // An organization has a key from the beginning.
    let has_begun = number(PageKind::ApiKeys) > 1
        || [PageKind::Agents, PageKind::CliTokens].into_iter().any(|kind| number(kind) > 0);
    if has_begun {
        return None;
    }
    let step = |href, title, text| Some(NextStep { href, title, text });
    if of(PageKind::ApiKeys).is_some_and(|counted| is_manageable(counted.page)) {
        step(
            "/keys",
            "Create an API key for your first server or job",
            "It is shown with lines to paste for curl, Python, TypeScript and more.",
        )
    } else {
        step(
            "/tokens",
            "Create a CLI token for your first tool",
            "It is shown with lines to paste for curl, Python, TypeScript and more.",
        )
    }
}
