//! The options of the command line.

use std::{convert::Infallible, net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, builder::NonEmptyStringValueParser};
use http::Uri;
use local::{
    Error,
    data::DataLocation,
    guard::{AuthorizerConfig, EventKind, IdentitySource, parse_route},
    protect,
    serve::{Options, RequestLines},
    settings::ConfigSource,
};
use postern::{
    core::{principal::Role, subject::Subject},
    grant::session::AuthenticatedUser,
};

/// Postern on this machine, without Docker and without AWS.
#[derive(Parser)]
#[command(name = "postern-local", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) deployment: DeploymentArgs,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Serve every route of the template (the default).
    Serve(DeploymentArgs),
    /// Protect a local API with the authorizer.
    Protect {
        /// The API to protect, such as http://127.0.0.1:3000.
        #[arg(value_parser = protect::upstream)]
        upstream: Uri,
        /// The API is an MCP server, with its path, such as http://127.0.0.1:3000/mcp: its clients
        /// find out by themselves where users sign in.
        #[arg(long, conflicts_with_all = ["event", "routes", "cache_ttl", "identity_sources", "stage"])]
        mcp: bool,
        /// The address for Postern's own routes. By default, a free port; with --mcp, the port
        /// after that of --listen.
        #[arg(long, value_name = "ADDRESS", value_parser = address)]
        postern_listen: Option<SocketAddr>,
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
    /// Print the OpenAPI document of all routes (docs/openapi.json).
    Openapi,
    /// Print the JSON Schema of events (docs/events.schema.json).
    EventSchema,
    /// Print the template's routes as the configuration of `cargo lambda watch`.
    WatchConfig,
    /// Check the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Check and try the rules about workloads.
    #[command(subcommand)]
    Trust(TrustCommand),
    /// Say why a request was answered as it was, by its id in an error or a line of the log.
    Explain {
        /// The id of the request.
        #[arg(value_parser = request_id)]
        request_id: String,
        /// The data folder of the program that answered it.
        #[arg(long, default_value = ".postern", conflicts_with = "log_group")]
        data: DataLocation,
        /// The log group of a stack in AWS, as its output LogGroup says. Account and region are
        /// those of the AWS command line.
        #[arg(long, value_name = "NAME")]
        log_group: Option<String>,
        /// How many hours of the log group to search.
        #[arg(long, value_name = "HOURS", default_value_t = 24, requires = "log_group", value_parser = clap::value_parser!(u16).range(1..))]
        hours: u16,
    },
    /// List, replace or remove the keys of the data folder.
    Keys {
        #[command(subcommand)]
        action: KeysAction,
        /// The data folder.
        #[arg(long, default_value = ".postern", global = true)]
        data: DataLocation,
        /// The configuration file. By default, postern.toml in the current folder, or the built-in
        /// one.
        #[arg(long, value_name = "FILE", global = true)]
        config: Option<PathBuf>,
    },
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

#[derive(Subcommand)]
pub(crate) enum ConfigCommand {
    /// Say what is wrong with the configuration, as the start would.
    Check {
        /// The configuration file. By default, postern.toml in the current folder, or the built-in
        /// one.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

#[derive(Subcommand)]
pub(crate) enum TrustCommand {
    /// Say what is wrong with the rules of [[trust]].
    Lint {
        /// The configuration file. By default, postern.toml in the current folder, or the built-in
        /// one.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Say what a workload would get for its token, and why. The token stays usable.
    Try {
        /// The token, or - to read it from standard input, which keeps it out of the history of the
        /// shell.
        token: String,
        /// The configuration file. By default, postern.toml in the current folder, or the built-in
        /// one.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

/// What is done with the keys.
#[derive(Subcommand)]
pub(crate) enum KeysAction {
    /// Show every key, what it does now, and its times.
    List,
    /// Add a key of every kind. It signs a day later, when everyone who verifies knows it.
    Rotate,
    /// Remove a key, and with it everything that it has signed.
    Drop {
        /// The name of the key, as `postern-local keys list` shows it.
        #[arg(required_unless_present = "not_before", value_parser = NonEmptyStringValueParser::new())]
        kid: Option<String>,
        /// Also end every token, family of refresh tokens and session that was issued before: now,
        /// or a time such as 2026-01-02T00:00:00Z.
        #[arg(long, value_name = "TIME")]
        not_before: Option<String>,
    },
}

/// The options of everything that listens.
#[derive(Args, Clone)]
pub(crate) struct Server {
    /// The address to listen on, such as 127.0.0.1:9502, or only the port.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9000", value_parser = address)]
    pub(crate) listen: SocketAddr,
    /// The name of --listen in other programs. Its error says what to use here.
    #[arg(long, hide = true, value_name = "PORT", value_parser = port)]
    port: Option<Infallible>,
    /// The data folder, or :memory: to keep nothing.
    #[arg(long, default_value = ".postern")]
    pub(crate) data: DataLocation,
    /// A file to write once the program is listening: one JSON object with URLs and keys.
    #[arg(long, value_name = "FILE")]
    pub(crate) ready_file: Option<PathBuf>,
}

/// The options of a whole deployment.
#[derive(Args, Clone)]
pub(crate) struct DeploymentArgs {
    #[command(flatten)]
    server: Server,
    /// The configuration file. By default, postern.toml in the current folder, or the built-in one.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The URL of a store that another program serves (`postern-local store`), in place of its own.
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
    /// How to print requests: readable, json as Lambda writes it, or none.
    #[arg(long, value_name = "FORMAT", default_value = "readable", conflicts_with = "quiet")]
    log: RequestLines,
    /// Print no requests: the same as --log none.
    #[arg(long)]
    quiet: bool,
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
        Err("expected the URL that `postern-local store` prints, such as http://127.0.0.1:9000"
            .into())
    }
}

/// Accepts what API Gateway uses as an id, which can be part of a query.
fn request_id(text: &str) -> Result<String, String> {
    let is_id = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'=');
    if (1..=128).contains(&text.len()) && text.bytes().all(is_id) {
        Ok(text.to_owned())
    } else {
        Err("expected the request_id of an error, such as 0bd0c0a8-5c0c-4f2b-9d0e-6a1f0f5f3c9a"
            .into())
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
pub(crate) struct Attached {
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

impl TryFrom<Attached> for AuthorizerConfig {
    type Error = Error;

    fn try_from(attached: Attached) -> Result<Self, Error> {
        let Attached { event, identity_sources, routes, cache_ttl, stage } = attached;
        let has_routes = matches!(event, EventKind::Http1 | EventKind::Http2);
        if !routes.is_empty() && !has_routes {
            let sentence = "--route is only for HTTP APIs: remove it, or use --event http-2.0";
            return Err(Error::Invalid(sentence.into()));
        }
        let routes = if routes.is_empty() { Self::default().routes } else { routes };
        Ok(Self { event, identity_sources, cache_ttl_s: cache_ttl, stage, routes })
    }
}

impl Attached {
    /// Attaches the authorizer as a REST API with streamed responses does, which is what MCP needs.
    pub(crate) fn for_mcp(self) -> Self {
        Self { event: EventKind::RestRequest, ..self }
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
            mcp_server: None,
            show_operator_key,
            requests: if quiet { RequestLines::None } else { log },
        }
    }
}
