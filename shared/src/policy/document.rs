//! IAM policies, compiled from route rules and scopes.
//!
//! API Gateway may cache a policy and hold it against the caller's next requests, so it must be true of every route, not
//! only of the one that was asked about. Rules are ordered, IAM statements are not: every rule that does not admit the
//! caller becomes an explicit Deny, which beats all Allows. IAM's `*` is wider than ours, so a Deny may reach further
//! than its rule; where it would reach the very route that was asked about and that is allowed, the policy allows that
//! route alone.

use serde_json::{Value, json};

use super::Question;
use crate::{config::RouteRule, scope::Scopes};

/// The longest resource that API Gateway takes, and a policy that any of its kinds takes.
const LONGEST_RESOURCE: usize = 512;
const LONGEST_POLICY: usize = 7 * 1024;

/// The policy for a caller with `scopes` (nobody: `None`) who asked `question`, of which the answer is `allowed`.
pub(super) fn compile(
    rules: &[RouteRule],
    scopes: Option<&Scopes>,
    question: &Question,
    arn: &str,
    allowed: bool,
) -> Value {
    let Some(stage) = stage_of(arn) else { return deny_all("*") };
    if !allowed && scopes.is_none() {
        return deny_all(stage);
    }
    let asked = format!("{stage}/{}/{}", question.method, &question.path[1..]);
    let resource = |rule: &RouteRule| format!("{stage}/{}/{}", rule.method, rule.path.widened());
    let of_rules = |admitted: bool| rules.iter().filter(move |rule| rule.admits(scopes) == admitted).map(resource);

    let denied: Vec<_> = of_rules(false).collect();
    // A request that no rule matches needs a caller, and no scope.
    let admitted: Vec<_> = if scopes.is_some() { vec![format!("{stage}/*")] } else { of_rules(true).collect() };

    let reaches = |resources: &[String]| resources.iter().any(|resource| glob(resource, &asked));
    let is_true_of_asked = (reaches(&admitted) && !reaches(&denied)) == allowed;
    let policy = statements(&admitted, &denied);
    let fits = policy.to_string().len() <= LONGEST_POLICY
        && admitted.iter().chain(&denied).all(|r| r.len() <= LONGEST_RESOURCE);
    match () {
        () if fits && is_true_of_asked => policy,
        () if allowed && asked.len() <= LONGEST_RESOURCE && !question.path.contains('*') => {
            let denied: Vec<_> = denied.into_iter().filter(|resource| !glob(resource, &asked)).collect();
            let narrow = statements(std::slice::from_ref(&asked), &denied);
            if narrow.to_string().len() <= LONGEST_POLICY { narrow } else { statements(&[asked], &[]) }
        }
        () => deny_all(stage),
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

/// IAM's matching: `*` is any characters, slashes too.
fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, tail)) => text
            .strip_prefix(head)
            .is_some_and(|rest| (0..=rest.len()).any(|at| rest.is_char_boundary(at) && glob(tail, &rest[at..]))),
    }
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
            ("*", "", true),
            ("a", "ab", false),
        ];
        for (pattern, text, expected) in table {
            assert_eq!(glob(pattern, text), expected, "{pattern} on {text}");
        }
    }
}
