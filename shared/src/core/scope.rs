//! Scopes and resources: what a credential is allowed to do, and to which resources.
//!
//! A scope is `part(:part)*`, where a part is `[a-z0-9_-]+` or `*`. The scope `*` covers every
//! scope, a final `*` covers everything that follows (`runners:*` covers `runners:read`), and any
//! other `*` covers one part.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{Deserialize, Serialize};

use crate::core::{
    error::{Error, Refusal, SCOPE_RULE},
    text,
};

/// The maximum number of scopes of one credential, so that a token fits into the 8 KB of headers
/// that every gateway accepts.
const MOST_SCOPES: usize = 64;
/// The maximum length of one scope, in characters.
const LONGEST_SCOPE: usize = 64;
/// The maximum length of all scopes of one credential, space-joined, in characters.
const LONGEST_LIST: usize = 2048;
/// The maximum number of entries in resource lists, and the maximum length of an entry.
const MOST_RESOURCES: usize = 100;
const LONGEST_RESOURCE: usize = 200;

/// A well-formed scope.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Scope(String);

impl Scope {
    /// Reports whether this scope covers `wanted`.
    pub fn covers(&self, wanted: &Scope) -> bool {
        let mut wanted = wanted.0.split(':');
        let mut held = self.0.split(':').peekable();
        while let Some(part) = held.next() {
            match (part, wanted.next()) {
                (_, None) => return false,
                ("*", Some(_)) if held.peek().is_none() => return true,
                ("*", Some(_)) => {}
                (part, Some(other)) if part == other => {}
                _ => return false,
            }
        }
        wanted.next().is_none()
    }
}

impl Scope {
    /// Returns a scope that is written in our own code.
    pub(super) fn from_static(text: &'static str) -> Self {
        Self(text.to_owned())
    }
}

impl TryFrom<String> for Scope {
    type Error = Refusal;

    fn try_from(text: String) -> Result<Self, Refusal> {
        let letter = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-'
        };
        let part = |part: &str| part == "*" || (!part.is_empty() && part.bytes().all(letter));
        if text.len() <= LONGEST_SCOPE && text.split(':').all(part) {
            Ok(Self(text))
        } else {
            Err(Refusal::ScopeMalformed)
        }
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.0
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The scopes of one credential, in their original order, without duplicates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<Scope>")]
pub struct Scopes(Vec<Scope>);

impl Scopes {
    /// Returns the single scope that covers all others.
    pub fn all() -> Self {
        Self(vec![Scope("*".into())])
    }

    /// Parses the space-joined form of RFC 6749 §3.3.
    ///
    /// # Errors
    /// [`Refusal::ScopeMalformed`], [`Refusal::ScopesTooMany`].
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        text.split(' ')
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect::<Vec<_>>()
            .try_into()
    }

    /// Parses the scopes of a new credential, which needs at least one. The answer says which one
    /// is malformed.
    ///
    /// # Errors
    /// [`Refusal::ScopesEmpty`], [`Refusal::ScopeMalformed`], [`Refusal::ScopesTooMany`].
    pub fn non_empty(given: Vec<String>) -> Result<Self, Error> {
        if given.is_empty() {
            return Err(Refusal::ScopesEmpty.into());
        }
        let is_malformed = |text: &String| Scope::try_from(text.clone()).is_err();
        if let Some(at) = given.iter().position(is_malformed) {
            let detail = format!("scopes[{at}] {SCOPE_RULE}");
            return Err(Error::with_detail(Refusal::ScopeMalformed, detail));
        }
        Ok(given.try_into()?)
    }

    /// Returns the place in `given` of the first well-formed scope that is not covered.
    pub fn first_beyond(&self, given: &[String]) -> Option<usize> {
        let is_covered = |text: &String| {
            Scope::try_from(text.clone()).map_or(true, |wanted| self.allows(&wanted))
        };
        given.iter().position(|text| !is_covered(text))
    }

    /// Returns the well-formed scopes of `given`, up to the limits of one credential.
    pub fn from_well_formed(given: Vec<String>) -> Self {
        let mut sound = Vec::new();
        for scope in given.into_iter().filter_map(|text| Scope::try_from(text).ok()) {
            if !sound.contains(&scope) && sound.len() < MOST_SCOPES {
                sound.push(scope);
            }
        }
        Self(sound)
    }

    /// Reports whether one of the scopes covers `wanted`.
    pub fn allows(&self, wanted: &Scope) -> bool {
        self.0.iter().any(|held| held.covers(wanted))
    }

    /// Returns the place in `wanted` of the first scope that is not covered.
    pub fn first_missing(&self, wanted: &Scopes) -> Option<usize> {
        wanted.0.iter().position(|wanted| !self.allows(wanted))
    }

    /// Reports whether every scope of `wanted` is covered.
    pub fn allows_all(&self, wanted: &Scopes) -> bool {
        wanted.0.iter().all(|wanted| self.allows(wanted))
    }

    /// Returns those that `holder` covers.
    pub fn covered_by(&self, holder: &Scopes) -> Self {
        Self(self.0.iter().filter(|scope| holder.allows(scope)).cloned().collect())
    }

