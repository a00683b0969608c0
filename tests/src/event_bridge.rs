//! EventBridge in memory: what it has accepted, and how it fails.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use aws_sdk_dynamodb::config::SharedHttpClient;
use aws_smithy_runtime_api::{
    client::{
        http::{
            HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings,
            SharedHttpConnector,
        },
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
        runtime_components::RuntimeComponents,
    },
    http::StatusCode,
};
use aws_smithy_types::body::SdkBody;
use serde_json::{Value, json};

/// How the bus treats a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BusFault {
    /// The connection is refused.
    Unreachable,
    /// The request is throttled.
    Throttled,
    /// The events are accepted, and the response is lost.
    ResponseLost,
    /// The events at these places are not accepted.
    Rejects(Vec<usize>),
}

#[derive(Debug, Default)]
struct BusState {
    accepted: Vec<Value>,
    requests: Vec<usize>,
    always: Option<BusFault>,
    next: VecDeque<Option<BusFault>>,
}

/// EventBridge in memory.
#[derive(Clone, Default)]
pub struct EventBridge(Arc<Mutex<BusState>>);

impl std::fmt::Debug for EventBridge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EventBridge")
    }
}

impl EventBridge {
    /// Returns an HTTP client for the SDK that is answered by this bus.
    pub fn http_client(&self) -> SharedHttpClient {
        SharedHttpClient::new(self.clone())
    }

    /// Lets every request fail, or none.
    pub fn fail(&self, fault: Option<BusFault>) {
        self.0.lock().unwrap().always = fault;
    }

    /// Lets the next requests fail, one each.
    pub fn fail_next(&self, faults: impl IntoIterator<Item = Option<BusFault>>) {
        self.0.lock().unwrap().next.extend(faults);
    }

    /// Returns the entries that it has accepted, in order.
    pub fn accepted(&self) -> Vec<Value> {
        self.0.lock().unwrap().accepted.clone()
    }

    /// Returns the events that it has accepted, in order.
    pub fn events(&self) -> Vec<Value> {
        let detail =
            |entry: Value| serde_json::from_str(entry["Detail"].as_str().unwrap()).unwrap();
        self.accepted().into_iter().map(detail).collect()
    }

    /// Returns how many events each request had.
    pub fn requests(&self) -> Vec<usize> {
        self.0.lock().unwrap().requests.clone()
    }

    fn respond(&self, request: &HttpRequest) -> Option<(u16, Value)> {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        assert_eq!(target, "AWSEvents.PutEvents");
        let body: Value = serde_json::from_slice(request.body().bytes().unwrap()).unwrap();
        let entries = body["Entries"].as_array().unwrap();
        let mut state = self.0.lock().unwrap();
        let always = state.always.clone();
        let fault = state.next.pop_front().unwrap_or(always);
        state.requests.push(entries.len());
        let rejected = match fault {
            Some(BusFault::Unreachable) => return None,
            Some(BusFault::Throttled) => {
                return Some((
                    400,
                    json!({"__type": "ThrottlingException", "message": "Rate exceeded"}),
                ));
            }
            Some(BusFault::ResponseLost) => {
                state.accepted.extend(entries.iter().cloned());
                return None;
            }
            Some(BusFault::Rejects(places)) => places,
            None => Vec::new(),
        };
        let mut answers = Vec::new();
        for (place, entry) in entries.iter().enumerate() {
            if rejected.contains(&place) {
                answers.push(json!({"ErrorCode": "ThrottlingException", "ErrorMessage": "slow"}));
            } else {
                state.accepted.push(entry.clone());
                answers.push(json!({"EventId": format!("bus-{}", state.accepted.len())}));
            }
        }
        let failed = answers.iter().filter(|answer| answer.get("ErrorCode").is_some()).count();
        Some((200, json!({"FailedEntryCount": failed, "Entries": answers})))
    }
}

impl HttpClient for EventBridge {
    fn http_connector(
        &self,
        _: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for EventBridge {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let Some((status, body)) = self.respond(&request) else {
            return HttpConnectorFuture::ready(Err(ConnectorError::io("connection lost".into())));
        };
        let status = StatusCode::try_from(status).unwrap();
        HttpConnectorFuture::ready(Ok(HttpResponse::new(status, SdkBody::from(body.to_string()))))
    }
}
