//! A whole deployment on one loopback port: store, functions and gateway.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{ConnectInfo, Request, State},
    response::Response,
};
use http::StatusCode;
use postern::{
    App,
    config::{Config, IdentitySource, SecretSource, environment_variables},
    core::{clock::Clock, entropy::Entropy, secret::Secret, subject::Subject},
    grant::session::{self, AuthenticatedUser, Browser},
    store::{Store, Timeouts},
};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch};

use crate::{
    Error,
    data::{DataLocation, LocalCredentials, write_private},
    engine::{self, Engine},
    gateway::{Gateway, LARGEST_PAYLOAD, error_response},
    template::Template,
};

/// How long running requests can take after the signal to stop.
const DRAIN: Duration = Duration::from_secs(3);

/// The options of the command line.
#[derive(Clone, Debug)]
pub struct Options {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// Where data is stored.
    pub data: DataLocation,
    /// A `postern.toml` in place of the built-in one.
    pub config: Option<PathBuf>,
    /// The path of the ready file.
    pub ready_file: Option<PathBuf>,
    /// The URL of a store that another program serves, in place of the embedded one.
    pub store: Option<String>,
    /// The user to sign in at the start.
    pub sign_in: Option<AuthenticatedUser>,
    /// The identity sources of an API that caches responses, in place of the configured ones.
    pub identity_sources: Vec<IdentitySource>,
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
    /// The keys that are shown at every start.
    pub shown: LocalCredentials,
    /// The session of the user who was signed in.
    pub session: Option<Secret>,
}

