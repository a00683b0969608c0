//! The device flow (RFC 8628), for programs without a browser.
//!
//! 1. Ask for a code (§3.1, §3.2).
//! 2. Show the user where to enter it (§3.3).
//! 3. Ask for the tokens until the user has decided, at the pace of the server (§3.4, §3.5).

use std::time::Duration;

use oauth2::{
    DeviceAuthorizationUrl, DeviceCodeErrorResponseType, EndUserVerificationUrl, RequestTokenError,
    StandardDeviceAuthorizationResponse,
};

use super::{Login, not_supported};
use crate::{
    Context, Error, ErrorCode, Profile, Result,
    http_client::Repetition,
    oauth::{ExchangeError, IssuedTokens, OauthClient, Server, form_request},
};

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// The time between two polls if the server does not say it, and how much longer it is after each
/// `slow_down` (RFC 8628 §3.5).
const USUAL_INTERVAL: Duration = Duration::from_secs(5);
const SLOWER: Duration = Duration::from_secs(5);

/// What a user needs in order to approve a device.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DevicePrompt {
    /// The page on which the user enters the code.
    pub verification_uri: String,
    /// The same page with the code filled in, if the server has one.
    pub verification_uri_complete: Option<String>,
    /// The code.
    pub user_code: String,
    /// How long the code is valid.
    pub expires_in: Duration,
}

/// Logs a user in.
pub(crate) async fn with_device(
    context: &Context,
    profile: &Profile,
    login: &Login,
    on_prompt: impl FnOnce(&DevicePrompt) + Send,
) -> Result<IssuedTokens> {
    let server = Server::new(context, &profile.issuer);
    let metadata = server.metadata().await?;
    let endpoint = metadata.device_authorization_endpoint.clone();
    let endpoint = endpoint.ok_or_else(|| {
        not_supported(&profile.issuer, "the device flow", "device_authorization_endpoint")
    })?;
    let client = OauthClient::public(&profile.client_id);
    let details = ask(&server, &client, login, endpoint).await?;
    on_prompt(&prompt(&details)?);
    poll(&server, &client, login, &details).await
}

/// Asks for the tokens until the user has decided. A lost response or a 5xx does not change the
/// pace.
async fn poll(
    server: &Server,
    client: &OauthClient,
    login: &Login,
    details: &StandardDeviceAuthorizationResponse,
) -> Result<IssuedTokens> {
    let system = &server.context.system;
    let form = [
        ("grant_type", Some(GRANT_TYPE)),
        ("device_code", Some(details.device_code().secret().as_str())),
        ("client_id", Some(client.id.as_str())),
        ("resource", login.resource.as_deref()),
    ];
    let request = form_request(server.metadata().await?.token_endpoint.as_str(), &form)?;
    let end = system.elapsed().saturating_add(details.expires_in());
    let mut interval = details.interval();
    if interval.is_zero() {
        interval = USUAL_INTERVAL;
    }
    while system.elapsed().saturating_add(interval) < end {
        system.sleep(interval).await;
        let Ok(response) = server.context.send_once(&request).await else { continue };
        match server.tokens(response) {
            Ok(issued) => return Ok(issued),
            Err(RequestTokenError::ServerResponse(refusal)) => match refusal.error() {
                DeviceCodeErrorResponseType::AuthorizationPending => {}
                DeviceCodeErrorResponseType::SlowDown => interval += SLOWER,
                DeviceCodeErrorResponseType::AccessDenied
                | DeviceCodeErrorResponseType::ExpiredToken
                | DeviceCodeErrorResponseType::Basic(_) => {
                    return Err(not_issued(server, RequestTokenError::ServerResponse(refusal)));
                }
            },
            Err(error) => return Err(not_issued(server, error)),
        }
    }
    let message = "Nobody approved the code before it expired. Start again for a new one.";
    Err(Error::new(ErrorCode::ExpiredToken, message))
}

/// Asks for a code.
async fn ask(
    server: &Server,
    client: &OauthClient,
    login: &Login,
    endpoint: DeviceAuthorizationUrl,
) -> Result<StandardDeviceAuthorizationResponse> {
    let client = client.at(&*server.metadata().await?).set_device_authorization_url(endpoint);
    let mut request = client.exchange_device_code().add_scopes(login.scopes());
    if let Some(resource) = &login.resource {
        request = request.add_extra_param("resource", resource);
    }
    let response = request.request_async(&server.http(Repetition::Always)).await;
    response.map_err(|error| server.failed(error))
}

/// Returns what the user is shown. Nothing of it can control a terminal.
fn prompt(details: &StandardDeviceAuthorizationResponse) -> Result<DevicePrompt> {
    let uri: &EndUserVerificationUrl = details.verification_uri();
    let complete = details.verification_uri_complete().map(|uri| uri.secret().clone());
    let user_code = details.user_code().secret().clone();
    let is_text = |text: &str| !text.is_empty() && !text.chars().any(char::is_control);
    let shown = [Some(user_code.as_str()), Some(uri.as_str()), complete.as_deref()];
    if !shown.into_iter().flatten().all(is_text) {
        let message = "The server sent a code or a URL that is empty or has control characters. \
                       Check the URL of the issuer.";
        return Err(Error::new(ErrorCode::InvalidResponse, message));
    }
    Ok(DevicePrompt {
        verification_uri: uri.to_string(),
        verification_uri_complete: complete,
        user_code,
        expires_in: details.expires_in(),
    })
}

/// An `invalid_grant` here is of the device code, which nobody can use any more.
fn not_issued(server: &Server, error: ExchangeError<DeviceCodeErrorResponseType>) -> Error {
    let error = server.failed(error);
    if error.code() != ErrorCode::LoginRequired {
        return error;
    }
    let message = "The code is no longer valid. Start the login again for a new one.";
    Error::new(ErrorCode::LoginRequired, message)
}
