//! The data of the pages, in the form in which templates show it.

use crate::portal::{
    access::AccessTexts,
    clients::{ClientOrigin, ScopeInWords},
    credential_pages::CREDENTIAL_PAGES,
    visitor::Visitor,
};
use askama::Template;
use jiff::Timestamp;
use postern::{
    core::{principal::Principal, scope::Scopes, secret::Secret},
    credential::CredentialKind,
    resource::{
        api_key::{ApiKeyView, PreviousSecret},
        cli_token::CliTokenView,
        last_use::LastUse,
        runner::RunnerView,
        service_account::ServiceAccountView,
    },
};

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
        let links = pages
            .map(|page| link(page.path, page.title))
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

/// The overview page.
#[derive(Template)]
#[template(path = "overview.html")]
pub(crate) struct OverviewPage {
    pub(crate) frame: Layout,
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
    pub(crate) page: &'a crate::portal::credential_pages::CredentialPage,
    pub(crate) may_manage: bool,
    pub(crate) rows: Vec<Row>,
    pub(crate) next_cursor: Option<String>,
    pub(crate) is_first_page: bool,
    pub(crate) scopes: Vec<String>,
    pub(crate) values: FormValues,
    pub(crate) error: Option<String>,
    pub(crate) shown: Option<ShownOnce>,
    pub(crate) done: Option<&'a str>,
    pub(crate) is_unfinished: bool,
}

/// The values of a form that was refused, so that the user does not have to type them again.
#[derive(Default)]
pub(crate) struct FormValues {
    pub(crate) name: String,
    pub(crate) scopes: String,
    pub(crate) labels: String,
    pub(crate) repositories: String,
    pub(crate) expires_in_days: String,
    /// Whether the form is open.
    pub(crate) is_open: bool,
}

impl FormValues {
    /// Reports whether this scope was checked.
    fn has(&self, scope: &str) -> bool {
        self.scopes.split(' ').any(|ticked| ticked == scope)
    }

    /// Returns the choices of an expiry: the value, the text, and whether it was selected.
    fn expiries(&self) -> impl Iterator<Item = (&'static str, &'static str, bool)> {
        let choices = [
            ("", "never"),
            ("7", "in 7 days"),
            ("30", "in 30 days"),
            ("90", "in 90 days"),
            ("365", "in a year"),
        ];
        choices.into_iter().map(|(days, text)| (days, text, days == self.expires_in_days))
    }
}

/// A new secret, on the only page that ever shows it.
pub(crate) struct ShownOnce {
    pub(crate) what: String,
    pub(crate) secret: Secret,
    pub(crate) id: String,
    /// When the previous secret expires.
    pub(crate) overlap: Option<String>,
}

impl ShownOnce {
    /// Returns the secret, for the template.
    fn exposed(&self) -> &str {
        self.secret.expose()
    }
}

/// An entry in the list.
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) name: String,
    /// The first and last characters of the secret.
    pub(crate) hint: String,
    pub(crate) scopes: Vec<String>,
    pub(crate) notes: Vec<String>,
    pub(crate) created: DisplayTime,
    pub(crate) expires: Option<DisplayTime>,
    /// The last use of the secret; `None` for a runner, which shows when it was last seen.
    pub(crate) used: Option<UsedSecret>,
    pub(crate) previous: Option<PreviousSecretRow>,
    pub(crate) runner: Option<Runner>,
    /// Whether the visitor can renew and delete it, as far as its creator decides.
    pub(crate) can_change: bool,
}

/// The last use of a secret.
pub(crate) struct UsedSecret {
    pub(crate) at: Option<DisplayTime>,
    pub(crate) from: Option<String>,
}

impl UsedSecret {
    fn new(last: LastUse) -> Self {
        Self { at: last.last_used_at.map(DisplayTime::new), from: last.last_used_from }
    }
}

/// The secret of a key before its last rotation, which still works.
pub(crate) struct PreviousSecretRow {
    pub(crate) expires: DisplayTime,
    pub(crate) used: UsedSecret,
}

