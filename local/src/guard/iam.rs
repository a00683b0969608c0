//! IAM's evaluation of a policy: an explicit Deny overrides every Allow, and the default is Deny.

use serde_json::Value;
use wildmatch::WildMatch;

/// The decision of a policy about a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Allow,
    ExplicitDeny,
    /// No statement matches.
    ImplicitDeny,
}

/// Reports whether API Gateway accepts the policy.
pub(super) fn is_policy(policy: &Value) -> bool {
    let is_list = |value: &Value| {
        value.as_array().is_some_and(|all| !all.is_empty() && all.iter().all(Value::is_string))
    };
    let is_statement = |statement: &Value| {
        (statement["Effect"] == "Allow" || statement["Effect"] == "Deny")
            && statement["Action"] == "execute-api:Invoke"
            && is_list(&statement["Resource"])
            && statement.get("Condition").is_none()
    };
    let statements = policy["Statement"].as_array();
    policy["Version"] == "2012-10-17"
        && statements.is_some_and(|all| !all.is_empty() && all.iter().all(is_statement))
}

/// Evaluates `policy` for the method `arn`.
pub(super) fn evaluate(policy: &Value, arn: &str) -> Decision {
    let says = |effect: &str| {
        policy["Statement"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|statement| statement["Effect"] == effect)
            .any(|statement| {
                let mut resources = statement["Resource"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str);
                resources.any(|resource| WildMatch::new(resource).matches(arn))
            })
    };
    match (says("Deny"), says("Allow")) {
        (true, _) => Decision::ExplicitDeny,
        (false, true) => Decision::Allow,
        (false, false) => Decision::ImplicitDeny,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wildmatch::WildMatch;

    use super::{Decision, evaluate};

    #[test]
    fn a_star_matches_any_characters_and_a_question_mark_one() {
        let table = [
            ("a/*", "a/b/c", true),
            ("a/*", "a", false),
            ("a/?", "a/b", true),
            ("a/?", "a/bc", false),
            ("*b*b", "abb", true),
            ("*b*b", "ab", false),
            ("**", "", true),
            ("a*c", "abcbc", true),
        ];
        for (pattern, text, expected) in table {
            assert_eq!(WildMatch::new(pattern).matches(text), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn an_explicit_deny_overrides_an_allow_and_the_default_is_deny() {
        let policy = json!({"Statement": [
            {"Effect": "Allow", "Resource": ["api/*"]},
            {"Effect": "Deny", "Resource": ["api/GET/secret", "api/POST/*"]},
        ]});
        assert_eq!(evaluate(&policy, "api/GET/x"), Decision::Allow);
        assert_eq!(evaluate(&policy, "api/GET/secret"), Decision::ExplicitDeny);
        assert_eq!(evaluate(&policy, "api/POST/x"), Decision::ExplicitDeny);
        assert_eq!(evaluate(&policy, "other/GET/x"), Decision::ImplicitDeny);
    }
}
