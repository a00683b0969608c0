//! Requests to the API of a deployment, and what its responses mean.

use std::time::Duration;

use postern_client::{
    TokenRequest,
    reqwest::{
        Method, Request, Response, StatusCode, Url,
        header::{ACCEPT, CONTENT_TYPE, HeaderValue, RETRY_AFTER},
    },
};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    credentials::{Caller, CallerKind},
    failure::{FAILED, Failure, LOGIN_REQUIRED, SERVER_UNAVAILABLE},
    output::printable,
};

const TIMEOUT: Duration = Duration::from_secs(30);
/// The largest page of a list.
const PAGE: usize = 100;

/// The API of the deployment that a caller calls.
pub(crate) struct Api<'a> {
    caller: &'a Caller,
}

/// Records of a list.
pub(crate) struct Records {
    pub(crate) items: Vec<Value>,
    /// Whether there are more than were asked for.
    pub(crate) has_more: bool,
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Value>,
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct ErrorBody {
    error: String,
    #[serde(default)]
    error_description: String,
    request_id: Option<String>,
}

impl<'a> Api<'a> {
    pub(crate) fn new(caller: &'a Caller) -> Self {
        Self { caller }
    }

    pub(crate) async fn get(&self, path: &[&str]) -> Result<Value, Failure> {
        self.json(self.send(Method::GET, self.url(path)?, None).await?).await
    }

    pub(crate) async fn post(&self, path: &[&str], body: &Value) -> Result<Value, Failure> {
        self.json(self.send(Method::POST, self.url(path)?, Some(body)).await?).await
    }

    pub(crate) async fn put(&self, path: &[&str], body: &Value) -> Result<Value, Failure> {
        self.json(self.send(Method::PUT, self.url(path)?, Some(body)).await?).await
    }

    pub(crate) async fn patch(&self, path: &[&str], body: &Value) -> Result<Value, Failure> {
        self.json(self.send(Method::PATCH, self.url(path)?, Some(body)).await?).await
    }

    /// Posts what has a response without a body.
    pub(crate) async fn change(&self, path: &[&str], body: &Value) -> Result<(), Failure> {
        self.send(Method::POST, self.url(path)?, Some(body)).await.map(drop)
    }

    pub(crate) async fn delete(&self, path: &[&str]) -> Result<(), Failure> {
        self.send(Method::DELETE, self.url(path)?, None).await.map(drop)
    }

    /// Returns all records of a list, or of its answer to a question; or the first `limit` of them.
    pub(crate) async fn list(
        &self,
        path: &[&str],
        question: Option<(&str, String)>,
        limit: Option<usize>,
    ) -> Result<Records, Failure> {
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let missing = limit.map_or(PAGE, |limit| limit - items.len()).min(PAGE);
            let mut url = self.url(path)?;
            url.query_pairs_mut().append_pair("limit", &missing.to_string());
            if let Some((parameter, value)) = &question {
                url.query_pairs_mut().append_pair(parameter, value);
            }
            if let Some(cursor) = &cursor {
                url.query_pairs_mut().append_pair("cursor", cursor);
            }
            let response = self.json(self.send(Method::GET, url, None).await?).await?;
            let page: Page = serde_json::from_value(response).map_err(|_| self.unexpected(None))?;
            let is_repeated = page.next_cursor.is_some() && page.next_cursor == cursor;
            if is_repeated || page.items.len() > missing {
                return Err(self.unexpected(None));
            }
            items.extend(page.items);
            let has_more = page.next_cursor.is_some();
            if !has_more || limit.is_some_and(|limit| items.len() >= limit) {
                return Ok(Records { items, has_more });
            }
            cursor = page.next_cursor;
        }
    }

    /// Returns the URL of a path, whose parts are escaped.
    fn url(&self, path: &[&str]) -> Result<Url, Failure> {
        if path.iter().any(|part| matches!(*part, "" | "." | "..")) {
            return Err(Failure::usage("The id is not valid. Use one that a list shows."));
        }
        let issuer = self.caller.issuer.as_str();
        let mut url = Url::parse(issuer).map_err(|_| self.unexpected(None))?;
        match url.path_segments_mut() {
            Ok(mut segments) => drop(segments.pop_if_empty().extend(path)),
            Err(()) => return Err(self.unexpected(None)),
        }
        Ok(url)
    }

    async fn send(
        &self,
        method: Method,
        url: Url,
        body: Option<&Value>,
    ) -> Result<Response, Failure> {
        let mut request = Request::new(method, url);
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(ACCEPT, json.clone());
        if let Some(body) = body {
            request.headers_mut().insert(CONTENT_TYPE, json);
            *request.body_mut() = Some(body.to_string().into());
        }
        *request.timeout_mut() = Some(TIMEOUT);
        let response = self.caller.session.execute(&TokenRequest::default(), request).await?;
        if response.status().is_success() {
            Ok(response)
        } else {
            Err(self.refused(response).await)
        }
    }

    async fn json(&self, response: Response) -> Result<Value, Failure> {
        let status = response.status();
        let bytes = response.bytes().await.map_err(|_| self.unexpected(Some(status)))?;
        serde_json::from_slice(&bytes).map_err(|_| self.unexpected(Some(status)))
    }

    /// Returns the failure that a response stands for.
    async fn refused(&self, response: Response) -> Failure {
        let status = response.status();
        let wait = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let wait = wait.and_then(|seconds| seconds.parse::<u64>().ok());
        let body = response.bytes().await.unwrap_or_default();
        let Ok(body) = serde_json::from_slice::<ErrorBody>(&body) else {
            return self.unexpected(Some(status));
        };
        let mut message = match body.error_description.as_str() {
            "" => format!("{} answered {}.", self.caller.issuer, printable(&body.error)),
            description => printable(description),
        };
        if let Some(seconds) = wait {
            message.push_str(&format!(" Try again in {seconds} seconds."));
        }
        if status == StatusCode::UNAUTHORIZED {
            message.push_str(match self.caller.kind {
                CallerKind::User => {
                    " Log in again: postern login. A login for another API (--resource) is not \
                     one for this server."
                }
                CallerKind::ApiKey | CallerKind::Agent | CallerKind::Workload => "",
            });
        }
        if let Some(id) = body.request_id {
            let (error, id) = (printable(&body.error), printable(&id));
            message.push_str(&format!(" ({error}, request {id})"));
        }
        Failure::new(exit_code(status), message)
    }

    /// Returns the failure for a response that is not one of this API.
    fn unexpected(&self, status: Option<StatusCode>) -> Failure {
        let issuer = &self.caller.issuer;
        let what = status.map(|status| format!(" (status {})", status.as_u16()));
        let message = format!(
            "The response of {issuer} is not one of Postern{}. Check the issuer, and whether a \
             proxy answered in its place.",
            what.unwrap_or_default()
        );
        Failure::new(status.map_or(FAILED, exit_code), message)
    }
}

fn exit_code(status: StatusCode) -> u8 {
    if status == StatusCode::UNAUTHORIZED {
        LOGIN_REQUIRED
    } else if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        SERVER_UNAVAILABLE
    } else {
        FAILED
    }
}
