//! An MCP server behind the guard, as the resource of OAuth that its clients find by themselves
//! (MCP 2026-07-28, Authorization): metadata (RFC 9728), and challenges that lead to it.
//!
//! A REST API answers in the same way with two gateway responses and a route for the metadata.

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Method, Response, StatusCode, Uri,
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
        CONTENT_TYPE, WWW_AUTHENTICATE,
    },
};
use postern::{
    config::{Config, ProtectedResource, RouteRule, ScopeDescription},
    core::{audience::ResourceUri, principal::Role, scope::Scopes, url},
    http::cors::ALLOWED_HEADERS,
};
use serde_json::json;

use crate::{Error, guard::API_ID};

/// Where the metadata of a resource is, before its path (RFC 9728 §3.1).
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";
/// The scope of a server for which the configuration has no `[[resource]]`.
const SCOPE: &str = "mcp:tools";

/// An MCP server that is protected.
#[derive(Clone, Debug)]
pub struct McpServer {
    uri: ResourceUri,
    path: String,
    metadata: Bytes,
    /// The challenges of a 401 and of a 403. They are the same for every request, as those of a
    /// gateway response are. So the former names the scopes to begin with, and the latter all.
    unauthenticated: HeaderValue,
    forbidden: HeaderValue,
}

/// Returns the URI of the server that is protected at `url`, an origin, and has the path of
/// `upstream`.
///
/// # Errors
/// [`Error::Invalid`] if it has no path, such as `/mcp`.
pub fn uri(url: &str, upstream: &Uri) -> Result<ResourceUri, Error> {
    let path = upstream.path();
    if path == "/" || upstream.query().is_some() {
        return Err(Error::Invalid(format!(
            "{upstream} is not the URL of an MCP server: name its path, such as \
             http://127.0.0.1:3000/mcp"
        )));
    }
    format!("{url}{path}").try_into().map_err(|problem: &str| Error::Invalid(problem.into()))
}

/// Adds the resource `uri` to a configuration that has none for it, with one scope that every user
/// has, and makes it the API of this program.
///
/// # Errors
/// [`Error::Invalid`] if there are rules for tools, and the resource does not say that the server
/// compares the headers with the body: every rule would apply to every request.
pub fn add_resource(config: &mut Config, uri: &ResourceUri) -> Result<(), Error> {
    let has_rules = config.routes.iter().any(RouteRule::is_for_mcp);
    if has_rules && !config.resource(uri.as_str()).is_some_and(|resource| resource.mcp) {
        return Err(Error::Invalid(format!(
            "there are rules with mcp_method, and no [[resource]] with uri = \"{uri}\" and mcp = true: \
             add it, if the server refuses requests whose headers and body disagree (MCP 2026-07-28), \
             or remove the rules"
        )));
    }
    for resource in &mut config.resources {
        resource.apis.retain(|api| api != API_ID);
    }
    let is_it = |known: &&mut ProtectedResource| known.uri.is_named_by(uri.as_str());
    if let Some(known) = config.resources.iter_mut().find(is_it) {
        known.apis.push(API_ID.into());
        return Ok(());
    }
    let scopes = Scopes::from_well_formed(vec![SCOPE.into()]);
    let description = "Use the tools of this server";
    config.scopes.extend(
        scopes
            .iter()
            .map(|name| ScopeDescription { name: name.clone(), description: description.into() }),
    );
    for role in config.roles.iter_mut().filter(|role| role.name == Role::User) {
        role.scopes = role.scopes.union(&scopes);
    }
    let mut server = ProtectedResource::new(uri.clone(), "MCP server".into(), scopes);
    server.apis.push(API_ID.into());
    config.resources.push(server);
    Ok(())
}

/// Returns a notice if the configuration has resources, but none for the server `uri`: its author
/// may have written another URI than that of the server.
pub fn resource_notice(config: &Config, uri: &ResourceUri) -> Option<String> {
    if config.resources.is_empty() || config.resource(uri.as_str()).is_some() {
        return None;
    }
    let others: Vec<_> = config.resources.iter().map(|known| known.uri.as_str()).collect();
    Some(format!(
        "No [[resource]] is for this server, whose uri is {uri}: there is one for {}. So the server\n\
         has a single scope, {SCOPE}, which every user has.",
        others.join(" and for ")
    ))
}

impl McpServer {
    /// Describes the server `uri`, whose users sign in at the deployment of `config`.
    ///
    /// # Errors
    /// [`Error::Invalid`] if `config` has no resource for it.
    pub fn new(config: &Config, uri: &ResourceUri) -> Result<Self, Error> {
        let resource = config
            .resource(uri.as_str())
            .ok_or_else(|| Error::Invalid(format!("there is no [[resource]] for {uri}")))?;
        let scopes: Vec<_> = resource.scopes.iter().map(ToString::to_string).collect();
        let document = json!({
            "resource": uri.as_str(),
            "resource_name": resource.name,
            "authorization_servers": [config.deployment.issuer],
            "scopes_supported": scopes,
            "bearer_methods_supported": ["header"],
        });
        let (origin, path) = url::split_origin(uri.as_str());
        let place = format!("resource_metadata=\"{origin}{WELL_KNOWN}{path}\"");
        let first_scopes = if resource.has_default_scopes() {
            format!(", scope=\"{}\"", resource.default_scopes())
        } else {
            String::new()
        };
        let challenge = |text: String| {
            HeaderValue::try_from(text).map_err(|_| Error::Invalid(format!("{uri} is malformed")))
        };
        Ok(Self {
            uri: uri.clone(),
            path: path.to_owned(),
            metadata: document.to_string().into(),
            unauthenticated: challenge(format!("Bearer {place}{first_scopes}"))?,
            forbidden: challenge(format!(
                "Bearer error=\"insufficient_scope\", scope=\"{}\", {place}",
                resource.scopes
            ))?,
        })
    }

    /// Returns the URI of the server.
    pub fn uri(&self) -> &ResourceUri {
        &self.uri
    }

    /// Answers a request for the metadata, which needs no credential. Pages of any site can read
    /// it.
    pub fn answer(&self, method: &Method, path: &str) -> Option<Response<Bytes>> {
        let rest = path.strip_prefix(WELL_KNOWN)?;
        if !rest.is_empty() && rest != self.path {
            return None;
        }
        let any = HeaderValue::from_static("*");
        let mut response = match *method {
            Method::GET | Method::HEAD => {
                let mut response = Response::new(self.metadata.clone());
                let json = HeaderValue::from_static("application/json");
                response.headers_mut().insert(CONTENT_TYPE, json);
                response
            }
            Method::OPTIONS => {
                let mut response = Response::new(Bytes::new());
                *response.status_mut() = StatusCode::NO_CONTENT;
                let headers: [(HeaderName, HeaderValue); 2] = [
                    (ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET")),
                    (ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS),
                ];
                response.headers_mut().extend(headers);
                response
            }
            _ => return None,
        };
        response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, any);
        Some(response)
    }

    /// Adds the challenge that leads a client to the metadata.
    pub fn challenge(&self, response: &mut Response<Bytes>) {
        let challenge = match response.status() {
            StatusCode::UNAUTHORIZED => &self.unauthenticated,
            StatusCode::FORBIDDEN => &self.forbidden,
            _ => return,
        };
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge.clone());
    }
}
