//! Another issuer: an OpenID provider on loopback that can fail in every way that providers do. It
//! also imitates GitHub, and every issuer of `tests/corpus`.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use axum::{
    Form, Json, Router,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD as BASE64URL},
};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use postern::crypto::sign::{self, SigningKey};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::form::IssuerForm;

/// The time at which every world starts.
const NOW: i64 = 1_767_225_600;

/// The behavior of the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Works as providers should.
    Normal,
    /// Accepts connections and never responds.
    NoResponse,
    /// Responds with 500.
    InternalServerError,
    /// Serves the discovery document of another issuer.
    WrongIssuer,
    /// Sends responses that never end.
    EndlessBody,
    /// Sends key sets and tokens that are not JSON.
    InvalidJson,
    /// A gateway in front of it responds with 502.
    BadGateway,
    /// Its token endpoint refuses everything, in a form that is not OAuth's.
    NonOauthError,
}

/// A document or response that [`Issuer::amend`] or [`Issuer::rewrite`] changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Document {
    /// GitHub's list of addresses.
    Addresses,
    /// The discovery document.
    Discovery,
    /// The key set.
    Keys,
    /// The response to a refresh token.
    Renewal,
    /// The response to a code.
    Tokens,
    /// Userinfo, or GitHub's profile.
    User,
}

/// Changes the text of a document.
type Rewrite = Box<dyn Fn(&str) -> Vec<u8> + Send + Sync>;

/// A provider and its signing keys.
#[derive(Clone)]
pub struct Issuer {
    /// The URL, which is also `iss`.
    pub url: String,
    /// The id of the current signing key.
    pub kid: String,
    key: EncodingKey,
    shared: Arc<Shared>,
}

struct Shared {
    url: String,
    keys: Mutex<Value>,
    behavior: Mutex<Behaviour>,
    fetches: AtomicUsize,
    signer: Mutex<(EncodingKey, String)>,
    visits: Mutex<HashMap<String, Visit>>,
    /// The generation of the valid refresh token of each grant.
    grants: Mutex<HashMap<String, usize>>,
    renewals: AtomicUsize,
    /// Claims that replace or extend those of the next ID tokens.
    overrides: Mutex<Value>,
    /// Members that replace or extend those of its documents and responses.
    amended: Mutex<HashMap<Document, Value>>,
    /// What replaces the text of its documents, and their statuses.
    rewritten: Mutex<HashMap<Document, (StatusCode, Rewrite)>>,
    people: Mutex<HashMap<String, Value>>,
    access_token_life_s: AtomicUsize,
    requires_client_secret: AtomicBool,
    /// The issuer whose documents and responses it sends.
    form: Option<IssuerForm>,
}

/// A browser that was redirected here, and its parameters.
#[derive(Clone)]
struct Visit {
    parameters: HashMap<String, String>,
    subject: String,
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Issuer({})", self.url)
    }
}

fn pair(kid: &str) -> (EncodingKey, Value) {
    let pkcs8 = SigningKey::generate(sign::Algorithm::ES256).unwrap();
    let public =
        SigningKey::parse(kid.into(), sign::Algorithm::ES256, &pkcs8).unwrap().public_key();
    let mut jwk = serde_json::to_value(public).unwrap();
    jwk["kid"] = kid.into();
    jwk["use"] = "sig".into();
    (EncodingKey::from_ec_der(&pkcs8), jwk)
}

impl Issuer {
    /// Starts a provider.
    pub async fn start() -> Self {
        Self::serve(None).await
    }

    /// Starts a provider that imitates the issuer of `form`.
    pub async fn imitating(form: IssuerForm) -> Self {
        Self::serve(Some(form)).await
    }

