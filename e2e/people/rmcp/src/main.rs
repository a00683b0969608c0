//! The official MCP client for Rust, driven by `mcp-clients.test.mjs`: `mcp-client MODE URL`.
//!
//! Prints one JSON object per line: what the browser must open, and what the tools returned.

use std::{collections::HashMap, env, error::Error};

use oauth2::TokenResponse as _;
use rmcp::{
    ClientLifecycleMode, ClientServiceExt as _, RoleClient, ServiceError,
    model::{CallToolRequestParams, ProtocolVersion},
    service::{ClientInitializeError, RunningService},
    transport::{
        AuthClient, StreamableHttpClientTransport,
        auth::{
            AuthorizationCallback, AuthorizationManager, AuthorizationRequest,
            ClientCredentialsConfig, JwtSigningAlgorithm, OAuthState, WWWAuthenticateParams,
        },
        streamable_http_client::{StreamableHttpClient, StreamableHttpClientTransportConfig},
    },
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::mpsc,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;
type Service = RunningService<RoleClient, ()>;

/// Prints a line. The fetch of a page is a line too.
fn say(line: &Value) {
    println!("{line}");
}

/// Receives the browser on this machine.
struct Callback {
    url: String,
    arrived: mpsc::Receiver<String>,
}

impl Callback {
    async fn listen() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let origin = format!("http://{}", listener.local_addr()?);
        let url = format!("{origin}/callback");
        let (sender, arrived) = mpsc::channel(4);
        tokio::spawn(async move {
            while let Ok((mut connection, _)) = listener.accept().await {
                let (sender, origin) = (sender.clone(), origin.clone());
                // A browser also opens connections on which it sends nothing.
                tokio::spawn(async move {
                    let mut head = vec![0; 16 * 1024];
                    let length = connection.read(&mut head).await.unwrap_or_default();
                    let head = String::from_utf8_lossy(&head[..length]);
                    let target = head.split(' ').nth(1).unwrap_or_default();
                    let answer =
                        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nDone";
                    let _ = connection.write_all(answer.as_bytes()).await;
                    if target.starts_with("/callback?") {
                        let _ = sender.send(format!("{origin}{target}")).await;
                    }
                });
            }
        });
        Ok(Self { url, arrived })
    }

    /// Lets the browser open `page`, and returns the address to which it was sent back.
    async fn open(&mut self, page: &str) -> Result<String> {
        say(&json!({"open": page}));
        self.arrived.recv().await.ok_or_else(|| "the browser did not come back".into())
    }
}

async fn connect<C>(
    client: C,
    config: StreamableHttpClientTransportConfig,
) -> std::result::Result<Service, ClientInitializeError>
where
    C: StreamableHttpClient + Send + 'static,
{
    let lifecycle =
        ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] };
    ().serve_with_lifecycle(StreamableHttpClientTransport::with_client(client, config), lifecycle)
        .await
}

async fn call(service: &Service, tool: &'static str) -> std::result::Result<(), ServiceError> {
    let result = service.call_tool(CallToolRequestParams::new(tool)).await?;
    let content = serde_json::to_value(&result.content).unwrap_or_default();
    say(&json!({"tool": tool, "text": content[0]["text"]}));
    Ok(())
}

/// Returns the refresh and the access token.
async fn tokens(manager: &AuthorizationManager) -> Result<(Option<String>, String)> {
    let (_, tokens) = manager.get_credentials().await?;
    let tokens = tokens.ok_or("there are no tokens")?;
    let refresh = tokens.refresh_token().map(|token| token.secret().clone());
    Ok((refresh, tokens.access_token().secret().clone()))
}

