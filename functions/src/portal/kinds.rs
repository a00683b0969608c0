//! What the five collections of the portal are called, what they need, and what their forms ask for.

use crate::portal::visitor::Visitor;
use postern::core::permission::Permission;

/// A kind of credential with a page of its own.
pub(crate) struct Collection {
    pub(crate) path: &'static str,
    pub(crate) title: &'static str,
    /// What one of them is called, in a sentence.
    pub(crate) one: &'static str,
    /// What they are for, on the first page.
    pub(crate) summary: &'static str,
    pub(crate) lead: &'static str,
    pub(crate) empty: &'static str,
    /// Our own route.
    pub(crate) api: &'static str,
    pub(crate) api_one: &'static str,
    /// The member of its answers that holds the secret.
    pub(crate) secret: &'static str,
    /// Scopes that reading and managing need; none where being a person is enough.
    pub(crate) reads: Option<Permission>,
    pub(crate) manages: Option<Permission>,
    /// What a new secret is asked for by, and what that is called.
    pub(crate) renewal: Option<Renewal>,
    pub(crate) asks_for: Fields,
}

pub(crate) struct Renewal {
    pub(crate) api: &'static str,
    pub(crate) title: &'static str,
    pub(crate) text: &'static str,
    pub(crate) can_overlap: bool,
}

/// What the form asks for, besides a name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fields {
    Scopes,
    ScopesAndEnd,
    ScopesRepositoriesAndEnd,
    Labels,
}

pub(crate) const COLLECTIONS: [Collection; 5] = [
    Collection {
        path: "/keys",
        title: "API keys",
        one: "API key",
        summary: "Static keys for servers, cron jobs and integrations.",
        lead: "For programs that are not a person: servers, cron jobs, integrations. A key is shown once, and works until you delete it.",
        empty: "No API key yet. Make the first one for a server or a job that calls your APIs.",
        api: "/v1/keys",
        api_one: "/v1/keys/{id}",
        secret: "key",
        reads: Some(Permission::KeysRead),
        manages: Some(Permission::KeysManage),
        renewal: Some(Renewal {
            api: "/v1/keys/{id}/rotate",
            title: "Rotate",
            text: "The key gets a new secret. Let the old one work for a while, until the new one is deployed.",
            can_overlap: true,
        }),
        asks_for: Fields::ScopesAndEnd,
    },
    Collection {
        path: "/tokens",
        title: "CLI tokens",
        one: "CLI token",
        summary: "Your own keys for command-line tools and CI.",
        lead: "Your own keys for command-line tools and CI jobs: they act in your name, for all repositories or for some.",
        empty: "No CLI token yet. Make one for a tool that should act in your name.",
        api: "/v1/auth/cli-tokens",
        api_one: "/v1/auth/cli-tokens/{id}",
        secret: "token",
        reads: None,
        manages: None,
        renewal: None,
        asks_for: Fields::ScopesRepositoriesAndEnd,
    },
    Collection {
        path: "/agents",
        title: "Agents",
        one: "agent",
        summary: "Machines that exchange a secret for short tokens.",
        lead: "Machines that exchange their secret for access tokens of an hour. Deleting one ends all that it holds.",
        empty: "No agent yet. Make one for a program that should work with short tokens.",
        api: "/v1/agents",
        api_one: "/v1/agents/{id}",
        secret: "secret",
        reads: Some(Permission::AgentsRead),
        manages: Some(Permission::AgentsManage),
        renewal: Some(Renewal {
            api: "/v1/agents/{id}/secret",
            title: "New secret",
            text: "The old secret stops working at once. Tokens that it got go on until they end.",
            can_overlap: false,
        }),
        asks_for: Fields::Scopes,
    },
    Collection {
        path: "/services",
        title: "Services",
        one: "service",
        summary: "Your own services, which speak to one another.",
        lead: "Your own services: each exchanges its key for tokens of five minutes, which it shows to the others.",
        empty: "No service yet. Make one for a service of yours that calls another.",
        api: "/v1/services",
        api_one: "/v1/services/{id}",
        secret: "key",
        reads: Some(Permission::ServicesManage),
        manages: Some(Permission::ServicesManage),
        renewal: None,
        asks_for: Fields::Scopes,
    },
    Collection {
        path: "/runners",
        title: "Runners",
        one: "runner",
        summary: "Self-hosted runners, and whether they are alive.",
        lead: "Self-hosted runners report every half minute. One that was not heard for a minute and a half counts as offline.",
        empty: "No runner yet. Make one, and start it with its token.",
        api: "/v1/runners",
        api_one: "/v1/runners/{id}",
        secret: "token",
        reads: Some(Permission::RunnersRead),
        manages: Some(Permission::RunnersManage),
        renewal: Some(Renewal {
            api: "/v1/runners/{id}/token",
            title: "New token",
            text: "The old token stops working at once: the runner needs the new one to be heard again.",
            can_overlap: false,
        }),
        asks_for: Fields::Labels,
    },
];

impl Collection {
    /// May the visitor see it?
    pub(crate) fn is_open_to(&self, visitor: &Visitor) -> bool {
        self.reads.is_none_or(|permission| visitor.may(permission))
    }

    pub(crate) fn asks_for_scopes(&self) -> bool {
        self.asks_for != Fields::Labels
    }

    pub(crate) fn asks_for_labels(&self) -> bool {
        self.asks_for == Fields::Labels
    }

    pub(crate) fn asks_for_repositories(&self) -> bool {
        self.asks_for == Fields::ScopesRepositoriesAndEnd
    }

    pub(crate) fn asks_for_end(&self) -> bool {
        matches!(self.asks_for, Fields::ScopesAndEnd | Fields::ScopesRepositoriesAndEnd)
    }

    /// Are what it lists told as living or not?
    pub(crate) fn is_live(&self) -> bool {
        self.asks_for == Fields::Labels
    }
}
