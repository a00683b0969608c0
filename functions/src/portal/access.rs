//! The pages that list who can act as the user: browsers, devices and apps.

use postern::{
    App, Error,
    http::{Request, Response, html},
};

use crate::portal::{
    form, submission,
    view::{AccessPage, AccessRow, Layout},
    visitor::{self, Visitor},
};

/// The texts of a page.
pub(crate) struct AccessTexts {
    pub(crate) path: &'static str,
    pub(crate) title: &'static str,
    pub(crate) lead: &'static str,
    pub(crate) empty: &'static str,
    /// The button of a row.
    pub(crate) end: &'static str,
    /// What the page says after a form, by the name in `?done=`: `ended` after a row was ended.
    pub(crate) notices: &'static [(&'static str, &'static str)],
}

/// Shows the page.
pub(crate) fn show(
    app: &App,
    request: &Request,
    visitor: &Visitor,
    texts: &'static AccessTexts,
    rows: Vec<AccessRow>,
) -> Result<Response, Error> {
    let notice = |done: &str| {
        texts.notices.iter().find(|(name, _)| *name == done).map(|(_, notice)| *notice)
    };
    let done = form::notice(app, request, &visitor.principal, notice)?;
    Ok(html::render(&AccessPage { frame: Layout::new(visitor, texts.path), texts, rows, done })?)
}

/// Executes the form of a row: `end` ends the access in the path.
pub(crate) async fn end(
    app: &App,
    request: &Request,
    texts: &AccessTexts,
    end: impl AsyncFnOnce(&Visitor) -> Result<(), Error>,
) -> Result<Response, Error> {
    let visitor = visitor::visitor_or_sign_in!(app, request);
    let form = form::form_or_return!(app, request, &visitor);
    submission::execute_deletion(app, &visitor, &form, async || end(&visitor).await).await?;
    ended(texts)
}

/// Redirects to the page, which says that a row was ended.
pub(crate) fn ended(texts: &AccessTexts) -> Result<Response, Error> {
    Ok(Response::see_other(format!("{}?done=ended", texts.path))?)
}
