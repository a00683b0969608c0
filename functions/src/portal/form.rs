//! The forms of pages: protection against cross-site request forgery, and forms that are sent too
//! late.
//!
//! Every page has a token, `{session}.{user}.{time}.{random}.{MAC}`, which its forms contain. The
//! MAC proves that we made the page for this user, and that no other site made the browser send the
//! form. A form of the user's earlier session, of no session, or of a page that was open for too
//! long is not executed: the user returns to the page, with what they entered. The link to it has a
//! MAC too, so that no other site can fill in our forms.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use form_urlencoded::Serializer;
use jiff::Timestamp;
use postern::{
    App, Error, Fault, Refusal,
    core::{entropy::BASE62, principal::Principal, secret::Secret},
    crypto::Digest,
    grant::{
        agent_consent::AGENT_CONSENT_PAGE,
        authorization_parameters::{AUTHORIZATION_ENDPOINT, AuthorizationParameters},
    },
    http::{Form, Request, Response},
    store::form::FORM_LIFETIME,
};

/// Separates these tokens from other MACs of the same key, and names their field.
const CSRF: &str = "csrf";
/// The length of the random part, with more than 128 bits.
const RANDOM_LEN: usize = 24;
/// The maximum length of what is kept of a form, in bytes.
const LONGEST_KEPT: usize = 1_500;
/// The fields that are kept. None of them is secret.
const KEPT: [&str; 10] = [
    "name",
    "scopes",
    "repositories",
    "labels",
    "expires_in_days",
    "expires_on",
    "user_code",
    "overlap_s",
    "email",
    "role",
];
/// The prefix of a checkbox for a scope, which is kept too.
pub(crate) const SCOPE: &str = "scope.";
/// The parameter of a page to which a user returns with a form, and the purpose of its MAC.
const RESUME: &str = "resume";

/// What a page says about a form that was not executed.
pub(crate) const NOT_SENT: &str = "Nothing was changed: you were signed out, or the page was open for too long. Check what you entered, and send it again.";

/// The form of a page that was shown to this visitor.
pub(crate) struct ReceivedForm {
    pub(crate) fields: Form,
    /// A digest of the token and the path. It names the form in the URL of the next page.
    pub(crate) id: String,
    /// When the page was shown.
    pub(crate) issued: Timestamp,
}

/// A form, or a redirect to its page.
pub(crate) enum FormCheck {
    Received(ReceivedForm),
    Stale(Response),
}

/// Returns a token for the forms of one page.
pub(crate) fn token(app: &App, visitor: &Principal) -> Result<String, Fault> {
    let context = &app.context;
    let random = context.entropy.random_string(BASE62, RANDOM_LEN)?;
    let (session, user) = (&visitor.credential_id, user(visitor));
    let text = format!("{session}.{user}.{}.{random}", context.clock.now().as_second());
    let tag = BASE64URL.encode(context.keyring.sign_for(CSRF, &text)?);
    Ok(format!("{text}.{tag}"))
}

/// Returns a short name of the user, without characters that have a meaning in a token.
fn user(visitor: &Principal) -> String {
    let digest = Digest::of(visitor.user_id.to_string().as_bytes());
    BASE64URL.encode(&digest.bytes()[..12])
}

/// The token of a page that we made.
struct PageToken<'t> {
    text: &'t str,
    session: &'t str,
    user: &'t str,
    issued: Timestamp,
}

/// Returns the token in a form, if its MAC is valid.
fn page_token<'t>(app: &App, fields: &'t Form) -> Option<PageToken<'t>> {
    let (text, tag) = fields.get(CSRF)?.expose().rsplit_once('.')?;
    if !is_signed(app, CSRF, text, tag) {
        return None;
    }
    let mut parts = text.split('.');
    let (session, user, issued) = (parts.next()?, parts.next()?, parts.next()?);
    let issued = Timestamp::from_second(issued.parse().ok()?).ok()?;
    Some(PageToken { text, session, user, issued })
}

fn is_signed(app: &App, purpose: &str, text: &str, tag: &str) -> bool {
    let tag = BASE64URL.decode(tag).ok().and_then(|tag| tag.try_into().ok());
    tag.is_some_and(|tag| app.context.keyring.verifies_for(purpose, text, &tag))
}

/// Parses the form of a page.
///
/// # Errors
/// [`Refusal::CsrfTokenWrong`] if no page of ours for this user contained it.
pub(crate) fn check(app: &App, request: &Request, visitor: &Principal) -> Result<FormCheck, Error> {
    let fields = request.form()?;
    let is_theirs = |token: &PageToken<'_>| token.user == user(visitor);
    let token = page_token(app, &fields).filter(is_theirs).ok_or(Refusal::CsrfTokenWrong)?;
    let is_current = token.session == visitor.credential_id.to_string()
        && app.context.clock.now().duration_since(token.issued) < FORM_LIFETIME;
    if !is_current {
        return Ok(FormCheck::Stale(Response::see_other(page_with(app, request, &fields)?)?));
    }
    let id = Digest::of(format!("{} {}", token.text, request.path()).as_bytes());
    let (id, issued) = (BASE64URL.encode(id.bytes()), token.issued);
    Ok(FormCheck::Received(ReceivedForm { fields, id, issued }))
}

