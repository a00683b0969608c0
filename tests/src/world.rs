//! A fresh deployment for one test.

use std::sync::{
    Arc, LazyLock,
    atomic::{AtomicI64, Ordering},
};

use jiff::Timestamp;
use local::{
    engine::{self, Engine},
    event_stream::EventStream,
    gateway::Gateway,
    template::Template,
};
use postern::{
    App, Fault,
    config::{AuthorizerAnswer, Config},
    core::{clock::Clock, entropy::Entropy, id, principal::Role},
    credential::Minted,
    crypto::{secret_versions::SecretVersions, secrets::Secrets},
    event_bus::EventBus,
    grant::session::{self, AuthenticatedUser, Browser},
    store::{Store, Timeouts},
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{
    Answer, Call, EventBridge, Issuer, Wire,
    browser::{COOKIE, SIGN_IN_COOKIE},
    capture, variables,
};

/// The initial time of every world: 2026-01-01T00:00:00Z.
const BEGINNING_MS: i64 = 1_767_225_600_000;

/// The differences of a world from the default.
#[derive(Debug, Default)]
pub struct Setup {
    /// A `postern.toml` in place of the repository's.
    pub toml: Option<String>,
    /// Additional environment variables.
    pub variables: Vec<(&'static str, String)>,
    /// The timeouts of the store.
    pub timeouts: Timeouts,
    /// The secrets of another deployment.
    pub secrets: Option<Secrets>,
}

/// A deployment: store, functions, gateway, a manual clock, and one organization.
#[derive(Debug)]
pub struct World {
    /// The app that the functions share.
    pub app: Arc<App>,
    /// The gateway in front of the functions.
    pub gateway: Gateway,
    /// The connection to the store.
    pub wire: Wire,
    /// The store.
    pub engine: Arc<Engine>,
    /// The secrets of the deployment.
    pub secrets: Secrets,
    /// The operator key, which can create organizations.
    pub operator_key: String,
    /// The id of the first organization.
    pub org_id: String,
    /// An API key of the first organization, with every scope.
    pub api_key: String,
    now_ms: Arc<AtomicI64>,
}

/// An agent and its secret.
#[derive(Clone, Debug)]
pub struct Agent {
    /// The id.
    pub id: String,
    /// The secret.
    pub secret: String,
}

/// A pair of tokens.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// The access token.
    pub access: String,
    /// The refresh token.
    pub refresh: String,
}

impl World {
    /// Creates a default world.
    pub async fn new() -> Self {
        Self::with(Setup::default()).await
    }

    /// Creates a world with another `postern.toml`.
    pub async fn configured(toml: &str) -> Self {
        Self::with(Setup { toml: Some(toml.to_owned()), ..Setup::default() }).await
    }

    /// Creates a world with `setup`.
    pub async fn with(setup: Setup) -> Self {
        capture::install();
        let now_ms = Arc::new(AtomicI64::new(BEGINNING_MS));
        let hand = Arc::clone(&now_ms);
        let clock = Clock::from_fn(move || {
            Timestamp::from_millisecond(hand.load(Ordering::SeqCst)).unwrap()
        });
        let entropy = Entropy::system();
        let config = config(&setup);

        let template = template();
        let engine = match remote_store() {
            None => {
                let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
                Engine::start(None, listener, template).unwrap()
            }
            Some(url) => Engine::remote(&url).await.unwrap(),
        };
        let engine = Arc::new(engine);
        let wire = Wire::default();
        let store = Store::new(
            &engine.sdk(Some(wire.http_client())),
            config.deployment.tables.clone(),
            setup.timeouts,
            &clock,
        );

        let mut secrets = setup.secrets.unwrap_or_default();
        secrets.generate_missing(&config.signing_algorithms(), &clock, &entropy).unwrap();
        let operator: Minted = Minted::new::<id::Operator>(
            &config.brand,
            &id::mint(clock.now(), &entropy).unwrap(),
            &entropy,
        )
        .unwrap();
        secrets.operator_key_sha256 = Some(operator.digest);

        let app = Arc::new(App::new(config, &secrets, store, clock, entropy).unwrap());
        let gateway = Gateway::new(&app, template).unwrap();
        let mut world = Self {
            app,
            gateway,
            wire,
            engine,
            secrets,
            operator_key: operator.secret.expose().to_owned(),
            org_id: String::new(),
            api_key: String::new(),
            now_ms,
        };
        (world.org_id, world.api_key) = world.organization("Acme").await;
        // Its use is recorded, so that later requests in this hour cost what they usually do.
        world.get("/v1/auth/whoami").send().await;
        world.wire.take();
        world
    }

    /// Returns the same deployment (data, keys, clock and environment variables) with another
    /// `postern.toml`.
    pub fn reconfigured(&self, toml: &str) -> Self {
        let mut config = config(&Setup { toml: Some(toml.to_owned()), ..Setup::default() });
        config.deployment = self.app.context.config.deployment.clone();
        self.rebuild(config, self.secrets.clone())
    }

    /// Returns the same deployment with another `postern.toml`.
    ///
    /// # Errors
    /// The fault that would stop the start.
    pub fn try_reconfigured(&self, toml: &str) -> Result<Self, Fault> {
        let setup = Setup { toml: Some(toml.to_owned()), ..Setup::default() };
        Ok(self.rebuild(try_config(&setup)?, self.secrets.clone()))
    }

    /// Returns the same deployment with an authorizer that answers HTTP APIs with policies.
    pub fn with_policy_answers(&self) -> Self {
        let mut config = self.app.context.config.clone();
        config.deployment.authorizer_answer = AuthorizerAnswer::Policy;
        self.rebuild(config, self.secrets.clone())
    }

    /// Returns the same deployment with other secrets.
    pub fn with_secrets(&self, secrets: Secrets) -> Self {
        self.rebuild(self.app.context.config.clone(), secrets)
    }

    /// Returns the same deployment with a function that can write its secrets.
    pub fn with_secret_versions(&self, versions: SecretVersions) -> Self {
        let clock = self.app.context.clock.clone();
        let config = self.app.context.config.clone();
        let write = |app: &mut App| app.context.secret_versions = Some(versions);
        self.rebuild_with(config, self.secrets.clone(), clock, write)
    }

    /// Returns the same deployment with a function that publishes events on this bus.
    pub fn with_event_bus(&self, bus: &EventBridge) -> Self {
        let bus = EventBus::new(&self.engine.sdk(Some(bus.http_client())), "default".to_owned());
        let clock = self.app.context.clock.clone();
        let config = self.app.context.config.clone();
        let connect = |app: &mut App| app.context.event_bus = Some(bus);
        self.rebuild_with(config, self.secrets.clone(), clock, connect)
    }

    /// Returns everything in the stream of events, as an invocation of the function that publishes
    /// them.
    pub fn stream(&self) -> Value {
        let database = self.engine.database().expect("the store is in here");
        EventStream::open(database).unwrap().next(database).unwrap()
    }

    /// Returns all events, in the order in which they were stored.
    pub fn events(&self) -> Vec<Value> {
        let stream = self.stream();
        let records = stream["Records"].as_array().unwrap();
        let detail = |record: &Value| record.pointer("/dynamodb/NewImage/detail/S").cloned();
        let details = records.iter().map(|record| detail(record).unwrap());
        details.map(|detail| serde_json::from_str(detail.as_str().unwrap()).unwrap()).collect()
    }

    /// Returns another execution environment of this deployment, which has not called the store
    /// yet.
    pub fn another_environment(&self) -> Self {
        self.rebuild(self.app.context.config.clone(), self.secrets.clone())
    }

    /// Returns another execution environment of this deployment, whose clock is ahead by `ms`.
    pub fn with_clock_ahead(&self, ms: i64) -> Self {
        let hand = Arc::clone(&self.now_ms);
        let clock = Clock::from_fn(move || {
            Timestamp::from_millisecond(hand.load(Ordering::SeqCst) + ms).unwrap()
        });
        self.rebuild_with(self.app.context.config.clone(), self.secrets.clone(), clock, |_| {})
    }

    fn rebuild(&self, config: Config, secrets: Secrets) -> Self {
        self.rebuild_with(config, secrets, self.app.context.clock.clone(), |_| {})
    }

    fn rebuild_with(
        &self,
        config: Config,
        secrets: Secrets,
        clock: Clock,
        configure: impl FnOnce(&mut App),
    ) -> Self {
        let wire = Wire::default();
        let sdk = self.engine.sdk(Some(wire.http_client()));
        let entropy = self.app.context.entropy.clone();
        let store = Store::new(&sdk, config.deployment.tables.clone(), Timeouts::default(), &clock);
        let mut app = App::new(config, &secrets, store, clock, entropy).unwrap();
        configure(&mut app);
        let app = Arc::new(app);
        let gateway = Gateway::new(&app, template()).unwrap();
        Self {
            app,
            gateway,
            wire,
            engine: Arc::clone(&self.engine),
            secrets,
            operator_key: self.operator_key.clone(),
            org_id: self.org_id.clone(),
            api_key: self.api_key.clone(),
            now_ms: Arc::clone(&self.now_ms),
        }
    }

    /// Returns a well-formed key that belongs to no record.
    pub fn unknown_key(&self) -> String {
        let id = id::mint::<id::ApiKey>(self.now(), &self.app.context.entropy).unwrap();
        Minted::new(&self.app.context.config.brand, &id, &self.app.context.entropy)
            .unwrap()
            .secret
            .expose()
            .to_owned()
    }

    /// Advances the clock.
    pub fn advance_ms(&self, ms: i64) {
        self.now_ms.fetch_add(ms, Ordering::SeqCst);
    }

    /// Advances the clock.
    pub fn advance_s(&self, seconds: i64) {
        self.advance_ms(seconds * 1000);
    }

    /// Returns the current time.
    pub fn now(&self) -> Timestamp {
        self.app.context.clock.now()
    }

    /// Starts a request.
    pub fn call(&self, method: &str, target: &str) -> Call<'_> {
        Call::new(self, method, target)
    }

    /// `POST`s JSON with the organization's key.
    pub fn post(&self, target: &str, body: Value) -> Call<'_> {
        self.call("POST", target).key(&self.api_key).json(body)
    }

    /// `GET`s with the organization's key.
    pub fn get(&self, target: &str) -> Call<'_> {
        self.call("GET", target).key(&self.api_key)
    }

    /// Creates an organization; returns its id and key.
    pub async fn organization(&self, name: &str) -> (String, String) {
        let call = self.call("POST", "/v1/organizations").bearer(&self.operator_key);
        let answer = call.json(json!({"name": name})).send().await.expect(201);
        (answer.member("id"), answer.member("api_key"))
    }

    /// Creates an API key with `scopes`; returns its id and secret.
    pub async fn create_key(&self, scopes: &[&str]) -> (String, String) {
        let answer = self
            .post("/v1/keys", json!({"name": "key", "scopes": scopes}))
            .send()
            .await
            .expect(201);
        (answer.member("id"), answer.member("key"))
    }

    /// Uses an API key.
    pub async fn use_key(&self, key: &str) {
        self.call("GET", "/v1/auth/whoami").key(key).send().await.expect(200);
    }

    /// Creates an agent with `scopes`.
    pub async fn agent(&self, scopes: &[&str]) -> Agent {
        let answer = self
            .post("/v1/agents", json!({"name": "agent", "scopes": scopes}))
            .send()
            .await
            .expect(201);
        Agent { id: answer.member("id"), secret: answer.member("secret") }
    }

    /// Creates a runner; returns its id and token.
    pub async fn runner(&self) -> (String, String) {
        let answer = self.post("/v1/runners", json!({"name": "runner"})).send().await.expect(201);
        (answer.member("id"), answer.member("token"))
    }

    /// Signs a user in; returns the value of the session.
    pub async fn sign_in(&self, user_id: &str, role: Role) -> String {
        let person = AuthenticatedUser {
            user_id: user_id.into(),
            role,
            password_epoch: None,
            metadata: serde_json::Map::new(),
        };
        session::create(&self.app.context, person, Browser::default(), None)
            .await
            .unwrap()
            .expose()
            .to_owned()
    }

    /// Signs a user in at an OpenID provider, as a browser would; returns the response of the
    /// callback.
    pub async fn sign_in_at(&self, issuer: &Issuer, subject: &str) -> Answer {
        self.sign_in_from("/v1/auth/oidc/start", issuer, subject).await
    }

    /// Signs a user in as a browser would that opens `start`; returns the response of the callback.
    pub async fn sign_in_from(&self, start: &str, issuer: &Issuer, subject: &str) -> Answer {
        let begun = self.call("GET", start).send().await.expect(303);
        let query = issuer.sign_in(begun.header("location").unwrap(), subject);
        let provider = start.split('?').next().unwrap().trim_end_matches("/start");
        let call = self.call("GET", &format!("{provider}/callback?{query}"));
        let cookie = format!("{SIGN_IN_COOKIE}={}", begun.cookie(SIGN_IN_COOKIE));
        call.header("Cookie", cookie).send().await
    }

    /// Enrolls a user and returns their id.
    pub async fn create_user(&self, email: &str, password: &str, role: Role) -> String {
        let body = json!({"email": email, "password": password, "role": role});
        self.post("/v1/users", body).send().await.expect(201).member("id")
    }

    /// Tries to log in.
    pub async fn log_in(&self, email: &str, password: &str) -> Answer {
        self.call("POST", "/v1/auth/login")
            .json(json!({"email": email, "password": password}))
            .send()
            .await
    }

    /// Signs a user in on the portal's page; returns the value of the session.
    pub async fn sign_in_with_password(&self, email: &str, password: &str) -> String {
        let answer = self
            .call("POST", "/login")
            .form(&[("email", email), ("password", password)])
            .send()
            .await;
        answer.expect(303).cookie(COOKIE)
    }

    /// Creates a CLI token for the user of a session; returns its id and secret.
    pub async fn cli_token(&self, session: &str, scopes: &[&str]) -> (String, String) {
        let body = json!({"name": "cli", "scopes": scopes, "all_repositories": true});
        let call = self.call("POST", "/v1/auth/cli-tokens").header("X-Postern-Session", session);
        let answer = call.json(body).send().await.expect(201);
        (answer.member("id"), answer.member("token"))
    }

    /// Creates a service; returns its id and key.
    pub async fn service(&self, scopes: &[&str]) -> (String, String) {
        let answer = self
            .post("/v1/services", json!({"name": "service", "scopes": scopes}))
            .send()
            .await
            .expect(201);
        (answer.member("id"), answer.member("key"))
    }

    /// Exchanges a service's key for a token.
    pub async fn service_token(&self, key: &str) -> String {
        let answer = self
            .call("POST", "/v1/auth/service-token")
            .header("X-Service-Key", key)
            .send()
            .await
            .expect(200);
        answer.member("access_token")
    }

    /// Sends a grant with `client_credentials`, with these parameters besides those of the agent.
    pub async fn client_credentials(&self, agent: &Agent, more: &[(&str, &str)]) -> Answer {
        let client = [
            ("grant_type", "client_credentials"),
            ("client_id", &agent.id),
            ("client_secret", &agent.secret),
        ];
        self.call("POST", "/v1/auth/token").form(&[&client[..], more].concat()).send().await
    }

    /// Exchanges an agent's secret for a token pair.
    pub async fn exchange(&self, agent: &Agent) -> Tokens {
        let body = json!({"agent_id": agent.id, "secret": agent.secret});
        let answer = self.call("POST", "/v1/auth/token").json(body).send().await.expect(200);
        Tokens { access: answer.member("access_token"), refresh: answer.member("refresh_token") }
    }

    /// Starts a refresh.
    pub fn refresh(&self, refresh_token: &str) -> Call<'_> {
        self.call("POST", "/v1/auth/refresh").json(json!({"refresh_token": refresh_token}))
    }

    /// Returns the status of `whoami` with a bearer token.
    pub async fn whoami(&self, bearer: &str) -> u16 {
        self.call("GET", "/v1/auth/whoami").bearer(bearer).send().await.status
    }

    /// Returns an item of the store as DynamoDB's JSON, bypassing the recorded connection.
    pub async fn item(&self, table: &str, pk: &str) -> Option<Vec<(String, String)>> {
        use aws_sdk_dynamodb::types::AttributeValue;
        let client = aws_sdk_dynamodb::Client::new(&self.engine.sdk(None));
        let answer = client
            .get_item()
            .table_name(table)
            .key("pk", AttributeValue::S(pk.into()))
            .send()
            .await
            .unwrap();
        answer.item.map(|item| {
            let mut members: Vec<_> =
                item.into_iter().map(|(name, value)| (name, format!("{value:?}"))).collect();
            members.sort();
            members
        })
    }
}

