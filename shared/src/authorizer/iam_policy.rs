//! Compiles IAM policies from route rules and scopes.
//!
//! API Gateway may cache a policy for the caller's next requests, so a policy must not allow any
//! route that the rules deny, whichever route it was made for. Rules are ordered and IAM statements
//! are not. Every rule that does not allow the caller becomes an explicit Deny, which overrides
//! every Allow, minus what an earlier rule that does allow the caller takes from it.
//!
//! IAM's `*` spans slashes and ours does not, so a Deny may reach further than its rule. If it
//! would deny the requested route although that route is allowed, the policy allows only that
//! route. Such a policy, like one for an anonymous caller, is exact for the requested route and
//! denies too much elsewhere: attach the authorizer without caching, or write rules that do not
//! overlap in this way.

use http::Method;
use serde_json::{Value, json};

use crate::{
    config::RouteRule,
    core::{method::METHODS, route_pattern::RoutePattern, scope::Scopes},
};

/// The longest resource, and the longest policy that every kind of API accepts, in bytes.
const LONGEST_RESOURCE: usize = 512;
const LONGEST_POLICY: usize = 7 * 1024;

/// Paths that two parsers could interpret differently, as IAM patterns.
///
/// The rules refuse such paths, so a cached policy must not allow them either: the backend might
/// read `/%61dmin` or `/x/../admin` as `/admin`. A harmless escape is denied too, unless it is part
/// of the requested path.
const ODD: [&str; 8] = ["*%*", "*//*", "*/./*", "*/../*", "*/.", "*/..", "*\\*", "*;*"];

/// Compiles the policy for a caller with `scopes` (`None` for an anonymous caller) who requested
/// the method ARN `asked`, with the decision `allowed`.
///
/// If the event contained two paths, the rules were applied to both, but an ARN contains only one.
/// Such a policy covers only `asked`.
pub(super) fn compile(
    rules: &[RouteRule],
    scopes: Option<&Scopes>,
    asked: &str,
    allowed: bool,
    is_told_twice: bool,
) -> Value {
    let Some(stage) = stage_of(asked) else { return deny_all("*") };
    if asked.len() > LONGEST_RESOURCE
        || asked.contains(['*', '?'])
        || (!allowed && scopes.is_none())
    {
        return deny_all(stage);
    }
    let is_connection = asked.ends_with("/$connect");
    let denied: Vec<_> = (0..rules.len())
        .filter(|at| !rules[*at].allows(scopes) && rules[*at].path.is_connect() == is_connection)
        .flat_map(|at| resources(stage, &rules[at], &rules[..at], scopes))
        .chain(ODD.iter().filter(|_| !is_connection).map(|odd| format!("{stage}/{odd}")))
        .collect();
    // A request that no rule matches needs a caller and no scope. Other methods are left out: `get`
    // would pass what is denied to `GET`.
    let everything = if is_connection {
        vec![format!("{stage}/$connect")]
    } else {
        METHODS.iter().map(|method| format!("{stage}/{method}/*")).collect()
    };

    let policy = statements(&everything, &denied);
    let is_true_of_asked = denied.iter().any(|resource| glob(resource, asked)) != allowed;
    let fits = |policy: &Value| {
        policy.to_string().len() <= LONGEST_POLICY
            && denied.iter().all(|r| r.len() <= LONGEST_RESOURCE)
    };
    if !allowed && !is_true_of_asked {
        deny_all(stage)
    } else if scopes.is_some() && is_true_of_asked && !is_told_twice && fits(&policy) {
        policy
    } else if allowed {
        let elsewhere: Vec<_> =
            denied.iter().filter(|resource| !glob(resource, asked)).cloned().collect();
        let narrow = statements(&[asked.to_owned()], &elsewhere);
        if fits(&narrow) { narrow } else { statements(&[asked.to_owned()], &[]) }
    } else {
        deny_all(stage)
    }
}

/// Returns the resources of a rule that does not allow the caller, minus what `earlier` rules that
/// do allow the caller take from it.
fn resources(
    stage: &str,
    rule: &RouteRule,
    earlier: &[RouteRule],
    scopes: Option<&Scopes>,
) -> Vec<String> {
    if rule.path.is_connect() {
        return vec![format!("{stage}/$connect")];
    }
    let admitting: Vec<_> = earlier.iter().filter(|earlier| earlier.allows(scopes)).collect();
    let takes_some = admitting.iter().any(|earlier| {
        earlier.method != "*"
            && (earlier.path.covers(&rule.path) || earlier.path.is_single_segment_of(&rule.path))
    });
    let methods = if rule.method == "*" && takes_some {
        METHODS.iter().map(Method::as_str).collect()
    } else {
        rule.methods()
    };
    methods.into_iter().flat_map(|method| of_method(stage, method, rule, &admitting)).collect()
}

/// Returns the same for one method, with a trailing slash too unless a wildcard covers it.
fn of_method(stage: &str, method: &str, rule: &RouteRule, admitting: &[&RouteRule]) -> Vec<String> {
    let mut same = admitting
        .iter()
        .filter(|earlier| earlier.method == "*" || earlier.methods().contains(&method));
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

/// Returns `arn:aws:execute-api:{region}:{account}:{api}/{stage}` of a method's ARN.
fn stage_of(arn: &str) -> Option<&str> {
    let api = arn.find('/')?;
    let stage = arn[api + 1..].find('/')?;
    Some(&arn[..api + 1 + stage])
}

fn deny_all(stage: &str) -> Value {
    statements(&[], &[if stage == "*" { "*".to_owned() } else { format!("{stage}/*") }])
}

fn statements(admitted: &[String], denied: &[String]) -> Value {
    let statement = |effect: &str, resources: &[String]| {
        (!resources.is_empty()).then(
            || json!({"Action": "execute-api:Invoke", "Effect": effect, "Resource": resources}),
        )
    };
    let both: Vec<_> =
        [statement("Allow", admitted), statement("Deny", denied)].into_iter().flatten().collect();
    json!({"Version": "2012-10-17", "Statement": both})
}

/// Matches as IAM does: `*` matches any characters, including slashes. Taking the first match of
/// each part from left to right is enough, because it leaves the most text for the following parts.
fn glob(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(head) else { return false };
    let (middle, tail) =
        rest.rsplit_once('*').map_or((None, rest), |(middle, tail)| (Some(middle), tail));
    for part in middle.into_iter().flat_map(|middle| middle.split('*')) {
        let Some(at) = text.find(part) else { return false };
        text = &text[at + part.len()..];
    }
    text.ends_with(tail)
}

#[cfg(test)]
mod tests {
    use super::glob;

    #[test]
    fn a_glob_matches_as_iam_does() {
        let table = [
            ("a/*", "a/b/c", true),
            ("a/*", "a/", true),
            ("a/*", "a", false),
            ("a/*/c", "a/b/x/c", true),
            ("a/*/c", "a/c", false),
            ("a/*/c/*", "a/b/c/", true),
            ("*b*b", "ab", false),
            ("*b*b", "abb", true),
            ("**", "", true),
            ("*", "", true),
            ("a", "ab", false),
        ];
        for (pattern, text, expected) in table {
            assert_eq!(glob(pattern, text), expected, "{pattern} on {text}");
        }
    }
}
