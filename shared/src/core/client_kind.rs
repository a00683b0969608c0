//! What kind of client an id names.

use super::{
    client_url::ClientUrl,
    id::{AgentId, ClientId},
    network::Destinations,
};

/// What the ids of clients begin with that registered themselves.
const REGISTERED_PREFIX: &str = "dyn_";

/// What kind of client an id names. Whether there is such a client, and whether it is accepted, is
/// another question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientKind<'a> {
    /// An agent.
    Agent(AgentId),
    /// A client whose metadata is at this URL.
    Url(ClientUrl),
    /// A client at a URL that no document can have.
    InvalidUrl,
    /// A client that registered itself: what follows the prefix.
    Registered(&'a str),
    /// A client that the configuration has to list.
    Listed,
}

impl ClientId {
    /// Returns what kind of client the id names.
    pub fn kind(&self) -> ClientKind<'_> {
        let text = self.as_str();
        if text.contains("://") {
            let url = ClientUrl::parse(text, Destinations::PublicAndLoopback);
            url.map_or(ClientKind::InvalidUrl, ClientKind::Url)
        } else if let Some(registered) = text.strip_prefix(REGISTERED_PREFIX) {
            ClientKind::Registered(registered)
        } else {
            text.parse().map_or(ClientKind::Listed, ClientKind::Agent)
        }
    }

    /// Returns the id of a client that registered itself.
    pub fn registered(text: &str) -> Self {
        format!("{REGISTERED_PREFIX}{text}").into()
    }
}

#[cfg(test)]
mod tests {
    use super::{ClientId, ClientKind};

    #[test]
    fn an_id_names_one_kind_of_client() {
        let agent = "agt_01h455vb4pex5vsknk084sn02q";
        for (text, kind) in [
            (agent, ClientKind::Agent(agent.parse().unwrap())),
            ("dyn_abc", ClientKind::Registered("abc")),
            ("dyn_", ClientKind::Registered("")),
            ("dyn_://app.example.com/", ClientKind::InvalidUrl),
            ("https://app.example.com", ClientKind::InvalidUrl),
            ("http://app.example.com/c", ClientKind::InvalidUrl),
            ("https://10.0.0.1/c", ClientKind::InvalidUrl),
            ("postern-cli", ClientKind::Listed),
            ("password", ClientKind::Listed),
            ("agt_", ClientKind::Listed),
            ("AGT_01h455vb4pex5vsknk084sn02q", ClientKind::Listed),
            ("app.example.com", ClientKind::Listed),
            ("", ClientKind::Listed),
        ] {
            assert_eq!(ClientId::from(text).kind(), kind, "{text}");
        }
        let id = ClientId::from("https://app.example.com/c");
        assert!(matches!(id.kind(), ClientKind::Url(url) if url.host() == "app.example.com"));
        assert_eq!(ClientId::registered("abc").kind(), ClientKind::Registered("abc"));
    }
}