/// Returns the URL of a store that all worlds share, if there is one: `e2e/run models` runs some
/// tests on a second implementation of DynamoDB.
#[expect(clippy::disallowed_methods, reason = "a setting of the test run, not of a deployment")]
fn remote_store() -> Option<String> {
    std::env::var("POSTERN_TEST_STORE").ok()
}

/// Returns the template, which is parsed once for all tests.
fn template() -> &'static Template {
    static TEMPLATE: LazyLock<Template> = LazyLock::new(|| Template::load().unwrap());
    &TEMPLATE
}

fn config(setup: &Setup) -> Config {
    try_config(setup).unwrap()
}

fn try_config(setup: &Setup) -> Result<Config, Fault> {
    let tables = engine::tables();
    let mut variables = variables(&[
        ("POSTERN_KEYS_TABLE", &tables.keys),
        ("POSTERN_FAMILIES_TABLE", &tables.families),
        ("POSTERN_NONCES_TABLE", &tables.nonces),
        ("POSTERN_USES_TABLE", &tables.uses),
        ("POSTERN_EVENTS_TABLE", &tables.events),
    ]);
    variables
        .extend(setup.variables.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    match &setup.toml {
        None => Config::from_variables(&variables),
        Some(toml) => Config::from_settings(&variables, toml),
    }
}
