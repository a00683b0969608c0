//! Which requests a response of the authorizer decides, and how an API can cache it.
//!
//! API Gateway uses a cached response for every request with the same identity sources. So a
//! response may depend only on those: on the credential in a header that is an identity source, and
//! on the route, or the method and path, if they are identity sources too. What the configuration
//! lists in `identity_sources` says which responses the authorizer gives:
//!
//! | identity sources | REST, TOKEN | REST, REQUEST | HTTP, payload 1.0 | HTTP, payload 2.0 |
//! WebSocket |
//! |---|---|---|---|---|---|
//! | none: no caching | request | request | request | request | request |
//! | headers | caller | caller | stage, if there are no rules | stage, if there are no rules |
//! request |
//! | and `$context.routeKey` | – | – | – | route | request |
//! | and `$context.path`, `$context.httpMethod` | – | request | – | – | request |
//!
//! A dash is a fault: the API is attached in a way that the configuration does not describe.
//! `$context.identity.sourceIp` is possible with all but TOKEN. Without it, no cached response
//! depends on the address of the caller, so a credential that is limited to networks is refused.
//! WebSocket APIs do not cache.

use super::rules::Rules;
use crate::{
    config::{CacheScope, Config, IdentitySource},
    core::error::Fault,
};

/// A kind of event that API Gateway sends to an authorizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthorizerEventKind {
    /// A REST API with a TOKEN authorizer.
    RestToken,
    /// A REST API with a REQUEST authorizer.
    RestRequest,
    /// An HTTP API, payload 1.0.
    Http1,
    /// An HTTP API, payload 2.0.
    Http2,
    /// A WebSocket API, which invokes the authorizer once per connection.
    WebSocket,
}

/// What a response decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// This request.
    Request,
    /// Every request of the caller to the same route.
    Route,
    /// Every request of the caller, each by its route: a policy of a REST API.
    Caller,
    /// Every request of the caller, all alike: there are no rules for paths.
    Stage,
}

/// Reports whether an API that sends events of `kind` can use a response for other requests.
pub(super) fn can_be_cached(config: &Config, kind: AuthorizerEventKind) -> bool {
    match kind {
        AuthorizerEventKind::WebSocket => false,
        AuthorizerEventKind::RestToken
        | AuthorizerEventKind::RestRequest
        | AuthorizerEventKind::Http1
        | AuthorizerEventKind::Http2 => config.authorizer.cache_scope().is_some(),
    }
}

/// Reports whether a response to an event of `kind` can depend on the address of the caller.
pub(super) fn depends_on_address(config: &Config, kind: AuthorizerEventKind) -> bool {
    !can_be_cached(config, kind)
        || config.authorizer.identity_sources.contains(&IdentitySource::SourceIp)
}

/// Returns what a response to an event of `kind` decides.
///
/// # Errors
/// [`Fault::Setting`] if an API that sends such events cannot have the configured identity sources.
pub(super) fn extent(config: &Config, kind: AuthorizerEventKind) -> Result<Extent, Fault> {
    use AuthorizerEventKind as Kind;
    let has_rules = Rules::of(config).for_paths().next().is_some();
    let place = config.authorizer.identity_sources_place.with_file();
    let refuse = |what: &str| Err(Fault::Setting(format!("{place}: {what}")));
    let has_address = config.authorizer.identity_sources.contains(&IdentitySource::SourceIp);
    match (config.authorizer.cache_scope(), kind) {
        (None, _) | (Some(_), Kind::WebSocket) => Ok(Extent::Request),
        (Some(_), Kind::RestToken) if has_address => {
            refuse("the event of a TOKEN authorizer has no $context.identity.sourceIp")
        }
        (Some(CacheScope::Api), Kind::RestToken) if config.authorizer.headers().count() != 1 => {
            refuse("a TOKEN authorizer has exactly one header")
        }
        (Some(CacheScope::Api), Kind::RestToken | Kind::RestRequest) => Ok(Extent::Caller),
        (Some(CacheScope::Api), Kind::Http1 | Kind::Http2) if !has_rules => Ok(Extent::Stage),
        (Some(CacheScope::Api), Kind::Http1) => refuse(
            "an HTTP API with payload 1.0 cannot cache responses if there are [[route]] rules; use \
             payload 2.0 and add $context.routeKey",
        ),
        (Some(CacheScope::Api), Kind::Http2) => refuse(
            "an HTTP API uses a cached response for every route; add $context.routeKey, because \
             there are [[route]] rules",
        ),
        (Some(CacheScope::Route), Kind::Http2) => Ok(Extent::Route),
        (Some(CacheScope::Route), Kind::RestToken | Kind::RestRequest | Kind::Http1) => {
            refuse("only an HTTP API with payload 2.0 has $context.routeKey")
        }
        (Some(CacheScope::Request), Kind::RestRequest) => Ok(Extent::Request),
        (Some(CacheScope::Request), Kind::RestToken | Kind::Http1 | Kind::Http2) => refuse(
            "only a REST API with a REQUEST authorizer has $context.path and $context.httpMethod",
        ),
    }
}

/// Checks that an API can attach the authorizer in this way, before it sends any event.
///
/// # Errors
/// [`Fault::Setting`] with a sentence that says what to change.
pub fn check_attachment(
    config: &Config,
    kind: AuthorizerEventKind,
    sources: &[IdentitySource],
    caches: bool,
) -> Result<(), Fault> {
    let configured = &config.authorizer.identity_sources;
    if caches && kind == AuthorizerEventKind::WebSocket {
        return Err(Fault::Setting("a WebSocket API does not cache responses".into()));
    }
    if caches && configured.is_empty() {
        return Err(Fault::Setting(format!(
            "responses can be cached only if {} lists the headers by which the API caches them",
            config.authorizer.identity_sources_place.with_file()
        )));
    }
    // An API without identity sources sends every event, with all headers.
    let missing = configured.iter().find(|source| !sources.contains(source));
    if let Some(missing) = missing.filter(|_| caches || !sources.is_empty()) {
        return Err(Fault::Setting(format!(
            "{missing} is not an identity source of the API, but {} lists it: add it to the API, or \
             remove it there",
            config.authorizer.identity_sources_place.with_file()
        )));
    }
    extent(config, kind)?;
    let is_header = |source: &IdentitySource| matches!(source, IdentitySource::Header(_));
    let is_one_header = sources.len() == 1 && sources.iter().all(is_header);
    if kind == AuthorizerEventKind::RestToken && !sources.is_empty() && !is_one_header {
        return Err(Fault::Setting(
            "a TOKEN authorizer has exactly one header as its identity source: use one, or a \
             REQUEST authorizer"
                .into(),
        ));
    }
    Ok(())
}
