//! Secrets Manager in memory: versions, their labels, rotations that it begins, and calls that fail
//! or are held.

use std::{
    collections::BTreeMap,
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
use postern::crypto::secrets::Secrets;
use serde_json::{Value, json};
use tokio::sync::Notify;

const CURRENT: &str = "AWSCURRENT";
const PENDING: &str = "AWSPENDING";
const PREVIOUS: &str = "AWSPREVIOUS";

/// A secret.
#[derive(Clone, Debug, Default)]
struct SecretState {
    /// The values, by the id of the version.
    values: BTreeMap<String, String>,
    /// The version of each label.
    labels: BTreeMap<String, String>,
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretsFault {
    /// It is not executed.
    NotExecuted,
    /// It is executed, and its response is lost.
    ResponseLost,
}

#[derive(Debug, Default)]
struct ServiceState {
    secrets: BTreeMap<String, SecretState>,
    calls: usize,
    /// The number of the call that fails, with all after it, and how it does.
    fails_at: Option<(usize, SecretsFault)>,
    /// The number of the call that is held.
    holds_at: Option<usize>,
    hold: Arc<Hold>,
}

/// A call that waits.
#[derive(Debug, Default)]
struct Hold {
    reached: Notify,
    released: Notify,
}

/// Secrets Manager in memory.
#[derive(Clone, Debug, Default)]
pub struct SecretsManager(Arc<Mutex<ServiceState>>);

impl SecretsManager {
    /// Returns an HTTP client for the SDK that is answered by this service.
    pub fn http_client(&self) -> SharedHttpClient {
        SharedHttpClient::new(self.clone())
    }

    /// Gives a secret this value, as an operator does.
    pub fn write(&self, secret: &str, value: &Secrets) {
        let value = serde_json::to_string(value).unwrap();
        let mut state = self.0.lock().unwrap();
        let secret = state.secrets.entry(secret.to_owned()).or_default();
        secret.put(format!("version-{}-{}", secret.values.len(), "x".repeat(32)), value, CURRENT);
    }

    /// Gives a secret a pending version with the value that is in force, as Secrets Manager does to
    /// test a new schedule.
    pub fn prepare_test(&self, secret: &str, version: &str) {
        let mut state = self.0.lock().unwrap();
        let secret = state.secrets.get_mut(secret).unwrap();
        let value = secret.values[&secret.labels[CURRENT]].clone();
        secret.put(version.to_owned(), value, PENDING);
    }

    /// Begins a rotation, and returns the id of its version: that of the rotation before, if its
    /// version is still pending and not in force, which the service then tries again.
    pub fn begin_rotation(&self, secret: &str) -> String {
        let mut state = self.0.lock().unwrap();
        let secret = state.secrets.get_mut(secret).unwrap();
        let pending = secret.labels.get(PENDING);
        if let Some(stuck) = pending.filter(|pending| **pending != secret.labels[CURRENT]) {
            return stuck.clone();
        }
        let id = format!("rotation-{}-{}", secret.values.len(), "x".repeat(32));
        secret.labels.insert(PENDING.to_owned(), id.clone());
        id
    }

    /// Returns the labels of a version.
    pub fn labels(&self, secret: &str, version: &str) -> Vec<String> {
        self.0.lock().unwrap().secrets[secret].labels_of(version)
    }

    /// Removes a label, as an operator does.
    pub fn remove_label(&self, secret: &str, label: &str) {
        self.0.lock().unwrap().secrets.get_mut(secret).unwrap().labels.remove(label);
    }

    /// Runs `first`, and `second` while `first` waits for the response to its call number `at`.
    /// Returns `None` if `first` has fewer calls.
    pub async fn during<A, B>(
        &self,
        at: usize,
        first: impl Future<Output = A>,
        second: impl Future<Output = B>,
    ) -> Option<(A, B)> {
        let hold = {
            let mut state = self.0.lock().unwrap();
            state.holds_at = Some(state.calls + at);
            Arc::clone(&state.hold)
        };
        let mut first = std::pin::pin!(first);
        tokio::select! {
            _ = &mut first => {
                self.0.lock().unwrap().holds_at = None;
                return None;
            }
            () = hold.reached.notified() => {}
        }
        let second = second.await;
        hold.released.notify_one();
        Some((first.await, second))
    }

    /// Returns the value of a secret that is in force.
    pub fn current(&self, secret: &str) -> Secrets {
        let state = self.0.lock().unwrap();
        let secret = &state.secrets[secret];
        serde_json::from_str(&secret.values[&secret.labels[CURRENT]]).unwrap()
    }

    /// Returns how many calls there were.
    pub fn calls(&self) -> usize {
        self.0.lock().unwrap().calls
    }

    /// Lets the call after the next `calls`, and all that follow, fail.
    pub fn fail_after(&self, calls: usize, fault: SecretsFault) {
        let mut state = self.0.lock().unwrap();
        state.fails_at = Some((state.calls + calls, fault));
    }

    /// Lets every call succeed. Returns whether one has failed.
    pub fn recover(&self) -> bool {
        let mut state = self.0.lock().unwrap();
        state.fails_at.take().is_some_and(|(at, _)| state.calls > at)
    }

    /// Waits, if this is the call that is held.
    async fn wait(&self) {
        let hold = {
            let mut state = self.0.lock().unwrap();
            if state.holds_at != Some(state.calls) {
                return;
            }
            state.holds_at = None;
            Arc::clone(&state.hold)
        };
        hold.reached.notify_one();
        hold.released.notified().await;
    }

    fn respond(&self, request: &HttpRequest) -> Option<HttpResponse> {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
        let body: Value = serde_json::from_slice(request.body().bytes().unwrap()).unwrap();
        let mut state = self.0.lock().unwrap();
        let fault = state.fails_at.filter(|(at, _)| state.calls >= *at).map(|(_, fault)| fault);
        state.calls += 1;
        if fault == Some(SecretsFault::NotExecuted) {
            return None;
        }
        let secret = state.secrets.get_mut(body["SecretId"].as_str().unwrap());
        let answer = match secret {
            None => Err("ResourceNotFoundException"),
            Some(secret) => match operation.as_str() {
                "GetSecretValue" => secret.get(&body),
                "PutSecretValue" => secret.put_value(&body),
                "UpdateSecretVersionStage" => secret.update_label(&body),
                other => panic!("{other} is not known here"),
            },
        };
        if fault.is_some() {
            return None;
        }
        let (status, body) = match answer {
            Ok(answer) => (200, answer),
            Err(kind) => (400, json!({"__type": kind, "Message": "refused"})),
        };
        let mut response = HttpResponse::new(
            StatusCode::try_from(status).unwrap(),
            SdkBody::from(body.to_string()),
        );
        response.headers_mut().insert("content-type", "application/x-amz-json-1.1");
        Some(response)
    }
}

impl SecretState {
    fn put(&mut self, version: String, value: String, label: &str) {
        self.values.insert(version.clone(), value);
        let before = self.labels.insert(label.to_owned(), version);
        if let Some(before) = before.filter(|_| label == CURRENT) {
            self.labels.insert(PREVIOUS.to_owned(), before);
        }
    }

    fn get(&self, body: &Value) -> Result<Value, &'static str> {
        let label = body["VersionStage"].as_str().unwrap_or(CURRENT);
        let version = match body["VersionId"].as_str() {
            Some(version) => Some(version),
            None => self.labels.get(label).map(String::as_str),
        };
        let found = version.and_then(|version| self.values.get_key_value(version));
        let (version, value) = found.ok_or("ResourceNotFoundException")?;
        let labels = self.labels_of(version);
        Ok(json!({"SecretString": value, "VersionId": version, "VersionStages": labels}))
    }

    fn labels_of(&self, version: &str) -> Vec<String> {
        let labels = self.labels.iter().filter(|(_, known)| *known == version);
        labels.map(|(label, _)| label.clone()).collect()
    }

    fn put_value(&mut self, body: &Value) -> Result<Value, &'static str> {
        let text = |name: &str| body[name].as_str().map(str::to_owned);
        let (version, value) = (text("ClientRequestToken").unwrap(), text("SecretString").unwrap());
        if let Some(known) = self.values.get(&version) {
            let is_same = *known == value;
            let answer = json!({"VersionId": version});
            return if is_same { Ok(answer) } else { Err("ResourceExistsException") };
        }
        let labels = body["VersionStages"].as_array().cloned().unwrap_or_default();
        let label = labels.first().and_then(Value::as_str).unwrap_or(CURRENT).to_owned();
        self.put(version.clone(), value, &label);
        Ok(json!({"VersionId": version}))
    }

    /// Moves a label, or removes it. A label that is attached has to be named with its version.
    fn update_label(&mut self, body: &Value) -> Result<Value, &'static str> {
        let text = |name: &str| body[name].as_str().map(str::to_owned);
        let label = text("VersionStage").unwrap();
        if self.labels.get(&label) != text("RemoveFromVersionId").as_ref() {
            return Err("InvalidParameterException");
        }
        match text("MoveToVersionId") {
            None => drop(self.labels.remove(&label)),
            Some(to) => {
                let value = self.values.get(&to).cloned().ok_or("ResourceNotFoundException")?;
                self.put(to, value, &label);
            }
        }
        Ok(json!({}))
    }
}

impl HttpClient for SecretsManager {
    fn http_connector(
        &self,
        _: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for SecretsManager {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let service = self.clone();
        HttpConnectorFuture::new(async move {
            service.wait().await;
            let failed = || ConnectorError::user("not repeated by the SDK".into());
            service.respond(&request).ok_or_else(failed)
        })
    }
}
