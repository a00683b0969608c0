//! The data of the pages, in the form in which templates show it.

use crate::portal::{
    access::AccessTexts,
    clients::{ClientOrigin, ScopeInWords},
    credential_pages::{CREDENTIAL_PAGES, CredentialPage},
    fields::{DEFAULT_EXPIRY, EXPIRIES},
    form_error::{Field, FormError},
    people,
    rows::Row,
    scope_choices::ScopePicker,
    snippets::Snippet,
    times::DisplayTime,
    visitor::Visitor,
};
use askama::Template;
use postern::core::{principal::Principal, scope::Scopes, secret::Secret};

/// The header and navigation of every page of a visitor.
pub(crate) struct Layout {
    pub(crate) person: String,
    pub(crate) links: Vec<Link>,
    pub(crate) csrf: String,
}

/// A link in the navigation.
pub(crate) struct Link {
    pub(crate) href: &'static str,
    pub(crate) title: &'static str,
    pub(crate) is_current: bool,
}

impl Layout {
    pub(crate) fn new(visitor: &Visitor, current: &str) -> Self {
        let link = |href, title| Link { href, title, is_current: href == current };
        let pages = CREDENTIAL_PAGES.iter().filter(|page| page.is_visible_to(visitor));
        let people = people::is_visible_to(visitor).then(|| link(people::PATH, "People"));
        let links = pages
            .map(|page| link(page.path, page.title))
            .chain(people)
            .chain([
                link("/apps", "Apps"),
                link("/devices", "Devices"),
                link("/sessions", "Sessions"),
            ])
            .collect();
        Self { person: name(&visitor.principal), links, csrf: visitor.csrf.clone() }
    }
}

/// Returns the user's name, email address or login if known, otherwise the user id.
fn name(principal: &Principal) -> String {
    let known = ["name", "email", "email_unverified", "login"]
        .into_iter()
        .find_map(|name| principal.metadata.get(name)?.as_str());
    known.map_or_else(|| principal.user_id.to_string(), str::to_owned)
}

/// The users of an organization.
#[derive(Template)]
#[template(path = "people.html")]
pub(crate) struct PeoplePage {
    pub(crate) frame: Layout,
    pub(crate) rows: Vec<PersonRow>,
    pub(crate) next_cursor: Option<String>,
    pub(crate) is_first_page: bool,
    /// Whether the form is open, and what was entered.
    pub(crate) is_open: bool,
    pub(crate) email: String,
    pub(crate) is_admin: bool,
    pub(crate) error: Option<FormError>,
    pub(crate) shown: Option<ShownInvitation>,
    pub(crate) done: Option<&'static str>,
    pub(crate) is_unfinished: bool,
}

/// A user in the list.
pub(crate) struct PersonRow {
    pub(crate) id: String,
    pub(crate) email: String,
    pub(crate) is_you: bool,
    pub(crate) is_admin: bool,
    pub(crate) is_disabled: bool,
    pub(crate) created: DisplayTime,
}

/// A new invitation, on the only page that ever shows it.
pub(crate) struct ShownInvitation {
    /// The address of the page that accepts it, up to the invitation itself.
    pub(crate) page: String,
    pub(crate) secret: Secret,
    /// The email address of its user.
    pub(crate) what: String,
    pub(crate) until: Option<DisplayTime>,
}

impl ShownInvitation {
    /// Returns the invitation, for the template.
    fn exposed(&self) -> &str {
        self.secret.expose()
    }
}

/// The page on which a user sets a password with an invitation.
#[derive(Template)]
#[template(path = "invitation.html")]
pub(crate) struct InvitationPage<'a> {
    pub(crate) invitation: Secret,
    pub(crate) error: Option<&'a str>,
}

impl InvitationPage<'_> {
    /// Returns the invitation, for the template.
    fn exposed(&self) -> &str {
        self.invitation.expose()
    }
}