impl PreviousSecretRow {
    fn new(previous: PreviousSecret) -> Option<Self> {
        let used = LastUse {
            last_used_at: previous.previous_last_used_at,
            last_used_from: previous.previous_last_used_from,
        };
        let expires = previous.previous_expires_at.map(DisplayTime::new)?;
        Some(Self { expires, used: UsedSecret::new(used) })
    }
}

/// The last reported state of a runner.
pub(crate) struct Runner {
    pub(crate) is_online: bool,
    pub(crate) status: String,
    pub(crate) version: String,
    pub(crate) seen: Option<DisplayTime>,
}

/// A time, as text for people and in RFC 3339.
pub(crate) struct DisplayTime {
    pub(crate) text: String,
    pub(crate) exact: String,
}

impl DisplayTime {
    pub(crate) fn new(time: Timestamp) -> Self {
        Self { text: time.strftime("%-d %b %Y, %H:%M UTC").to_string(), exact: time.to_string() }
    }
}

impl Row {
    fn new(id: String, name: String, hint: (String, String), created: Timestamp) -> Self {
        let (prefix, last_four) = hint;
        Self {
            id,
            name,
            hint: format!("{}…{last_four}", prefix.chars().take(12).collect::<String>()),
            scopes: Vec::new(),
            notes: Vec::new(),
            created: DisplayTime::new(created),
            expires: None,
            used: None,
            previous: None,
            runner: None,
            can_change: true,
        }
    }
}

impl From<ApiKeyView> for Row {
    fn from(key: ApiKeyView) -> Self {
        Self {
            scopes: scope_list(&key.scopes),
            notes: signature_note(key.require_signature).collect(),
            expires: key.expires_at.map(DisplayTime::new),
            used: Some(UsedSecret::new(key.last_use)),
            previous: PreviousSecretRow::new(key.previous),
            ..Self::new(key.id.to_string(), key.name, (key.prefix, key.last_four), key.created_at)
        }
    }
}

impl From<CliTokenView> for Row {
    fn from(token: CliTokenView) -> Self {
        let repositories = token.repositories.into_iter().flatten();
        let hint = (token.prefix, token.last_four);
        Self {
            scopes: scope_list(&token.scopes),
            notes: repositories.chain(signature_note(token.require_signature)).collect(),
            expires: token.expires_at.map(DisplayTime::new),
            used: Some(UsedSecret::new(token.last_use)),
            ..Self::new(token.id.to_string(), token.name, hint, token.created_at)
        }
    }
}

impl<K: CredentialKind> From<ServiceAccountView<K>> for Row {
    fn from(account: ServiceAccountView<K>) -> Self {
        let keys = match (&account.jwks, &account.jwks_uri) {
            (None, None) => None,
            (None, Some(_)) => Some("public keys at a URL"),
            (Some(_), _) => Some("public keys"),
        };
        let secret = account.prefix.zip(account.last_four).unwrap_or_default();
        let row = Self {
            scopes: scope_list(&account.scopes),
            used: Some(UsedSecret::new(account.last_use)),
            ..Self::new(account.id.to_string(), account.name, secret, account.created_at)
        };
        match keys {
            None => row,
            Some(keys) => Self { hint: keys.to_owned(), ..row },
        }
    }
}

impl From<RunnerView> for Row {
    fn from(runner: RunnerView) -> Self {
        let hint = (runner.prefix, runner.last_four);
        Self {
            notes: runner.labels,
            runner: Some(Runner {
                is_online: runner.online,
                status: runner.status.unwrap_or_default(),
                version: runner.version.unwrap_or_default(),
                seen: runner.last_seen_at.map(DisplayTime::new),
            }),
            ..Self::new(runner.id.to_string(), runner.name, hint, runner.created_at)
        }
    }
}

fn signature_note(is_required: bool) -> impl Iterator<Item = String> {
    is_required.then(|| "signed requests only".to_owned()).into_iter()
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
    pub(crate) rows: Vec<AccessRow>,
    pub(crate) done: Option<&'static str>,
}

/// A browser, a device or an app.
pub(crate) struct AccessRow {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) is_current: bool,
    pub(crate) facts: Vec<String>,
    pub(crate) scopes: Vec<String>,
    /// The label of the time, and the time.
    pub(crate) when: (&'static str, DisplayTime),
}
