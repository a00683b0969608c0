//! How pages show the clients of users: who says what they are called, and what they ask for.

use postern::{
    App,
    config::ClientMetadataSource,
    core::{audience::Audience, client_kind::ClientKind, id::ClientId, scope::Scopes},
    grant::client,
};

use crate::portal::view;

/// The client id of a login with a password at the API.
pub(crate) const PASSWORD_LOGIN: &str = "password";

/// Who says what a client is called.
#[derive(Default)]
pub(crate) struct ClientOrigin {
    /// The host of the client's own document.
    pub(crate) document_host: Option<String>,
    /// Whether the client said so itself when it registered.
    pub(crate) has_registered: bool,
    /// The organization of an agent.
    pub(crate) organization: Option<String>,
}

impl ClientOrigin {
    pub(crate) fn of(source: &ClientMetadataSource) -> Self {
        match source {
            ClientMetadataSource::Configuration => Self::default(),
            ClientMetadataSource::Document(host) => {
                Self { document_host: Some(host.clone()), ..Self::default() }
            }
            ClientMetadataSource::Registration => Self { has_registered: true, ..Self::default() },
        }
    }

    /// Returns the origin of an agent of this organization.
    pub(crate) fn of_agent(organization: String) -> Self {
        Self { organization: Some(organization), ..Self::default() }
    }

    /// Returns the origin of a client, without its document.
    pub(crate) fn of_id(app: &App, id: &ClientId) -> Self {
        match client::find_known(&app.context, id) {
            Some(client) => Self::of(&client.source),
            None => {
                let url = app.context.config.client_url(id);
                Self { document_host: url.map(|url| url.host().to_owned()), ..Self::default() }
            }
        }
    }
}

/// A scope, with its description in the configuration.
pub(crate) struct ScopeInWords {
    pub(crate) scope: String,
    pub(crate) description: Option<String>,
}

/// Returns scopes with their descriptions.
pub(crate) fn in_words(app: &App, scopes: &Scopes) -> Vec<ScopeInWords> {
    let in_words = |scope: String| {
        let known = app.context.config.scopes.iter().find(|known| known.name.to_string() == scope);
        let description = match (known, scope.as_str()) {
            (Some(known), _) => Some(known.description.clone()),
            (None, "*") => Some("Do everything that you can do".into()),
            (None, _) => None,
        };
        ScopeInWords { description, scope }
    };
    view::scope_list(scopes).into_iter().map(in_words).collect()
}

/// Returns the name of an API.
pub(crate) fn api_name(app: &App, audience: &Audience) -> String {
    match audience {
        Audience::Issuer => "Postern".to_owned(),
        Audience::Resource(uri) => match app.context.config.resource(uri.as_str()) {
            Some(resource) => resource.name.clone(),
            None => uri.to_string(),
        },
    }
}

/// Returns the name of a client, if the configuration or the client's id says it. The name in a
/// document is the client's own, and would say less than the URL.
pub(crate) fn client_name(app: &App, id: &ClientId) -> String {
    match client::find_known(&app.context, id) {
        Some(client) => client.name,
        None if id.as_str() == PASSWORD_LOGIN => "Signed in with a password".into(),
        None => client_id_in_words(id),
    }
}

/// Returns the id of a client, for people.
pub(crate) fn client_id_in_words(id: &ClientId) -> String {
    match id.kind() {
        ClientKind::Registered(_) => "registered by itself".into(),
        ClientKind::Agent(_) | ClientKind::InvalidUrl | ClientKind::Listed | ClientKind::Url(_) => {
            id.to_string()
        }
    }
}

/// Says of a client that chose its name itself how it is known.
pub(crate) fn unchecked_client(app: &App, id: &ClientId) -> Option<String> {
    ClientOrigin::of_id(app, id).has_registered.then(|| client_id_in_words(id))
}
