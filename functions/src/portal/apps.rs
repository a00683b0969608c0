//! The clients that a user has allowed to act on their behalf.

use postern::{
    App, Error,
    core::id::Consent,
    grant::authorization_parameters::AuthorizationParameters,
    http::{Request, Response},
    resource::connected_app::{self, ConnectedAppView},
};

use crate::portal::{
    access::{self, AccessTexts},
    agent_consent, clients,
    times::DisplayTime,
    view::{self, AccessGroup, AccessRow},
    visitor,
};

const TEXTS: AccessTexts = AccessTexts {
    path: "/apps",
    title: "Connected apps",
    lead: "Apps and agents that you have allowed to act on your behalf. Disconnecting one revokes its access to the API immediately, also what you approved with a code on the page of a device.",
    empty: "You have not allowed any app to act on your behalf.",
    end: "Disconnect",
    notices: &[
        ("allowed", "The agent is allowed to act on your behalf."),
        ("denied", "Nothing was allowed."),
        ("ended", "The app is disconnected."),
    ],
};

/// `GET /apps`: shows the clients that the user has allowed something; with a client in the query,
/// what it asks for.
pub(crate) async fn page(app: &App, request: &Request) -> Result<Response, Error> {
    let sent = AuthorizationParameters::from_query(request);
    if sent.names_client() {
        return agent_consent::page(app, request, &sent).await;
    }
    let visitor = visitor::visitor_or_sign_in!(app, request);
    let apps = connected_app::list(&app.context, &visitor.principal).await?;
    let now = app.context.clock.now();
    let row = |connected: ConnectedAppView| AccessRow {
        name: connected.client_name,
        is_current: false,
        facts: vec![
            clients::client_id_in_words(&connected.client_id),
            format!("for {}", clients::api_name(app, &connected.audience)),
        ],
        scopes: view::scope_list(&connected.scopes),
        times: vec![("allowed", DisplayTime::new(connected.given_at, now))],
        id: connected.id.to_string(),
    };
    let rows = apps.into_iter().map(row).collect();
    access::show(app, request, &visitor, &TEXTS, vec![AccessGroup { title: "", rows }])
}

/// `POST /apps/{id}/end`: ends what the user has allowed a client.
pub(crate) async fn end(app: &App, request: &Request) -> Result<Response, Error> {
    access::end(app, request, &TEXTS, async |visitor| {
        let id = request.path_id::<Consent>()?;
        connected_app::end(&app.context, &visitor.principal, &id).await
    })
    .await
}
