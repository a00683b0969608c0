//! The connection between the SDK and the store. It records calls and injects faults.

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
use serde_json::Value;

/// A call to the store.
#[derive(Clone, Debug)]
pub struct Op {
    /// The operation: `GetItem`, `UpdateItem` and so on.
    pub name: String,
    /// The request, as DynamoDB's JSON.
    pub body: Value,
}

/// A fault of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreFault {
    /// The connection is refused.
    Unreachable,
    /// The store throttles the request.
    Throttled,
    /// The store responds with an internal error.
    ServerError,
    /// The store never responds.
    Timeout,
    /// The store executes the call, and its response is lost.
    ResponseLost,
    /// Another transaction has locked the item.
    Conflict,
    /// The response is not from DynamoDB.
    InvalidResponse,
    /// A batch returns with its keys unprocessed.
    Unprocessed,
}

#[derive(Debug, Default)]
struct State {
    ops: Vec<Op>,
    always: Option<StoreFault>,
    of_operation: Option<(&'static str, StoreFault)>,
    next: VecDeque<Option<StoreFault>>,
    rejected: usize,
}

/// The connection of one world.
#[derive(Clone, Default)]
pub struct Wire(Arc<Mutex<State>>);

// The SDK logs its components at TRACE in every line of a call, so this must not grow with the
// recorded calls.
impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wire")
    }
}

impl Wire {
    /// Returns an HTTP client for the SDK that uses this connection.
    pub fn http_client(&self) -> SharedHttpClient {
        let inner = aws_smithy_http_client::Builder::new().build_http();
        SharedHttpClient::new(FaultInjectingClient { wire: self.clone(), inner })
    }

    /// Returns the calls since the last time, and forgets them.
    pub fn take(&self) -> Vec<Op> {
        std::mem::take(&mut self.0.lock().unwrap().ops)
    }

    /// Returns the names of the calls since the last time, and forgets them.
    pub fn names(&self) -> Vec<String> {
        self.take().into_iter().map(|op| op.name).collect()
    }

    /// Returns how many calls the store has rejected, such as writes whose condition was not met.
    pub fn rejected(&self) -> usize {
        self.0.lock().unwrap().rejected
    }

    /// Injects a fault into every call, until [`Wire::clear_faults`].
    pub fn inject(&self, fault: StoreFault) {
        self.0.lock().unwrap().always = Some(fault);
    }

    /// Injects a fault into every call of one operation, until [`Wire::clear_faults`].
    pub fn inject_into(&self, operation: &'static str, fault: StoreFault) {
        self.0.lock().unwrap().of_operation = Some((operation, fault));
    }

    /// Injects these faults into the next calls, one each.
    pub fn inject_next(&self, faults: impl IntoIterator<Item = Option<StoreFault>>) {
        self.0.lock().unwrap().next.extend(faults);
    }

    /// Returns how many faults of the next requests have not been used.
    pub fn pending_faults(&self) -> usize {
        self.0.lock().unwrap().next.iter().flatten().count()
    }

    /// Removes all faults.
    pub fn clear_faults(&self) {
        let mut state = self.0.lock().unwrap();
        state.always = None;
        state.of_operation = None;
        state.next.clear();
    }

    fn next_fault(&self, request: &HttpRequest) -> Option<StoreFault> {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let name = target.rsplit('.').next().unwrap_or_default().to_owned();
        let body = request
            .body()
            .bytes()
            .and_then(|bytes| serde_json::from_slice(bytes).ok())
            .unwrap_or_default();
        let mut state = self.0.lock().unwrap();
        let of_operation = state.of_operation.filter(|(operation, _)| *operation == name);
        state.ops.push(Op { name, body });
        let always = of_operation.map(|(_, fault)| fault).or(state.always);
        state.next.pop_front().unwrap_or(always)
    }
}

#[derive(Debug)]
struct FaultInjectingClient {
    wire: Wire,
    inner: SharedHttpClient,
}

impl HttpClient for FaultInjectingClient {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, components);
        SharedHttpConnector::new(FaultInjectingConnector { wire: self.wire.clone(), inner })
    }
}

#[derive(Debug)]
struct FaultInjectingConnector {
    wire: Wire,
    inner: SharedHttpConnector,
}

impl HttpConnector for FaultInjectingConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        const PREFIX: &str = "com.amazonaws.dynamodb.v20120810#";
        let error = |status: u16, kind: &str| {
            let body = format!(r#"{{"__type":"{PREFIX}{kind}","message":"injected"}}"#);
            HttpConnectorFuture::ready(Ok(answer(status, body)))
        };
        match self.wire.next_fault(&request) {
            None => {
                let (wire, under_way) = (self.wire.clone(), self.inner.call(request));
                HttpConnectorFuture::new(async move {
                    let response = under_way.await?;
                    if response.status().as_u16() == 400 {
                        wire.0.lock().unwrap().rejected += 1;
                    }
                    Ok(response)
                })
            }
            Some(StoreFault::Unreachable) => {
                HttpConnectorFuture::ready(Err(ConnectorError::io("connection refused".into())))
            }
            Some(StoreFault::Throttled) => error(400, "ProvisionedThroughputExceededException"),
            Some(StoreFault::ServerError) => error(500, "InternalServerError"),
            Some(StoreFault::Conflict) => error(400, "TransactionConflictException"),
            Some(StoreFault::InvalidResponse) => {
                HttpConnectorFuture::ready(Ok(answer(200, "<html>".into())))
            }
            Some(StoreFault::Timeout) => HttpConnectorFuture::new(std::future::pending()),
            Some(StoreFault::Unprocessed) => {
                let asked: Value = request
                    .body()
                    .bytes()
                    .and_then(|b| serde_json::from_slice(b).ok())
                    .unwrap_or_default();
                let body =
                    serde_json::json!({"Responses": {}, "UnprocessedKeys": asked["RequestItems"]});
                HttpConnectorFuture::ready(Ok(answer(200, body.to_string())))
            }
            Some(StoreFault::ResponseLost) => {
                let under_way = self.inner.call(request);
                HttpConnectorFuture::new(async move {
                    under_way.await?.into_body();
                    Err(ConnectorError::io("the response was lost".into()))
                })
            }
        }
    }
}

fn answer(status: u16, body: String) -> HttpResponse {
    let mut response =
        HttpResponse::new(StatusCode::try_from(status).unwrap(), SdkBody::from(body));
    response.headers_mut().insert("content-type", "application/x-amz-json-1.0");
    response
}
