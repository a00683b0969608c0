//! `[[resource]]`: the APIs that tokens are for, and `[[scope]]`: what scopes mean, for people.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::{AuthorizerSettings, Config, RouteRule, setting};
use crate::{
    core::{
        audience::{Audience, ResourceUri},
        error::Fault,
        scope::{Scope, Scopes},
        text, url,
    },
    crypto::{Digest, sign::Algorithm},
};

/// The longest name and description, in characters.
const LONGEST_NAME: usize = 64;
const LONGEST_DESCRIPTION: usize = 200;

/// An API that tokens are for (RFC 8707).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProtectedResource {
    /// Its URI, which is the audience of its tokens.
    pub uri: ResourceUri,
    /// The name that users see.
    pub name: String,
    /// The APIs that the authorizer guards with its tokens: ids of API Gateway, or domain names.
    #[serde(default)]
    pub apis: Vec<String>,
    /// The scopes that can be requested.
    pub scopes: Scopes,
    /// The scopes of a request that names none. By default, all.
    #[serde(default)]
    default_scopes: Scopes,
    /// The algorithm of its tokens. By default, that of `[signing]`.
    #[serde(default)]
    pub algorithm: Option<Algorithm>,
    /// Whether it is an MCP server, which refuses a request whose headers and body disagree. Only
    /// then do rules for tools read the headers.
    #[serde(default)]
    pub mcp: bool,
    /// The SHA-256 digests of the secrets with which the API itself can introspect credentials.
    #[serde(default)]
    pub secret_sha256: Vec<Digest>,
}

/// What a scope means, in words.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScopeDescription {
    /// The scope.
    pub name: Scope,
    /// What it lets a client do.
    pub description: String,
}

impl ProtectedResource {
    /// Returns a resource with these scopes, and everything else as it is by default.
    pub fn new(uri: ResourceUri, name: String, scopes: Scopes) -> Self {
        Self {
            uri,
            name,
            apis: Vec::new(),
            scopes,
            default_scopes: Scopes::default(),
            algorithm: None,
            mcp: false,
            secret_sha256: Vec::new(),
        }
    }

    /// Returns the scopes of a request that names none.
    pub fn default_scopes(&self) -> &Scopes {
        if self.has_default_scopes() { &self.default_scopes } else { &self.scopes }
    }

    /// Reports whether the configuration says which scopes a request that names none gets.
    pub fn has_default_scopes(&self) -> bool {
        !self.default_scopes.is_empty()
    }

    /// Reports whether the resource is the API with this id, or the one at this domain name.
    pub fn is_api(&self, id: &str, domain: Option<&str>) -> bool {
        let is_at = |api: &str| domain.is_some_and(|domain| domain.eq_ignore_ascii_case(api));
        self.apis.iter().any(|api| api == id || is_at(api))
    }
}

/// The API that tokens are for, as it is configured.
#[derive(Clone, Copy, Debug)]
pub enum ConfiguredAudience<'c> {
    /// Our own routes, and APIs that no resource names.
    Issuer,
    /// A resource.
    Resource(&'c ProtectedResource),
}

impl ConfiguredAudience<'_> {
    /// Returns what records and tokens say about it.
    pub fn audience(self) -> Audience {
        match self {
            Self::Issuer => Audience::Issuer,
            Self::Resource(resource) => Audience::Resource(resource.uri.clone()),
        }
    }

    /// Returns the algorithm of its tokens, unless it is that of `[signing]`.
    pub fn algorithm(self) -> Option<Algorithm> {
        match self {
            Self::Issuer => None,
            Self::Resource(resource) => resource.algorithm,
        }
    }
}

impl Config {
    /// Returns the configuration of an API; `None` for a resource that is not configured.
    pub fn audience(&self, audience: &Audience) -> Option<ConfiguredAudience<'_>> {
        match audience {
            Audience::Issuer => Some(ConfiguredAudience::Issuer),
            Audience::Resource(uri) => {
                self.resource(uri.as_str()).map(ConfiguredAudience::Resource)
            }
        }
    }
}

