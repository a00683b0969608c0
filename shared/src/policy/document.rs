//! IAM policies, compiled from route rules and scopes.
//!
//! API Gateway may hold a policy against the caller's next requests, so it must allow no route that the rules deny, whichever
//! was asked about. Rules are ordered, IAM statements are not: every rule that does not admit the caller becomes an explicit
//! Deny, which beats all Allows. IAM's `*` is wider than ours, so a Deny may reach further than its rule; where it would reach
//! the very route that was asked about and that is allowed, the policy allows that route alone. Such a policy, and one for
//! nobody, is true of the route that was asked about and denies too much of the rest: attach the authorizer without caching.

use serde_json::{Value, json};

use crate::{config::RouteRule, scope::Scopes};

/// The longest resource that API Gateway takes, and a policy that any of its kinds takes.
const LONGEST_RESOURCE: usize = 512;
const LONGEST_POLICY: usize = 7 * 1024;

/// The policy for a caller with `scopes` (nobody: `None`) who asked about the method `asked`, an ARN, of which the answer is `allowed`.
pub(super) fn compile(rules: &[RouteRule], scopes: Option<&Scopes>, asked: &str, allowed: bool) -> Value {
    let Some(stage) = stage_of(asked) else { return deny_all("*") };
    if asked.len() > LONGEST_RESOURCE || asked.contains(['*', '?']) || (!allowed && scopes.is_none()) {
        return deny_all(stage);
    }
    let denied: Vec<_> =
        rules.iter().filter(|rule| !rule.admits(scopes)).flat_map(|rule| resources(stage, rule)).collect();
    // A request that no rule matches needs a caller, and no scope.
    let everything = [format!("{stage}/*")];

    let policy = statements(&everything, &denied);
    let is_true_of_asked = denied.iter().any(|resource| glob(resource, asked)) != allowed;
    let fits = |policy: &Value| {
        policy.to_string().len() <= LONGEST_POLICY && denied.iter().all(|r| r.len() <= LONGEST_RESOURCE)
    };
    match () {
        () if !allowed && !is_true_of_asked => deny_all(stage),
        () if scopes.is_some() && is_true_of_asked && fits(&policy) => policy,
        () if allowed => {
            let elsewhere: Vec<_> = denied.iter().filter(|resource| !glob(resource, asked)).cloned().collect();
            let narrow = statements(&[asked.to_owned()], &elsewhere);
            if fits(&narrow) { narrow } else { statements(&[asked.to_owned()], &[]) }
        }
        () => deny_all(stage),
    }
}

/// What a rule reaches, as IAM writes it; with a slash at the end too, where there is no star that stands for it.
fn resources(stage: &str, rule: &RouteRule) -> Vec<String> {
    let path = rule.path.widened();
    let bare = rule.methods().into_iter().map(|method| format!("{stage}/{method}/{path}"));
    match path.is_empty() || path.ends_with('*') {
        true => bare.collect(),
        false => bare.flat_map(|resource| [format!("{resource}/"), resource]).collect(),
    }
}

/// `arn:aws:execute-api:{region}:{account}:{api}/{stage}`, of the ARN of a method.
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
        (!resources.is_empty())
            .then(|| json!({"Action": "execute-api:Invoke", "Effect": effect, "Resource": resources}))
    };
    let both: Vec<_> = [statement("Allow", admitted), statement("Deny", denied)].into_iter().flatten().collect();
    json!({"Version": "2012-10-17", "Statement": both})
}

/// IAM's matching: `*` is any characters, slashes too. Each part between stars is looked for once, from left to right, which is
/// enough: what an earlier place could match, the rest can too.
fn glob(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(head) else { return false };
    let (middle, tail) = rest.rsplit_once('*').map_or((None, rest), |(middle, tail)| (Some(middle), tail));
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
