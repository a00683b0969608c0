//! The device flow (RFC 8628), for programs without a browser.
//!
//! 1. Ask for a code (§3.1, §3.2).
//! 2. Show the user where to enter it (§3.3).
//! 3. Ask for the tokens until the user has decided, in the pace of the server (§3.4, §3.5).

use std::time::Duration;

use chrono::DateTime;
use oauth2::{
    DeviceAuthorizationUrl, DeviceCodeErrorResponse, EndUserVerificationUrl, RequestTokenError,
    StandardDeviceAuthorizationResponse,
};

use super::{Login, not_supported};
use crate::{
    Context, Error, ErrorCode, Profile, Result,
    http_client::Repetition,
    oauth::{IssuedTokens, OauthClient, Polling, Server},
};

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

/// Signs a user in.
pub(crate) async fn with_device(
    context: &Context,
    profile: &Profile,
    login: &Login,
    on_prompt: impl FnOnce(&DevicePrompt) + Send,
) -> Result<(Server, IssuedTokens)> {
    let server = Server::new(context, &profile.issuer);
    let metadata = server.metadata().await?;
    let endpoint = metadata.device_authorization_endpoint.clone();
    let endpoint = endpoint.ok_or_else(|| {
        not_supported(&profile.issuer, "the device flow", "device_authorization_endpoint")
    })?;
    let client = OauthClient::public(&profile.client_id);
    let details = ask(&server, &client, login, endpoint).await?;
    on_prompt(&prompt(&details)?);

    let begun = context.system.elapsed();
    // Only differences count, so the time since the beginning serves as the time of day.
    let now = || {
        let passed = context.system.elapsed().saturating_sub(begun);
        DateTime::from_timestamp_millis(i64::try_from(passed.as_millis()).unwrap_or(i64::MAX))
            .unwrap_or_default()
    };
    let client = client.at(metadata);
    let mut polling = client.exchange_device_access_token(&details).set_time_fn(now);
    if let Some(resource) = &login.resource {
        polling = polling.add_extra_param("resource", resource);
    }
    let interval = details.interval();
    context.system.sleep(interval).await;
    let left = details.expires_in().saturating_sub(interval);
    let sleep = |wait| context.system.sleep(wait);
    let http = Polling(context);
    let answer = polling.request_async(&http, sleep, Some(left)).await;
    let answer = answer.map_err(|error| refused(&server, error))?;
    let issued = server.issued(answer)?;
    Ok((server, issued))
}

/// Asks for a code.
async fn ask(
    server: &Server,
    client: &OauthClient,
    login: &Login,
    endpoint: DeviceAuthorizationUrl,
) -> Result<StandardDeviceAuthorizationResponse> {
    let client = client.at(server.metadata().await?).set_device_authorization_url(endpoint);
    let mut request = client.exchange_device_code().add_scopes(login.scopes());
    if let Some(resource) = &login.resource {
        request = request.add_extra_param("resource", resource);
    }
    let answer = request.request_async(&server.http(Repetition::Always)).await;
    answer.map_err(|error| server.refused(error))
}

/// Returns what the user is shown. Nothing of it can control a terminal.
fn prompt(details: &StandardDeviceAuthorizationResponse) -> Result<DevicePrompt> {
    let uri: &EndUserVerificationUrl = details.verification_uri();
    let complete = details.verification_uri_complete().map(|uri| uri.secret().clone());
    let user_code = details.user_code().secret().clone();
    let is_text = |text: &str| !text.is_empty() && !text.chars().any(char::is_control);
    if !is_text(&user_code) || complete.as_deref().is_some_and(|uri| !is_text(uri)) {
        let message = "The server sent a code that cannot be shown. Log in in another way.";
        return Err(Error::new(ErrorCode::InvalidResponse, message));
    }
    Ok(DevicePrompt {
        verification_uri: uri.url().to_string(),
        verification_uri_complete: complete,
        user_code,
        expires_in: details.expires_in(),
    })
}

/// An `invalid_grant` here is of the device code, which nobody can use any more.
fn refused(server: &Server, error: RequestTokenError<Error, DeviceCodeErrorResponse>) -> Error {
    let error = server.refused(error);
    if error.code() != ErrorCode::LoginRequired {
        return error;
    }
    let message = "The code is no longer valid. Start the login again for a new one.";
    Error::new(ErrorCode::LoginRequired, message)
}
