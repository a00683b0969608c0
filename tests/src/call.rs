//! A builder for requests.

use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use serde_json::Value;

use crate::{Answer, World, explained, openapi::OpenApi};

/// A request to a world's gateway.
#[derive(Debug)]
#[must_use]
pub struct Call<'w> {
    world: &'w World,
    method: String,
    target: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
    source_ip: IpAddr,
}

impl<'w> Call<'w> {
    pub(crate) fn new(world: &'w World, method: &str, target: &str) -> Self {
        let source_ip = IpAddr::from([192, 0, 2, 1]);
        let (method, target) = (method.to_owned(), target.to_owned());
        Self { world, method, target, headers: Vec::new(), body: Bytes::new(), source_ip }
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        self.headers.push((name, HeaderValue::from_bytes(value.as_ref()).unwrap()));
        self
    }

    /// Presents an API key.
    pub fn key(self, key: &str) -> Self {
        self.header("X-API-Key", key)
    }

    /// Presents a bearer token.
    pub fn bearer(self, token: &str) -> Self {
        self.header("Authorization", format!("Bearer {token}"))
    }

    /// Presents a token that is bound to a key, with a proof.
    pub fn bound(self, token: &str, proof: &str) -> Self {
        self.header("Authorization", format!("DPoP {token}")).header("DPoP", proof)
    }

    /// Sends the request from another address.
    pub fn from(mut self, source_ip: impl Into<IpAddr>) -> Self {
        self.source_ip = source_ip.into();
        self
    }

    /// Sets a JSON body.
    pub fn json(self, body: Value) -> Self {
        self.header("Content-Type", "application/json").raw(body.to_string())
    }

    /// Sets a form as the body.
    pub fn form(self, parameters: &[(&str, &str)]) -> Self {
        let form =
            form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        self.header("Content-Type", "application/x-www-form-urlencoded").raw(form)
    }

    /// Sends these bytes as the body.
    pub fn raw(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into().into();
        self
    }

    /// Sends the request; returns the status and the text of the response.
    pub async fn send_for_text(self) -> (u16, String) {
        let response = self.checked().await;
        (response.status().as_u16(), String::from_utf8(response.into_body().to_vec()).unwrap())
    }

    /// Sends the request.
    pub async fn send(self) -> Answer {
        Answer::new(self.checked().await)
    }

    /// Sends the request, and checks that the OpenAPI document describes what happens, and that the
    /// log explains a refusal.
    async fn checked(self) -> http::Response<Bytes> {
        let request = self.request();
        let response = self.world.gateway.call(request.clone(), self.source_ip).await;
        if let Err(problem) = OpenApi::of_repository().check(&request, &response) {
            panic!("docs/openapi.json: {problem}");
        }
        if let Err(problem) = explained::check(&request, &response) {
            panic!("{problem}");
        }
        response
    }

    fn request(&self) -> http::Request<Bytes> {
        let body = self.body.clone();
        let mut request = http::Request::builder()
            .method(self.method.as_bytes())
            .uri(&self.target)
            .body(body)
            .unwrap();
        for (name, value) in &self.headers {
            request.headers_mut().append(name, value.clone());
        }
        request
    }
}
