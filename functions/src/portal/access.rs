//! The pages that list who can act as the user: browsers, devices and apps.

use postern::{
    App, Error,
    http::{Request, Response, html},
};

use crate::portal::{
    form, submission,
    view::{AccessGroup, AccessPage, Layout},
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
    groups: Vec<AccessGroup>,
) -> Result<Response, Error> {
    let notice = |done: &str| {
        texts.notices.iter().find(|(name, _)| *name == done).map(|(_, notice)| *notice)
    };
    let done = form::notice(app, request, &visitor.principal, notice)?;
    let groups: Vec<_> = groups.into_iter().filter(|group| !group.rows.is_empty()).collect();
    let others = groups.iter().flat_map(|group| &group.rows).filter(|row| !row.is_current).count();
    let frame = Layout::new(visitor, texts.path);
    Ok(html::render(&AccessPage { frame, texts, groups, has_others: others > 0, done })?)
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
    submission::execute_repeatable(app, &visitor, &form, async || end(&visitor).await).await?;
    ended(texts)
}

/// Redirects to the page, which says that a row was ended.
pub(crate) fn ended(texts: &AccessTexts) -> Result<Response, Error> {
    Ok(Response::see_other(format!("{}?done=ended", texts.path))?)
}
