//! `[[route]]`: the rules of the authorizer.

use http::Method;
use serde::Deserialize;

use super::setting;
use crate::core::{
    error::Fault,
    method::{self, METHODS},
    route_pattern::RoutePattern,
    scope::Scopes,
};

/// Whether a route of a guarded API needs a caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteAuth {
    /// It is open to everybody.
    None,
    /// It needs a caller.
    #[default]
    Required,
}

/// A rule of the authorizer; the first that matches decides.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteRule {
    /// The method, or `*`.
    pub method: String,
    /// The paths that it is about.
    pub path: RoutePattern,
    /// Whether it needs a caller.
    #[serde(default)]
    pub auth: RouteAuth,
    /// What the caller must be allowed.
    #[serde(default)]
    pub scopes: Scopes,
}

impl RouteRule {
    /// Checks what the types cannot.
    pub(super) fn check(&self) -> Result<(), Fault> {
        let refuse = |what: &str| {
            setting(format!("postern.toml: the rule {} {}: {what}", self.method, self.path))
        };
        // A method that no request has would make a rule that never matches.
        if !matches!(self.method.as_str(), "*" | "CONNECT") && method::known(&self.method).is_none()
        {
            let methods = METHODS.each_ref().map(Method::as_str).join(" ");
            return refuse(&format!("method is one of * CONNECT {methods}"));
        }
        if self.path.is_connect() != (self.method == "CONNECT") {
            return refuse(
                "a connection has the method CONNECT and the path $connect, and nothing else has",
            );
        }
        if self.auth == RouteAuth::None && !self.scopes.is_empty() {
            return refuse("a route without authentication cannot need scopes");
        }
        Ok(())
    }
}
