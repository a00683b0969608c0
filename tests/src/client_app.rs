//! The server of an app on loopback, which publishes metadata documents.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// The callback of the app.
const CALLBACK: &str = "https://app.example.com/callback";

/// What the server answers.
#[derive(Clone, Debug)]
pub enum DocumentAnswer {
    /// A document, with these headers.
    Json(Value, Vec<(&'static str, &'static str)>),
    /// A redirect to this URL.
    Redirect(String),
    /// Something else: a status, headers and a body.
    Other(u16, Vec<(&'static str, &'static str)>, String),
    /// Nothing: the connection stays open.
    Nothing,
}

/// A server that publishes metadata documents.
#[derive(Clone, Debug)]
pub struct ClientApp {
    /// Its origin.
    pub url: String,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    answers: HashMap<String, DocumentAnswer>,
    fetches: Vec<String>,
}

impl ClientApp {
    /// Starts a server that publishes nothing yet.
    pub async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::<Mutex<Shared>>::default();
        let router = Router::new().fallback(get(answer)).with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, shared }
    }

    /// Answers at `path` from now on. Returns the URL.
    pub fn answer(&self, path: &str, answer: DocumentAnswer) -> String {
        self.shared.lock().unwrap().answers.insert(path.to_owned(), answer);
        format!("{}{path}", self.url)
    }

    /// Publishes the usual document at `path` with these members, where null removes one. Returns
    /// its URL.
    pub fn publish(&self, path: &str, changes: Value) -> String {
        self.publish_with(path, changes, &[])
    }

    /// Publishes a document with these headers.
    pub fn publish_with(
        &self,
        path: &str,
        changes: Value,
        headers: &[(&'static str, &'static str)],
    ) -> String {
        let mut document = json!({
            "client_id": format!("{}{path}", self.url),
            "client_name": "The App",
            "redirect_uris": [CALLBACK],
            "token_endpoint_auth_method": "none",
        });
        for (name, value) in changes.as_object().unwrap() {
            if value.is_null() {
                document.as_object_mut().unwrap().remove(name);
            } else {
                document[name] = value.clone();
            }
        }
        self.answer(path, DocumentAnswer::Json(document, headers.to_vec()))
    }

    /// Returns the paths that were fetched since the last call.
    pub fn take_fetches(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.lock().unwrap().fetches)
    }
}

async fn answer(State(shared): State<Arc<Mutex<Shared>>>, uri: Uri) -> Response {
    let path = uri.path_and_query().unwrap().as_str().to_owned();
    let answer = {
        let mut shared = shared.lock().unwrap();
        shared.fetches.push(path.clone());
        shared.answers.get(&path).cloned()
    };
    let (status, headers, body) = match answer {
        None => (404, vec![], String::new()),
        Some(DocumentAnswer::Redirect(url)) => {
            return (StatusCode::FOUND, [("location", url)]).into_response();
        }
        Some(DocumentAnswer::Nothing) => std::future::pending().await,
        Some(DocumentAnswer::Other(status, headers, body)) => (status, headers, body),
        Some(DocumentAnswer::Json(document, headers)) => {
            let json = [("content-type", "application/json")];
            (200, [&json[..], &headers].concat(), document.to_string())
        }
    };
    let mut response = (StatusCode::from_u16(status).unwrap(), body).into_response();
    response.headers_mut().remove("content-type");
    for (name, value) in headers {
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    response
}
