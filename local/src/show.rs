//! What this program prints.

use std::{collections::BTreeMap, path::Path};

use http::Uri;
use jiff::Timestamp;
use local::{
    Error,
    data::{DataLocation, LocalCredentials},
    engine::Engine,
    guard::{self, AuthorizerConfig, IdentitySource},
    keys::KeyFile,
    private_file,
    serve::{Deployment, Options, Ready, RequestLines},
    settings::ConfigSource,
};
use postern::{config::Config, core::audience::ResourceUri, crypto::key_list::ListedKey};
use serde_json::Value;

use crate::output;

/// Prints a failure and its cause.
pub(crate) fn print_error(error: &Error) {
    output::to_stderr!("postern-local: {error}");
}

/// Prints a line about a request to a protected API.
pub(crate) fn print_request(line: &str) {
    output::to_stderr!("{line}");
}

/// Prints which configuration is in force, beside the answers.
pub(crate) fn print_configuration(source: &ConfigSource) {
    output::to_stderr!("Configuration: {source}");
}

/// Prints a function's answer on one line.
pub(crate) fn print_answer(answer: &Value) {
    output::line!("{answer}");
}

/// Prints a page unchanged.
pub(crate) fn print_page(page: &str) {
    output::text!("{page}");
}

/// Prints URLs, the API key, and four commands to try.
pub(crate) fn print_ready(ready: &Ready, options: &Options, deployment: &Deployment) {
    let Ready { url, api_key, .. } = ready;
    output::line!("Postern is ready.\n");
    output::line!("  url            {url}");
    output::line!("  portal         {url}/login");
    output::line!("  documentation  {url}/docs");
    output::line!("  API key        {api_key}");
    output::line!("  organization   {}", ready.organization_id);
    print_operator_key(ready, options);
    output::line!("  store          {}  (DynamoDB's API)", ready.store_url);
    print_origins(options);
    for notice in &deployment.notices {
        output::line!("{notice}\n");
    }
    match deployment.key.rejected_because {
        None => print_commands(url, api_key),
        Some(sentence) => output::line!("{sentence}\n"),
    }
    print_session(ready, url);
    let issuer = &deployment.app.context.config.deployment.issuer;
    if issuer != url {
        output::line!("The issuer of tokens is {issuer}.\n");
    }
    print_what_follows(options);
    output::line!("Press Ctrl-C to stop.");
}

fn print_what_follows(options: &Options) {
    match options.requests {
        RequestLines::Readable => {
            output::line!("Every request is shown here, with the cause if it is refused.\n");
        }
        RequestLines::Json | RequestLines::None => {}
    }
}

fn print_operator_key(ready: &Ready, options: &Options) {
    let key = if options.show_operator_key {
        &ready.operator_key
    } else {
        "not shown (--show-operator-key)"
    };
    output::line!("  operator key   {key}");
}

/// Prints the session of the user who was signed in, if any.
fn print_session(ready: &Ready, own_routes: &str) {
    if let Some(session) = &ready.session {
        output::line!("Signed in:\n");
        output::line!("  curl {own_routes}/v1/auth/whoami -H 'X-Postern-Session: {session}'\n");
    }
}

/// Prints where data is stored and which configuration is in force.
fn print_origins(options: &Options) {
    let data = match &options.data {
        DataLocation::Memory => "in memory, lost when this program stops".to_owned(),
        DataLocation::Folder(folder) => folder.display().to_string(),
    };
    output::line!("  data           {data}");
    output::line!("  configuration  {}\n", options.config);
}

fn print_commands(url: &str, api_key: &str) {
    output::line!("Try:\n");
    output::line!("  curl {url}/v1/auth/whoami -H 'X-API-Key: {api_key}'\n");
    output::line!("  curl {url}/v1/agents -H 'X-API-Key: {api_key}' \\");
    output::line!(
        "    -H 'Content-Type: application/json' -d '{{\"name\": \"my-agent\", \"scopes\": [\"data:read\"]}}'\n"
    );
    output::line!("  curl {url}/v1/runners -H 'X-API-Key: {api_key}' \\");
    output::line!("    -H 'Content-Type: application/json' -d '{{\"name\": \"build-1\"}}'\n");
    output::line!("  curl {url}/v1/users -H 'X-API-Key: {api_key}' \\");
    output::line!("    -H 'Content-Type: application/json' \\");
    output::line!(
        "    -d '{{\"email\": \"you@example.com\", \"password\": \"correct horse battery\", \"role\": \"admin\"}}'\n"
    );
    output::line!("The last command creates a user, who can sign in at {url}/login\n");
}