/// The content of the ready file.
#[derive(Serialize)]
pub struct Ready {
    /// The URL at which the program listens.
    pub url: String,
    /// The URL of the store.
    pub store_url: String,
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

/// Listens on `address`; returns the listener and its URL.
///
/// # Errors
/// [`Error::Invalid`] if the address is in use, [`Error::Io`] for other failures.
pub async fn bind(address: SocketAddr) -> Result<(TcpListener, String), Error> {
    let listener = TcpListener::bind(address).await.map_err(|error| {
        if error.kind() == io::ErrorKind::AddrInUse {
            Error::Invalid(format!(
                "listening on {address}: the address is in use; choose another port with --listen"
            ))
        } else {
            Error::io(format!("listening on {address}"))(error)
        }
    })?;
    let address = listener.local_addr().map_err(Error::io("the address of a listener"))?;
    Ok((listener, format!("http://{address}")))
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
    let mut shown = options.data.load_credentials()?;
    let mut config = config(options, &mut shown, url)?;
    if !options.identity_sources.is_empty() {
        config = config.with_identity_sources(options.identity_sources.clone())?;
    }
    postern::telemetry::init_readable(config.deployment.log);

    let engine = match &options.store {
        Some(url) => Engine::remote(url),
        None => {
            let (listener, _) = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
            let mut engine =
                Engine::start(options.data.database().as_deref(), listener, &template)?;
            engine.sweep();
            engine
        }
    };
    shown.switch_brand(&config.brand);
    let secret_file = match &config.deployment.secret {
        None => None,
        Some(SecretSource::File(path)) => Some(PathBuf::from(path)),
        Some(SecretSource::Arn(_)) => {
            return Err(Error::Invalid(
                "POSTERN_SECRET_ARN works only in AWS: unset it, or set POSTERN_SECRET_FILE".into(),
            ));
        }
    };
    let secrets = options.data.secrets(
        secret_file.as_deref(),
        &config.brand,
        config.signing.algorithm,
        &mut shown,
    )?;
    options.data.save_credentials(&shown)?;
    let clock = Clock::system();
    let store = Store::new(
        &engine.sdk(None),
        config.deployment.tables.clone(),
        Timeouts::default(),
        &clock,
    );
    let app = Arc::new(App::new(config, &secrets, store, clock, Entropy::system())?);
    let gateway = Gateway::new(&app, &template)?;
    if shown.api_key.is_none() {
        create_organization(&gateway, &mut shown).await?;
        options.data.save_credentials(&shown)?;
    }
    let session = match &options.sign_in {
        Some(person) => Some(
            session::create(&app.context, person.clone(), Browser::default(), None)
                .await
                .map_err(|error| not_signed_in(&person.user_id, error))?,
        ),
        None => None,
    };
    Ok(Deployment { engine, app, gateway, shown, session })
}

fn not_signed_in(user: &Subject, error: postern::Error) -> Error {
    match error {
        postern::Error::Failed(fault) => Error::Postern(fault),
        postern::Error::Rejected(_) => {
            Error::Invalid(format!("{user} was not signed in: {}", error.description()))
        }
    }
}

/// Reads the settings from the environment, and adds those of a local deployment.
fn config(options: &Options, shown: &mut LocalCredentials, url: &str) -> Result<Config, Error> {
    let mut variables = environment_variables();
    if let Some(file) = &options.config {
        variables.insert("POSTERN_CONFIG".into(), file.display().to_string());
    }
    let issuer = shown.issuer.get_or_insert_with(|| url.to_owned()).clone();
    variables.entry("POSTERN_ISSUER".into()).or_insert(issuer);
    variables.entry("POSTERN_LOG".into()).or_insert("warn".into());
    let tables = engine::tables();
    variables.insert("POSTERN_KEYS_TABLE".into(), tables.keys);
    variables.insert("POSTERN_FAMILIES_TABLE".into(), tables.families);
    variables.insert("POSTERN_NONCES_TABLE".into(), tables.nonces);
    Ok(Config::from_variables(&variables)?)
}

/// Creates the first organization through the gateway, as an operator would.
async fn create_organization(gateway: &Gateway, shown: &mut LocalCredentials) -> Result<(), Error> {
    let operator_key = shown.operator_key.as_deref().unwrap_or_default();
    let request = http::Request::post("/v1/organizations")
        .header("authorization", format!("Bearer {operator_key}"))
        .header("content-type", "application/json")
        .body(Bytes::from(json!({"name": "Local"}).to_string()))
        .map_err(|error| Error::Invalid(error.to_string()))?;
    let response = gateway.call(request, IpAddr::from([127, 0, 0, 1])).await;
    let answer: Value = serde_json::from_slice(response.body()).unwrap_or_default();
    let text = |name: &str| answer[name].as_str().map(str::to_owned);
    (shown.organization_id, shown.api_key) = (text("id"), text("api_key"));
    let is_created = shown.api_key.is_some();
    is_created
        .then_some(())
        .ok_or_else(|| Error::Invalid(format!("creating the first organization failed: {answer}")))
}

impl Deployment {
    /// Returns the content of the ready file for a program that listens at `url`.
    pub fn ready(&self, url: String) -> Ready {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        Ready {
            url,
            store_url: self.engine.url.clone(),
            operator_key: text(&self.shown.operator_key),
            organization_id: text(&self.shown.organization_id),
            api_key: text(&self.shown.api_key),
            postern_url: None,
            session: self.session.as_ref().map(|session| session.expose().to_owned()),
        }
    }
}

/// Writes the ready file, if one was requested.
///
/// # Errors
/// [`Error::Io`] if the file cannot be written.
pub fn write_ready_file(options: &Options, ready: &impl Serialize) -> Result<(), Error> {
    let json = serde_json::to_string(ready).map_err(|error| Error::Invalid(error.to_string()))?;
    options.ready_file.as_deref().map_or(Ok(()), |file| write_private(file, &json))
}

/// Serves the gateway on `listener` until `stop`, and finishes running requests.
///
/// # Errors
/// [`Error::Io`] if the listener fails.
pub async fn serve(listener: TcpListener, gateway: Gateway, stop: Shutdown) -> Result<(), Error> {
    let router = Router::new().fallback(answer).with_state(gateway);
    run(listener, router, stop).await
}

pub(crate) async fn run(
    listener: TcpListener,
    router: Router,
    stop: Shutdown,
) -> Result<(), Error> {
    let serving = axum::serve(listener, router.into_make_service_with_connect_info::<SocketAddr>())
        .with_graceful_shutdown(stop.clone().wait());
    // An incomplete request would otherwise be awaited forever.
    let patience = async {
        stop.wait().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        served = serving => served.map_err(Error::io("serving")),
        () = patience => Ok(()),
    }
}

async fn answer(
    State(gateway): State<Gateway>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    match to_bytes(body, LARGEST_PAYLOAD).await {
        Ok(body) => gateway.call(Request::from_parts(parts, body), peer.ip()).await,
        Err(_) => error_response(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large"),
    }
    .map(Body::from)
}

/// A signal to stop.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    /// Stops at Ctrl-C or SIGTERM.
    ///
    /// # Errors
    /// [`Error::Io`] if signals cannot be received.
    pub fn on_signal() -> Result<Self, Error> {
        let mut terminate =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
                .map_err(Error::io("listening to SIGTERM"))?;
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(async move {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            stop.send_replace(true);
        });
        Ok(Self(stopped))
    }

    /// Stops when the returned sender sends `true` or is dropped.
    pub fn manual() -> (watch::Sender<bool>, Self) {
        let (stop, stopped) = watch::channel(false);
        (stop, Self(stopped))
    }

    /// Waits until it is time to stop.
    pub async fn wait(mut self) {
        drop(self.0.wait_for(|stop| *stop).await);
    }
}
