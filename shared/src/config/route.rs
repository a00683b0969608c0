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

/// Whether a route of a protected API requires a caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteAuth {
    /// The route is open to everyone.
    None,
    /// The route requires a caller.
    #[default]
    Required,
}

/// A rule of the authorizer; the first that matches decides.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteRule {
    /// The method, or `*`.
    pub method: String,
    /// The paths that it matches.
    pub path: RoutePattern,
    /// Whether the route requires a caller.
    #[serde(default)]
    pub auth: RouteAuth,
    /// The scopes that the caller must have.
    #[serde(default)]
    pub scopes: Scopes,
}

impl RouteRule {
    /// Checks what the types cannot check.
    pub(super) fn validate(&self) -> Result<(), Fault> {
        let refuse = |what: &str| {
            setting(format!("postern.toml: the rule {} {}: {what}", self.method, self.path))
        };
        // A rule for any other method would never match.
        if !matches!(self.method.as_str(), "*" | "CONNECT") && method::known(&self.method).is_none()
        {
            let methods = METHODS.each_ref().map(Method::as_str).join(" ");
            return refuse(&format!("method must be one of * CONNECT {methods}"));
        }
        if self.path.is_connect() != (self.method == "CONNECT") {
            return refuse("the method CONNECT and the path $connect must be used together");
        }
        if self.auth == RouteAuth::None && !self.scopes.is_empty() {
            return refuse("a route without authentication cannot require scopes");
        }
        Ok(())
    }
}