/// Signs the user in where the server's 401 leads, refreshes, and asks for more when a tool needs it.
async fn user(url: &str, config: StreamableHttpClientTransportConfig) -> Result<()> {
    let refused = connect(reqwest::Client::new(), config.clone()).await;
    let refused = refused.err().ok_or("the server needs no token")?;
    let challenge = refused.auth_challenge().ok_or("there is no challenge")?;

    let mut callback = Callback::listen().await?;
    let mut state = OAuthState::new(url, None).await?;
    let request = AuthorizationRequest::new(&callback.url)
        .with_preregistered_client("postern-cli")
        .with_challenge(challenge)
        .with_initial_scope_selection();
    state.start_authorization(request).await?;
    let page = state.get_authorization_url().await?;
    state.handle_callback_url(&callback.open(&page).await?).await?;
    let manager = state.into_authorization_manager().ok_or("the user is not signed in")?;

    let client = AuthClient::new(reqwest::Client::new(), manager);
    let service = connect(client.clone(), config).await?;
    call(&service, "whoami").await?;
    let before = tokens(&*client.auth_manager.lock().await).await?;
    client.auth_manager.lock().await.refresh_token().await?;
    call(&service, "whoami").await?;
    let after = tokens(&*client.auth_manager.lock().await).await?;
    say(&json!({"refreshed": before.0 != after.0 && before.1 != after.1}));

    let refused = call(&service, "trigger_scan").await.err().ok_or("the tool needs no more")?;
    let challenge = refused.auth_challenge().ok_or("there is no challenge")?;
    let challenge = WWWAuthenticateParams::parse(challenge, &url.parse()?);
    if !challenge.is_insufficient_scope() {
        return Err("the token does not lack a scope".into());
    }
    let wanted = challenge.scope.ok_or("the challenge names no scope")?;
    let page = client.auth_manager.lock().await.request_scope_upgrade(&wanted).await?;
    let answer = AuthorizationCallback::from_redirect_url(&callback.open(&page).await?)?;
    let manager = client.auth_manager.lock().await;
    manager
        .exchange_code_for_token_with_issuer(
            &answer.code,
            &answer.csrf_token,
            answer.issuer.as_deref(),
        )
        .await?;
    let mut scopes = manager.get_current_scopes().await;
    drop(manager);
    call(&service, "trigger_scan").await?;
    scopes.sort();
    say(&json!({"scopes": scopes}));
    Ok(())
}

/// Gets tokens as a client of its own, with a secret or with a key.
async fn agent(
    config: StreamableHttpClientTransportConfig,
    method: ClientCredentialsConfig,
) -> Result<()> {
    let mut state = OAuthState::new(&*config.uri, None).await?;
    state.authenticate_client_credentials(method).await?;
    let manager = state.into_authorization_manager().ok_or("the agent has no token")?;
    let client = AuthClient::new(reqwest::Client::new(), manager);
    Ok(call(&connect(client, config).await?, "whoami").await?)
}

fn secret(url: &str, credential: &Value) -> ClientCredentialsConfig {
    ClientCredentialsConfig::ClientSecret {
        client_id: member(credential, "id"),
        client_secret: member(credential, "secret"),
        scopes: Vec::new(),
        resource: Some(url.to_owned()),
    }
}

fn signed(url: &str, credential: &Value) -> ClientCredentialsConfig {
    ClientCredentialsConfig::PrivateKeyJwt {
        client_id: member(credential, "id"),
        signing_key: member(credential, "private_key").into_bytes(),
        signing_algorithm: JwtSigningAlgorithm::ES256,
        token_endpoint_audience: None,
        scopes: Vec::new(),
        resource: Some(url.to_owned()),
    }
}

fn member(credential: &Value, name: &str) -> String {
    credential[name].as_str().unwrap_or_default().to_owned()
}

async fn key(config: StreamableHttpClientTransportConfig, credential: &Value) -> Result<()> {
    let headers = HashMap::from([("x-api-key".try_into()?, member(credential, "key").try_into()?)]);
    let service = connect(reqwest::Client::new(), config.custom_headers(headers)).await?;
    Ok(call(&service, "whoami").await?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [mode, url] = arguments.as_slice() else { return Err("mcp-client MODE URL".into()) };
    let credential: Value = serde_json::from_str(&env::var("CREDENTIAL")?)?;
    let config = StreamableHttpClientTransportConfig::with_uri(url.as_str());
    match mode.as_str() {
        "user" => user(url, config).await,
        "agent" => agent(config, secret(url, &credential)).await,
        "signed" => agent(config, signed(url, &credential)).await,
        "key" => key(config, &credential).await,
        other => Err(format!("{other} is no mode").into()),
    }
}
