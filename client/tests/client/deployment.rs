//! A deployment at a URL, whose clock the test moves, and APIs that are protected by it.

use std::{
    collections::HashMap,
    net::Ipv4Addr,
    pin::Pin,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    response::Response,
};
use postern::crypto::Digest;
use postern_client::{Context, System};
use serde_json::{Value, json};
use tests::{Agent, Setup, Tokens, World};
use tokio::net::TcpListener;

pub(crate) const ORDERS: &str = "https://api.example.com/orders";
pub(crate) const TOOLS: &str = "https://api.example.com/tools";
pub(crate) const API_SECRET: &str = "a secret of the orders";

/// A running deployment.
pub(crate) struct Deployment {
    pub(crate) world: Arc<World>,
    pub(crate) url: String,
    agent: Agent,
    traffic: Arc<Traffic>,
}

/// What was requested, and which paths fail.
#[derive(Default)]
struct Traffic {
    counts: Mutex<HashMap<String, usize>>,
    failing: Mutex<Vec<&'static str>>,
}

/// The clock of a world.
#[derive(Debug)]
pub(crate) struct WorldClock(pub(crate) Arc<World>);

impl Deployment {
    pub(crate) async fn start() -> Self {
        Self::with_lifetimes("").await
    }

    /// Starts a deployment with entries of `[lifetimes]`.
    pub(crate) async fn with_lifetimes(lifetimes: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let setup = Setup {
            toml: Some(configuration(lifetimes)),
            variables: vec![("POSTERN_ISSUER", url.clone())],
            ..Setup::default()
        };
        let world = Arc::new(World::with(setup).await);
        let traffic = Arc::<Traffic>::default();
        let served = (Arc::clone(&world), Arc::clone(&traffic));
        let router = Router::new().fallback(answer).with_state(served);
        tokio::spawn(async move { axum::serve(listener, router).await });
        let agent = world.agent(&["orders:read", "orders:write", "tools:read"]).await;
        Self { world, url, agent, traffic }
    }

    /// Returns a context with the clock of the deployment.
    pub(crate) fn context(&self) -> Context {
        Context::with_system(Arc::new(WorldClock(Arc::clone(&self.world)))).unwrap()
    }

    /// Answers a path with 503 from now on.
    pub(crate) fn fail(&self, path: &'static str) {
        self.traffic.failing.lock().unwrap().push(path);
    }

    /// Returns how many requests there were at a path.
    pub(crate) fn count(&self, path: &str) -> usize {
        self.traffic.counts.lock().unwrap().get(path).copied().unwrap_or_default()
    }

    pub(crate) fn agent_id(&self) -> &str {
        &self.agent.id
    }

    /// Returns the tokens of a session of the agent.
    pub(crate) async fn session(&self) -> Tokens {
        self.world.exchange(&self.agent).await
    }

    /// Returns an access token of the agent.
    pub(crate) async fn agent_token(&self, resource: &str, scope: &str) -> String {
        let more = [("resource", resource), ("scope", scope)];
        let answer = self.world.client_credentials(&self.agent, &more).await;
        answer.expect(200).member("access_token")
    }

    /// Returns an API key with these scopes and members.
    pub(crate) async fn key(&self, scopes: &[&str], more: Value) -> String {
        let mut body = json!({"name": "caller", "scopes": scopes});
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        self.world.post("/v1/keys", body).send().await.expect(201).member("key")
    }
}

fn configuration(lifetimes: &str) -> String {
    let secret = Digest::of(API_SECRET.as_bytes()).to_hex();
    format!(
        r#"
        [lifetimes]
        {lifetimes}

        [[resource]]
        uri = "{ORDERS}"
        name = "Orders"
        scopes = ["orders:read", "orders:write"]
        secret_sha256 = ["{secret}"]

        [[resource]]
        uri = "{TOOLS}"
        name = "Tools"
        scopes = ["tools:read"]
        "#
    )
}

async fn answer(
    State((world, traffic)): State<(Arc<World>, Arc<Traffic>)>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    *traffic.counts.lock().unwrap().entry(path.clone()).or_default() += 1;
    if traffic.failing.lock().unwrap().contains(&path.as_str()) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = axum::http::StatusCode::SERVICE_UNAVAILABLE;
        return response;
    }
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let request = Request::from_parts(parts, body);
    world.gateway.call(request, Ipv4Addr::LOCALHOST.into()).await.map(Body::from)
}

/// Serves an API until the end of the test; returns its URL.
pub(crate) async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

impl System for WorldClock {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + self.elapsed()
    }

    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.0.now().as_millisecond().unsigned_abs())
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.0.advance_ms(i64::try_from(duration.as_millis()).unwrap());
        Box::pin(tokio::task::yield_now())
    }

    fn fill(&self, bytes: &mut [u8]) -> bool {
        bytes.fill(128); // no jitter
        true
    }

    fn variable(&self, _name: &str) -> Option<String> {
        None
    }
}