/// Checks the resources against each other, and against how the authorizer is attached.
pub(super) fn validate(
    resources: &[ProtectedResource],
    authorizer: &AuthorizerSettings,
) -> Result<(), Fault> {
    let mut apis = BTreeSet::new();
    for (at, resource) in resources.iter().enumerate() {
        let uri = &resource.uri;
        if !url::is_https_or_local(uri.as_str()) {
            return refuse(&format!("uri must be an https URL, not {:?}", uri.as_str()));
        }
        if resources[..at].iter().any(|other| other.uri.is_named_by(uri.as_str())) {
            return refuse(&format!("the uri {:?} is used twice", uri.as_str()));
        }
        if !is_text(&resource.name, LONGEST_NAME) {
            return refuse(&format!("the name of {uri} must have 1 to {LONGEST_NAME} characters"));
        }
        if resource.scopes.is_empty() {
            return refuse(&format!("{uri} needs at least one scope"));
        }
        if let Some(beyond) = resource.default_scopes.iter().find(|s| !resource.scopes.allows(s)) {
            return refuse(&format!(
                "{beyond} is one of the default_scopes of {uri}, but not of its scopes"
            ));
        }
        for api in &resource.apis {
            if !is_api(api) {
                return refuse(&format!(
                    "{api:?} in apis of {uri} is neither the id of an API, such as a1b2c3d4e5, nor \
                     a domain name in lower case"
                ));
            }
            if !apis.insert(api) {
                return refuse(&format!("{api:?} is in apis twice: an API has one audience"));
            }
            // API Gateway would use a cached response for another domain of the same API.
            if api.contains('.') && !authorizer.identity_sources.is_empty() {
                return refuse(&format!(
                    "{api:?} in apis of {uri} is a domain name: because identity_sources of \
                     [authorizer] lists headers, responses can be cached for all domains of an API. \
                     List the id of the API"
                ));
            }
        }
    }
    Ok(())
}

/// Checks that no resource is the deployment itself, whose routes would accept its tokens with the
/// scopes of every other API.
pub(super) fn validate_issuer(resources: &[ProtectedResource], issuer: &str) -> Result<(), Fault> {
    let is_issuer = |uri: &str| uri.strip_suffix('/').unwrap_or(uri) == issuer;
    match resources.iter().find(|resource| is_issuer(resource.uri.as_str())) {
        None => Ok(()),
        Some(resource) => refuse(&format!(
            "the uri {:?} is that of this deployment, whose tokens need no [[resource]]: use the URL \
             of the API",
            resource.uri.as_str()
        )),
    }
}

/// Checks that there is an MCP server for the rules for tools. Other servers might ignore the
/// headers by which the rules distinguish tools.
pub(super) fn validate_mcp_rules(
    resources: &[ProtectedResource],
    rules: &[RouteRule],
) -> Result<(), Fault> {
    match rules.iter().find(|rule| rule.is_for_mcp()) {
        Some(rule) if !resources.iter().any(|resource| resource.mcp) => setting(format!(
            "the rule {}: mcp_method needs a [[resource]] with mcp = true, because only an MCP server \
             compares the headers with the body",
            rule.name()
        )),
        Some(_) | None => Ok(()),
    }
}

/// Checks that each scope is described once.
pub(super) fn validate_descriptions(scopes: &[ScopeDescription]) -> Result<(), Fault> {
    for (at, ScopeDescription { name, description }) in scopes.iter().enumerate() {
        if scopes[..at].iter().any(|other| other.name == *name) {
            return setting(format!("[[scope]]: {name} is described twice"));
        }
        if !is_text(description, LONGEST_DESCRIPTION) {
            return setting(format!(
                "[[scope]]: the description of {name} must have 1 to {LONGEST_DESCRIPTION} characters"
            ));
        }
    }
    Ok(())
}

/// Reports whether people can read `text`, which has at most `longest` characters.
fn is_text(text: &str, longest: usize) -> bool {
    text::name(text).is_some_and(|text| text.chars().count() <= longest)
}

fn is_api(text: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    text.len() <= 253 && text.split('.').all(is_part)
}

fn refuse<T>(sentence: &str) -> Result<T, Fault> {
    setting(format!("[[resource]]: {sentence}"))
}
