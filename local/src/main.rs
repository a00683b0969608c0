//! The program `postern`: Postern on this machine.

mod show;

use std::{convert::Infallible, fs, net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc};

use clap::{Args, Parser, Subcommand, ValueEnum};
use http::Uri;
use local::{
    Error,
    data::DataLocation,
    engine::Engine,
    guard::{AuthorizerConfig, EventKind, Guard, IdentitySource, parse_route},
    http_server::{self, Shutdown},
    invoke, permissions,
    protect::{self, ProtectedApi},
    serve::{self, LISTEN, Options, RequestLines},
    settings::ConfigSource,
    template::Template,
    watch,
};
use postern::{
    Fault,
    core::{principal::Role, subject::Subject},
    grant::session::AuthenticatedUser,
};
use serde_json::json;

/// Postern on this machine, without Docker and without AWS.
#[derive(Parser)]
#[command(name = "postern", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    deployment: DeploymentArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Serve every route of the template (the default).
    Serve(DeploymentArgs),
    /// Protect a local API with the authorizer.
    Protect {
        /// The API to protect, such as http://127.0.0.1:3000.
        #[arg(value_parser = protect::upstream)]
        upstream: Uri,
        /// The address for Postern's own routes.
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0", value_parser = address)]
        postern_listen: SocketAddr,
        #[command(flatten)]
        attached: Box<Attached>,
        #[command(flatten)]
        deployment: DeploymentArgs,
    },
    /// Serve only the DynamoDB-compatible store.
    Store(Server),
    /// Invoke a function with events and print its answers.
    ///
    /// Takes the same events as `cargo lambda invoke` and `sam local invoke`.
    Invoke {
        /// The name of the function, such as heartbeat.
        function: String,
        /// Files with one event each, like those in events/.
        #[arg(required = true)]
        events: Vec<PathBuf>,
        /// The data folder, or :memory: to keep nothing.
        #[arg(long, default_value = ".postern")]
        data: DataLocation,
        /// The configuration file. By default, postern.toml in the current folder, or the built-in
        /// one.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Print the permissions that the template gives each function (docs/permissions.md).
    Permissions,
    /// Print the template's routes as the configuration of `cargo lambda watch`.
    WatchConfig,
    /// Create the secrets of a new deployment, as three files for AWS Secrets Manager.
    Secret {
        /// The folder for signing.json, verification.json and public.json.
        #[arg(long, value_name = "FOLDER", default_value = ".")]
        out: PathBuf,
        /// The configuration file. By default, postern.toml in the current folder, or the built-in
        /// one.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

/// The options of everything that listens.
#[derive(Args, Clone)]
struct Server {
    /// The address to listen on, such as 127.0.0.1:9502, or only the port.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9000", value_parser = address)]
    listen: SocketAddr,
    /// Not an option of this program.
    #[arg(long, hide = true, value_name = "PORT", value_parser = port)]
    port: Option<Infallible>,
    /// The data folder, or :memory: to keep nothing.
    #[arg(long, default_value = ".postern")]
    data: DataLocation,
    /// A file to write once the program is listening: one JSON object with URLs and keys.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

/// The options of a whole deployment.
#[derive(Args, Clone)]
struct DeploymentArgs {
    #[command(flatten)]
    server: Server,
    /// The configuration file. By default, postern.toml in the current folder, or the built-in one.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The URL of a store that another program serves (`postern store`), in place of its own.
    #[arg(long, value_name = "URL", value_parser = store_url)]
    store: Option<String>,
    /// Sign this user in and show their session.
    #[arg(long, value_name = "USER_ID", value_parser = user_id)]
    sign_in: Option<String>,
    /// The role of the user who is signed in: user or admin.
    #[arg(long, default_value = "user", value_parser = role, requires = "sign_in")]
    role: Role,
    /// Print the operator key, which can create organizations.
    #[arg(long)]
    show_operator_key: bool,
    /// How to print requests: readable, or json as Lambda writes it.
    #[arg(long, value_name = "FORMAT", default_value = "readable", conflicts_with = "quiet")]
    log: LogFormat,
    /// Print no requests.
    #[arg(long)]
    quiet: bool,
}

/// How requests are printed.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    Readable,
    Json,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse::<u16>() {
        return Ok(SocketAddr::from(([127, 0, 0, 1], port)));
    }
    let numeric = match text.split_once(':') {
        Some(("localhost", port)) => format!("127.0.0.1:{port}"),
        Some(_) | None => text.to_owned(),
    };
    numeric.parse().map_err(|_| {
        "expected an address with a port, such as 127.0.0.1:9502 or localhost:9502, or only a port"
            .into()
    })
}

fn identity_source(text: &str) -> Result<IdentitySource, String> {
    text.to_owned().try_into()
}

fn user_id(text: &str) -> Result<String, String> {
    let is_sound =
        (1..=200).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_sound && Subject::parse_user(text.to_owned()).is_some() {
        Ok(text.to_owned())
    } else {
        Err("expected the id of a user: one that POST /v1/users returned, github| and a number, or one that an identity provider assigns, with its subject_prefix".into())
    }
}

fn store_url(text: &str) -> Result<String, String> {
    let uri: Option<Uri> = text.parse().ok();
    let is_url =
        |uri: &Uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some();
    if uri.as_ref().is_some_and(is_url) {
        Ok(text.to_owned())
    } else {
        Err("expected the URL that `postern store` prints, such as http://127.0.0.1:9000".into())
    }
}

fn role(text: &str) -> Result<Role, String> {
    match text {
        "user" => Ok(Role::User),
        "admin" => Ok(Role::Admin),
        _ => Err("expected user or admin".into()),
    }
}

/// Refuses the option of other programs for a port.
fn port(text: &str) -> Result<Infallible, String> {
    Err(format!("use --listen {text}"))
}

fn cache_ttl(text: &str) -> Result<i64, String> {
    let seconds = text.parse().ok().filter(|seconds| (0..=3600).contains(seconds));
    seconds.ok_or_else(|| "expected a whole number of seconds from 0 to 3600, such as 300".into())
}

/// The stage of an HTTP API that does not precede its paths.
const DEFAULT_STAGE: &str = "$default";

fn stage(text: &str) -> Result<String, String> {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if text == DEFAULT_STAGE || (!text.is_empty() && text.bytes().all(is_letter)) {
        Ok(text.to_owned())
    } else {
        Err("expected a name of letters, digits, - and _, without a slash, such as prod".into())
    }
}

/// The options for attaching the authorizer to the API.
#[derive(Args, Clone)]
struct Attached {
    /// The kind of API, and the payload of the authorizer's event.
    #[arg(long, value_enum, default_value_t = EventKind::Http2)]
    event: EventKind,
    /// What every request must have: a header, $context.routeKey (HTTP API), or $context.path and
    /// $context.httpMethod (REST API). Can be repeated. If responses are cached, they are cached by
    /// these, and credentials in other headers are ignored.
    #[arg(long = "identity-source", value_name = "SOURCE", value_parser = identity_source)]
    identity_sources: Vec<IdentitySource>,
    /// A route of the HTTP API, such as "GET /orders/{id}". Can be repeated; without any, $default.
    #[arg(long = "route", value_name = "ROUTE", value_parser = parse_route)]
    routes: Vec<String>,
    /// How long a response of the authorizer is cached, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = cache_ttl)]
    cache_ttl: i64,
    /// The stage. A named stage precedes every path.
    #[arg(long, default_value = DEFAULT_STAGE, value_parser = stage)]
    stage: String,
}

impl From<Attached> for AuthorizerConfig {
    fn from(attached: Attached) -> Self {
        let Attached { event, identity_sources, routes, cache_ttl, stage } = attached;
        let routes = if routes.is_empty() { Self::default().routes } else { routes };
        Self { event, identity_sources, cache_ttl_s: cache_ttl, stage, routes }
    }
}

impl From<DeploymentArgs> for Options {
    fn from(deployment: DeploymentArgs) -> Self {
        let DeploymentArgs { server, config, store, sign_in, role, show_operator_key, log, quiet } =
            deployment;
        let config = ConfigSource::find(config.as_deref());
        let metadata = serde_json::Map::new();
        let sign_in = sign_in.map(|user_id| AuthenticatedUser {
            user_id: user_id.into(),
            role,
            password_epoch: None,
            metadata,
        });
        let Server { listen, data, ready_file, port: _ } = server;
        let identity_sources = Vec::new();
        Self {
            listen,
            data,
            config,
            ready_file,
            store,
            sign_in,
            identity_sources,
            show_operator_key,
            requests: match (quiet, log) {
                (true, _) => RequestLines::Quiet,
                (false, LogFormat::Readable) => RequestLines::Readable,
                (false, LogFormat::Json) => RequestLines::Json,
            },
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command.unwrap_or(Command::Serve(cli.deployment)) {
        Command::Serve(deployment) => serve_all(&deployment.into()).await,
        Command::Protect { upstream, postern_listen, attached, deployment } => {
            protect(*attached, Options::from(deployment), upstream, postern_listen).await
        }
        Command::Store(server) => serve_store(&server).await,
        Command::Invoke { function, events, data, config } => {
            invoke(&function, &events, data, config).await
        }
        Command::Permissions => Template::load()
            .and_then(|template| permissions::markdown(&template))
            .map(|page| show::print_page(&page)),
        Command::WatchConfig => {
            Template::load().map(|template| show::print_page(&watch::config(&template)))
        }
        Command::Secret { out, config } => show::make_secret(&out, config.as_deref()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            show::print_error(&error);
            ExitCode::FAILURE
        }
    }
}

async fn serve_all(options: &Options) -> Result<(), Error> {
    serve::remove_ready_file(options.ready_file.as_deref())?;
    let stop = Shutdown::on_signal()?;
    let (listener, url) = http_server::bind(options.listen, LISTEN).await?;
    let deployment = serve::deploy(options, &url).await?;
    let ready = deployment.ready(url);
    serve::write_ready_file(options.ready_file.as_deref(), &ready)?;
    show::print_ready(&ready, options, &deployment);
    serve::serve(listener, &deployment, stop).await;
    Ok(())
}

async fn protect(
    attached: Attached,
    mut options: Options,
    upstream: Uri,
    postern_listen: SocketAddr,
) -> Result<(), Error> {
    serve::remove_ready_file(options.ready_file.as_deref())?;
    let has_routes = matches!(attached.event, EventKind::Http1 | EventKind::Http2);
    if !attached.routes.is_empty() && !has_routes {
        let sentence = "--route is only for HTTP APIs: remove it, or use --event http-2.0";
        return Err(Error::Invalid(sentence.into()));
    }
    let attachment = AuthorizerConfig::from(attached);
    if attachment.cache_ttl_s > 0 {
        options.identity_sources = attachment.identity_sources.clone();
    }
    let is_option = !options.identity_sources.is_empty();
    let outcome = protect_api(&options, upstream, attachment, postern_listen).await;
    outcome.map_err(|error| if is_option { naming_the_option(error) } else { error })
}

/// Names the option in an error about identity sources, which come from it and not from a file.
fn naming_the_option(error: Error) -> Error {
    const OPTION: &str = "--identity-source";
    let Error::Postern(Fault::Setting(sentence)) = error else { return error };
    let sentence = sentence
        .replace("identity_sources of [authorizer] in postern.toml", OPTION)
        .replace("identity_sources of [authorizer]", OPTION);
    Error::Postern(Fault::Setting(sentence))
}

async fn protect_api(
    options: &Options,
    upstream: Uri,
    mut attachment: AuthorizerConfig,
    postern_listen: SocketAddr,
) -> Result<(), Error> {
    serve::remove_ready_file(options.ready_file.as_deref())?;
    let stop = Shutdown::on_signal()?;
    let (listener, url) = http_server::bind(options.listen, LISTEN).await?;
    let (own_listener, own_url) = http_server::bind(postern_listen, "--postern-listen").await?;
    protect::check_upstream(&upstream, &listener)?;
    let deployment = serve::deploy(options, &own_url).await?;
    if attachment.identity_sources.is_empty() {
        let configured = &deployment.app.context.config.authorizer.identity_sources;
        attachment.identity_sources = configured.clone();
    }
    if attachment.identity_sources.is_empty() && attachment.cache_ttl_s > 0 {
        return Err(Error::Invalid(
            "--cache-ttl needs what responses are cached by: add --identity-source X-API-Key, or \
             list it in identity_sources of [authorizer]"
                .into(),
        ));
    }
    if attachment.identity_sources.is_empty() && attachment.event == EventKind::RestToken {
        attachment.identity_sources = vec![IdentitySource::Header("authorization".into())];
    }
    let guard = Guard::new(Arc::clone(&deployment.app), attachment.clone())?;
    let mut protected = ProtectedApi::new(Arc::clone(&deployment.app), guard, upstream.clone());
    if options.requests == RequestLines::Readable {
        protected = protected.reporting(show::print_request);
    }
    let mut ready = deployment.ready(url);
    ready.postern_url = Some(own_url);
    serve::write_ready_file(options.ready_file.as_deref(), &ready)?;
    show::print_protecting(&ready, options, &deployment, &upstream, &attachment);
    tokio::join!(
        serve::serve(own_listener, &deployment, stop.clone()),
        protected.serve(listener, stop)
    );
    Ok(())
}

async fn serve_store(server: &Server) -> Result<(), Error> {
    serve::remove_ready_file(server.ready_file.as_deref())?;
    let stop = Shutdown::on_signal()?;
    server.data.prepare()?;
    let (listener, url) = http_server::bind(server.listen, LISTEN).await?;
    let mut engine =
        Engine::start(server.data.database().as_deref(), listener, &Template::load()?)?;
    engine.sweep();
    let ready = json!({
        "url": url, "store_url": engine.url, "store_access_key_id": engine.access_key.expose(),
    });
    serve::write_ready_file(server.ready_file.as_deref(), &ready)?;
    show::print_store(&engine);
    stop.wait().await;
    Ok(())
}

async fn invoke(
    function: &str,
    events: &[PathBuf],
    data: DataLocation,
    config: Option<PathBuf>,
) -> Result<(), Error> {
    // Check this before anything is created in the data folder.
    if !functions::ALL.contains(&function) {
        return Err(Error::Invalid(format!(
            "there is no function {function}; the functions are {}",
            functions::ALL.join(", ")
        )));
    }
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = ConfigSource::find(config.as_deref());
    let options = Options {
        listen,
        data,
        config,
        ready_file: None,
        store: None,
        sign_in: None,
        identity_sources: Vec::new(),
        show_operator_key: false,
        requests: RequestLines::Quiet,
    };
    show::print_configuration(&options.config);
    let deployment = serve::deploy(&options, "http://127.0.0.1:9000").await?;
    let invoke = invoke::in_process(&deployment.app, function)
        .ok_or_else(|| Error::Invalid(format!("this program does not contain {function}")))?;
    for file in events {
        let text =
            fs::read_to_string(file).map_err(Error::io(format!("reading {}", file.display())))?;
        let event = serde_json::from_str(&text)
            .map_err(|error| Error::Invalid(format!("{} is not JSON: {error}", file.display())))?;
        // Shows an error as Lambda does.
        show::print_answer(
            &invoke(event).await.unwrap_or_else(|message| json!({"errorMessage": message})),
        );
    }
    Ok(())
}