/// Prints what is protected, and how to call it.
pub(crate) fn print_protecting(
    ready: &Ready,
    options: &Options,
    deployment: &Deployment,
    upstream: &Uri,
    attachment: &AuthorizerConfig,
) {
    let Ready { url, api_key, .. } = ready;
    output::line!("Postern protects {upstream}\n");
    output::line!("  protected      {url}");
    output::line!("  API key        {api_key}");
    let own_routes = ready.postern_url.as_deref().unwrap_or_default();
    output::line!("  own routes     {own_routes}");
    print_operator_key(ready, options);
    print_origins(options);
    for notice in &deployment.notices {
        output::line!("{notice}\n");
    }
    match &options.mcp_server {
        Some(uri) => print_mcp_server(uri, own_routes, api_key),
        None => print_example_request(ready, deployment, attachment),
    }
    print_session(ready, own_routes);
    print_what_follows(options);
    output::line!("Press Ctrl-C to stop.");
}

/// Prints how to call an API that is not an MCP server.
fn print_example_request(ready: &Ready, deployment: &Deployment, attachment: &AuthorizerConfig) {
    let Ready { url, api_key, .. } = ready;
    match (deployment.key.rejected_because, key_headers(attachment, api_key)) {
        (Some(sentence), _) => output::line!("{sentence}\n"),
        (None, Some(headers)) => {
            let stage = match attachment.stage.as_str() {
                "$default" => String::new(),
                stage => format!("/{stage}"),
            };
            let (method, path) = guard::example_request(&attachment.routes);
            let method = if method == "GET" { String::new() } else { format!(" -X {method}") };
            output::line!("Try:\n");
            output::line!("  curl {url}{stage}{path}{method}{headers}\n");
        }
        (None, None) => {
            let sources: Vec<_> =
                attachment.identity_sources.iter().map(ToString::to_string).collect();
            let sources = sources.join(", ");
            output::line!(
                "Requests must contain {sources}, and none of these can contain an API key.\n"
            );
        }
    }
}

/// Prints how users and programs connect to an MCP server.
fn print_mcp_server(uri: &ResourceUri, own_routes: &str, api_key: &str) {
    output::line!("Create a user:\n");
    output::line!("  curl {own_routes}/v1/users -H 'X-API-Key: {api_key}' \\");
    output::line!("    -H 'Content-Type: application/json' \\");
    output::line!(
        "    -d '{{\"email\": \"you@example.com\", \"password\": \"correct horse battery\"}}'\n"
    );
    output::line!(
        "Then add this URL to an MCP client. The client lets you sign in, and asks for your consent:\n"
    );
    output::line!("  {uri}\n");
    output::line!(
        "A client that has no registration of its own is `postern-cli`, with the redirect URI"
    );
    output::line!("http://127.0.0.1:PORT/callback. A program needs no user:\n");
    output::line!("  curl {uri} -H 'X-API-Key: {api_key}' -H 'Content-Type: application/json' \\");
    output::line!("    -H 'Accept: application/json, text/event-stream' \\");
    output::line!("    -d '{{\"jsonrpc\": \"2.0\", \"id\": 1, \"method\": \"tools/list\"}}'\n");
}

/// Returns the options of `curl` that send the key in a header that the gateway passes to the
/// authorizer, and every other required header; `None` if no header can contain a key.
fn key_headers(attachment: &AuthorizerConfig, api_key: &str) -> Option<String> {
    let named = attachment.identity_sources.iter().filter_map(|source| match source {
        IdentitySource::Header(name) => Some(name.as_str()),
        IdentitySource::RouteKey
        | IdentitySource::Path
        | IdentitySource::Method
        | IdentitySource::SourceIp => None,
    });
    let mut named: Vec<_> = named.collect();
    if named.is_empty() {
        named.push("x-api-key");
    }
    let mut has_key = false;
    let mut option = |name: &str| {
        let value = match name.to_ascii_lowercase().as_str() {
            "authorization" => format!("Bearer {api_key}"),
            "x-api-key" => api_key.to_owned(),
            _ => return format!(" -H '{name}: example'"),
        };
        has_key = true;
        format!(" -H '{name}: {value}'")
    };
    let options: String = named.into_iter().map(&mut option).collect();
    has_key.then_some(options)
}

