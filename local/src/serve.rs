//! A whole deployment on one loopback port: store, functions and gateway.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{ConnectInfo, Request, State},
    response::Response,
};
use clap::ValueEnum;
use http::StatusCode;
use http_body_util::LengthLimitError;
use postern::{
    App, Refusal,
    config::{Config, IdentitySource, SecretSource},
    core::{
        audience::ResourceUri, clock::Clock, entropy::Entropy, secret::Secret, subject::Subject,
    },
    crypto::secrets::Secrets,
    grant::session::{self, AuthenticatedUser, Browser},
    store::{Store, Timeouts},
    telemetry::{self, LineFormat},
};
use serde::Serialize;
use tokio::net::TcpListener;
use tracing::Level;

use crate::{
    Error,
    data::{self, DataLocation, LocalCredentials},
    engine::Engine,
    first_organization::{self, ShownKey},
    gateway::{Gateway, LARGEST_PAYLOAD, error_response},
    http_server::{self, Shutdown},
    mcp, own_origin, private_file,
    settings::{self, ConfigSource},
    template::Template,
};

/// The option that sets the address to listen on.
pub const LISTEN: &str = "--listen";

/// The options of the command line.
#[derive(Clone, Debug)]
pub struct Options {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// Where data is stored.
    pub data: DataLocation,
    /// The configuration file.
    pub config: ConfigSource,
    /// The path of the ready file.
    pub ready_file: Option<PathBuf>,
    /// The URL of a store that another program serves, in place of the embedded one.
    pub store: Option<String>,
    /// The user to sign in at the start.
    pub sign_in: Option<AuthenticatedUser>,
    /// The identity sources of an API that caches responses, in place of the configured ones.
    pub identity_sources: Vec<IdentitySource>,
    /// The MCP server that is protected, if one is. The issuer is then where the own routes are,
    /// because its clients look for the metadata there.
    pub mcp_server: Option<ResourceUri>,
    /// Whether to print the operator key.
    pub show_operator_key: bool,
    /// What to print about requests.
    pub requests: RequestLines,
}

/// What this program prints about the requests that it receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RequestLines {
    /// A line for each.
    Readable,
    /// The lines that functions write in Lambda.
    Json,
    /// Nothing.
    None,
}

impl RequestLines {
    /// Returns the log level, unless `POSTERN_LOG` sets another.
    fn level(self) -> Level {
        match self {
            Self::Readable | Self::Json => Level::INFO,
            Self::None => Level::WARN,
        }
    }

    fn format(self) -> LineFormat {
        match self {
            Self::Readable | Self::None => LineFormat::Readable,
            Self::Json => LineFormat::Json,
        }
    }
}

/// A deployment on this machine.
#[derive(Debug)]
pub struct Deployment {
    /// The store.
    pub engine: Engine,
    /// The app that the functions share.
    pub app: Arc<App>,
    /// The gateway of the own routes.
    pub gateway: Gateway,
    /// The keys of this deployment that its owner can see.
    pub shown: LocalCredentials,
    /// Whether the API key works.
    pub key: ShownKey,
    /// The session of the user who was signed in.
    pub session: Option<Secret>,
    /// What the user should know about this start.
    pub notices: Vec<String>,
}

/// The content of the ready file.
#[derive(Serialize)]
pub struct Ready {
    /// The URL at which the program listens.
    pub url: String,
    /// The URL of the store.
    pub store_url: String,
    /// The access key of the store, for `AWS_ACCESS_KEY_ID`.
    pub store_access_key_id: String,
    /// The operator key, which can create organizations.
    pub operator_key: String,
    /// The id of the first organization.
    pub organization_id: String,
    /// An API key of the first organization, with every scope.
    pub api_key: String,
    /// The URL of Postern's own routes, if `url` is a protected API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postern_url: Option<String>,
    /// The session of the user who was signed in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
}

impl std::fmt::Debug for Ready {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ready({})", self.url)
    }
}

