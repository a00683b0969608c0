//! `cargo run -p local`: Postern on this machine.

mod show;

use std::{fs, net::SocketAddr, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use http::Uri;
use local::{
    Error,
    data::Data,
    engine::Engine,
    guard::{Attachment, EventKind},
    invoke, permissions, protect,
    serve::{self, Options, Stop},
    template::Template,
};
use postern::{core::principal::Role, grant::session::Person};
use serde_json::json;

/// Postern on this machine, without Docker and without AWS.
#[derive(Parser)]
#[command(name = "local", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    common: Common,
}

#[derive(Subcommand)]
enum Command {
    /// Serve every route of the template (the default).
    Serve(Common),
    /// Put the authorizer before a local API.
    Protect {
        /// The API, like http://127.0.0.1:3000
        #[arg(value_parser = protect::upstream)]
        upstream: Uri,
        /// Where Postern's own routes are served meanwhile.
        #[arg(long, default_value = "127.0.0.1:0")]
        postern_listen: SocketAddr,
        #[command(flatten)]
        attached: Attached,
        #[command(flatten)]
        common: Common,
    },
    /// Serve only the DynamoDB-compatible store.
    Store(Common),
    /// Invoke a function with events, as `cargo lambda invoke` and `sam local invoke` do; prints its answers.
    Invoke {
        /// The function, by the name of its folder.
        function: String,
        /// Files with an event each, like those of events/.
        #[arg(required = true)]
        events: Vec<PathBuf>,
        /// The folder for data, or :memory: for none.
        #[arg(long, default_value = ".postern")]
        data: Data,
        /// Another postern.toml.
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// Print what the template lets each function do, as docs/permissions.md has it.
    Permissions,
    /// Make a new deployment's secrets, as two files for AWS Secrets Manager.
    Secret {
        /// The folder for signing.json and verification.json.
        #[arg(long, default_value = ".")]
        out: PathBuf,
        /// Another postern.toml.
        #[arg(long)]
        config: Option<PathBuf>,
    },
}

#[derive(Args, Clone)]
struct Common {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:9000")]
    listen: SocketAddr,
    /// The folder for data, or :memory: for none.
    #[arg(long, default_value = ".postern")]
    data: Data,
    /// Another postern.toml.
    #[arg(long)]
    config: Option<PathBuf>,
    /// A file that is written once the program listens: one JSON object.
    #[arg(long)]
    ready_file: Option<PathBuf>,
    /// Use a store that is served elsewhere, as `local store` serves it.
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Sign this user in and show their session.
    #[arg(long, value_name = "USER_ID", value_parser = user_id)]
    sign_in: Option<String>,
    /// What the user who is signed in is here: user or admin.
    #[arg(long, default_value = "user", value_parser = role)]
    role: Role,
}

fn user_id(text: &str) -> Result<String, String> {
    let is_sound =
        (1..=200).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_sound { Ok(text.to_owned()) } else { Err("it is 1 to 200 visible characters".into()) }
}

fn role(text: &str) -> Result<Role, String> {
    match text {
        "user" => Ok(Role::User),
        "admin" => Ok(Role::Admin),
        _ => Err("it is user or admin".into()),
    }
}

/// How the API attaches the authorizer.
#[derive(Args, Clone)]
struct Attached {
    /// The kind of API and event.
    #[arg(long, value_enum, default_value_t = EventKind::Http2)]
    event: EventKind,
    /// A header that must be there, and is part of the cache's key; may be given several times.
    #[arg(long = "identity-source", value_name = "HEADER")]
    identity_sources: Vec<String>,
    /// How long an answer is held against the caller's next requests, in seconds.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..=3600))]
    cache_ttl: i64,
    /// A stage, which then goes before every path.
    #[arg(long, default_value = "$default")]
    stage: String,
}

impl From<Attached> for Attachment {
    fn from(attached: Attached) -> Self {
        let Attached { event, mut identity_sources, cache_ttl, stage } = attached;
        // A TOKEN authorizer has exactly one.
        if event == EventKind::RestToken && identity_sources.is_empty() {
            identity_sources.push("Authorization".into());
        }
        Self { event, identity_sources, cache_ttl_s: cache_ttl, stage }
    }
}

impl From<Common> for Options {
    fn from(common: Common) -> Self {
        let Common { listen, data, config, ready_file, store, sign_in, role } = common;
        let metadata = serde_json::Map::new();
        Self {
            listen,
            data,
            config,
            ready_file,
            store,
            sign_in: sign_in.map(|user_id| Person { user_id: user_id.into(), role, metadata }),
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command.unwrap_or(Command::Serve(cli.common)) {
        Command::Serve(common) => serve_all(&common.into()).await,
        Command::Protect { upstream, postern_listen, attached, common } => {
            protect_api(&common.into(), upstream, attached.into(), postern_listen).await
        }
        Command::Store(common) => serve_store(&common.into()).await,
        Command::Invoke { function, events, data, config } => {
            invoke(&function, &events, data, config).await
        }
        Command::Permissions => Template::load()
            .and_then(|template| permissions::page(&template))
            .map(|page| show::page(&page)),
        Command::Secret { out, config } => show::make_secret(&out, config),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            show::error(&error);
            ExitCode::FAILURE
        }
    }
}

async fn serve_all(options: &Options) -> Result<(), Error> {
    let stop = Stop::at_signal()?;
    let (listener, url) = serve::bind(options.listen).await?;
    let deployment = serve::deploy(options, &url).await?;
    let ready = deployment.ready(url);
    serve::announce(options, &ready)?;
    show::ready(&ready, options, &deployment.app.context.config.issuer);
    serve::serve(listener, deployment.gateway.clone(), stop).await
}

async fn protect_api(
    options: &Options,
    upstream: Uri,
    attachment: Attachment,
    postern_listen: SocketAddr,
) -> Result<(), Error> {
    let stop = Stop::at_signal()?;
    let (listener, url) = serve::bind(options.listen).await?;
    let (own_listener, own_url) = serve::bind(postern_listen).await?;
    let deployment = serve::deploy(options, &own_url).await?;
    let mut ready = deployment.ready(url);
    ready.postern_url = Some(own_url);
    serve::announce(options, &ready)?;
    show::protecting(&ready, &upstream);
    let own = serve::serve(own_listener, deployment.gateway.clone(), stop.clone());
    let guarded = protect::serve(listener, deployment.app.clone(), attachment, upstream, stop);
    tokio::try_join!(own, guarded).map(drop)
}

async fn serve_store(options: &Options) -> Result<(), Error> {
    let stop = Stop::at_signal()?;
    options.data.prepare()?;
    let (listener, url) = serve::bind(options.listen).await?;
    let mut engine =
        Engine::start(options.data.database().as_deref(), listener, &Template::load()?)?;
    engine.sweep();
    serve::announce(options, &json!({"url": url, "store_url": engine.url}))?;
    show::store(&engine.url);
    stop.wait().await;
    Ok(())
}

async fn invoke(
    function: &str,
    events: &[PathBuf],
    data: Data,
    config: Option<PathBuf>,
) -> Result<(), Error> {
    // Before anything is made in the data folder.
    if !functions::ALL.contains(&function) {
        return Err(Error::Data(format!(
            "{function} is no function; there are {}",
            functions::ALL.join(", ")
        )));
    }
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let options = Options { listen, data, config, ready_file: None, store: None, sign_in: None };
    let deployment = serve::deploy(&options, "http://127.0.0.1:9000").await?;
    let invoke = invoke::in_process(&deployment.app, function)
        .ok_or_else(|| Error::Data(format!("{function} is not in this program")))?;
    for file in events {
        let text =
            fs::read_to_string(file).map_err(Error::io(format!("reading {}", file.display())))?;
        let event = serde_json::from_str(&text)
            .map_err(|error| Error::Data(format!("{} is no JSON: {error}", file.display())))?;
        // An error looks as Lambda shows it.
        show::answer(
            &invoke(event).await.unwrap_or_else(|message| json!({"errorMessage": message})),
        );
    }
    Ok(())
}