    async fn serve(form: Option<IssuerForm>) -> Self {
        let (key, jwk) = pair("first");
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            url: url.clone(),
            keys: Mutex::new(json!({"keys": [jwk]})),
            behavior: Mutex::new(Behaviour::Normal),
            fetches: AtomicUsize::new(0),
            signer: Mutex::new((key.clone(), "first".into())),
            visits: Mutex::default(),
            grants: Mutex::default(),
            renewals: AtomicUsize::new(0),
            overrides: Mutex::new(json!({})),
            amended: Mutex::default(),
            rewritten: Mutex::default(),
            people: Mutex::default(),
            access_token_life_s: AtomicUsize::new(3600),
            requires_client_secret: AtomicBool::new(false),
            form,
        });
        let own = json!({"issuer": "", "jwks_uri": "/jwks", "token_endpoint": "/token", "userinfo_endpoint": "/userinfo"});
        let paths = shared
            .form
            .as_ref()
            .map_or(own, |form| form.filled("discovery", &[("url", "".into())]));
        let path = |name: &str| paths[name].as_str().unwrap_or("/none").to_owned();
        let known = "/.well-known/openid-configuration";
        let router = Router::new()
            .route(&format!("{}{known}", path("issuer").trim_end_matches('/')), get(discovery))
            .route(&path("jwks_uri"), get(keys))
            .route(&path("token_endpoint"), post(token))
            .route(&path("userinfo_endpoint"), get(about))
            .route("/login/oauth/access_token", post(token_of_github))
            .route("/api/v3/user", get(about))
            .route("/api/v3/user/emails", get(addresses))
            .layer(from_fn(compress))
            .with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let url = match &shared.form {
            Some(form) => form.filled("issuer", &shared.values()).as_str().unwrap().to_owned(),
            None => url,
        };
        Self { url, kid: "first".into(), key, shared }
    }

    /// Changes the behavior.
    pub fn set_behaviour(&self, behavior: Behaviour) {
        *self.shared.behavior.lock().unwrap() = behavior;
    }

    /// Returns how often the key set was fetched.
    pub fn fetches(&self) -> usize {
        self.shared.fetches.load(Ordering::SeqCst)
    }

    /// Signs with a new key from now on, and publishes it next to the old one.
    pub fn rotate(&mut self, kid: &str) {
        let (key, jwk) = pair(kid);
        *self.shared.signer.lock().unwrap() = (key.clone(), kid.into());
        (self.key, self.kid) = (key, kid.into());
        self.shared.keys.lock().unwrap()["keys"].as_array_mut().unwrap().push(jwk);
    }

    /// Publishes these keys in place of its own.
    pub fn publish(&self, keys: Value) {
        *self.shared.keys.lock().unwrap() = keys;
    }

    /// Signs a user in who was redirected to `location`; returns the query of the redirect back.
    #[track_caller]
    pub fn sign_in(&self, location: &str, subject: &str) -> String {
        let (address, query) = location.split_once('?').unwrap();
        assert!(address.starts_with(&self.shared.url), "{location}");
        let parameters: HashMap<_, _> =
            form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let state = parameters["state"].clone();
        let mut visits = self.shared.visits.lock().unwrap();
        let code = format!("code-{}", visits.len());
        visits.insert(code.clone(), Visit { parameters, subject: subject.into() });
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("code", &code).append_pair("state", &state);
        if self.shared.form.as_ref().is_some_and(|form| *form.member("names_issuer") == true) {
            query.append_pair("iss", &self.url); // RFC 9207
        }
        query.finish()
    }

    /// Returns the access token of the issuer that it imitates.
    pub fn imitated_bearer(&self) -> String {
        let form = self.shared.form.as_ref().unwrap();
        let bearer = form.filled("bearer", &self.shared.values());
        if bearer.is_null() {
            "ya29.an-opaque-token".into()
        } else {
            form.sign(&bearer["header"], &bearer["claims"])
        }
    }

    /// Returns an ID token of the issuer that it imitates.
    pub fn imitated_id_token(&self) -> String {
        let form = self.shared.form.as_ref().unwrap();
        let claims = form.filled("id_token", &self.shared.values());
        form.sign(form.member("header"), &claims)
    }

    /// Refuses clients without the right secret from now on.
    pub fn require_client_secret(&self) {
        self.shared.requires_client_secret.store(true, Ordering::SeqCst);
    }

    /// Adds these claims to the next ID tokens, or replaces theirs.
    pub fn override_claims(&self, claims: Value) {
        *self.shared.overrides.lock().unwrap() = claims;
    }

    /// Replaces or adds these members of a document; `"(absent)"` removes one.
    pub fn amend(&self, document: Document, members: Value) {
        self.shared.amended.lock().unwrap().insert(document, members);
    }

    /// Changes the text of a document, into what no library would write.
    pub fn rewrite(
        &self,
        document: Document,
        status: u16,
        rewrite: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static,
    ) {
        let changes = (StatusCode::from_u16(status).unwrap(), Box::new(rewrite) as Rewrite);
        self.shared.rewritten.lock().unwrap().insert(document, changes);
    }

    /// Writes these members in addition to those of a document, even if it has them already.
    pub fn append(&self, document: Document, members: &str) {
        let members = members.to_owned();
        self.rewrite(document, 200, move |json| {
            format!("{},{members}}}", json.strip_suffix('}').unwrap()).into()
        });
    }

    /// Sets the userinfo response for a subject. A member `jwt` is sent in place of the JSON.
    pub fn set_userinfo(&self, subject: &str, about: Value) {
        self.shared.people.lock().unwrap().insert(subject.into(), about);
    }

    /// Sets the lifetime of access tokens.
    pub fn set_access_token_lifetime(&self, seconds: usize) {
        self.shared.access_token_life_s.store(seconds, Ordering::SeqCst);
    }

    /// Returns how often a renewal was requested.
    pub fn renewals(&self) -> usize {
        self.shared.renewals.load(Ordering::SeqCst)
    }

    /// Revokes every grant, as users can on their provider's page.
    pub fn revoke_all_grants(&self) {
        self.shared.grants.lock().unwrap().clear();
    }

    /// Signs a token with these claims and `iss`.
    pub fn token(&self, claims: Value) -> String {
        self.token_with(
            Header { kid: Some(self.kid.clone()), ..Header::new(Algorithm::ES256) },
            claims,
        )
    }

    /// Signs a token with another header.
    pub fn token_with(&self, header: Header, mut claims: Value) -> String {
        if claims.get("iss").is_none() {
            claims["iss"] = self.url.clone().into();
        }
        encode(&header, &claims, &self.key)
    }
}

