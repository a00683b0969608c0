//! `[clients]`: clients that no `[[client]]` lists, and clients that are refused.

use serde::Deserialize;

use super::{Config, PASSWORD_CLIENT, setting};
use crate::core::{
    client_url::{self, ClientUrl},
    error::Fault,
    id::{AgentId, ClientId},
    network::Destinations,
};

/// What the ids of clients begin with that registered themselves.
pub const REGISTERED_PREFIX: &str = "dyn_";
/// Every host.
const ANY_HOST: &str = "*";

/// Which clients are accepted without a `[[client]]`, and which are refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClientPolicy {
    /// The URLs that can be client ids: hosts, which stand for all of their URLs, single URLs, and
    /// URLs that end in a slash, which stand for those below them. Or `*` for all.
    pub metadata_documents: Vec<String>,
    /// Who can register a client.
    pub registration: Registration,
    /// The ids of clients that are refused, and hosts, which stand for all of their URLs.
    pub denied: Vec<String>,
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

impl ClientPolicy {
    pub(super) fn validate(&self) -> Result<(), Fault> {
        let hosts = &self.metadata_documents;
        for (at, host) in hosts.iter().enumerate() {
            if host == ANY_HOST && hosts.len() > 1 {
                return refuse(
                    "metadata_documents lists \"*\" and other hosts: list only one of both",
                );
            }
            if host != ANY_HOST && !client_url::is_host(host) && url(host).is_none() {
                return refuse(&format!(
                    "{host:?} in metadata_documents is neither a host nor a URL: write the name of the \
                     host in lower case, without https://, port and path; or the URL of a document, \
                     or one that ends in a slash; or \"*\" for every host"
                ));
            }
            if hosts[..at].contains(host) {
                return refuse(&format!("{host:?} is in metadata_documents twice"));
            }
        }
        match self.denied.iter().find(|entry| !is_client(entry)) {
            None => Ok(()),
            Some(entry) => refuse(&format!(
                "{entry:?} in denied is not a client: write the id of a client, such as \
                 postern-cli, agt_… or https://app.example.com/client.json, or a host, such as \
                 app.example.com"
            )),
        }
    }

    fn allows(&self, presented: &ClientUrl) -> bool {
        self.metadata_documents.iter().any(|allowed| {
            allowed == ANY_HOST
                || allowed == presented.host()
                || allowed == presented.as_str()
                || presented.as_str().strip_prefix(allowed.as_str()).is_some_and(|rest| {
                    // Some servers read an escape as a slash or a dot, and leave the folder.
                    allowed.contains("://") && allowed.ends_with('/') && !rest.contains('%')
                })
        })
    }
}

fn is_client(entry: &str) -> bool {
    let is_word = |text: &str| {
        let is_letter = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        !text.is_empty() && text.bytes().all(is_letter)
    };
    is_word(entry) || client_url::is_host(entry) || url(entry).is_some()
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

    /// Reports whether `[clients]` refuses the client everywhere. A URL is refused with every query,
    /// because the same server chooses what it means.
    pub fn is_denied(&self, id: &ClientId) -> bool {
        let presented = url(id.as_str());
        self.client_policy.denied.iter().any(|entry| {
            entry == id.as_str()
                || presented.as_ref().is_some_and(|presented| {
                    presented.host() == entry
                        || url(entry)
                            .is_some_and(|url| url.without_query() == presented.without_query())
                })
        })
    }

    /// Returns the URL of a client's metadata document, if the id of the client is one that is
    /// accepted.
    pub fn client_url(&self, id: &ClientId) -> Option<ClientUrl> {
        let url = ClientUrl::parse(id.as_str(), self.destinations())?;
        (self.client_policy.allows(&url) && !self.is_denied(id)).then_some(url)
    }

    /// Reports whether the client to which something was granted is still accepted: one that
    /// `[[client]]` or `[clients]` accepts, an agent, or the login with a password.
    pub fn accepts_client(&self, id: &ClientId) -> bool {
        let text = id.as_str();
        if self.is_denied(id) {
            false
        } else if text.contains("://") {
            self.client_url(id).is_some()
        } else if text.starts_with(REGISTERED_PREFIX) {
            self.client_policy.registration == Registration::Open
        } else {
            self.client(id).is_some() || text == PASSWORD_CLIENT || text.parse::<AgentId>().is_ok()
        }
    }

    /// Reports whether `id` can be the id of a public client. Codes and refresh tokens name the
    /// client that they were issued to, so this says all that matters about one that redeems them.
    pub fn is_public_client(&self, id: &ClientId) -> bool {
        let is_unlisted = id.as_str().contains("://") || id.as_str().starts_with(REGISTERED_PREFIX);
        self.client(id).is_some() || (is_unlisted && self.accepts_client(id))
    }
}

fn refuse(sentence: &str) -> Result<(), Fault> {
    setting(format!("[clients]: {sentence}"))
}
