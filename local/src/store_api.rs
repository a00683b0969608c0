//! DynamoDB's API over HTTP, in front of the embedded store.
//!
//! The store contains every key of the deployment. Its port can be reached by every page in a
//! browser on this machine, and by every other user of it. Therefore:
//!
//! - a request needs the access key of this start, where AWS's SDKs put theirs
//! - a request with an `Origin` comes from a page, and is refused
//! - a request for another host name comes from a page too, whose name has been pointed at this
//!   machine (DNS rebinding)
//! - no response has CORS headers

use std::net::IpAddr;

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    response::Response,
};
use dynoxide::{Database, DynoxideError};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header, uri::Authority};
use postern::{core::secret::Secret, crypto::Digest};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

/// The largest request that DynamoDB accepts.
const LARGEST_REQUEST: usize = 16 * 1024 * 1024;
/// What precedes the name of the operation in `X-Amz-Target`.
const TARGET_PREFIX: &str = "DynamoDB_20120810.";
/// The name of this machine inside the containers of Docker Desktop.
const DOCKER_HOST: &str = "host.docker.internal";

/// An embedded store and who is allowed to call it.
#[derive(Clone)]
struct StoreApi {
    database: Database,
    access_key: Digest,
    /// The address that the store listens on.
    address: IpAddr,
}

/// A request that is not executed, or failed.
struct Refused {
    status: StatusCode,
    body: String,
}

/// Returns DynamoDB's API for `database`, for callers with `access_key`.
pub(crate) fn router(database: Database, access_key: &Secret, address: IpAddr) -> Router {
    let access_key = Digest::of(access_key.expose().as_bytes());
    Router::new().fallback(answer).with_state(StoreApi { database, access_key, address })
}

async fn answer(State(store): State<StoreApi>, request: Request) -> Response {
    let (status, body) = match store.call(request).await {
        Ok(body) => (StatusCode::OK, body),
        Err(Refused { status, body }) => (status, body),
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let media_type = HeaderValue::from_static("application/x-amz-json-1.0");
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    response
}

impl StoreApi {
    async fn call(&self, request: Request) -> Result<String, Refused> {
        let (parts, body) = request.into_parts();
        self.authorize(&parts.headers)?;
        if parts.method != Method::POST || parts.uri.path() != "/" {
            return Err(Refused::new(404, "UnknownOperationException", "POST to / is expected"));
        }
        let target = parts.headers.get("x-amz-target").and_then(|target| target.to_str().ok());
        let operation = target.and_then(|target| target.strip_prefix(TARGET_PREFIX));
        let body = to_bytes(body, LARGEST_REQUEST)
            .await
            .map_err(|_| Refused::new(413, "RequestEntityTooLarge", "the request is too large"))?;
        execute(&self.database, operation.unwrap_or_default(), &body)
    }

    /// Checks that the request comes from a program that knows the access key.
    fn authorize(&self, headers: &HeaderMap) -> Result<(), Refused> {
        if headers.contains_key(header::ORIGIN) {
            return Err(Refused::new(403, "AccessDeniedException", "pages cannot use the store"));
        }
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        if !host.is_some_and(|host| self.is_own_host(host)) {
            let message = "the store has no such host name: use localhost or an IP address";
            return Err(Refused::new(403, "AccessDeniedException", message));
        }
        let Some(presented) = access_key(headers) else {
            let message = "the request has no access key";
            return Err(Refused::new(400, "MissingAuthenticationTokenException", message));
        };
        if !Digest::of(presented.as_bytes()).matches(&self.access_key) {
            let message = "the access key is not that of this start: `postern-local store` prints it as AWS_ACCESS_KEY_ID, and the ready file contains it";
            return Err(Refused::new(400, "UnrecognizedClientException", message));
        }
        Ok(())
    }

    /// Reports whether `host` is a name of this machine. An IP address cannot be the name of
    /// another site, but only addresses at which the store listens are ours.
    fn is_own_host(&self, host: &str) -> bool {
        let Ok(authority) = host.parse::<Authority>() else { return false };
        if host.contains('@') {
            return false;
        }
        let name = authority.host().trim_start_matches('[').trim_end_matches(']');
        match name.parse::<IpAddr>() {
            Ok(ip) => ip.is_loopback() || ip == self.address || self.address.is_unspecified(),
            Err(_) => name.eq_ignore_ascii_case("localhost") || name == DOCKER_HOST,
        }
    }
}

/// Returns the access key in a signed request (AWS Signature Version 4).
fn access_key(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let parameters = value.strip_prefix("AWS4-HMAC-SHA256 ")?;
    let credential = parameters.split(',').find_map(|part| part.trim().strip_prefix("Credential="));
    credential?.split_once('/').map(|(key, _)| key)
}

macro_rules! operations {
    ($database:ident, $operation:ident, $body:ident: $($name:literal => $method:ident,)+) => {
        match $operation {
            $($name => run($body, |request| $database.$method(request)),)+
            _ => Err(Refused::new(400, "UnknownOperationException", "the operation is unknown")),
        }
    };
}

/// Executes an operation. The tables are those of the template, so none creates or deletes one.
fn execute(database: &Database, operation: &str, body: &[u8]) -> Result<String, Refused> {
    operations! { database, operation, body:
        "BatchGetItem" => batch_get_item,
        "BatchWriteItem" => batch_write_item,
        "DeleteItem" => delete_item,
        "DescribeTable" => describe_table,
        "DescribeTimeToLive" => describe_time_to_live,
        "GetItem" => get_item,
        "ListTables" => list_tables,
        "PutItem" => put_item,
        "Query" => query,
        "Scan" => scan,
        "TransactGetItems" => transact_get_items,
        "TransactWriteItems" => transact_write_items,
        "UpdateItem" => update_item,
    }
}

fn run<Q: DeserializeOwned, A: Serialize>(
    body: &[u8],
    operation: impl FnOnce(Q) -> dynoxide::Result<A>,
) -> Result<String, Refused> {
    let request = serde_json::from_slice(body)
        .map_err(|error| Refused::new(400, "SerializationException", &error.to_string()))?;
    let answer = operation(request)?;
    serde_json::to_string(&answer)
        .map_err(|error| Refused::new(500, "InternalServerError", &error.to_string()))
}

impl Refused {
    fn new(status: u16, kind: &str, message: &str) -> Self {
        let kind = format!("com.amazonaws.dynamodb.v20120810#{kind}");
        Self {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            body: json!({"__type": kind, "message": message}).to_string(),
        }
    }
}

impl From<DynoxideError> for Refused {
    fn from(error: DynoxideError) -> Self {
        let status = StatusCode::from_u16(error.status_code());
        Self { status: status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), body: error.to_json() }
    }
}