/// Signs a token with a library that is not ours.
#[expect(clippy::disallowed_methods, reason = "the point is that it is not ours")]
pub fn encode(header: &Header, claims: &Value, key: &EncodingKey) -> String {
    jsonwebtoken::encode(header, claims, key).unwrap()
}

/// Compresses the response, unless the client asks for no compression. RFC 9110 §12.5.3 allows
/// this, and some servers do it.
async fn compress(request: Request, next: Next) -> Response {
    let is_plain = request.headers().get("accept-encoding").is_some_and(|all| all == "identity");
    let mut answer = next.run(request).await;
    if !is_plain {
        answer.headers_mut().insert("content-encoding", HeaderValue::from_static("gzip"));
        *answer.body_mut() = vec![0x1f, 0x8b, 8, 0].into();
    }
    answer
}

async fn discovery(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    let url = shared.url.clone();
    if let Some(form) = &shared.form {
        return Json(form.filled("discovery", &shared.values())).into_response();
    }
    let document = |issuer: &str| {
        let document = json!({
            "issuer": issuer, "jwks_uri": format!("{url}/jwks"),
            "authorization_endpoint": format!("{url}/authorize"), "token_endpoint": format!("{url}/token"),
            "userinfo_endpoint": format!("{url}/userinfo"), "scopes_supported": ["openid", "email", "offline_access"],
        });
        shared.send(Document::Discovery, document)
    };
    let behavior = *shared.behavior.lock().unwrap();
    match behavior {
        Behaviour::Normal
        | Behaviour::InvalidJson
        | Behaviour::BadGateway
        | Behaviour::NonOauthError => document(&url),
        Behaviour::WrongIssuer => document("https://other.example"),
        Behaviour::NoResponse => std::future::pending().await,
        Behaviour::InternalServerError => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Behaviour::EndlessBody => "x".repeat(1 << 20).into_response(),
    }
}

async fn keys(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    shared.fetches.fetch_add(1, Ordering::SeqCst);
    if let Some(form) = &shared.form {
        return Json(form.keys(&shared.values())).into_response();
    }
    let behavior = *shared.behavior.lock().unwrap();
    let keys = shared.keys.lock().unwrap().clone();
    match behavior {
        Behaviour::InvalidJson => "no JSON".into_response(),
        Behaviour::Normal
        | Behaviour::WrongIssuer
        | Behaviour::NoResponse
        | Behaviour::InternalServerError
        | Behaviour::EndlessBody
        | Behaviour::BadGateway
        | Behaviour::NonOauthError => shared.send(Document::Keys, keys),
    }
}

