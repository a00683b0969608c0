//! IAM policies, compiled from route rules and scopes.
//!
//! API Gateway may hold a policy against the caller's next requests, so it must allow no route that the rules deny, whichever
//! was asked about. Rules are ordered, IAM statements are not: every rule that does not admit the caller becomes an explicit
//! Deny, which beats all Allows, less what an earlier rule that does admit the caller takes from it. IAM's `*` is wider than ours, so a
//! Deny may still reach further than its rule; where it would reach the very route that was asked about and that is allowed, the
//! policy allows that route alone. Such a policy, and one for nobody, is true of the route that was asked about and denies too much of
//! the rest: attach the authorizer without caching, or write rules that do not overlap so.

use serde_json::{Value, json};

use crate::{
    config::RouteRule,
    core::{route_pattern::RoutePattern, scope::Scopes},
};

/// The longest resource that API Gateway takes, and a policy that any of its kinds takes.
const LONGEST_RESOURCE: usize = 512;
const LONGEST_POLICY: usize = 7 * 1024;

/// What a path holds that two readers could read differently, as IAM writes it. The rules refuse such paths, so a policy must not let
/// them pass when it is held: behind it a server might read `/%61dmin` or `/x/../admin` as `/admin`. A harmless escape is denied with
/// them, where it was not asked about.
const ODD: [&str; 8] = ["*%*", "*//*", "*/./*", "*/../*", "*/.", "*/..", "*\\*", "*;*"];

/// The methods of HTTP that API Gateway routes.
const METHODS: [&str; 7] = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"];

/// The policy for a caller with `scopes` (nobody: `None`) who asked about the method `asked`, an ARN, of which the answer is `allowed`.
/// Where the route was told in two ways, rules were held against both, and an ARN tells one alone: such a policy is for `asked` only.
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
    // A request that no rule matches needs a caller, and no scope. No other methods: `get` would pass by what is denied to `GET`.
    let everything = match is_connection {
        true => vec![format!("{stage}/$connect")],
        false => METHODS.map(|method| format!("{stage}/{method}/*")).into(),
    };

    let policy = statements(&everything, &denied);
    let is_true_of_asked = denied.iter().any(|resource| glob(resource, asked)) != allowed;
    let fits = |policy: &Value| {
        policy.to_string().len() <= LONGEST_POLICY
            && denied.iter().all(|r| r.len() <= LONGEST_RESOURCE)
    };
    match () {
        () if !allowed && !is_true_of_asked => deny_all(stage),
        () if scopes.is_some() && is_true_of_asked && !is_told_twice && fits(&policy) => policy,
        () if allowed => {
            let elsewhere: Vec<_> =
                denied.iter().filter(|resource| !glob(resource, asked)).cloned().collect();
            let narrow = statements(&[asked.to_owned()], &elsewhere);
            if fits(&narrow) { narrow } else { statements(&[asked.to_owned()], &[]) }
        }
        () => deny_all(stage),
    }
}

/// What a rule that does not admit the caller reaches, as IAM writes it, less what `earlier` rules take from it that do.
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
            && (earlier.path.covers(&rule.path) || earlier.path.is_one_level_above(&rule.path))
    });
    let methods = if rule.method == "*" && takes_some { METHODS.to_vec() } else { rule.methods() };
    methods.into_iter().flat_map(|method| of_method(stage, method, rule, &admitting)).collect()
}

/// The same for one method; with a slash at the end too, where there is no star that stands for it.
fn of_method(stage: &str, method: &str, rule: &RouteRule, admitting: &[&RouteRule]) -> Vec<String> {
    let mut same = admitting
        .iter()
        .filter(|earlier| earlier.method == "*" || earlier.methods().contains(&method));
    if same.clone().any(|earlier| earlier.path.covers(&rule.path)) {
        return Vec::new();
    }
    let reach = |path: &RoutePattern| format!("{stage}/{method}/{}", path.widened());
    let all = reach(&rule.path);
    match rule.path.root().map(|root| reach(&root)) {
        // Of `/a/**` a rule for `/a/*` leaves `/a` itself, and what is two levels below it.
        Some(root) if same.any(|earlier| earlier.path.is_one_level_above(&rule.path)) => {
            vec![format!("{root}/"), format!("{all}/*"), root]
        }
        Some(root) => vec![all, root],
        None if all.ends_with(['/', '*']) => vec![all],
        None => vec![format!("{all}/"), all],
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
        (!resources.is_empty()).then(
            || json!({"Action": "execute-api:Invoke", "Effect": effect, "Resource": resources}),
        )
    };
    let both: Vec<_> =
        [statement("Allow", admitted), statement("Deny", denied)].into_iter().flatten().collect();
    json!({"Version": "2012-10-17", "Statement": both})
}

/// IAM's matching: `*` is any characters, slashes too. Each part between stars is looked for once, from left to right, which is
/// enough: what an earlier place could match, the rest can too.
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