/// The user's own account.
#[derive(Template)]
#[template(path = "account.html")]
pub(crate) struct AccountPage {
    pub(crate) frame: Layout,
    pub(crate) user_id: String,
    pub(crate) organization: String,
    pub(crate) role: &'static str,
    /// Whether the user signs in with a password.
    pub(crate) has_password: bool,
    pub(crate) is_current_wrong: bool,
    pub(crate) error: Option<String>,
    pub(crate) done: Option<&'static str>,
}

/// The overview page.
#[derive(Template)]
#[template(path = "overview.html")]
pub(crate) struct OverviewPage<'a> {
    pub(crate) frame: Layout,
    pub(crate) next: Option<NextStep>,
    pub(crate) expiring: Vec<ExpiringRow<'a>>,
    pub(crate) user_id: String,
    pub(crate) organization: String,
    pub(crate) role: &'static str,
    pub(crate) cards: Vec<Card>,
}

/// A link to another page, with a description.
pub(crate) struct Card {
    pub(crate) href: &'static str,
    pub(crate) title: &'static str,
    pub(crate) text: &'static str,
    /// How many records the page lists.
    pub(crate) count: Option<String>,
}

/// What a visitor can do next.
pub(crate) struct NextStep {
    pub(crate) href: &'static str,
    pub(crate) title: &'static str,
    pub(crate) text: &'static str,
}

/// A credential that expires soon.
pub(crate) struct ExpiringRow<'a> {
    pub(crate) page: &'static CredentialPage,
    pub(crate) id: &'a str,
    pub(crate) name: &'a str,
    pub(crate) expires: &'a DisplayTime,
}

/// The sign-in page.
#[derive(Template)]
#[template(path = "login.html")]
pub(crate) struct LoginPage<'a> {
    pub(crate) providers: Vec<(String, String)>,
    pub(crate) email: &'a str,
    pub(crate) next: &'a str,
    /// The organization of users who have to name it.
    pub(crate) organization: &'a str,
    pub(crate) error: Option<&'a str>,
    pub(crate) notice: Option<&'a str>,
}

/// The page between a sign-in and an app.
#[derive(Template)]
#[template(path = "continue.html")]
pub(crate) struct ContinuePage<'a> {
    pub(crate) next: &'a str,
}

/// A list of credentials, and the form to create one.
#[derive(Template)]
#[template(path = "credentials.html")]
pub(crate) struct CredentialListPage<'a> {
    pub(crate) frame: Layout,
    pub(crate) page: &'a CredentialPage,
    pub(crate) may_manage: bool,
    pub(crate) rows: Vec<Row>,
    pub(crate) next_cursor: Option<String>,
    pub(crate) is_first_page: bool,
    pub(crate) scopes: ScopePicker,
    pub(crate) values: FormValues,
    pub(crate) error: Option<FormError>,
    pub(crate) shown: Option<ShownSecret>,
    pub(crate) done: Option<&'a str>,
    pub(crate) is_unfinished: bool,
    /// The first day on which a new credential can expire.
    pub(crate) tomorrow: String,
}

impl CredentialListPage<'_> {
    /// Returns what is wrong with a field of the form.
    fn error_of(&self, field: Field) -> Option<&str> {
        let error = self.error.as_ref().filter(|error| error.field == Some(field));
        error.map(FormError::sentence)
    }

    /// Returns what is wrong, if it is none of the fields of the form.
    fn other_error(&self) -> Option<&str> {
        let error = self.error.as_ref().filter(|error| error.field.is_none());
        error.map(FormError::sentence)
    }
}

/// The values of a form that was refused, so that the user does not have to type them again.
#[derive(Default)]
pub(crate) struct FormValues {
    pub(crate) name: String,
    /// The scopes that were checked.
    pub(crate) checked: Vec<String>,
    /// Those that were typed.
    pub(crate) scopes: String,
    pub(crate) labels: String,
    pub(crate) repositories: String,
    pub(crate) expires_in_days: String,
    pub(crate) expires_on: String,
    /// Whether the form is open.
    pub(crate) is_open: bool,
}

