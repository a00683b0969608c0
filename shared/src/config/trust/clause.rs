//! The clauses of a rule: which claims a token must have, with which values.

use std::{collections::BTreeMap, fmt};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::claim_pattern::AcceptedValues;

/// The claims that are checked for every token, and that no clause can name.
const CHECKED_ANYWAY: [&str; 6] = ["aud", "exp", "iat", "iss", "jti", "nbf"];

/// The place of a claim: its name, or a JSON Pointer (RFC 6901) to a member of one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClaimPath(Vec<String>);

impl ClaimPath {
    /// Returns the path of the claim `name`.
    pub fn of(name: &str) -> Self {
        Self(vec![name.to_owned()])
    }

    /// Returns the path of a member in a claim.
    pub fn nested(members: &[&str]) -> Self {
        Self(members.iter().map(|&member| member.to_owned()).collect())
    }

    /// Parses a name, or a pointer, which begins with a slash.
    fn parse(text: &str) -> Result<Self, String> {
        let Some(pointer) = text.strip_prefix('/') else {
            return if text.is_empty() {
                Err("a claim in match has no name".into())
            } else {
                Ok(Self::of(text))
            };
        };
        let unescaped = |part: &str| {
            let is_escape = |rest: &str| rest.starts_with(['0', '1']);
            let is_sound = part.split('~').skip(1).all(is_escape);
            is_sound.then(|| part.replace("~1", "/").replace("~0", "~"))
        };
        let parts: Option<Vec<_>> = pointer.split('/').map(unescaped).collect();
        parts.map(Self).ok_or_else(|| {
            format!("{text:?} in match is not a JSON Pointer: write ~0 for ~, and ~1 for /")
        })
    }

    /// Returns the names of the claim and of the members in it.
    pub fn members(&self) -> &[String] {
        &self.0
    }

    /// Returns the value that `claims` have there.
    pub fn find<'c>(&self, claims: &'c Map<String, Value>) -> Option<&'c Value> {
        let (first, rest) = self.0.split_first()?;
        let value = rest.iter().try_fold(claims.get(first)?, |value, name| value.get(name));
        value.filter(|value| !value.is_null())
    }
}

/// Writes a nested path as the pointer.
impl fmt::Display for ClaimPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [name] if !name.starts_with('/') => f.write_str(name),
            names => names
                .iter()
                .try_for_each(|name| write!(f, "/{}", name.replace('~', "~0").replace('/', "~1"))),
        }
    }
}

/// The clauses of a rule, all of which a token must meet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "BTreeMap<String, AcceptedValues>")]
pub struct Clauses(BTreeMap<ClaimPath, AcceptedValues>);

impl Clauses {
    /// Returns the values that are accepted for the claim at `path`, if a clause names it.
    pub fn get(&self, path: &ClaimPath) -> Option<&AcceptedValues> {
        self.0.get(path)
    }

    /// Returns the clauses.
    pub fn iter(&self) -> impl Iterator<Item = (&ClaimPath, &AcceptedValues)> {
        self.0.iter()
    }

    /// Reports whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns these, and for each claim that none of them names the values in `defaults`.
    #[must_use]
    pub fn with_defaults(
        &self,
        defaults: impl IntoIterator<Item = (ClaimPath, AcceptedValues)>,
    ) -> Self {
        let mut clauses: BTreeMap<_, _> = defaults.into_iter().collect();
        clauses.extend(self.0.clone());
        Self(clauses)
    }

    /// Reports whether every token that meets `other` meets these.
    pub fn cover(&self, other: &Self) -> bool {
        self.0
            .iter()
            .all(|(path, values)| other.get(path).is_some_and(|others| values.cover(others)))
    }

    /// Reports whether no token meets both these and `other`.
    pub fn exclude(&self, other: &Self) -> bool {
        self.0
            .iter()
            .any(|(path, values)| other.get(path).is_some_and(|others| !values.overlap(others)))
    }
}

impl TryFrom<BTreeMap<String, AcceptedValues>> for Clauses {
    type Error = String;

    fn try_from(given: BTreeMap<String, AcceptedValues>) -> Result<Self, String> {
        let mut clauses = BTreeMap::new();
        for (name, values) in given {
            let path = ClaimPath::parse(&name)?;
            if let [claim] = path.members()
                && CHECKED_ANYWAY.contains(&claim.as_str())
            {
                return Err(format!(
                    "match names {claim}, which is checked anyway: remove it. issuer and audience \
                     are members of the rule"
                ));
            }
            if clauses.insert(path, values).is_some() {
                return Err(format!("match names the claim {name:?} twice"));
            }
        }
        Ok(Self(clauses))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn find(path: &str, claims: &Value) -> Option<Value> {
        let claims = claims.as_object().unwrap();
        ClaimPath::parse(path).unwrap().find(claims).cloned()
    }

    #[test]
    fn a_pointer_finds_nested_claims_and_a_name_only_its_own() {
        let claims = json!({
            "a": {"b": {"c": 1}, "list": ["x"]}, "a/b": 2, "https://sts.amazonaws.com/": {"org_id": "o"},
            "kubernetes.io": {"namespace": "prod"}, "m~n": 3, "none": null,
        });
        for (path, value) in [
            ("/a/b/c", json!(1)),
            ("a/b", json!(2)),
            ("/a~1b", json!(2)),
            ("/m~0n", json!(3)),
            ("/https:~1~1sts.amazonaws.com~1/org_id", json!("o")),
            ("/kubernetes.io/namespace", json!("prod")),
        ] {
            assert_eq!(find(path, &claims), Some(value), "{path}");
            assert_eq!(
                ClaimPath::parse(&ClaimPath::parse(path).unwrap().to_string()),
                ClaimPath::parse(path)
            );
        }
        for absent in ["b", "/b", "/a/x", "/a/b/c/d", "/a/list/0", "/none", "/", "a.b"] {
            assert_eq!(find(absent, &claims), None, "{absent}");
        }
    }

    #[test]
    fn clauses_that_would_be_ignored_are_refused() {
        for (clauses, sentence) in [
            (json!({"iss": "a"}), "match names iss, which is checked anyway"),
            (json!({"/aud": "a"}), "match names aud, which is checked anyway"),
            (json!({"/sub": "a", "sub": "b"}), "match names the claim \"sub\" twice"),
            (json!({"": "a"}), "a claim in match has no name"),
            (json!({"/a~b": "a"}), "\"/a~b\" in match is not a JSON Pointer"),
        ] {
            let error = serde_json::from_value::<Clauses>(clauses).unwrap_err().to_string();
            assert!(error.starts_with(sentence), "{error}");
        }
    }
}
