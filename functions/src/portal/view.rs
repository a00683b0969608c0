//! What pages are made of: their data, ready to be shown.

use askama::Template;
use jiff::Timestamp;
use postern::{App, core::principal::Principal};
use serde_json::Value;

use crate::portal::{kinds::COLLECTIONS, visitor::Visitor};

/// What stands around every page of a visitor.
pub(crate) struct Frame {
    pub(crate) person: String,
    pub(crate) links: Vec<Link>,
    pub(crate) csrf: String,
}

/// A link of the navigation.
pub(crate) struct Link {
    pub(crate) href: &'static str,
    pub(crate) title: &'static str,
    pub(crate) is_current: bool,
}

impl Frame {
    pub(crate) fn new(visitor: &Visitor, current: &str) -> Self {
        let link = |href, title| Link { href, title, is_current: href == current };
        let collections = COLLECTIONS.iter().filter(|collection| collection.is_open_to(visitor));
        let links = collections
            .map(|collection| link(collection.path, collection.title))
            .chain([link("/devices", "Devices"), link("/sessions", "Sessions")])
            .collect();
        Self { person: name(&visitor.principal), links, csrf: visitor.csrf.clone() }
    }
}

/// What a person is called: what they would call themselves, if we know it.
fn name(principal: &Principal) -> String {
    let known = ["name", "email", "login"]
        .into_iter()
        .find_map(|name| principal.metadata.get(name)?.as_str());
    known.unwrap_or(&principal.user_id).to_owned()
}

/// The first page.
#[derive(Template)]
#[template(path = "overview.html")]
pub(crate) struct Overview {
    pub(crate) frame: Frame,
    pub(crate) user_id: String,
    pub(crate) organization: String,
    pub(crate) role: &'static str,
    pub(crate) cards: Vec<Card>,
}

/// What one can do, and where.
pub(crate) struct Card {
    pub(crate) href: &'static str,
    pub(crate) title: &'static str,
    pub(crate) text: &'static str,
}

/// Signing in.
#[derive(Template)]
#[template(path = "login.html")]
pub(crate) struct Login<'a> {
    pub(crate) providers: Vec<(String, String)>,
    pub(crate) email: &'a str,
    pub(crate) next: &'a str,
    pub(crate) error: Option<&'a str>,
    pub(crate) notice: Option<&'a str>,
}

/// A list of credentials, and the form for a new one.
#[derive(Template)]
#[template(path = "collection.html")]
pub(crate) struct Collected<'a> {
    pub(crate) frame: Frame,
    pub(crate) of: &'a crate::portal::kinds::Collection,
    pub(crate) may_manage: bool,
    pub(crate) rows: Vec<Row>,
    pub(crate) next_cursor: Option<String>,
    pub(crate) is_first_page: bool,
    pub(crate) scopes: Vec<String>,
    pub(crate) given: Given,
    pub(crate) error: Option<String>,
    pub(crate) shown: Option<ShownOnce>,
    pub(crate) done: Option<&'a str>,
}

/// What was typed, so that nobody has to type it again.
#[derive(Default)]
pub(crate) struct Given {
    pub(crate) name: String,
    pub(crate) scopes: String,
    pub(crate) labels: String,
    pub(crate) repositories: String,
    /// Is the form shown?
    pub(crate) is_open: bool,
}

impl Given {
    /// Was this scope ticked?
    fn has(&self, scope: &str) -> bool {
        self.scopes.split(' ').any(|ticked| ticked == scope)
    }
}

/// A secret, on the one page that ever shows it.
pub(crate) struct ShownOnce {
    pub(crate) what: String,
    pub(crate) secret: String,
    pub(crate) id: String,
    /// Until when the one before works.
    pub(crate) overlap: Option<String>,
}

/// One of a list.
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) name: String,
    /// How the secret begins and ends.
    pub(crate) hint: String,
    pub(crate) scopes: Vec<String>,
    pub(crate) notes: Vec<String>,
    pub(crate) created: Moment,
    pub(crate) expires: Option<Moment>,
    pub(crate) runner: Option<Runner>,
}

/// A runner, as it was heard last.
pub(crate) struct Runner {
    pub(crate) is_online: bool,
    pub(crate) status: String,
    pub(crate) version: String,
    pub(crate) seen: Option<Moment>,
}

/// A time: for people, and for their programs.
pub(crate) struct Moment {
    pub(crate) text: String,
    pub(crate) exact: String,
}

impl Moment {
    pub(crate) fn new(time: Timestamp) -> Self {
        Self { text: time.strftime("%-d %b %Y, %H:%M UTC").to_string(), exact: time.to_string() }
    }

    fn of(value: &Value) -> Option<Self> {
        Some(Self::new(value.as_str()?.parse().ok()?))
    }
}

impl Row {
    /// A row of an item that one of our lists answered.
    pub(crate) fn of(item: &Value) -> Self {
        let text = |name: &str| item[name].as_str().unwrap_or_default().to_owned();
        let list = |value: &Value| -> Vec<String> {
            value
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect()
        };
        let mut notes = list(&item["labels"]);
        notes.extend(list(&item["repositories"]));
        if item["require_signature"] == true {
            notes.push("signed requests only".into());
        }
        let runner = item.get("online").map(|online| Runner {
            is_online: online == true,
            status: text("status"),
            version: text("version"),
            seen: Moment::of(&item["last_seen_at"]),
        });
        Self {
            id: text("id"),
            name: text("name"),
            hint: format!(
                "{}…{}",
                text("prefix").chars().take(12).collect::<String>(),
                text("last_four")
            ),
            scopes: list(&item["scopes"]),
            notes,
            created: Moment::of(&item["created_at"])
                .unwrap_or_else(|| Moment::new(Timestamp::UNIX_EPOCH)),
            expires: Moment::of(&item["expires_at"]),
            runner,
        }
    }
}

/// A device that waits, or the form to find it.
#[derive(Template)]
#[template(path = "device.html")]
pub(crate) struct Device {
    pub(crate) frame: Frame,
    pub(crate) user_code: String,
    pub(crate) error: Option<String>,
    pub(crate) waiting: Option<Waiting>,
    pub(crate) done: Option<&'static str>,
}

/// What a person is asked about.
pub(crate) struct Waiting {
    pub(crate) client: String,
    pub(crate) address: String,
    pub(crate) scopes: Vec<String>,
    pub(crate) can_be_granted: bool,
}

/// What a person holds in browsers or on devices.
#[derive(Template)]
#[template(path = "holdings.html")]
pub(crate) struct Holdings {
    pub(crate) frame: Frame,
    pub(crate) path: &'static str,
    pub(crate) title: &'static str,
    pub(crate) lead: &'static str,
    pub(crate) empty: &'static str,
    pub(crate) end: &'static str,
    pub(crate) rows: Vec<Holding>,
    pub(crate) done: Option<&'static str>,
}

/// One of them.
pub(crate) struct Holding {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) is_current: bool,
    pub(crate) facts: Vec<String>,
    pub(crate) scopes: Vec<String>,
    /// What happened then, and when.
    pub(crate) when: (&'static str, Moment),
}

/// The name of a client of the configuration.
pub(crate) fn client_name(app: &App, id: &str) -> String {
    match app.context.config.client(id) {
        Some(client) => client.name.clone(),
        None if id == "password" => "Signed in with a password".into(),
        None => id.to_owned(),
    }
}
