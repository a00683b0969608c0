//! The program `postern-local`: Postern on this machine.

mod arguments;
mod output;
mod show;

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::Parser as _;
use http::Uri;
use local::{
    Error,
    data::DataLocation,
    engine::Engine,
    explain,
    guard::{AuthorizerConfig, Guard},
    http_server::{self, Shutdown},
    invoke,
    keys::{KeyFile, KeyFileChange},
    log_group::LogGroup,
    mcp::{self, McpServer},
    permissions,
    protect::{self, ProtectedApi},
    request_log::RequestLog,
    serve::{self, LISTEN, Options, RequestLines},
    settings::{self, ConfigSource},
    template::Template,
    trust, watch,
};
use serde_json::json;

use crate::arguments::{Attached, Cli, Command, ConfigCommand, KeysAction, Server, TrustCommand};

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command.unwrap_or(Command::Serve(cli.deployment)) {
        Command::Serve(deployment) => serve_all(&deployment.into()).await,
        Command::Protect { upstream, mcp, postern_listen, attached, deployment } => {
            let (kind, attached) =
                if mcp { (ApiKind::Mcp, attached.for_mcp()) } else { (ApiKind::Plain, *attached) };
            protect(attached, Options::from(deployment), upstream, kind, postern_listen).await
        }
        Command::Store(server) => serve_store(&server).await,
        Command::Invoke { function, events, data, config } => {
            invoke(&function, &events, data, config).await
        }
        Command::Openapi => {
            show::print_page(&functions::openapi::text());
            Ok(())
        }
        Command::EventSchema => {
            show::print_page(&functions::openapi::events::schema_text());
            Ok(())
        }
        Command::Permissions => Template::load()
            .and_then(|template| permissions::markdown(&template))
            .map(|page| show::print_page(&page)),
        Command::WatchConfig => {
            Template::load().map(|template| show::print_page(&watch::config(&template)))
        }
        Command::Config(ConfigCommand::Check { config }) => {
            settings::check(&ConfigSource::find(config.as_deref()))
                .map(|page| show::print_page(&page))
        }
        Command::Trust(TrustCommand::Lint { config }) => {
            trust::lint(&ConfigSource::find(config.as_deref())).map(|page| show::print_page(&page))
        }
        Command::Trust(TrustCommand::Try { token, config }) => try_token(token, config).await,
        Command::Explain { request_id, data, log_group, hours } => {
            explain(&request_id, &data, log_group, hours).await
        }
        Command::Keys { action, data, config } => keys(&action, &data, config.as_deref()),
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

fn keys(action: &KeysAction, data: &DataLocation, config: Option<&Path>) -> Result<(), Error> {
    let mut file = KeyFile::open(data, &ConfigSource::find(config))?;
    let done = match action {
        KeysAction::List => None,
        KeysAction::Rotate => Some(match file.rotate()? {
            KeyFileChange::Changed => show::changed(&file),
            KeyFileChange::Unchanged => show::already_rotated(&file),
        }),
        KeysAction::Drop { kid, not_before } => {
            Some(match file.drop_key(kid.as_deref(), not_before.as_deref())? {
                KeyFileChange::Changed => show::changed(&file),
                KeyFileChange::Unchanged => "Nothing was changed.".into(),
            })
        }
    };
    show::print_keys(&file, done.as_deref());
    Ok(())
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

/// What kind of API is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ApiKind {
    /// An API whose requests are passed on as they are.
    Plain,
    /// An MCP server, whose clients find the deployment by its metadata.
    Mcp,
}

async fn protect(
    attached: Attached,
    mut options: Options,
    upstream: Uri,
    kind: ApiKind,
    postern_listen: Option<SocketAddr>,
) -> Result<(), Error> {
    serve::remove_ready_file(options.ready_file.as_deref())?;
    let attachment = AuthorizerConfig::try_from(attached)?;
    if attachment.cache_ttl_s > 0 {
        options.identity_sources = attachment.identity_sources.clone();
    }
    let stop = Shutdown::on_signal()?;
    let (listener, url) = http_server::bind(options.listen, LISTEN).await?;
    let own = postern_listen.unwrap_or_else(|| own_address(options.listen, kind));
    let (own_listener, own_url) = http_server::bind(own, "--postern-listen").await?;
    protect::check_upstream(&upstream, &listener)?;
    match kind {
        ApiKind::Mcp => options.mcp_server = Some(mcp::uri(&url, &upstream)?),
        ApiKind::Plain => protect::check_origin(&upstream)?,
    }
    let deployment = serve::deploy(&options, &own_url).await?;
    let app = &deployment.app;
    let attachment = attachment.resolve(&app.context.config.authorizer.identity_sources)?;
    let guard = Guard::new(Arc::clone(app), attachment.clone())?;
    let mut protected = ProtectedApi::new(Arc::clone(app), guard, upstream.clone());
    if options.requests == RequestLines::Readable {
        protected = protected.reporting(show::print_request);
    }
    if let Some(uri) = &options.mcp_server {
        protected = protected.as_mcp_server(McpServer::new(&app.context.config, uri)?);
    }
    let mut ready = deployment.ready(url);
    ready.postern_url = Some(own_url);
    serve::write_ready_file(options.ready_file.as_deref(), &ready)?;
    show::print_protecting(&ready, &options, &deployment, &upstream, &attachment);
    tokio::join!(
        serve::serve(own_listener, &deployment, stop.clone()),
        protected.serve(listener, stop)
    );
    Ok(())
}

/// Returns the address of the own routes if the command line does not say it: a free port. The
/// issuer of an MCP server's tokens is there, so its port is the next one, the same at every start.
fn own_address(listen: SocketAddr, kind: ApiKind) -> SocketAddr {
    let port = match kind {
        ApiKind::Mcp => listen.port().checked_add(1).filter(|next| *next > 1).unwrap_or(0),
        ApiKind::Plain => 0,
    };
    SocketAddr::from(([127, 0, 0, 1], port))
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
    let options = without_server(data, config);
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

/// Returns the options of a deployment that this program calls itself.
fn without_server(data: DataLocation, config: Option<PathBuf>) -> Options {
    Options {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        data,
        config: ConfigSource::find(config.as_deref()),
        ready_file: None,
        store: None,
        sign_in: None,
        identity_sources: Vec::new(),
        mcp_server: None,
        show_operator_key: false,
        requests: RequestLines::None,
    }
}

async fn explain(
    request_id: &str,
    data: &DataLocation,
    log_group: Option<String>,
    hours: u16,
) -> Result<(), Error> {
    let page = match (log_group, data) {
        (Some(name), _) => {
            let group = LogGroup { name, hours };
            explain::explain(request_id, &group.lines(request_id).await?, &group)?
        }
        (None, DataLocation::Folder(folder)) => {
            let searched = format!("the log in {}", folder.display());
            explain::explain(request_id, &RequestLog::read(folder)?, &searched)?
        }
        (None, DataLocation::Memory) => {
            return Err(Error::Invalid(
                "a program with --data :memory: has no log: start it with a data folder".into(),
            ));
        }
    };
    show::print_page(&page);
    Ok(())
}

async fn try_token(token: String, config: Option<PathBuf>) -> Result<(), Error> {
    let token = match token.as_str() {
        "-" => io::read_to_string(io::stdin()).map_err(Error::io("reading the token"))?,
        _ => token,
    };
    let options = without_server(DataLocation::Memory, config);
    show::print_configuration(&options.config);
    let deployment = serve::deploy(&options, "http://127.0.0.1:9000").await?;
    let (page, is_granted) = trust::try_token(&deployment.app, &token).await?;
    show::print_page(&page);
    if is_granted {
        Ok(())
    } else {
        Err(Error::Invalid(
            "the token would be granted nothing, or its signature could not be verified".into(),
        ))
    }
}
