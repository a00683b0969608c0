//! The code flow with the browser of this machine (RFC 8252, with PKCE and RFC 9207).
//!
//! 1. Listen on a free port of this machine.
//! 2. Open the authorization endpoint in the browser, with a challenge and a state.
//! 3. The browser returns. Compare the state, and the issuer. Requests with another state are of
//!    another page, and the login goes on.
//! 4. Redeem the code with the verifier.

use std::time::Duration;

use oauth2::{CsrfToken, PkceCodeChallenge, PkceCodeVerifier};
use reqwest::Url;

use super::{
    Login,
    callback::{Callback, Parameters},
    not_supported,
};
use crate::{
    Context, Error, ErrorCode, Issuer, Profile, Result,
    oauth::{IssuedTokens, OauthClient, Server},
};

/// How long a user has to log in.
const TIMEOUT: Duration = Duration::from_secs(300);

/// What the response of the authorization endpoint is compared with.
struct Expected {
    state: String,
    issuer: Issuer,
    /// Whether the server always sends its `iss`.
    must_have_iss: bool,
}

/// Logs a user in.
pub(crate) async fn with_browser(
    context: &Context,
    profile: &Profile,
    login: &Login,
    open: impl FnOnce(&Url) + Send,
) -> Result<IssuedTokens> {
    let server = Server::new(context, &profile.issuer);
    let metadata = server.metadata().await?;
    let endpoint = metadata.authorization_endpoint.clone();
    let endpoint = endpoint.ok_or_else(|| {
        not_supported(&profile.issuer, "logins in a browser", "authorization_endpoint")
    })?;
    let callback = Callback::listen().await?;
    let redirect_uri = callback.redirect_uri()?;
    let verifier = PkceCodeVerifier::new(context.random_text()?);
    let state = context.random_text()?;

    let client = OauthClient::public(&profile.client_id);
    let oauth = client.at(&metadata).set_auth_uri(endpoint).set_redirect_uri(redirect_uri.clone());
    let mut request = oauth
        .authorize_url(|| CsrfToken::new(state.clone()))
        .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier))
        .add_scopes(login.scopes());
    if let Some(resource) = &login.resource {
        request = request.add_extra_param("resource", resource);
    }
    open(&request.url().0);

    let expected = Expected {
        state,
        issuer: profile.issuer.clone(),
        must_have_iss: metadata.authorization_response_iss_parameter_supported,
    };
    let returned = callback.wait(&*context.system, move |parameters| expected.outcome(&parameters));
    let code = tokio::select! {
        code = returned => code?,
        () = context.system.sleep(TIMEOUT) => return Err(timed_out()),
    };
    let resource = login.resource.as_deref();
    let issued = server.redeem_code(&client, code, redirect_uri, verifier, resource).await;
    issued.map_err(not_redeemed)
}

impl Expected {
    /// Returns what a response to this login says.
    fn outcome(&self, parameters: &Parameters) -> Option<Result<String>> {
        let state = single(parameters, "state").ok().flatten();
        (state == Some(&self.state)).then(|| self.code(parameters))
    }

    /// Returns the code of a response.
    fn code(&self, parameters: &Parameters) -> Result<String> {
        match single(parameters, "iss")? {
            Some(issuer) if issuer == self.issuer.as_str() => {}
            None if !self.must_have_iss => {}
            Some(_) | None => return Err(foreign("another server: its iss is not the issuer")),
        }
        match (single(parameters, "code")?, single(parameters, "error")?) {
            (Some(code), None) if !code.is_empty() => Ok(code.to_owned()),
            (None, Some(error)) => Err(self.refusal(error)),
            (Some(_) | None, Some(_) | None) => Err(foreign("a server, but without a code")),
        }
    }

    fn refusal(&self, error: &str) -> Error {
        let issuer = &self.issuer;
        let (code, message) = match error {
            "access_denied" => (
                ErrorCode::AccessDenied,
                format!("The login was refused at {issuer}. Start again to ask once more."),
            ),
            "invalid_scope" => (
                ErrorCode::InvalidScope,
                format!("{issuer} does not grant these scopes. Request fewer, or other ones."),
            ),
            "invalid_target" => (
                ErrorCode::InvalidTarget,
                format!("{issuer} issues no tokens for this resource. Check its URL."),
            ),
            "unauthorized_client" => (
                ErrorCode::InvalidClient,
                format!("{issuer} does not accept this client. Check its id."),
            ),
            "server_error" | "temporarily_unavailable" => (
                ErrorCode::ServerUnavailable,
                format!("{issuer} cannot log users in now. Try again later."),
            ),
            _ => (
                ErrorCode::InvalidResponse,
                format!("{issuer} refused the login for another reason. Its page says more."),
            ),
        };
        Error::new(code, message)
    }
}

/// Returns a parameter, which must not be repeated (RFC 6749 §3.1).
fn single<'a>(parameters: &'a Parameters, name: &str) -> Result<Option<&'a str>> {
    let mut values = parameters.iter().filter(|(known, _)| known == name);
    let value = values.next().map(|(_, value)| value.as_str());
    if values.next().is_some() {
        return Err(foreign("a server that sent a parameter twice"));
    }
    Ok(value)
}

fn foreign(from: &str) -> Error {
    let message = format!("The browser returned from {from}. Start again, in a new window.");
    Error::new(ErrorCode::InvalidResponse, message)
}

fn timed_out() -> Error {
    let message = "Nobody logged in within 5 minutes. Start again.";
    Error::new(ErrorCode::ExpiredToken, message)
}

/// An `invalid_grant` here is of the code.
fn not_redeemed(error: Error) -> Error {
    if error.code() != ErrorCode::LoginRequired {
        return error;
    }
    let message = "The server does not accept the code of this login. Start the login again.";
    Error::new(ErrorCode::LoginRequired, message)
}
