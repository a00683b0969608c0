//! Secrets Manager in memory: versions, their labels, and calls that fail.

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

const CURRENT: &str = "AWSCURRENT";
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
        secret.put(version.to_owned(), value, "AWSPENDING");
    }

    /// Returns the value of a secret that is in force.
    pub fn current(&self, secret: &str) -> Secrets {
        let state = self.0.lock().unwrap();
        let secret = &state.secrets[secret];
        serde_json::from_str(&secret.values[&secret.labels[CURRENT]]).unwrap()
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
                "UpdateSecretVersionStage" => secret.move_label(&body),
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
        Ok(json!({"SecretString": value, "VersionId": version}))
    }

    fn put_value(&mut self, body: &Value) -> Result<Value, &'static str> {
        let text = |name: &str| body[name].as_str().map(str::to_owned);
        let (version, value) = (text("ClientRequestToken").unwrap(), text("SecretString").unwrap());
        if let Some(known) = self.values.get(&version) {
            return if *known == value { Ok(json!({})) } else { Err("ResourceExistsException") };
        }
        let labels = body["VersionStages"].as_array().cloned().unwrap_or_default();
        let label = labels.first().and_then(Value::as_str).unwrap_or(CURRENT).to_owned();
        self.put(version, value, &label);
        Ok(json!({}))
    }

    fn move_label(&mut self, body: &Value) -> Result<Value, &'static str> {
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        let (label, to) = (text("VersionStage"), text("MoveToVersionId"));
        let is_there = self.labels.get(&label) == Some(&text("RemoveFromVersionId"));
        let value = self.values.get(&to).cloned().filter(|_| is_there);
        self.put(to, value.ok_or("InvalidParameterException")?, &label);
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
        let failed = || ConnectorError::user("not repeated by the SDK".into());
        HttpConnectorFuture::ready(self.respond(&request).ok_or_else(failed))
    }
}