/// Assembles a deployment whose own routes are served at `url`. The first start creates an
/// organization.
///
/// # Errors
/// [`Error::Io`] or [`Error::Invalid`] if data cannot be read or written, [`Error::Postern`] if a
/// setting is invalid.
pub async fn deploy(options: &Options, url: &str) -> Result<Deployment, Error> {
    let template = Template::load()?;
    options.data.prepare()?;
    let _lock = options.data.lock_starts().await?;
    let mut shown = options.data.load_credentials()?;
    let mut config = settings::load(&options.config, &mut shown, url, options.requests.level())?;
    let mut notices = Vec::new();
    if let Some(uri) = &options.mcp_server {
        notices.extend(mcp::resource_notice(&config, uri));
        config = config.with_issuer(url)?;
        mcp::add_resource(&mut config, uri)?;
    }
    if !options.identity_sources.is_empty() {
        config = config.with_identity_sources(options.identity_sources.clone())?;
    }
    let level = config.deployment.log;

    let engine = start_engine(options, &template).await?;
    notices.extend(brand_notice(&mut shown, &config));
    let configured_file = configured_secret_file(&config)?;
    if let Some(file) = &configured_file {
        notices.extend(secret_file_notice(file)?);
    }
    let secrets = options.data.secrets(
        configured_file.as_deref(),
        &config.brand,
        &config.signing_algorithms(),
        &mut shown,
    )?;
    options.data.save_credentials(&shown)?;
    let secrets_path = options.data.secrets_file(configured_file.as_deref());
    let app = Arc::new(new_app(config, &secrets, &engine, secrets_path.as_deref())?);
    let gateway = Gateway::new(&app, &template)?;
    let (key, key_notice) = first_organization::ensure(&app, &gateway, &mut shown)
        .await
        .map_err(|error| store_unavailable(options.store.as_deref(), error))?;
    notices.extend(key_notice.map(str::to_owned));
    // From here on, requests are those of callers.
    telemetry::init_local(level, options.requests.format(), options.data.request_log()?);
    options.data.save_credentials(&shown)?;
    let session = sign_in(&app, options.sign_in.as_ref()).await?;
    Ok(Deployment { engine, app, gateway, shown, key, session, notices })
}

/// Builds the app on the store. `secrets_path` is the file of `secrets`, for errors about them.
fn new_app(
    mut config: Config,
    secrets: &Secrets,
    engine: &Engine,
    secrets_path: Option<&Path>,
) -> Result<App, Error> {
    config.deployment.secret =
        secrets_path.map(|path| SecretSource::File(path.display().to_string()));
    let clock = Clock::system();
    let tables = config.deployment.tables.clone();
    let store = Store::new(&engine.sdk(None), tables, Timeouts::default(), &clock);
    App::new(config, secrets, store, clock, Entropy::system()).map_err(data::in_file(secrets_path))
}

/// Names the store of another program in the error of a first request that it did not answer.
fn store_unavailable(store: Option<&str>, error: Error) -> Error {
    match (store, error) {
        (Some(url), Error::FirstOrganization { status: StatusCode::SERVICE_UNAVAILABLE, .. }) => {
            Error::Invalid(format!(
                "the store at {url} does not answer, or refuses the access key: start `postern-local \
                 store`, and set --store and the variables to what it prints"
            ))
        }
        (_, error) => error,
    }
}

/// Creates the session of the user who is signed in at the start.
async fn sign_in(app: &App, user: Option<&AuthenticatedUser>) -> Result<Option<Secret>, Error> {
    let Some(user) = user else { return Ok(None) };
    session::create(&app.context, user.clone(), Browser::default(), None)
        .await
        .map(Some)
        .map_err(|error| not_signed_in(&user.user_id, error))
}

/// Returns the store of another program, or starts the embedded one.
async fn start_engine(options: &Options, template: &Template) -> Result<Engine, Error> {
    if let Some(url) = &options.store {
        return Engine::remote(url).await;
    }
    let (listener, _) = http_server::bind(SocketAddr::from(([127, 0, 0, 1], 0)), LISTEN).await?;
    let mut engine = Engine::start(options.data.database().as_deref(), listener, template)?;
    engine.sweep();
    engine.report_events()?;
    Ok(engine)
}

/// Switches to the credentials of the configured brand. Returns what to say if it is another one
/// than at the last start.
fn brand_notice(shown: &mut LocalCredentials, config: &Config) -> Option<String> {
    let other = shown.switch_brand(&config.brand)?;
    let key = if shown.api_key.is_none() {
        "This start has created another organization."
    } else {
        "The API key is that of an earlier start."
    };
    Some(format!(
        "The brand was {other} at the last start: credentials that begin with {other}_ do not work \
         with the brand {}. {key}",
        config.brand.as_str()
    ))
}

