//! An authorization server that answers as scripted.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// A running server. It stops with the runtime of the test.
pub(crate) struct Server {
    pub(crate) url: String,
    script: Arc<Script>,
}

#[derive(Default)]
struct Script {
    url: String,
    answers: Mutex<HashMap<String, VecDeque<Answer>>>,
    requests: Mutex<Vec<Received>>,
}

/// A request that the server received.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// What the server answers.
pub(crate) enum Answer {
    Json(u16, Value),
    With(u16, &'static str, &'static str, Value),
    Text(u16, &'static str),
    /// The connection ends within the answer.
    Lost,
    /// There is no answer in time.
    Late,
    /// Something happens before the answer.
    After(Box<dyn FnOnce() + Send>, Box<Answer>),
}

impl Received {
    /// Returns the parameters of the form.
    pub(crate) fn form(&self) -> HashMap<String, String> {
        form_urlencoded::parse(&self.body).into_owned().collect()
    }
}

impl Server {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let script = Arc::new(Script { url: url.clone(), ..Script::default() });
        let router = Router::new().fallback(answer).with_state(Arc::clone(&script));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, script }
    }

    /// Answers the next request at a path. Those after it get the next answers; without any, the
    /// metadata is that of the server, and everything else is not found.
    pub(crate) fn on(&self, path: &str, answer: Answer) {
        self.script.answers.lock().unwrap().entry(path.into()).or_default().push_back(answer);
    }

    /// Answers the next token request with tokens.
    pub(crate) fn issue(&self, access_token: &str, refresh_token: &str) {
        self.on("/token", Answer::Json(200, tokens(access_token, refresh_token)));
    }

    /// Changes members of the metadata.
    pub(crate) fn change_metadata(&self, changes: Value) {
        let mut metadata = metadata(&self.url);
        for (name, value) in changes.as_object().unwrap() {
            metadata[name] = value.clone();
        }
        self.on("/.well-known/oauth-authorization-server", Answer::Json(200, metadata));
    }

    /// Returns how many requests there were.
    pub(crate) fn count(&self) -> usize {
        self.script.requests.lock().unwrap().len()
    }

    /// Returns the requests at a path.
    pub(crate) fn requests(&self, path: &str) -> Vec<Received> {
        let requests = self.script.requests.lock().unwrap();
        let path_of = |target: &str| target.split('?').next().unwrap().to_owned();
        requests.iter().filter(|request| path_of(&request.target) == path).cloned().collect()
    }

    /// Returns the refresh tokens that were sent, in their order.
    pub(crate) fn refresh_tokens(&self) -> Vec<String> {
        let requests = self.requests("/token");
        requests.iter().filter_map(|request| request.form().remove("refresh_token")).collect()
    }
}

/// Returns the answer of a token endpoint.
pub(crate) fn tokens(access_token: &str, refresh_token: &str) -> Value {
    json!({
        "access_token": access_token, "token_type": "Bearer", "expires_in": 3600,
        "refresh_token": refresh_token, "scope": "a b",
    })
}

pub(crate) fn metadata(url: &str) -> Value {
    json!({
        "issuer": url,
        "token_endpoint": format!("{url}/token"),
        "authorization_endpoint": format!("{url}/authorize"),
        "device_authorization_endpoint": format!("{url}/device"),
        "revocation_endpoint": format!("{url}/revoke"),
        "authorization_response_iss_parameter_supported": true,
    })
}

async fn answer(State(script): State<Arc<Script>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let path = parts.uri.path().to_owned();
    let received = Received { target: parts.uri.to_string(), headers: parts.headers, body };
    script.requests.lock().unwrap().push(received);
    let mut next = script.answers.lock().unwrap().get_mut(&path).and_then(VecDeque::pop_front);
    if let Some(Answer::After(event, answer)) = next {
        event();
        next = Some(*answer);
    }
    match next {
        Some(Answer::Json(status, body)) => respond(status, "application/json", body.to_string()),
        Some(Answer::With(status, name, value, body)) => {
            let mut response = respond(status, "application/json", body.to_string());
            response.headers_mut().insert(name, value.parse().unwrap());
            response
        }
        Some(Answer::Text(status, text)) => respond(status, "text/html", text.to_owned()),
        Some(Answer::Lost) => {
            let lost = std::io::Error::other("lost");
            Response::new(Body::from_stream(stream::iter([Err::<Bytes, _>(lost)])))
        }
        Some(Answer::Late | Answer::After(..)) => std::future::pending().await,
        None if path == "/.well-known/oauth-authorization-server" => {
            respond(200, "application/json", metadata(&script.url).to_string())
        }
        None => respond(404, "text/html", "There is nothing here.".to_owned()),
    }
}

fn respond(status: u16, kind: &'static str, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response.headers_mut().insert("content-type", kind.parse().unwrap());
    response
}