    /// Returns the scopes that both allow: every scope of one that the other covers, as many as
    /// there can be.
    #[must_use]
    pub fn intersection(&self, other: &Scopes) -> Scopes {
        let of_self = self.0.iter().filter(|scope| other.allows(scope));
        let of_other = other.0.iter().filter(|scope| self.allows(scope));
        let mut both: Vec<Scope> = Vec::new();
        for scope in of_self.chain(of_other) {
            if both.len() < MOST_SCOPES && !both.iter().any(|known| known.covers(scope)) {
                both.push(scope.clone());
            }
        }
        Self(both)
    }

    /// Returns these scopes as far as `limit` allows them: as they are, if it allows them all.
    #[must_use]
    pub fn limited_by(&self, limit: &Scopes) -> Scopes {
        if limit.allows_all(self) { self.clone() } else { self.intersection(limit) }
    }

    /// Returns the scopes that are allowed by either. Those beyond the limit are dropped, which
    /// grants less: a user whose consent lacks them is asked again.
    #[must_use]
    pub fn union(&self, other: &Scopes) -> Scopes {
        let mut both = self.0.clone();
        for scope in &other.0 {
            if both.len() < MOST_SCOPES && !both.iter().any(|known| known.covers(scope)) {
                both.push(scope.clone());
            }
        }
        Self(both)
    }

    /// Removes the scope `name`, and reports whether it was present.
    pub fn without(self, name: &str) -> (Self, bool) {
        let before = self.0.len();
        let rest: Vec<_> = self.0.into_iter().filter(|scope| scope.0 != name).collect();
        let found = rest.len() < before;
        (Self(rest), found)
    }

    /// Returns the scopes in order.
    pub fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.0.iter()
    }

    /// Reports whether there are no scopes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl TryFrom<Vec<String>> for Scopes {
    type Error = Refusal;

    fn try_from(given: Vec<String>) -> Result<Self, Refusal> {
        let mut scopes: Vec<Scope> = Vec::with_capacity(given.len().min(MOST_SCOPES));
        for text in given {
            let scope = Scope::try_from(text)?;
            if !scopes.contains(&scope) {
                scopes.push(scope);
            }
            if scopes.len() > MOST_SCOPES {
                return Err(Refusal::ScopesTooMany);
            }
        }
        let length: usize = scopes.iter().map(|scope| scope.0.len() + 1).sum();
        if length > LONGEST_LIST + 1 { Err(Refusal::ScopesTooMany) } else { Ok(Self(scopes)) }
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        let mut all: Vec<Scope> = Vec::new();
        for scope in scopes {
            if !all.contains(&scope) {
                all.push(scope);
            }
        }
        Self(all)
    }
}

impl From<Scopes> for Vec<Scope> {
    fn from(scopes: Scopes) -> Self {
        scopes.0
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, scope) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(" ")?;
            }
            f.write_str(&scope.0)?;
        }
        Ok(())
    }
}

/// The resources that a credential is limited to, by kind: `{"repositories": ["acme/site"]}`. A
/// kind that is not listed is not limited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    try_from = "BTreeMap<String, BTreeSet<String>>",
    into = "BTreeMap<String, BTreeSet<String>>"
)]
pub struct ResourceLimits(BTreeMap<String, BTreeSet<String>>);

impl ResourceLimits {
    /// Limits a credential to these repositories.
    ///
    /// # Errors
    /// [`Refusal::ResourcesMalformed`]
    pub fn repositories(names: BTreeSet<String>) -> Result<Self, Refusal> {
        BTreeMap::from([("repositories".to_owned(), names)]).try_into()
    }

    /// Returns the resources of this kind that the credential is limited to; `None` if it is not
    /// limited.
    pub fn of_kind(&self, kind: &str) -> Option<&BTreeSet<String>> {
        self.0.get(kind)
    }

    /// Returns the first kind of resources that is limited here, and less in `wanted`.
    pub fn first_beyond(&self, wanted: &ResourceLimits) -> Option<&str> {
        let is_covered = |kind: &str, held| {
            wanted.0.get(kind).is_some_and(|wanted: &BTreeSet<String>| wanted.is_subset(held))
        };
        self.0.iter().find(|(kind, held)| !is_covered(kind, held)).map(|(kind, _)| kind.as_str())
    }

    /// Reports whether everything that `wanted` allows is also allowed here.
    pub fn allows(&self, wanted: &ResourceLimits) -> bool {
        self.first_beyond(wanted).is_none()
    }
}

impl TryFrom<BTreeMap<String, BTreeSet<String>>> for ResourceLimits {
    type Error = Refusal;

    fn try_from(given: BTreeMap<String, BTreeSet<String>>) -> Result<Self, Refusal> {
        let kind = |kind: &str| {
            (1..=LONGEST_SCOPE).contains(&kind.len())
                && kind.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
        };
        let entry =
            |entry: &str| (1..=LONGEST_RESOURCE).contains(&entry.len()) && text::is_visible(entry);
        let sound =
            given.iter().all(|(name, entries)| kind(name) && entries.iter().all(|e| entry(e)));
        let count: usize = given.values().map(BTreeSet::len).sum();
        if sound && given.len() <= MOST_RESOURCES && count <= MOST_RESOURCES {
            Ok(Self(given))
        } else {
            Err(Refusal::ResourcesMalformed)
        }
    }
}

impl From<ResourceLimits> for BTreeMap<String, BTreeSet<String>> {
    fn from(resources: ResourceLimits) -> Self {
        resources.0
    }
}