/// Returns the page of a form that was not executed, with what its user entered. Only the user to
/// whom we showed the form can see what was entered.
pub(crate) fn page_with(app: &App, request: &Request, fields: &Form) -> Result<String, Fault> {
    let path = request.path();
    if let Some(page) =
        [AUTHORIZATION_ENDPOINT, AGENT_CONSENT_PAGE].into_iter().find(|page| *page == path)
    {
        let sent = AuthorizationParameters::from_form(request, fields);
        return Ok(sent.map_or_else(|_| "/".into(), |sent| sent.target_at(page)));
    }
    let page = match path.split('/').nth(1).unwrap_or_default() {
        "logout" => return Ok("/".into()),
        page => format!("/{page}"),
    };
    let Some(PageToken { user, .. }) = page_token(app, fields) else { return Ok(page) };
    // Only the forms that have no record in their path contain what users typed.
    let is_kept = |name: &str| KEPT.contains(&name) || name.starts_with(SCOPE);
    let kept = fields.iter().filter(|(name, _)| page == path && is_kept(name));
    let mut query = Serializer::new(String::new());
    query.extend_pairs(kept.map(|(name, value)| (name, value.expose())));
    // A redirect accepts only characters without a meaning of their own.
    let mut query = query.finish().replace('*', "%2A");
    if query.len() > LONGEST_KEPT {
        query.clear();
    }
    Ok(format!("{page}?{}", sign_query(app, user, &page, &query)?))
}

/// Returns a query with one more parameter: the MAC of the user, the page and the query.
fn sign_query(app: &App, user: &str, page: &str, query: &str) -> Result<String, Fault> {
    let tag = app.context.keyring.sign_for(RESUME, &format!("{user} {page}?{query}"))?;
    let separator = if query.is_empty() { "" } else { "&" };
    Ok(format!("{query}{separator}{RESUME}={}", BASE64URL.encode(tag)))
}

/// Returns the query that [`sign_query`] received, if its last parameter is the MAC.
fn verify_query<'q>(app: &App, user: &str, page: &str, signed: &'q str) -> Option<&'q str> {
    let (query, tag) = split_signed(signed)?;
    is_signed(app, RESUME, &format!("{user} {page}?{query}"), tag).then_some(query)
}

/// Splits a signed query at its last parameter, which contains the MAC.
fn split_signed(signed: &str) -> Option<(&str, &str)> {
    let (query, parameter) = signed.rsplit_once('&').unwrap_or(("", signed));
    let (name, tag) = parameter.split_once('=')?;
    (name == RESUME).then_some((query, tag))
}

/// Returns what the visitor entered in a form that was not executed, if they return with it.
pub(crate) fn resumed(app: &App, request: &Request, visitor: &Principal) -> Option<Form> {
    let query = request.target().split_once('?')?.1;
    let kept = verify_query(app, &user(visitor), request.path(), query)?;
    let fields = form_urlencoded::parse(kept.as_bytes());
    Some(fields.map(|(name, value)| (name.into_owned(), Secret::new(value.into_owned()))).collect())
}

/// Returns the notice of a page after a form: the one for what the form did, or that it was not
/// executed.
pub(crate) fn notice(
    app: &App,
    request: &Request,
    visitor: &Principal,
    done: impl Fn(&str) -> Option<&'static str>,
) -> Result<Option<&'static str>, Error> {
    if resumed(app, request, visitor).is_some() {
        return Ok(Some(NOT_SENT));
    }
    // Ignored if another site linked to the page.
    let is_ours = !matches!(request.header("sec-fetch-site"), Some("cross-site" | "same-site"));
    Ok(request.query("done")?.filter(|_| is_ours).and_then(|name| done(&name)))
}

/// Returns the text of a field, or an empty string.
pub(crate) fn field<'a>(form: &'a Form, name: &str) -> &'a str {
    form.get(name).map_or("", Secret::expose).trim()
}

/// Returns the form, or makes the handler return a redirect to its page.
macro_rules! form_or_return {
    ($app:expr, $request:expr, $visitor:expr) => {
        match crate::portal::form::check($app, $request, &$visitor.principal)? {
            crate::portal::form::FormCheck::Received(form) => form,
            crate::portal::form::FormCheck::Stale(response) => return Ok(response),
        }
    };
}
pub(crate) use form_or_return;

#[cfg(test)]
mod tests {
    use super::split_signed;

    #[test]
    fn the_mac_of_a_query_can_contain_the_name_of_its_parameter() {
        for (signed, expected) in [
            ("resume=AresumeB", Some(("", "AresumeB"))),
            ("name=x&resume=resume", Some(("name=x", "resume"))),
            ("name=resume&resume=AB", Some(("name=resume", "AB"))),
            ("resume", None),
            ("resume=AB&name=x", None),
            ("name=x&presume=AB", None),
        ] {
            assert_eq!(split_signed(signed), expected, "{signed}");
        }
    }
}
