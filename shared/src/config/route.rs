//! `[[route]]`: the rules of the authorizer.

use std::fmt;

use http::Method;
use serde::Deserialize;

use super::{IdentitySourcesPlace, setting};
use crate::core::{
    error::Fault,
    mcp::{McpCall, McpPattern},
    method::{self, METHODS},
    route_pattern::{AMBIGUOUS_PATHS, RoutePattern},
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
    /// The methods of MCP that it applies to. By default, all, and requests of other APIs.
    #[serde(default)]
    pub mcp_method: Option<McpPattern>,
    /// The names of tools, resources and prompts of MCP that it applies to.
    #[serde(default)]
    pub mcp_name: Option<McpPattern>,
}

/// Whether a rule applies to a request of which the path and the method of HTTP match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Applies {
    /// It does.
    Yes,
    /// It is for other requests of MCP.
    No,
    /// The request does not say what it does.
    Maybe,
}

/// The longest policy that every kind of API accepts, in bytes.
pub(crate) const LONGEST_POLICY: usize = 7 * 1024;
/// The longest resource that API Gateway accepts in a policy, in bytes.
pub(crate) const LONGEST_RESOURCE: usize = 512;
/// The longest name of a stage for which the rules are checked at startup. API Gateway accepts 128
/// characters, with which few rules fit into a policy.
pub(crate) const LONGEST_STAGE: usize = 16;
/// The longest ARN of a stage: `arn:aws-us-gov:execute-api:`, region, account, API and stage.
const LONGEST_STAGE_ARN: usize = 27 + 14 + 1 + 12 + 1 + 10 + 1 + LONGEST_STAGE;
/// The JSON around the patterns of a policy.
const POLICY_FRAME: usize = 200;

/// Names the rule by what it matches.
impl fmt::Display for RouteRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[[route]] {} {}", self.method, self.path)?;
        for (name, pattern) in [("mcp_method", &self.mcp_method), ("mcp_name", &self.mcp_name)] {
            if let Some(pattern) = pattern {
                write!(f, " {name}={pattern}")?;
            }
        }
        Ok(())
    }
}

impl RouteRule {
    /// Reports whether the rule is for some requests of MCP only.
    pub fn is_for_mcp(&self) -> bool {
        self.mcp_method.is_some()
    }

    /// Reports whether the rule applies to `call`.
    pub(crate) fn applies_to_call(&self, call: McpCall<'_>) -> Applies {
        match (&self.mcp_method, &self.mcp_name, call) {
            (None, _, _) => Applies::Yes,
            (Some(_), _, McpCall::Unknown) => Applies::Maybe,
            (Some(methods), names, McpCall::Known { method, name }) => {
                let is_named =
                    names.as_ref().is_none_or(|names| name.is_some_and(|name| names.matches(name)));
                if methods.matches(method) && is_named { Applies::Yes } else { Applies::No }
            }
        }
    }

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

    /// Returns the method and the path, for errors.
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// Returns the lengths of the resources that the rule can add to a policy.
    fn resources(&self) -> Vec<usize> {
        let path = self.path.to_iam_pattern();
        let methods = match self.method.as_str() {
            "*" => METHODS.iter().map(Method::as_str).collect(),
            _ => self.methods(),
        };
        let with_method = methods.iter().map(|method| resource(&format!("{method}/{path}/")));
        let other_cases = self.path.other_cases().into_iter();
        let in_other_cases = other_cases.map(|path| resource(&format!("*/{path}")));
        with_method.clone().chain(with_method).chain(in_other_cases).collect()
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
        self.mcp_problem().map_or(Ok(()), refuse)
    }

    /// Returns what is wrong with a rule for some requests of MCP: it requires no caller, or no
    /// request can match it.
    fn mcp_problem(&self) -> Option<&'static str> {
        let Some(methods) = &self.mcp_method else {
            let problem = "mcp_name needs mcp_method, such as \"tools/call\"";
            return self.mcp_name.is_some().then_some(problem);
        };
        if self.auth == RouteAuth::None {
            Some(
                "a rule with mcp_method requires a caller, because any request can have the headers",
            )
        } else if !self.applies_to("POST") {
            Some("mcp_method needs the method POST, with which clients of MCP send every message")
        } else if !methods.matches_a_method() {
            Some(
                "mcp_method matches no method of MCP: use one such as \"tools/call\" or \"tools/*\"",
            )
        } else if self.mcp_name.is_some() && !methods.matches_a_named_method() {
            Some(
                "mcp_name never matches, because requests with this mcp_method have no name: use it \
                 with \"tools/call\", \"resources/read\" or \"prompts/get\"",
            )
        } else {
            None
        }
    }
}

/// Checks that all rules spell a path in the same way, because a path in another spelling meets the
/// rules of both.
pub(super) fn validate_spelling(rules: &[RouteRule]) -> Result<(), Fault> {
    for (at, rule) in rules.iter().enumerate() {
        let differs = |other: &&RouteRule| other.path.is_spelled_differently(&rule.path);
        if let Some(other) = rules[..at].iter().find(differs) {
            return setting(format!(
                "the route rules for {} and {} spell the same path differently: write it in one \
                 way, because many servers do not distinguish them",
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
                .filter(|earlier| !earlier.is_for_mcp())
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
/// IAM's `*` also matches slashes, and a Deny overrides every Allow. So no path can contain a
/// single wildcard, and a rule that takes something from a later one must be the stricter one.
pub(super) fn validate_expressible(
    rules: &[RouteRule],
    place: IdentitySourcesPlace,
) -> Result<(), Fault> {
    let refuse = |what: &str| {
        setting(format!(
            "{place} lists only headers, so a cached policy applies to \
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
    let is_too_long = |rule: &&&RouteRule| rule.resources().iter().any(|of| *of > LONGEST_RESOURCE);
    if let Some(rule) = rules.iter().find(is_too_long) {
        return refuse(&format!("the path of the rule {} is too long for a policy", rule.name()));
    }
    let of_rules = rules.iter().flat_map(|rule| rule.resources());
    if longest_policy(of_rules) > LONGEST_POLICY {
        return refuse(&format!("{} rules are too many for one policy", rules.len()));
    }
    Ok(())
}

/// Returns the length of a resource of a policy at most, in bytes.
fn resource(method_and_path: &str) -> usize {
    LONGEST_STAGE_ARN + "/".len() + method_and_path.len()
}

/// Returns the length of a policy at most, in bytes: it also denies paths with two interpretations,
/// and allows each method, whatever the rules are.
fn longest_policy(of_rules: impl Iterator<Item = usize>) -> usize {
    let ambiguous = AMBIGUOUS_PATHS.iter().map(|path| resource(path));
    let methods = METHODS.iter().map(|method| resource(&format!("{method}/*")));
    let resources = of_rules.chain(ambiguous).chain(methods);
    POLICY_FRAME + resources.map(|length| length + r#""","#.len()).sum::<usize>()
}
