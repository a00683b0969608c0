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

/// The longest policy that every kind of API accepts, in bytes.
pub(crate) const LONGEST_POLICY: usize = 7 * 1024;
/// The most that the ARN of an API's stage, and the JSON around it, adds to a pattern of a policy.
const LONGEST_STAGE_ARN: usize = 110;

impl RouteRule {
    /// Reports whether the rule applies to `method`.
    pub(crate) fn applies_to(&self, method: &str) -> bool {
        let methods = self.methods();
        methods == ["*"] || methods.contains(&method)
    }

    /// Returns the methods that the rule applies to: a rule for GET also applies to HEAD, which
    /// most servers handle with their GET route.
    pub(crate) fn methods(&self) -> Vec<&str> {
        if self.method == "GET" { vec!["GET", "HEAD"] } else { vec![&self.method] }
    }

    /// Reports whether a request could match both rules.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.path.overlaps(&other.path)
            && METHODS.iter().map(Method::as_str).any(|m| self.applies_to(m) && other.applies_to(m))
    }

    /// Reports whether every request that `other` matches also matches this rule.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        self.path.covers(&other.path)
            && METHODS
                .iter()
                .map(Method::as_str)
                .all(|m| !other.applies_to(m) || self.applies_to(m))
    }

    /// Reports whether everyone whom this rule allows is allowed by `other` too.
    fn is_at_least_as_strict_as(&self, other: &Self) -> bool {
        other.auth == RouteAuth::None
            || (self.auth == RouteAuth::Required && self.scopes.allows_all(&other.scopes))
    }

    fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// Returns the most bytes that the rule adds to a policy.
    fn longest_policy(&self) -> usize {
        let resource = LONGEST_STAGE_ARN + self.path.to_iam_pattern().len();
        let methods = if self.method == "*" { METHODS.len() } else { self.methods().len() };
        (2 * methods + self.path.other_cases().len()) * resource
    }

    /// Checks what the types cannot check.
    pub(super) fn validate(&self) -> Result<(), Fault> {
        let refuse = |what: &str| setting(format!("the rule {}: {what}", self.name()));
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

/// Checks that all rules spell a path in the same way, because a path in another spelling meets the
/// rules of both.
pub(super) fn validate_spelling(rules: &[RouteRule]) -> Result<(), Fault> {
    for (at, rule) in rules.iter().enumerate() {
        let differs = |other: &&RouteRule| other.path.is_spelled_differently(&rule.path);
        if let Some(other) = rules[..at].iter().find(differs) {
            return setting(format!(
                "the route rules for {} and {} spell the same path differently",
                other.path, rule.path
            ));
        }
    }
    Ok(())
}

/// Checks that every rule is the first that matches some request. What a rule requires that comes
/// after all those which match its requests would never apply.
pub(super) fn validate_reachable(rules: &[RouteRule]) -> Result<(), Fault> {
    for (at, rule) in rules.iter().enumerate() {
        let first = |method| {
            rules[..at]
                .iter()
                .find(|earlier| earlier.applies_to(method) && earlier.path.covers(&rule.path))
        };
        let earlier: Option<Vec<_>> = rule.methods().into_iter().map(first).collect();
        let Some(earlier) = earlier else { continue };
        let mut names: Vec<_> = earlier.into_iter().map(RouteRule::name).collect();
        names.dedup();
        let (name, names) = (rule.name(), names.join(" and "));
        if name == names {
            return setting(format!(
                "there are two rules {name}, and only the first applies: remove one"
            ));
        }
        return setting(format!(
            "the rule {name} never applies, because {names} comes before it and matches all its \
             requests: move the rule {name} before it, or remove it"
        ));
    }
    Ok(())
}

/// Checks that a policy can express the rules for every request of a caller, whatever the caller's
/// scopes.
///
/// IAM's `*` also matches slashes, and a Deny overrides every Allow. So no path can contain a single
/// wildcard, and a rule that takes something from a later one must be the stricter one.
pub(super) fn validate_expressible(rules: &[RouteRule]) -> Result<(), Fault> {
    let refuse = |what: &str| {
        setting(format!(
            "identity_sources of [authorizer] lists only headers, so a cached policy applies to \
             every request of a caller, but {what}. Add $context.path and $context.httpMethod \
             (REST API) or $context.routeKey (HTTP API), or do not cache and remove \
             identity_sources"
        ))
    };
    let rules: Vec<_> = rules.iter().filter(|rule| !rule.path.is_connect()).collect();
    for (at, rule) in rules.iter().enumerate() {
        if rule.path.has_single_wildcard() {
            let name = rule.name();
            return refuse(&format!(
                "a policy cannot express * in the rule {name}: it would also match several segments"
            ));
        }
        let is_ambiguous = |later: &&&RouteRule| {
            rule.overlaps(later) && !rule.covers(later) && !rule.is_at_least_as_strict_as(later)
        };
        if let Some(later) = rules[at + 1..].iter().find(is_ambiguous) {
            return refuse(&format!(
                "a policy cannot express that the rule {} allows more than the rule {}",
                rule.name(),
                later.name()
            ));
        }
    }
    if rules.iter().map(|rule| rule.longest_policy()).sum::<usize>() > LONGEST_POLICY {
        return refuse(&format!("{} rules are too many for one policy", rules.len()));
    }
    Ok(())
}
