//! The five pages of credentials: their names, the permissions they need, and the fields of
//! their forms.

use postern::core::permission::Permission;

use crate::portal::visitor::Visitor;

/// A kind of credential with a page of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum PageKind {
    ApiKeys,
    CliTokens,
    Agents,
    Services,
    Runners,
}

/// The texts and fields of a page.
pub(crate) struct CredentialPage {
    pub(crate) kind: PageKind,
    pub(crate) path: &'static str,
    pub(crate) title: &'static str,
    /// The name of one of them, for use within a sentence.
    pub(crate) one: &'static str,
    /// Their purpose, for the overview page.
    pub(crate) summary: &'static str,
    pub(crate) lead: &'static str,
    pub(crate) empty: &'static str,
    /// The permissions to list and to change them; `None` if every user is allowed to.
    pub(crate) reads: Option<Permission>,
    pub(crate) manages: Option<Permission>,
    /// The form for a new secret, if this kind of credential has one.
    pub(crate) renewal: Option<Renewal>,
    pub(crate) fields: Fields,
}

/// The form for a new secret.
pub(crate) struct Renewal {
    pub(crate) title: &'static str,
    pub(crate) text: &'static str,
    pub(crate) can_overlap: bool,
}

/// The fields of the form, besides the name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fields {
    Scopes,
    ScopesAndExpiry,
    ScopesRepositoriesAndExpiry,
    Labels,
}

pub(crate) const CREDENTIAL_PAGES: [CredentialPage; 5] = [
    CredentialPage {
        kind: PageKind::ApiKeys,
        path: "/keys",
        title: "API keys",
        one: "API key",
        summary: "Static keys for servers, cron jobs and integrations.",
        lead: "For servers, cron jobs and integrations. A key is shown once, and works until it expires or you delete it.",
        empty: "No API keys yet. Create one for a server or a job that calls your APIs.",
        reads: Some(Permission::KeysRead),
        manages: Some(Permission::KeysManage),
        renewal: Some(Renewal {
            title: "Rotate",
            text: "The key gets a new secret. The old one can keep working for a while, until the new one is deployed.",
            can_overlap: true,
        }),
        fields: Fields::ScopesAndExpiry,
    },
    CredentialPage {
        kind: PageKind::CliTokens,
        path: "/tokens",
        title: "CLI tokens",
        one: "CLI token",
        summary: "Your own keys for command-line tools and CI.",
        lead: "Your own keys for command-line tools and CI jobs: they act on your behalf, for all repositories or for some.",
        empty: "No CLI tokens yet. Create one for a tool that should act on your behalf.",
        reads: None,
        manages: None,
        renewal: None,
        fields: Fields::ScopesRepositoriesAndExpiry,
    },
    CredentialPage {
        kind: PageKind::Agents,
        path: "/agents",
        title: "Agents",
        one: "agent",
        summary: "Machines that exchange a secret for short-lived tokens.",
        lead: "Machines that exchange their secret for short-lived access tokens. Deleting one revokes all its tokens. Agents with public keys are created by the API.",
        empty: "No agents yet. Create one for a program that should use short-lived tokens.",
        reads: Some(Permission::AgentsRead),
        manages: Some(Permission::AgentsManage),
        renewal: Some(Renewal {
            title: "New secret",
            text: "The old secret, or the keys that the agent has instead, stops working at once, and so do all tokens of the agent. It gets new ones with the new secret.",
            can_overlap: false,
        }),
        fields: Fields::Scopes,
    },
    CredentialPage {
        kind: PageKind::Services,
        path: "/services",
        title: "Services",
        one: "service",
        summary: "Your own services, which call each other.",
        lead: "Your own services: each exchanges its key for five-minute tokens, which it uses to call the others.",
        empty: "No services yet. Create one for a service that calls another.",
        reads: Some(Permission::ServicesManage),
        manages: Some(Permission::ServicesManage),
        renewal: None,
        fields: Fields::Scopes,
    },
    CredentialPage {
        kind: PageKind::Runners,
        path: "/runners",
        title: "Runners",
        one: "runner",
        summary: "Self-hosted runners, and whether they are online.",
        lead: "Self-hosted runners send a heartbeat every 30 seconds. A runner is shown as offline after 90 seconds without one.",
        empty: "No runners yet. Create one, and start it with its token.",
        reads: Some(Permission::RunnersRead),
        manages: Some(Permission::RunnersManage),
        renewal: Some(Renewal {
            title: "New token",
            text: "The old token stops working at once. The runner needs the new one for its next heartbeat.",
            can_overlap: false,
        }),
        fields: Fields::Labels,
    },
];

impl CredentialPage {
    /// Reports whether the visitor is allowed to see it.
    pub(crate) fn is_visible_to(&self, visitor: &Visitor) -> bool {
        self.reads.is_none_or(|permission| visitor.has_permission(permission))
    }

    pub(crate) fn has_scopes(&self) -> bool {
        self.fields != Fields::Labels
    }

    pub(crate) fn has_labels(&self) -> bool {
        self.fields == Fields::Labels
    }

    pub(crate) fn has_repositories(&self) -> bool {
        self.fields == Fields::ScopesRepositoriesAndExpiry
    }

    pub(crate) fn has_expiry(&self) -> bool {
        matches!(self.fields, Fields::ScopesAndExpiry | Fields::ScopesRepositoriesAndExpiry)
    }

    /// Reports whether the list shows which of them are online.
    pub(crate) fn is_live(&self) -> bool {
        self.fields == Fields::Labels
    }
}
