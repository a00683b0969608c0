//! `[authorizer]`: how a gateway attaches the authorizer, and what applies where no rule does.

use std::fmt;

use serde::Deserialize;

use super::{RouteRule, route, setting};
use crate::core::{
    credential_header::{DPOP, SIGNATURE_PREFIX},
    error::Fault,
};

/// The settings of the authorizer besides its rules.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthorizerSettings {
    /// What applies to requests that no rule matches.
    pub default: UnmatchedRequests,
    /// The parts of a request by which the gateway keys cached answers. If there are any, a
    /// credential in any other header is ignored. Without any, the gateway must not cache.
    pub identity_sources: Vec<IdentitySource>,
    /// Where the identity sources are set, for errors about them.
    #[serde(skip)]
    pub identity_sources_place: IdentitySourcesPlace,
}

/// Where the identity sources are set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IdentitySourcesPlace {
    /// The table `[authorizer]`.
    #[default]
    Settings,
    /// The option of the local program.
    CommandLine,
}

impl IdentitySourcesPlace {
    /// Returns the place with the file, for errors that are not about the file as such.
    pub fn with_file(self) -> &'static str {
        match self {
            Self::Settings => "identity_sources of [authorizer] in postern.toml",
            Self::CommandLine => "--identity-source",
        }
    }
}

impl fmt::Display for IdentitySourcesPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Settings => "identity_sources of [authorizer]",
            Self::CommandLine => "--identity-source",
        })
    }
}

/// What applies to a request to a protected API that no rule matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnmatchedRequests {
    /// It requires a caller, but no scope.
    #[default]
    Authenticated,
    /// It is denied.
    Deny,
}

/// A part of a request that is part of the key of a gateway's cache.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum IdentitySource {
    /// A header, by its name in lower case.
    Header(String),
    /// `$context.routeKey`: the route of an HTTP API.
    RouteKey,
    /// `$context.path`: the path of a request to a REST API.
    Path,
    /// `$context.httpMethod`: the method of a request to a REST API.
    Method,
    /// `$context.identity.sourceIp`: the network address of the caller.
    SourceIp,
}

/// For which requests with the same identity sources a cached answer is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheScope {
    /// All of them: the key contains only headers.
    Api,
    /// Those to the same route of an HTTP API.
    Route,
    /// Those with the same method and path.
    Request,
}

impl AuthorizerSettings {
    /// Returns for which requests a cached answer is used; `None` if none can be cached.
    pub fn cache_scope(&self) -> Option<CacheScope> {
        let has = |source| self.identity_sources.contains(&source);
        match (self.identity_sources.is_empty(), has(IdentitySource::RouteKey)) {
            (true, _) => None,
            (false, true) => Some(CacheScope::Route),
            (false, false) if has(IdentitySource::Path) => Some(CacheScope::Request),
            (false, false) => Some(CacheScope::Api),
        }
    }

    /// Reports whether a credential in the header `name`, in lower case, counts.
    pub fn reads_header(&self, name: &str) -> bool {
        self.identity_sources.is_empty() || self.headers().any(|header| header == name)
    }

    /// Returns the headers that are identity sources.
    pub fn headers(&self) -> impl Iterator<Item = &str> {
        self.identity_sources.iter().filter_map(|source| match source {
            IdentitySource::Header(name) => Some(name.as_str()),
            IdentitySource::RouteKey
            | IdentitySource::Path
            | IdentitySource::Method
            | IdentitySource::SourceIp => None,
        })
    }

    /// Checks what the types of single settings cannot check.
    pub(super) fn validate(&self, rules: &[RouteRule]) -> Result<(), Fault> {
        let sources = &self.identity_sources;
        let place = self.identity_sources_place;
        let refuse = |what: &str| setting(format!("{place}: {what}"));
        let has = |source: IdentitySource| sources.contains(&source);
        if !sources.is_empty() && self.headers().next().is_none() {
            return refuse("one of them must be the header of a credential");
        }
        for header in self.headers() {
            if header == "cookie" {
                return refuse(
                    "Cookie cannot be one: a cookie is judged together with Origin. Pass the \
                     session on in the session_header instead",
                );
            }
            if header.starts_with(SIGNATURE_PREFIX) || header == DPOP {
                return refuse(&format!(
                    "{header} cannot be one: a cached response would let a signed request be repeated"
                ));
            }
        }
        if has(IdentitySource::Path) != has(IdentitySource::Method) {
            return refuse("$context.path and $context.httpMethod must be used together");
        }
        if has(IdentitySource::RouteKey) && has(IdentitySource::Path) {
            return refuse(
                "$context.routeKey is for HTTP APIs, $context.path and $context.httpMethod are for \
                 REST APIs: use one or the other",
            );
        }
        if !sources.is_empty() && rules.iter().any(RouteRule::is_for_mcp) {
            return refuse(
                "must be empty, because there are [[route]] rules with mcp_method: a response that is \
                 cached would be used for other tools",
            );
        }
        match self.cache_scope() {
            Some(CacheScope::Api) => route::validate_expressible(rules, place),
            Some(CacheScope::Route | CacheScope::Request) | None => Ok(()),
        }
    }
}

impl TryFrom<String> for IdentitySource {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "$context.routeKey" => return Ok(Self::RouteKey),
            "$context.path" => return Ok(Self::Path),
            "$context.httpMethod" => return Ok(Self::Method),
            "$context.identity.sourceIp" => return Ok(Self::SourceIp),
            _ => {}
        }
        // How API Gateway itself names headers.
        let prefixes = ["method.request.", "route.request.", "$request."];
        if let Some(source) = prefixes.iter().find_map(|prefix| text.strip_prefix(prefix)) {
            return Err(match source.strip_prefix("header.") {
                Some(name) => {
                    format!("{text:?} has a prefix: write only the name of the header, {name:?}")
                }
                None => {
                    format!("{text:?} is not a header: no other part of a request has credentials")
                }
            });
        }
        let header = text.to_ascii_lowercase();
        if text.starts_with('$') || http::HeaderName::from_bytes(header.as_bytes()).is_err() {
            return Err(format!(
                "{text:?} is not an identity source: expected the name of a header, \
                 $context.routeKey, $context.path, $context.httpMethod or \
                 $context.identity.sourceIp"
            ));
        }
        Ok(Self::Header(header))
    }
}

impl fmt::Display for IdentitySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header(name) => name,
            Self::RouteKey => "$context.routeKey",
            Self::Path => "$context.path",
            Self::Method => "$context.httpMethod",
            Self::SourceIp => "$context.identity.sourceIp",
        })
    }
}
