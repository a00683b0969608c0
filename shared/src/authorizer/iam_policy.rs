//! Compiles IAM policies from route rules and scopes.
//!
//! There are two kinds of policy:
//!
//! - that of a request, which names only the method and path that were requested;
//! - that of a caller of a REST API, which decides every request as the rules do. API Gateway may
//!   cache it for the caller's other requests.
//!
//! Rules are ordered and IAM statements are not. In a caller's policy, every rule that does not
//! allow the caller becomes an explicit Deny, which overrides every Allow, minus what an earlier
//! rule that does allow the caller takes from it. IAM's `*` spans slashes and ours does not, and
//! IAM compares case, which some servers ignore. So such a policy may deny more than the rules do,
//! but it never allows more.

use std::collections::BTreeSet;

use http::Method;
use serde_json::{Value, json};
use wildmatch::WildMatch;

use super::rules::{Requirement, Rules};
use crate::{
    config::{LONGEST_POLICY, LONGEST_RESOURCE, RouteRule},
    core::{
        method::METHODS,
        principal::Principal,
        route_pattern::{AMBIGUOUS_PATHS, RoutePattern},
    },
};

/// Returns the policy for the request to the method `asked`, and no other.
pub(super) fn of_request(asked: &str, is_allowed: bool) -> Value {
    if is_allowed && asked.len() <= LONGEST_RESOURCE && !has_wildcard(asked) {
        return statements(&[asked.to_owned()], &[]);
    }
    // A `?` matches any character, and so also the `*` of a path.
    let stage = stage_of(asked).map_or(0, str::len);
    let mut literal = format!("{}{}", &asked[..stage], asked[stage..].replace('*', "?"));
    if literal.len() > LONGEST_RESOURCE {
        literal.truncate(literal.floor_char_boundary(LONGEST_RESOURCE - 1));
        literal.push('*');
    }
    statements(&[], &[literal])
}

/// Reports whether the method and path of an ARN contain a character that is a wildcard in a
/// policy.
pub(super) fn has_wildcard(arn: &str) -> bool {
    arn[stage_of(arn).map_or(0, str::len)..].contains(['*', '?'])
}

/// Returns the policy that allows, or denies, every request to the API's stage.
pub(super) fn of_stage(stage: &str, is_allowed: bool) -> Value {
    let all = [format!("{stage}/*")];
    if is_allowed { statements(&all, &[]) } else { statements(&[], &all) }
}

/// Returns the policy for all requests of `caller` to a stage of a REST API; `None` if a policy
/// cannot express the rules.
pub(super) fn of_caller(rules: Rules<'_>, caller: &Principal, stage: &str) -> Option<Value> {
    let allows = |rule: &RouteRule| Requirement::Rule(rule).allows(Some(caller));
    let mut admitting: Vec<&RouteRule> = Vec::new();
    let mut denied = BTreeSet::new();
    for rule in rules.for_paths() {
        if allows(rule) {
            // Another rule decides about the other requests of MCP to this path.
            if !rule.is_for_mcp() {
                admitting.push(rule);
            }
        } else {
            let resources = resources(stage, rule, &admitting);
            if !resources.is_empty() {
                denied.extend(other_cases(stage, &rule.path));
            }
            denied.extend(resources);
        }
    }
    denied.extend(AMBIGUOUS_PATHS.iter().map(|odd| format!("{stage}/{odd}")));
    let allowed: Vec<_> = if rules.unmatched().allows(Some(caller)) {
        // Other methods are left out: `get` would pass what is denied to `GET`.
        METHODS.iter().map(|method| format!("{stage}/{method}/*")).collect()
    } else if admitting.iter().any(|rule| rule.path.has_single_wildcard()) {
        return None;
    } else {
        admitting.iter().flat_map(|rule| resources(stage, rule, &[])).collect()
    };
    let denied: Vec<_> = denied.into_iter().collect();
    let policy = statements(&allowed, &denied);
    let fits = policy.to_string().len() <= LONGEST_POLICY
        && denied.iter().chain(&allowed).all(|resource| resource.len() <= LONGEST_RESOURCE);
    fits.then_some(policy)
}

/// Reports whether a policy allows the method `arn`, as API Gateway evaluates it.
pub(super) fn allows(policy: &Value, arn: &str) -> bool {
    let is_matched = |effect: &str| {
        let statements = policy["Statement"].as_array().into_iter().flatten();
        statements.filter(|statement| statement["Effect"] == effect).any(|statement| {
            let resources = statement["Resource"].as_array().into_iter().flatten();
            resources.filter_map(Value::as_str).any(|text| WildMatch::new(text).matches(arn))
        })
    };
    is_matched("Allow") && !is_matched("Deny")
}

/// Returns `arn:aws:execute-api:{region}:{account}:{api}/{stage}` of a method's ARN.
pub(super) fn stage_of(arn: &str) -> Option<&str> {
    let api = arn.find('/')?;
    let stage = arn[api + 1..].find('/')?;
    Some(&arn[..api + 1 + stage])
}

/// Returns the resources of a rule, minus what the `earlier` rules take from it.
fn resources(stage: &str, rule: &RouteRule, earlier: &[&RouteRule]) -> Vec<String> {
    let methods = match rule.method.as_str() {
        "*" => METHODS.iter().map(Method::as_str).collect(),
        _ => rule.methods(),
    };
    methods.into_iter().flat_map(|method| of_method(stage, method, rule, earlier)).collect()
}

/// Returns the same for one method, with a trailing slash too unless a wildcard covers it.
fn of_method(stage: &str, method: &str, rule: &RouteRule, earlier: &[&RouteRule]) -> Vec<String> {
    let mut same =
        earlier.iter().filter(|earlier| earlier.method == "*" || earlier.applies_to(method));
    if same.clone().any(|earlier| earlier.path.covers(&rule.path)) {
        return Vec::new();
    }
    let reach = |path: &RoutePattern| format!("{stage}/{method}/{}", path.to_iam_pattern());
    let all = reach(&rule.path);
    match rule.path.root().map(|root| reach(&root)) {
        // Of `/a/**`, a rule for `/a/*` leaves `/a` itself and everything two levels below it.
        Some(root) if same.any(|earlier| earlier.path.is_single_segment_of(&rule.path)) => {
            vec![format!("{root}/"), format!("{all}/*"), root]
        }
        Some(root) => vec![all, root],
        None if all.ends_with(['/', '*']) => vec![all],
        None => vec![format!("{all}/"), all],
    }
}

/// Returns the paths that differ from those of `pattern` only in case, and more.
fn other_cases(stage: &str, pattern: &RoutePattern) -> impl Iterator<Item = String> {
    pattern.other_cases().into_iter().map(move |path| format!("{stage}/*/{path}"))
}

fn statements(allowed: &[String], denied: &[String]) -> Value {
    let statement = |effect: &str, resources: &[String]| {
        (!resources.is_empty()).then(
            || json!({"Action": "execute-api:Invoke", "Effect": effect, "Resource": resources}),
        )
    };
    let both: Vec<_> =
        [statement("Allow", allowed), statement("Deny", denied)].into_iter().flatten().collect();
    json!({"Version": "2012-10-17", "Statement": both})
}
