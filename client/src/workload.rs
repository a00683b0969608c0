//! The tokens that platforms give their workloads.

use std::path::{Path, PathBuf};

use http::{Request, StatusCode, header};
use reqwest::Url;
use secrecy::SecretString;
use serde::Deserialize;

use crate::{
    Context, Error, ErrorCode, Issuer, Result, files, http_client::Repetition, issuer::is_secure,
};

const GITLAB_VARIABLE: &str = "POSTERN_ID_TOKEN";
const KUBERNETES_FILE: &str = "/var/run/secrets/tokens/postern";

/// Where a workload's token is from. An `audience` that is not given is the issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WorkloadSource {
    /// A job of GitHub Actions, with the permission `id-token: write`.
    Github {
        /// The audience of the token.
        audience: Option<String>,
    },
    /// A job of GitLab CI, with `id_tokens`.
    Gitlab {
        /// The variable that has the token: `POSTERN_ID_TOKEN` by default.
        token_variable: Option<String>,
    },
    /// A pod with a projected token of its service account.
    Kubernetes {
        /// The file of the token: `/var/run/secrets/tokens/postern` by default.
        path: Option<PathBuf>,
    },
    /// A role of AWS, by `sts:GetWebIdentityToken`. It needs the feature `aws`.
    Aws {
        /// The audience of the token.
        audience: Option<String>,
    },
    /// A file that something else keeps current.
    File {
        /// The file of the token.
        path: PathBuf,
    },
}

#[derive(Deserialize)]
struct GithubResponse {
    value: String,
}

impl WorkloadSource {
    /// Returns the name of the platform.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Github { .. } => "github",
            Self::Gitlab { .. } => "gitlab",
            Self::Kubernetes { .. } => "kubernetes",
            Self::Aws { .. } => "aws",
            Self::File { .. } => "file",
        }
    }

    /// Returns whether each request to the platform returns another token.
    pub(crate) fn creates_tokens(&self) -> bool {
        match self {
            Self::Github { .. } | Self::Aws { .. } => true,
            Self::Gitlab { .. } | Self::Kubernetes { .. } | Self::File { .. } => false,
        }
    }

    /// Returns the current token of the workload.
    pub(crate) async fn token(&self, context: &Context, issuer: &Issuer) -> Result<SecretString> {
        match self {
            Self::Github { audience } => {
                github(context, audience.as_deref().unwrap_or(issuer.as_str())).await
            }
            Self::Gitlab { token_variable } => {
                gitlab(context, token_variable.as_deref().unwrap_or(GITLAB_VARIABLE))
            }
            Self::Kubernetes { path } => {
                let path = path.as_deref().unwrap_or(Path::new(KUBERNETES_FILE));
                file(path, "Mount a projected serviceAccountToken with the issuer as audience")
                    .await
            }
            Self::Aws { audience } => aws(audience.as_deref().unwrap_or(issuer.as_str())).await,
            Self::File { path } => file(path, "Check what writes the file").await,
        }
    }
}

async fn github(context: &Context, audience: &str) -> Result<SecretString> {
    let missing = || {
        let message = "This job cannot request tokens of GitHub. Add permissions: id-token: write \
                       to the job; workflows of forks do not get it.";
        Error::new(ErrorCode::WorkloadTokenUnavailable, message)
    };
    let variable = |name| context.system.variable(name).ok_or_else(missing);
    let mut url = Url::parse(&variable("ACTIONS_ID_TOKEN_REQUEST_URL")?).map_err(|_| missing())?;
    let bearer = variable("ACTIONS_ID_TOKEN_REQUEST_TOKEN")?;
    if !is_secure(&url) {
        return Err(missing());
    }
    url.query_pairs_mut().append_pair("audience", audience);
    let request = Request::get(url.as_str())
        .header(header::AUTHORIZATION, format!("Bearer {bearer}"))
        .header(header::ACCEPT, "application/json")
        .body(Vec::new())
        .map_err(|_| missing())?;
    let response = context.send(&request, Repetition::Always).await?.response;
    let token: Option<GithubResponse> = serde_json::from_slice(response.body()).ok();
    match token.filter(|_| response.status() == StatusCode::OK) {
        Some(token) if !token.value.is_empty() => Ok(token.value.into()),
        Some(_) | None => {
            let status = response.status().as_u16();
            let message = format!(
                "GitHub gave this job no token (status {status}). Check permissions: id-token: \
                 write."
            );
            Err(Error::new(ErrorCode::WorkloadTokenUnavailable, message))
        }
    }
}

fn gitlab(context: &Context, variable: &str) -> Result<SecretString> {
    context.system.variable(variable).map(SecretString::from).ok_or_else(|| {
        let message = format!(
            "The variable {variable} has no token of GitLab. Add id_tokens: with {variable} and \
             the issuer as aud to the job."
        );
        Error::new(ErrorCode::WorkloadTokenUnavailable, message)
    })
}

async fn file(path: &Path, advice: &str) -> Result<SecretString> {
    let unavailable = |what: &str| {
        let message = format!("{} {what}. {advice}.", path.display());
        Error::new(ErrorCode::WorkloadTokenUnavailable, message)
    };
    let file = path.to_owned();
    let text = tokio::task::spawn_blocking(move || std::fs::read_to_string(file)).await;
    let text = text
        .map_err(|error| files::cannot("read", path, error.into()))?
        .map_err(|error| unavailable(&format!("cannot be read: {error}")))?;
    match text.trim() {
        "" => Err(unavailable("is empty")),
        token => Ok(SecretString::from(token)),
    }
}

#[cfg(feature = "aws")]
async fn aws(audience: &str) -> Result<SecretString> {
    let config = aws_config::load_defaults(aws_config::BehaviorVersion::latest()).await;
    let request = aws_sdk_sts::Client::new(&config)
        .get_web_identity_token()
        .audience(audience)
        .signing_algorithm("ES384");
    let response = request.send().await.map_err(|error| {
        let service = error.as_service_error().and_then(|error| error.meta().code());
        let message = format!(
            "AWS gave this role no token ({}). Allow it sts:GetWebIdentityToken, and enable \
             outbound web identity federation in the account.",
            service.unwrap_or("no response")
        );
        Error::with_source(ErrorCode::WorkloadTokenUnavailable, message, error)
    })?;
    response.web_identity_token.map(SecretString::from).ok_or_else(|| {
        let message = "AWS answered without a token. Try again.";
        Error::new(ErrorCode::WorkloadTokenUnavailable, message)
    })
}

#[cfg(not(feature = "aws"))]
async fn aws(_audience: &str) -> Result<SecretString> {
    let message = "This program was built without the feature aws. Build it with the feature, or \
                   write the token to a file and use that.";
    Err(Error::new(ErrorCode::WorkloadTokenUnavailable, message))
}
