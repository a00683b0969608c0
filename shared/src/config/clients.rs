//! `[clients]`: clients that no `[[client]]` lists, and clients that are refused.

use serde::Deserialize;

use super::{Config, PASSWORD_CLIENT};
use crate::core::{
    client_kind::ClientKind,
    client_url::{self, ClientUrl},
    id::ClientId,
    network::Destinations,
};

/// Every host.
const ANY_HOST: &str = "*";

/// Which clients are accepted without a `[[client]]`, and which are refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClientPolicy {
    /// The URLs that can be client ids.
    pub metadata_documents: DocumentHosts,
    /// Who can register a client.
    pub registration: Registration,
    /// The clients that are refused.
    pub denied: Vec<DeniedClient>,
}

/// Whose documents can be those of clients.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub enum DocumentHosts {
    /// Everybody's.
    Any,
    /// Those of some hosts, or some of their documents.
    Only(Vec<DocumentSource>),
}

/// Documents that can be those of clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DocumentSource {
    /// All of a host.
    Host(String),
    /// The one at a URL; below it too, if it ends in a slash.
    Url(ClientUrl),
}

/// An entry of `denied`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum DeniedClient {
    /// The client with this id.
    Id(ClientId),
    /// The client at this URL, with every query: the same server chooses what a query means.
    Url(ClientUrl),
    /// Every client at a URL of this host.
    Host(String),
}

/// Who can register a client (RFC 7591).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Registration {
    /// Nobody.
    #[default]
    Closed,
    /// Anyone.
    Open,
}

impl Default for DocumentHosts {
    fn default() -> Self {
        Self::Only(Vec::new())
    }
}

impl DocumentHosts {
    /// Reports whether it allows no document.
    pub fn is_none(&self) -> bool {
        match self {
            Self::Any => false,
            Self::Only(sources) => sources.is_empty(),
        }
    }

    fn allows(&self, presented: &ClientUrl) -> bool {
        match self {
            Self::Any => true,
            Self::Only(sources) => sources.iter().any(|source| source.allows(presented)),
        }
    }
}

impl DocumentSource {
    fn parse(entry: &str) -> Option<Self> {
        if client_url::is_host(entry) {
            Some(Self::Host(entry.to_owned()))
        } else {
            url(entry).map(Self::Url)
        }
    }

    fn allows(&self, presented: &ClientUrl) -> bool {
        match self {
            Self::Host(host) => host == presented.host(),
            Self::Url(url) if url.as_str().ends_with('/') => {
                // Some servers read an escape as a slash or a dot, and leave the folder.
                let rest = presented.as_str().strip_prefix(url.as_str());
                rest.is_some_and(|rest| !rest.contains('%'))
            }
            Self::Url(url) => url == presented,
        }
    }
}

impl TryFrom<Vec<String>> for DocumentHosts {
    type Error = String;

    fn try_from(entries: Vec<String>) -> Result<Self, String> {
        if entries.iter().any(|entry| entry == ANY_HOST) {
            return match entries.len() {
                1 => Ok(Self::Any),
                _ => {
                    Err("metadata_documents lists \"*\" and other hosts: list only one of both"
                        .into())
                }
            };
        }
        for (at, entry) in entries.iter().enumerate() {
            if entries[..at].contains(entry) {
                return Err(format!("{entry:?} is in metadata_documents twice"));
            }
        }
        let source = |entry: &String| {
            DocumentSource::parse(entry).ok_or_else(|| {
                format!(
                    "{entry:?} in metadata_documents is neither a host nor a URL: write the name of \
                     the host in lower case, without https://, port and path; or the URL of a \
                     document, or one that ends in a slash; or \"*\" for every host"
                )
            })
        };
        entries.iter().map(source).collect::<Result<_, _>>().map(Self::Only)
    }
}

impl DeniedClient {
    fn denies(&self, id: &ClientId, kind: &ClientKind<'_>) -> bool {
        match (self, kind) {
            (Self::Id(denied), _) => denied == id,
            (Self::Url(denied), ClientKind::Url(url)) => {
                denied.without_query() == url.without_query()
            }
            (Self::Host(host), ClientKind::Url(url)) => host == url.host(),
            // `localhost` can be an id too.
            (Self::Host(host), _) => host == id.as_str(),
            (
                Self::Url(_),
                ClientKind::Agent(_)
                | ClientKind::InvalidUrl
                | ClientKind::Listed
                | ClientKind::Registered(_),
            ) => false,
        }
    }
}

impl TryFrom<String> for DeniedClient {
    type Error = String;

    fn try_from(entry: String) -> Result<Self, String> {
        let is_letter = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if let Some(url) = url(&entry) {
            Ok(Self::Url(url))
        } else if client_url::is_host(&entry) {
            Ok(Self::Host(entry))
        } else if !entry.is_empty() && entry.bytes().all(is_letter) {
            Ok(Self::Id(entry.into()))
        } else {
            Err(format!(
                "{entry:?} in denied is not a client: write the id of a client, such as \
                 postern-cli, agt_… or https://app.example.com/client.json, or a host, such as \
                 app.example.com"
            ))
        }
    }
}

/// Returns the URL that an entry is.
fn url(entry: &str) -> Option<ClientUrl> {
    ClientUrl::parse(entry, Destinations::PublicAndLoopback)
}

impl Config {
    /// Returns the addresses to which we connect if a caller names the host.
    pub fn destinations(&self) -> Destinations {
        if self.deployment.is_local() {
            Destinations::PublicAndLoopback
        } else {
            Destinations::Public
        }
    }

    /// Reports whether `[clients]` refuses the client everywhere.
    pub fn is_denied(&self, id: &ClientId) -> bool {
        let kind = id.kind();
        self.client_policy.denied.iter().any(|denied| denied.denies(id, &kind))
    }

    /// Returns the URL of a client's metadata document, if the id of the client is one that is
    /// accepted.
    pub fn client_url(&self, id: &ClientId) -> Option<ClientUrl> {
        let ClientKind::Url(url) = id.kind() else { return None };
        let is_accepted = url.is_among(self.destinations())
            && self.client_policy.metadata_documents.allows(&url)
            && !self.is_denied(id);
        is_accepted.then_some(url)
    }

    /// Reports whether the client to which something was granted is still accepted: one that
    /// `[[client]]` or `[clients]` accepts, an agent, or the login with a password.
    pub fn accepts_client(&self, id: &ClientId) -> bool {
        match id.kind() {
            _ if self.is_denied(id) => false,
            ClientKind::Agent(_) => true,
            ClientKind::Listed => self.client(id).is_some() || id.as_str() == PASSWORD_CLIENT,
            ClientKind::Registered(_) => self.client_policy.registration == Registration::Open,
            ClientKind::Url(_) => self.client_url(id).is_some(),
            ClientKind::InvalidUrl => false,
        }
    }

    /// Reports whether `id` can be the id of an app, that is a client of users. Codes and refresh
    /// tokens name the client that they were issued to, so this says all that matters about one
    /// that redeems them.
    pub fn is_app(&self, id: &ClientId) -> bool {
        match id.kind() {
            ClientKind::Agent(_) | ClientKind::InvalidUrl => false,
            ClientKind::Listed => self.client(id).is_some(),
            ClientKind::Registered(_) | ClientKind::Url(_) => self.accepts_client(id),
        }
    }
}