type Parameters = HashMap<String, String>;

/// The token endpoint: single-use codes with PKCE, and rotating refresh tokens whose reuse revokes
/// the grant.
async fn token(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Form(form): Form<Parameters>,
) -> Response {
    let behavior = *shared.behavior.lock().unwrap();
    let is_refresh = form.get("grant_type").is_some_and(|grant| grant == "refresh_token");
    if is_refresh {
        shared.renewals.fetch_add(1, Ordering::SeqCst);
    }
    match behavior {
        Behaviour::NoResponse => std::future::pending().await,
        Behaviour::InternalServerError => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Behaviour::InvalidJson => return "no JSON".into_response(),
        Behaviour::BadGateway => return StatusCode::BAD_GATEWAY.into_response(),
        Behaviour::NonOauthError => {
            return (StatusCode::FORBIDDEN, "<html>not you</html>").into_response();
        }
        Behaviour::EndlessBody => return "x".repeat(1 << 20).into_response(),
        Behaviour::Normal | Behaviour::WrongIssuer => {}
    }
    // RFC 6749 §2.3.1: a confidential client authenticates. Our clients are called "postern", and
    // their secret is "hush".
    let basic =
        headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_hush = |basic: &str| {
        BASE64.decode(basic.trim_start_matches("Basic ")).is_ok_and(|pair| pair.ends_with(b":hush"))
    };
    let proves = is_hush(basic) || form.get("client_secret").is_some_and(|given| given == "hush");
    if shared.requires_client_secret.load(Ordering::SeqCst) && !proves {
        return (StatusCode::UNAUTHORIZED, Json(json!({"error": "invalid_client"})))
            .into_response();
    }
    if form.get("client_id").is_none_or(|id| id != "postern") && !proves {
        return refuse("invalid_client");
    }
    if is_refresh { shared.renew(&form["refresh_token"]) } else { shared.exchange(&form) }
}

/// GitHub's variant: status 200, and error codes of its own.
async fn token_of_github(
    shared: State<Arc<Shared>>,
    headers: HeaderMap,
    form: Form<Parameters>,
) -> Response {
    let is_refresh = form.0.get("grant_type").is_some_and(|grant| grant == "refresh_token");
    let answer = token(shared, headers, form).await;
    if answer.status() != StatusCode::BAD_REQUEST {
        return answer;
    }
    let error = if is_refresh { "bad_refresh_token" } else { "bad_verification_code" };
    Json(json!({"error": error, "error_description": "The code passed is incorrect or expired."}))
        .into_response()
}

fn refuse(error: &str) -> Response {
    (StatusCode::BAD_REQUEST, Json(json!({"error": error}))).into_response()
}

impl Shared {
    fn amend(&self, name: Document, mut document: Value) -> Value {
        let amended = self.amended.lock().unwrap();
        for (name, value) in amended.get(&name).and_then(Value::as_object).into_iter().flatten() {
            let members = document.as_object_mut().unwrap();
            if value == "(absent)" {
                members.remove(name);
            } else {
                members.insert(name.clone(), value.clone());
            }
        }
        document
    }

    /// Returns a document with its changes.
    fn send(&self, name: Document, document: Value) -> Response {
        let document = self.amend(name, document);
        match self.rewritten.lock().unwrap().get(&name) {
            None => Json(document).into_response(),
            Some((status, rewrite)) => {
                let json = [("content-type", "application/json")];
                (*status, json, rewrite(&document.to_string())).into_response()
            }
        }
    }

