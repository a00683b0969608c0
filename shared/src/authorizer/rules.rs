//! Which rules apply to a request.

use std::fmt;

use crate::{
    config::{Applies, Config, RouteAuth, RouteRule, UnmatchedRequests},
    core::{
        mcp::McpCall,
        principal::{Principal, PrincipalKind},
        route_pattern::RoutePattern,
        scope::Scopes,
    },
};

/// The rules of a deployment's authorizer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules<'c> {
    rules: &'c [RouteRule],
    unmatched: UnmatchedRequests,
}

/// What one rule, or the setting for requests without a rule, requires of a caller.
#[derive(Clone, Copy, Debug)]
pub(super) enum Requirement<'c> {
    Rule(&'c RouteRule),
    Unmatched(UnmatchedRequests),
}

/// Names the requirement as the configuration does.
impl fmt::Display for Requirement<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(rule) => rule.fmt(f),
            Self::Unmatched(UnmatchedRequests::Deny) => {
                f.write_str("no [[route]] matches, and the default is deny")
            }
            Self::Unmatched(UnmatchedRequests::Authenticated) => {
                f.write_str("no [[route]] matches, and the default is authenticated")
            }
        }
    }
}

impl<'c> Requirement<'c> {
    /// Returns the scopes that a caller needs; `None` if no scope is enough.
    pub(super) fn scopes(self) -> Option<&'c Scopes> {
        match self {
            Self::Rule(rule) => Some(&rule.scopes),
            Self::Unmatched(_) => None,
        }
    }

    /// Reports whether `caller` is allowed; `None` is a caller without a valid credential.
    pub(super) fn allows(self, caller: Option<&Principal>) -> bool {
        match (self, caller) {
            (Self::Rule(rule), _) if rule.auth == RouteAuth::None => true,
            (Self::Rule(rule), Some(caller)) => caller.scopes.allows_all(&rule.scopes),
            // The token of a runner is for heartbeats, and has no scopes to say what else it is
            // for.
            (Self::Unmatched(UnmatchedRequests::Authenticated), Some(caller)) => {
                caller.kind != PrincipalKind::Runner
            }
            (Self::Unmatched(UnmatchedRequests::Deny), _) | (_, None) => false,
        }
    }

    /// Reports whether no caller is required.
    pub(super) fn is_open(self) -> bool {
        matches!(self, Self::Rule(rule) if rule.auth == RouteAuth::None)
    }
}

impl<'c> Rules<'c> {
    pub(super) fn of(config: &'c Config) -> Self {
        Self { rules: &config.routes, unmatched: config.authorizer.default }
    }

    /// Returns the rules for paths, in order.
    pub(super) fn for_paths(self) -> impl DoubleEndedIterator<Item = &'c RouteRule> + Clone {
        self.rules.iter().filter(|rule| !rule.path.is_connect())
    }

    /// Returns what applies to requests that no rule matches.
    pub(super) fn unmatched(self) -> Requirement<'c> {
        Requirement::Unmatched(self.unmatched)
    }

    /// Returns the requirements of a request, all of which apply: that of the first rule for the
    /// path, and that of the first rule for which a server could take it if it ignores case, or
    /// spaces and dots at the end of a segment. If the rules ask what a request of MCP does, and it
    /// does not say so, all that could apply do.
    pub(super) fn of_request(
        self,
        method: &str,
        path: &str,
        call: McpCall<'_>,
    ) -> Vec<Requirement<'c>> {
        let mut requirements = self.applying(method, |rule| rule.path.matches(path), call);
        requirements.extend(self.applying(method, |rule| rule.path.matches_folded(path), call));
        requirements
    }

    /// Returns the requirements of a request for another path than the one that the gateway routed
    /// by. That no rule matches it is no reason to deny what a rule allows for the routed path.
    pub(super) fn of_other_path(
        self,
        method: &str,
        path: &str,
        call: McpCall<'_>,
    ) -> impl Iterator<Item = Requirement<'c>> {
        let is_rule_or_caller = |requirement: &Requirement<'_>| {
            !matches!(requirement, Requirement::Unmatched(UnmatchedRequests::Deny))
        };
        self.of_request(method, path, call).into_iter().filter(is_rule_or_caller)
    }

    fn applying(
        self,
        method: &str,
        matches: impl Fn(&RouteRule) -> bool,
        call: McpCall<'_>,
    ) -> Vec<Requirement<'c>> {
        let mut requirements = Vec::new();
        for rule in self.rules.iter().filter(|rule| rule.applies_to(method) && matches(rule)) {
            match rule.applies_to_call(call) {
                Applies::No => {}
                Applies::Maybe => requirements.push(Requirement::Rule(rule)),
                Applies::Yes => {
                    requirements.push(Requirement::Rule(rule));
                    return requirements;
                }
            }
        }
        requirements.push(self.unmatched());
        requirements
    }

    /// Returns the requirements of every request to a route of an HTTP API, such as
    /// `GET /orders/{id}` or `$default`.
    pub(super) fn of_route(self, route_key: &str) -> Vec<Requirement<'c>> {
        let (method, path) = route_key.split_once(' ').unwrap_or(("ANY", "/{proxy+}"));
        let route = RouteRule {
            method: if method == "ANY" { "*".into() } else { method.to_owned() },
            path: RoutePattern::of_http_route(path),
            auth: RouteAuth::Required,
            scopes: Default::default(),
            mcp_method: None,
            mcp_name: None,
        };
        let mut requirements = Vec::new();
        for rule in self.for_paths().filter(|rule| rule.overlaps(&route)) {
            requirements.push(Requirement::Rule(rule));
            if !rule.is_for_mcp() && rule.covers(&route) {
                return requirements;
            }
        }
        requirements.push(self.unmatched());
        requirements
    }
}
