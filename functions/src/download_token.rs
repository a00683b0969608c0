//! `POST /v1/auth/download-token`: issues a token for one path that expires within minutes, for
//! clients that cannot send a header.

use postern::{
    App, Error, Refusal,
    core::{path, secret::Secret},
    http::{Request, Response},
    token::issue,
};
use serde::{Deserialize, Serialize};

/// The maximum length of a path, in bytes.
const LONGEST_PATH: usize = 1024;

/// What is to be downloaded.
#[derive(Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct DownloadTokenRequest {
    /// The path of the download.
    #[cfg_attr(feature = "openapi", schemars(with = "postern::core::schema::DownloadPath"))]
    path: String,
}

/// The path of a download, which has exactly one interpretation.
struct DownloadPath(String);

impl TryFrom<String> for DownloadPath {
    type Error = Error;

    fn try_from(path: String) -> Result<Self, Error> {
        if !path.starts_with('/') {
            let detail = "The path must begin with a slash: send that of the download, such as /v1/runners/run_.../install.sh, without https:// and the host.";
            return Err(Error::with_detail(Refusal::PathMalformed, detail.into()));
        }
        if path.len() > LONGEST_PATH {
            let detail = format!("The path is too long: send at most {LONGEST_PATH} bytes.");
            return Err(Error::with_detail(Refusal::PathMalformed, detail));
        }
        if !path::is_canonical(&path) {
            return Err(Refusal::PathMalformed.into());
        }
        Ok(Self(path))
    }
}

/// A token for one path.
#[derive(Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub(crate) struct DownloadTokenResponse {
    /// The token, for `?token=`.
    #[serde(serialize_with = "postern::core::secret::shown_once")]
    token: Secret,
    /// How long it is valid, in seconds.
    expires_in: i64,
}

/// Handles the route. The token carries the scopes that the caller has now; the download checks
/// them.
///
/// # Errors
/// Those of authentication, and a 400 if the path is invalid.
pub async fn handle(app: &App, request: &Request) -> Result<Response, Error> {
    let caller = app.providers.authenticate(&app.context, request).await?;
    let DownloadTokenRequest { path } = request.json()?;
    let path = DownloadPath::try_from(path)?;
    let now = app.context.clock.now();
    let (token, lifetime) = issue::download_token(&app.context, caller, &path.0, now)?;
    let answer = DownloadTokenResponse { token, expires_in: lifetime.as_secs() };
    Ok(Response::created(&answer)?.with_pragma_no_cache())
}