/// Prints the URL of the store, and the variables that point the SDK at it.
pub(crate) fn print_store(engine: &Engine) {
    output::line!("The store is ready. Its access key changes at every start.\n");
    output::line!("  export AWS_ENDPOINT_URL_DYNAMODB={} AWS_REGION=eu-west-1", engine.url);
    output::line!(
        "  export AWS_ACCESS_KEY_ID={} AWS_SECRET_ACCESS_KEY=local",
        engine.access_key.expose()
    );
    output::line!(
        "  export POSTERN_KEYS_TABLE=Keys POSTERN_FAMILIES_TABLE=Families POSTERN_NONCES_TABLE=Nonces POSTERN_USES_TABLE=Uses POSTERN_EVENTS_TABLE=Events\n"
    );
    output::line!("Press Ctrl-C to stop.");
}

/// Prints the keys of a deployment, and what was done with them.
pub(crate) fn print_keys(file: &KeyFile, done: Option<&str>) {
    let (keys, _) = file.list();
    let time =
        |time: Option<Timestamp>| time.map_or_else(|| "-".to_owned(), |time| time.to_string());
    output::line!(
        "{:<14} {:<18} {:<9} {:<21} {:<21}",
        "kind",
        "kid",
        "state",
        "signs from",
        "verifies until"
    );
    for ListedKey { kind, kid, times, state } in keys {
        let (from, until) = (time(times.sign_from), time(times.verify_until));
        output::line!(
            "{:<14} {kid:<18} {:<9} {from:<21} {until:<21}",
            kind.to_string(),
            state.to_string()
        );
    }
    if let Some(not_before) = file.secrets.not_before {
        output::line!("\nEverything that was issued before {not_before} has ended.");
    }
    if let Some(done) = done {
        output::line!("\n{done}");
    }
}

/// Says that the keys were changed, and what has to follow.
pub(crate) fn changed(file: &KeyFile) -> String {
    format!(
        "Changed {}. Restart the programs that use it: they read it when they start.",
        file.path().display()
    )
}

/// Says why a rotation did nothing.
pub(crate) fn already_rotated(file: &KeyFile) -> String {
    let until = file.waits_until().map(|time| format!(" until {time}")).unwrap_or_default();
    format!("A key of every kind already waits{until}; nothing was changed.")
}

/// Creates the secrets of a new deployment in three files.
pub(crate) fn make_secret(out: &Path, config: Option<&Path>) -> Result<(), Error> {
    let given = [
        ("ISSUER", "http://localhost"),
        ("KEYS_TABLE", "-"),
        ("FAMILIES_TABLE", "-"),
        ("NONCES_TABLE", "-"),
        ("USES_TABLE", "-"),
        ("EVENTS_TABLE", "-"),
    ];
    let mut variables: BTreeMap<_, _> =
        given.map(|(name, value)| (format!("POSTERN_{name}"), value.to_owned())).into();
    let source = ConfigSource::find(config);
    source.name_in(&mut variables);
    let config = Config::from_variables(&variables)?;
    let mut shown = LocalCredentials::default();
    let secrets = DataLocation::Memory.secrets(
        None,
        &config.brand,
        &config.signing_algorithms(),
        &mut shown,
    )?;
    if let Some(name) = ["signing.json", "verification.json", "public.json"]
        .into_iter()
        .find(|name| out.join(name).exists())
    {
        let there = out.join(name);
        return Err(Error::Invalid(format!(
            "{} already exists and may not be stored in AWS yet: move it first",
            there.display()
        )));
    }
    for (name, secrets) in [
        ("signing.json", &secrets),
        ("verification.json", &secrets.verification(&config.secret_refs())),
        ("public.json", &secrets.publication()),
    ] {
        let json =
            serde_json::to_string(secrets).map_err(|error| Error::Invalid(error.to_string()))?;
        private_file::write(&out.join(name), &json)?;
    }
    output::line!("Configuration: {source}\n");
    output::line!(
        "Created {}, {} and {}. Store them in the three secrets of the stack, then delete the files.\n",
        out.join("signing.json").display(),
        out.join("verification.json").display(),
        out.join("public.json").display()
    );
    output::line!(
        "  aws secretsmanager put-secret-value --secret-id SIGNING_SECRET_ARN --secret-string file://{}",
        out.join("signing.json").display()
    );
    output::line!(
        "  aws secretsmanager put-secret-value --secret-id VERIFICATION_KEYS_ARN --secret-string file://{}",
        out.join("verification.json").display()
    );
    output::line!(
        "  aws secretsmanager put-secret-value --secret-id PUBLIC_KEYS_ARN --secret-string file://{}\n",
        out.join("public.json").display()
    );
    output::line!(
        "The operator key, shown only once:\n\n  {}",
        shown.operator_key.unwrap_or_default()
    );
    Ok(())
}