impl FormValues {
    /// Reports whether this scope was checked.
    pub(crate) fn has(&self, scope: &str) -> bool {
        self.checked.iter().any(|checked| checked == scope)
    }

    /// Returns the choices of an expiry: the value, the text, and whether it is selected.
    fn expiries(&self) -> impl Iterator<Item = (&'static str, &'static str, bool)> {
        let selected = match self.expires_in_days.as_str() {
            "" => DEFAULT_EXPIRY,
            days => days,
        };
        EXPIRIES.into_iter().map(move |(days, text)| (days, text, days == selected))
    }
}

/// A new secret, on the only page that ever shows it.
pub(crate) struct ShownSecret {
    pub(crate) what: String,
    pub(crate) secret: Secret,
    pub(crate) id: String,
    /// When the previous secret expires.
    pub(crate) overlap: Option<DisplayTime>,
    pub(crate) snippets: Vec<Snippet>,
}

impl ShownSecret {
    /// Returns the secret, for the template.
    fn exposed(&self) -> &str {
        self.secret.expose()
    }
}

/// Returns the scopes as a list.
pub(crate) fn scope_list(scopes: &Scopes) -> Vec<String> {
    scopes.to_string().split_whitespace().map(str::to_owned).collect()
}

/// A device that is waiting for approval, or the form to enter its code.
#[derive(Template)]
#[template(path = "device.html")]
pub(crate) struct DevicePage {
    pub(crate) frame: Layout,
    pub(crate) user_code: String,
    pub(crate) error: Option<String>,
    pub(crate) waiting: Option<PendingDevice>,
    pub(crate) done: Option<&'static str>,
    /// Whether a device was approved or denied.
    pub(crate) is_decided: bool,
}

/// A device that is waiting for approval.
pub(crate) struct PendingDevice {
    pub(crate) client: String,
    pub(crate) origin: ClientOrigin,
    /// The name of the API that it asks for.
    pub(crate) api: String,
    pub(crate) address: String,
    pub(crate) scopes: Vec<ScopeInWords>,
    /// The scopes, which the form repeats.
    pub(crate) shown_scope: String,
    pub(crate) can_be_granted: bool,
}

/// Where the user goes after the decision.
pub(crate) enum AfterConsent {
    /// To a program on this machine, at this host.
    Program(String),
    /// To the site at this host.
    Site(String),
    /// To the list of what they have allowed.
    Stay,
}

/// What a client asks a user for.
#[derive(Template)]
#[template(path = "consent.html")]
pub(crate) struct ConsentPage {
    pub(crate) frame: Layout,
    pub(crate) notice: Option<&'static str>,
    pub(crate) client: String,
    pub(crate) origin: ClientOrigin,
    /// Where the form is sent.
    pub(crate) action: &'static str,
    pub(crate) after: AfterConsent,
    pub(crate) api: String,
    pub(crate) api_uri: Option<String>,
    pub(crate) scopes: Vec<ScopeInWords>,
    /// The parameters of the request and what the page shows, which the form repeats.
    pub(crate) fields: Vec<(String, String)>,
}

/// The browsers, devices or apps that can act as a user.
#[derive(Template)]
#[template(path = "access.html")]
pub(crate) struct AccessPage {
    pub(crate) frame: Layout,
    pub(crate) texts: &'static AccessTexts,
    pub(crate) groups: Vec<AccessGroup>,
    /// Whether there are others than the current one.
    pub(crate) has_others: bool,
    pub(crate) done: Option<&'static str>,
}

/// Rows under a heading, which is empty if there is only one group.
pub(crate) struct AccessGroup {
    pub(crate) title: &'static str,
    pub(crate) rows: Vec<AccessRow>,
}

/// A browser, a device or an app.
pub(crate) struct AccessRow {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) is_current: bool,
    pub(crate) facts: Vec<String>,
    pub(crate) scopes: Vec<String>,
    /// Times with their labels.
    pub(crate) times: Vec<(&'static str, DisplayTime)>,
}