    fn exchange(&self, form: &Parameters) -> Response {
        let Some(visit) = self.visits.lock().unwrap().remove(&form["code"]) else {
            return refuse("invalid_grant");
        };
        let challenge = postern::crypto::Digest::of(form["code_verifier"].as_bytes());
        let is_verified =
            visit.parameters.get("code_challenge") == Some(&BASE64URL.encode(challenge.bytes()));
        if !is_verified || visit.parameters["redirect_uri"] != form["redirect_uri"] {
            return refuse("invalid_grant");
        }
        let grant = format!("grant-{}-{}", visit.subject, self.grants.lock().unwrap().len());
        self.grants.lock().unwrap().insert(grant.clone(), 0);
        if let Some(form) = &self.form {
            let nonce = Value::from(visit.parameters["nonce"].clone());
            let claims =
                form.filled("id_token", &[&self.values()[..], &[("nonce", nonce)]].concat());
            let id_token = form.sign(form.member("header"), &claims);
            return Json(self.imitated("token", &grant, 0, &visit.subject, &id_token))
                .into_response();
        }
        let mut answer = self.tokens(&grant, 0, &visit.subject);
        if let Some(nonce) = visit.parameters.get("nonce") {
            let now = NOW;
            let mut claims = json!({
                "iss": self.url, "aud": visit.parameters["client_id"], "sub": visit.subject, "nonce": nonce,
                "iat": now, "exp": now + 10 * 366 * 24 * 3600,
            });
            for (name, value) in self.overrides.lock().unwrap().as_object().unwrap() {
                claims[name] = value.clone();
            }
            let (key, kid) = self.signer.lock().unwrap().clone();
            let header = Header { kid: Some(kid), ..Header::new(Algorithm::ES256) };
            answer["id_token"] = encode(&header, &claims, &key).into();
        }
        self.send(Document::Tokens, answer)
    }

    fn renew(&self, refresh_token: &str) -> Response {
        let (grant, generation) = refresh_token.rsplit_once('.').unwrap();
        let generation: usize = generation.parse().unwrap();
        let mut grants = self.grants.lock().unwrap();
        match grants.get(grant).copied() {
            Some(current) if current == generation => {
                let subject = grant.split('-').nth(1).unwrap();
                if let Some(form) = &self.form {
                    let rotates = form.member("renewal").get("refresh_token").is_some();
                    let next = generation + usize::from(rotates);
                    grants.insert(grant.into(), next);
                    return Json(self.imitated("renewal", grant, next, subject, "an ID token"))
                        .into_response();
                }
                grants.insert(grant.into(), generation + 1);
                let answer = self.tokens(grant, generation + 1, subject);
                self.send(Document::Renewal, answer)
            }
            _ => {
                grants.remove(grant);
                refuse("invalid_grant")
            }
        }
    }

    /// Returns the values that every document of an imitated issuer may contain.
    fn values(&self) -> Vec<(&'static str, Value)> {
        let now = NOW;
        vec![("url", self.url.clone().into()), ("now", now.into()), ("exp", (now + 3600).into())]
    }

    /// Returns a response of the token endpoint of an imitated issuer.
    fn imitated(
        &self,
        name: &str,
        grant: &str,
        generation: usize,
        subject: &str,
        id_token: &str,
    ) -> Value {
        let values = [
            ("access", format!("access:{subject}").into()),
            ("refresh", format!("{grant}.{generation}").into()),
            ("id_token", id_token.into()),
        ];
        let form = self.form.as_ref().unwrap();
        form.filled(name, &[&self.values()[..], &values].concat())
    }

    fn tokens(&self, grant: &str, generation: usize, subject: &str) -> Value {
        json!({
            "access_token": format!("access:{subject}"), "token_type": "Bearer",
            "expires_in": self.access_token_life_s.load(Ordering::SeqCst), "refresh_token": format!("{grant}.{generation}"),
        })
    }

    /// Returns the userinfo of the user to whom the access token belongs.
    fn userinfo(&self, headers: &HeaderMap) -> Option<Value> {
        let subject =
            headers.get("authorization")?.to_str().ok()?.strip_prefix("Bearer access:")?.to_owned();
        if let Some(form) = &self.form {
            return Some(form.filled("userinfo", &self.values()));
        }
        let mut about = self.people.lock().unwrap().get(&subject).cloned().unwrap_or(json!({}));
        if about.get("sub").is_none() {
            about["sub"] = subject.clone().into();
        }
        about["id"] = subject.parse::<u64>().map_or(Value::Null, Value::from);
        Some(about)
    }
}

async fn about(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    match shared.userinfo(&headers) {
        None => StatusCode::UNAUTHORIZED.into_response(),
        Some(about) => match about["jwt"].as_str() {
            None => shared.send(Document::User, about),
            Some(jwt) => ([("content-type", "application/jwt")], jwt.to_owned()).into_response(),
        },
    }
}

async fn addresses(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    match shared.userinfo(&headers) {
        Some(about) => shared.send(Document::Addresses, about["emails"].clone()),
        None => StatusCode::UNAUTHORIZED.into_response(),
    }
}