/// Returns the configured file of the deployment's secret.
pub(crate) fn configured_secret_file(config: &Config) -> Result<Option<PathBuf>, Error> {
    match &config.deployment.secret {
        None => Ok(None),
        Some(SecretSource::File(path)) => Ok(Some(PathBuf::from(path))),
        Some(SecretSource::Arn(_)) => Err(Error::Invalid(
            "POSTERN_SECRET_ARN works only in AWS: unset it, or set POSTERN_SECRET_FILE".into(),
        )),
    }
}

/// Returns what to say about the file of the deployment's secret. Refuses one that others could
/// have written.
fn secret_file_notice(file: &Path) -> Result<Option<String>, Error> {
    let name = file.display();
    Ok(if !file.exists() {
        Some(format!(
            "The file {name} of POSTERN_SECRET_FILE did not exist. This start has created it, with new keys."
        ))
    } else if data::check_secret_file(file)? {
        Some(format!(
            "Other users can read {name} of POSTERN_SECRET_FILE: make it private, because whoever reads it can sign tokens."
        ))
    } else {
        None
    })
}

fn not_signed_in(user: &Subject, error: postern::Error) -> Error {
    match error {
        postern::Error::Failed(fault) => Error::Postern(fault),
        postern::Error::Rejected(rejection) if rejection.refusal == Refusal::LoginWrong => {
            Error::Invalid(format!("there is no user {user}: create one with POST /v1/users"))
        }
        postern::Error::Rejected(_) => {
            Error::Invalid(format!("{user} was not signed in: {}", error.description()))
        }
    }
}

impl Deployment {
    /// Returns the content of the ready file for a program that listens at `url`.
    pub fn ready(&self, url: String) -> Ready {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        Ready {
            url,
            store_url: self.engine.url.clone(),
            store_access_key_id: self.engine.access_key.expose().to_owned(),
            operator_key: text(&self.shown.operator_key),
            organization_id: text(&self.shown.organization_id),
            api_key: text(&self.shown.api_key),
            postern_url: None,
            session: self.session.as_ref().map(|session| session.expose().to_owned()),
        }
    }
}

/// Deletes the ready file of an earlier start, so that a start that is refused leaves none.
///
/// # Errors
/// [`Error::Io`] if the file cannot be deleted.
pub fn remove_ready_file(file: Option<&Path>) -> Result<(), Error> {
    let Some(file) = file else { return Ok(()) };
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io(format!("deleting {}", file.display()))(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Writes the ready file, if one was requested. Everything must be listening by then.
///
/// # Errors
/// [`Error::Io`] if the file cannot be written.
pub fn write_ready_file(file: Option<&Path>, ready: &impl Serialize) -> Result<(), Error> {
    let json = serde_json::to_string(ready).map_err(|error| Error::Invalid(error.to_string()))?;
    file.map_or(Ok(()), |file| private_file::write(file, &json))
}

/// Serves the gateway on `listener` until `stop`, and finishes running requests.
pub async fn serve(listener: TcpListener, deployment: &Deployment, stop: Shutdown) {
    let gateway = deployment.gateway.clone();
    let public_origin = deployment.app.context.config.deployment.origin().to_owned();
    let router = Router::new().fallback(answer).with_state(Served { gateway, public_origin });
    http_server::run(listener, http_server::requiring_host(router), stop).await;
}

/// A gateway and the origin of its pages.
#[derive(Clone, Debug)]
struct Served {
    gateway: Gateway,
    public_origin: String,
}

async fn answer(
    State(served): State<Served>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let (mut parts, body) = request.into_parts();
    if let Some(elsewhere) = own_origin::sign_in_elsewhere(&parts, &served.public_origin) {
        return elsewhere;
    }
    own_origin::normalize(&mut parts, &served.public_origin);
    match to_bytes(body, LARGEST_PAYLOAD).await {
        Ok(body) => served.gateway.call(Request::from_parts(parts, body), peer.ip()).await,
        Err(error) if is_too_large(&error) => {
            error_response(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large")
        }
        Err(_) => error_response(StatusCode::BAD_REQUEST, "Bad Request"),
    }
    .map(Body::from)
}

/// Reports whether a body exceeds the limit. Otherwise it ended early, or has malformed chunks.
fn is_too_large(error: &axum::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<LengthLimitError>())
}
