//! The entries of the lists of credentials.

use jiff::Timestamp;
use postern::{
    core::{principal::Principal, subject::Subject},
    credential::CredentialKind,
    resource::{
        api_key::{ApiKeyView, PreviousSecret},
        cli_token::CliTokenView,
        last_use::LastUse,
        runner::RunnerView,
        service_account::ServiceAccountView,
    },
};

use crate::portal::{times::DisplayTime, view::scope_list};

/// An entry in the list.
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) name: String,
    /// The first and last characters of the secret.
    pub(crate) hint: String,
    pub(crate) scopes: Vec<String>,
    pub(crate) notes: Vec<String>,
    pub(crate) created: DisplayTime,
    /// Who created it, if a user did.
    pub(crate) creator: Option<String>,
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
    fn new(last: LastUse, now: Timestamp) -> Self {
        let at = last.last_used_at.map(|at| DisplayTime::by_the_hour(at, now));
        Self { at, from: last.last_used_from }
    }
}

/// The secret of a key before its last rotation, which still works.
pub(crate) struct PreviousSecretRow {
    pub(crate) expires: DisplayTime,
    pub(crate) used: UsedSecret,
}

impl PreviousSecretRow {
    fn new(previous: PreviousSecret, now: Timestamp) -> Option<Self> {
        let used = LastUse {
            last_used_at: previous.previous_last_used_at,
            last_used_from: previous.previous_last_used_from,
        };
        let expires = previous.previous_expires_at?;
        Some(Self { expires: DisplayTime::new(expires, now), used: UsedSecret::new(used, now) })
    }
}

/// The last reported state of a runner.
pub(crate) struct Runner {
    pub(crate) is_online: bool,
    pub(crate) status: String,
    pub(crate) version: String,
    pub(crate) seen: Option<DisplayTime>,
}

/// A view of a credential that has a row.
pub(crate) trait Listed {
    /// Returns the user who created it, if one did. `visitor` sees it.
    fn creator<'a>(&'a self, visitor: &'a Subject) -> Option<&'a Subject>;
    /// Returns its row, as it is `now`.
    fn row(self, now: Timestamp) -> Row;
}

/// Returns the row of a credential, as `visitor` sees it.
pub(crate) fn row(view: impl Listed, visitor: &Principal, now: Timestamp) -> Row {
    let creator = view.creator(&visitor.user_id);
    let can_change = visitor.check_can_change(creator).is_ok();
    let creator = creator.map(|creator| {
        if *creator == visitor.user_id { "you".to_owned() } else { creator.to_string() }
    });
    Row { can_change, creator, ..view.row(now) }
}

impl Row {
    fn new(id: String, name: String, hint: (String, String), created: DisplayTime) -> Self {
        let (prefix, last_four) = hint;
        Self {
            id,
            name,
            hint: format!("{}…{last_four}", prefix.chars().take(12).collect::<String>()),
            scopes: Vec::new(),
            notes: Vec::new(),
            created,
            creator: None,
            expires: None,
            used: None,
            previous: None,
            runner: None,
            can_change: true,
        }
    }

    /// Reports whether it can do everything, so that deleting it by mistake would be worst.
    pub(crate) fn opens_everything(&self) -> bool {
        opens_everything(&self.scopes)
    }
}

/// Reports whether a credential with these scopes can do everything.
pub(crate) fn opens_everything(scopes: &[String]) -> bool {
    scopes.iter().any(|scope| scope == "*")
}

impl Listed for ApiKeyView {
    fn creator<'a>(&'a self, _visitor: &'a Subject) -> Option<&'a Subject> {
        self.on_behalf_of.as_ref()
    }

    fn row(self, now: Timestamp) -> Row {
        let hint = (self.prefix, self.last_four);
        let created = DisplayTime::new(self.created_at, now);
        Row {
            scopes: scope_list(&self.scopes),
            notes: signature_note(self.require_signature).collect(),
            expires: self.expires_at.map(|end| DisplayTime::new(end, now)),
            used: Some(UsedSecret::new(self.last_use, now)),
            previous: PreviousSecretRow::new(self.previous, now),
            ..Row::new(self.id.to_string(), self.name, hint, created)
        }
    }
}

impl Listed for CliTokenView {
    fn creator<'a>(&'a self, visitor: &'a Subject) -> Option<&'a Subject> {
        Some(visitor)
    }

    fn row(self, now: Timestamp) -> Row {
        let repositories = self.repositories.into_iter().flatten();
        let hint = (self.prefix, self.last_four);
        let created = DisplayTime::new(self.created_at, now);
        Row {
            scopes: scope_list(&self.scopes),
            notes: repositories.chain(signature_note(self.require_signature)).collect(),
            expires: self.expires_at.map(|end| DisplayTime::new(end, now)),
            used: Some(UsedSecret::new(self.last_use, now)),
            ..Row::new(self.id.to_string(), self.name, hint, created)
        }
    }
}

impl<K: CredentialKind> Listed for ServiceAccountView<K> {
    fn creator<'a>(&'a self, _visitor: &'a Subject) -> Option<&'a Subject> {
        self.on_behalf_of.as_ref()
    }

    fn row(self, now: Timestamp) -> Row {
        let keys = match (&self.jwks, &self.jwks_uri) {
            (None, None) => None,
            (None, Some(_)) => Some("public keys at a URL"),
            (Some(_), _) => Some("public keys"),
        };
        let hint = self.prefix.zip(self.last_four).unwrap_or_default();
        let created = DisplayTime::new(self.created_at, now);
        let row = Row {
            scopes: scope_list(&self.scopes),
            expires: self.expires_at.map(|end| DisplayTime::new(end, now)),
            used: Some(UsedSecret::new(self.last_use, now)),
            ..Row::new(self.id.to_string(), self.name, hint, created)
        };
        match keys {
            None => row,
            Some(keys) => Row { hint: keys.to_owned(), ..row },
        }
    }
}

impl Listed for RunnerView {
    fn creator<'a>(&'a self, _visitor: &'a Subject) -> Option<&'a Subject> {
        self.on_behalf_of.as_ref()
    }

    fn row(self, now: Timestamp) -> Row {
        let hint = (self.prefix, self.last_four);
        let created = DisplayTime::new(self.created_at, now);
        Row {
            notes: self.labels,
            runner: Some(Runner {
                is_online: self.online,
                status: self.status.unwrap_or_default(),
                version: self.version.unwrap_or_default(),
                seen: self.last_seen_at.map(|seen| DisplayTime::new(seen, now)),
            }),
            expires: self.expires_at.map(|end| DisplayTime::new(end, now)),
            ..Row::new(self.id.to_string(), self.name, hint, created)
        }
    }
}

fn signature_note(is_required: bool) -> impl Iterator<Item = String> {
    is_required.then(|| "signed requests only".to_owned()).into_iter()
}
