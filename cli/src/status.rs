//! `postern status` and `postern whoami`.

use jiff::Timestamp;
use postern_client::{Context, Profile, Session};
use serde_json::json;

use crate::{
    api::Api,
    credentials::{Caller, variable_in_use},
    failure::Failure,
    login, output,
    records::details,
    words,
};

/// Shows the session of a profile, without asking the server.
pub(crate) async fn status(
    context: &Context,
    profile: &Profile,
    is_json: bool,
) -> Result<(), Failure> {
    if let Some(variable) = variable_in_use(context) {
        output::say(&format!(
            "{variable} is set, so commands use it in place of this session, unless they have \
             --profile."
        ));
    }
    let session = Session::open(context, profile).await?;
    let Some(status) = session.status().await? else { return Ok(()) };
    if is_json {
        let expires_at = status.expires_at.and_then(|time| Timestamp::try_from(time).ok());
        return output::print_json(&json!({
            "profile": profile.name, "issuer": status.issuer, "client_id": status.client_id,
            "storage": status.storage, "session_file": profile.session_file,
            "scope": status.scope, "is_renewable": status.is_renewable,
            "expires_at": expires_at.map(|time| time.to_string()),
        }));
    }
    let expiry = status.expires_at.map(|time| words::expiry(context.now(), time));
    let token = match (expiry, status.is_renewable) {
        (Some(expiry), true) => format!("{expiry}; renewed when it is needed"),
        (None, true) => "renewed when it is needed".to_owned(),
        (Some(expiry), false) => format!("{expiry}; not renewed: log in again after that"),
        (None, false) => "none: log in again".to_owned(),
    };
    let lines = [
        ("profile", profile.name.to_string()),
        ("issuer", status.issuer),
        ("client", status.client_id),
        ("scopes", status.scope.unwrap_or_else(|| "those that the server gives".to_owned())),
        ("refresh token", login::stored(status.storage, &profile.session_file)),
        ("access token", token),
    ];
    output::print(&words::pairs(lines.map(|(name, value)| (name.to_owned(), value))))
}

/// Shows who the server says that the caller is.
pub(crate) async fn whoami(caller: &Caller, is_json: bool) -> Result<(), Failure> {
    let principal = Api::new(caller).get(&["v1", "auth", "whoami"]).await?;
    details(&principal, is_json)
}
