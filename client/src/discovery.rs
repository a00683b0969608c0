//! The metadata of an authorization server (RFC 8414, and OpenID Connect Discovery).

use http::{Request, StatusCode, header::ACCEPT};
use oauth2::{AuthUrl, DeviceAuthorizationUrl, RevocationUrl, TokenUrl};
use reqwest::Url;
use serde::Deserialize;

use crate::{
    Context, Error, ErrorCode, Issuer, Result, http_client::Repetition, issuer::is_secure,
};

/// Where an authorization server is, and what it can do.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct ServerMetadata {
    /// The issuer, exactly as it was asked for.
    pub issuer: String,
    /// The token endpoint.
    pub token_endpoint: TokenUrl,
    /// Where a user logs in with a browser.
    pub authorization_endpoint: Option<AuthUrl>,
    /// Where the device flow begins.
    pub device_authorization_endpoint: Option<DeviceAuthorizationUrl>,
    /// Where tokens are revoked.
    pub revocation_endpoint: Option<RevocationUrl>,
    /// Where servers ask what a credential is.
    pub introspection_endpoint: Option<Url>,
    /// The key set with which tokens are verified.
    pub jwks_uri: Option<Url>,
    /// Whether the response of the authorization endpoint names the issuer (RFC 9207).
    #[serde(default)]
    pub authorization_response_iss_parameter_supported: bool,
}

impl ServerMetadata {
    fn endpoints(&self) -> impl Iterator<Item = &Url> {
        [
            Some(self.token_endpoint.url()),
            self.authorization_endpoint.as_ref().map(|endpoint| endpoint.url()),
            self.device_authorization_endpoint.as_ref().map(|endpoint| endpoint.url()),
            self.revocation_endpoint.as_ref().map(|endpoint| endpoint.url()),
            self.introspection_endpoint.as_ref(),
            self.jwks_uri.as_ref(),
        ]
        .into_iter()
        .flatten()
    }
}

/// Fetches the metadata of a server: the document of RFC 8414, else that of OpenID Connect.
///
/// # Errors
/// [`ErrorCode::ServerUnavailable`] if the server does not answer,
/// [`ErrorCode::InvalidResponse`] if it has no such document, or one of another issuer, and
/// [`ErrorCode::InsecureIssuer`] if an endpoint is not safe.
pub async fn discover(context: &Context, issuer: &Issuer) -> Result<ServerMetadata> {
    for url in documents(issuer) {
        let request = Request::get(url.as_str())
            .header(ACCEPT, "application/json")
            .body(Vec::new())
            .map_err(|_| invalid(issuer, "its URL is not valid"))?;
        let response = context.send(&request, Repetition::Always).await?.response;
        match response.status() {
            StatusCode::OK => return parse(issuer, response.body()),
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {}
            status => return Err(invalid(issuer, &format!("it answered {}", status.as_u16()))),
        }
    }
    Err(invalid(issuer, "it has none"))
}

/// Returns the URLs of both documents. In the first, the path of the issuer comes last.
fn documents(issuer: &Issuer) -> [Url; 2] {
    let path = issuer.url().path().trim_end_matches('/');
    let (mut oauth, mut openid) = (issuer.url().clone(), issuer.url().clone());
    oauth.set_path(&format!("/.well-known/oauth-authorization-server{path}"));
    openid.set_path(&format!("{path}/.well-known/openid-configuration"));
    [oauth, openid]
}

fn parse(issuer: &Issuer, body: &[u8]) -> Result<ServerMetadata> {
    let metadata: ServerMetadata = serde_json::from_slice(body)
        .map_err(|_| invalid(issuer, "it is not JSON, or has no token_endpoint"))?;
    if metadata.issuer != issuer.as_str() {
        return Err(invalid(issuer, "it is of another issuer: check for a slash at the end"));
    }
    if let Some(endpoint) = metadata.endpoints().find(|endpoint| !is_secure(endpoint)) {
        let message = format!(
            "The metadata of {issuer} names {endpoint}, where everybody on the way can read what \
             is sent. It has to be an https URL: tell the operator of the server."
        );
        return Err(Error::new(ErrorCode::InsecureIssuer, message));
    }
    Ok(metadata)
}

fn invalid(issuer: &Issuer, what: &str) -> Error {
    let message = format!(
        "The metadata of {issuer} cannot be used: {what}. Check that this is the issuer of an \
         OAuth 2.0 authorization server."
    );
    Error::new(ErrorCode::InvalidResponse, message)
}
