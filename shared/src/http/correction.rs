//! What is wrong with a path that is no route's: its spelling, or an action that another kind of
//! record has.

use super::route::{ROUTES, methods};

/// How to correct a path that is no route's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Correction {
    /// `/v1` is followed by what should follow `/v1/auth`.
    AuthSegmentMissing,
    /// The path has letters in upper case.
    LowerCase,
    /// The record has another action for the purpose, or none.
    OtherAction(&'static OtherAction),
    /// The path lacks this beginning.
    PrefixMissing(&'static str),
    /// This route is the most similar one.
    Similar(&'static str),
    /// The path ends with a slash too many.
    TrailingSlash,
}

/// What to use instead of an action that only other kinds of records have.
#[derive(Debug, PartialEq, Eq)]
pub struct OtherAction {
    records: &'static str,
    actions: &'static [&'static str],
    /// What to do, up to the name of the route.
    pub sentence: &'static str,
    /// The path to use, whose method is POST, if there is one.
    pub path: Option<&'static str>,
}

const USER_ID_IN_BODY: &str = "send the user_id as JSON to";

static OTHER_ACTIONS: [OtherAction; 7] = [
    OtherAction {
        records: "agents",
        actions: &["renew", "rotate"],
        sentence: "an agent gets a new secret by",
        path: Some("/v1/agents/{id}/secret"),
    },
    OtherAction {
        records: "keys",
        actions: &["renew", "secret"],
        sentence: "a key gets a new secret by",
        path: Some("/v1/keys/{id}/rotate"),
    },
    OtherAction {
        records: "runners",
        actions: &["renew", "rotate", "secret"],
        sentence: "a runner gets a new token by",
        path: Some("/v1/runners/{id}/token"),
    },
    OtherAction {
        records: "services",
        actions: &["renew", "rotate", "secret"],
        sentence: "a service keeps its key, so create another service, and delete this one",
        path: None,
    },
    OtherAction {
        records: "users",
        actions: &["disable"],
        sentence: USER_ID_IN_BODY,
        path: Some("/v1/users/disable"),
    },
    OtherAction {
        records: "users",
        actions: &["enable"],
        sentence: USER_ID_IN_BODY,
        path: Some("/v1/users/enable"),
    },
    OtherAction {
        records: "users",
        actions: &["sign-out"],
        sentence: USER_ID_IN_BODY,
        path: Some("/v1/users/sign-out"),
    },
];

/// Returns how to correct a path that is no route's, if that can be seen.
pub fn correction(path: &str) -> Option<Correction> {
    let is_known = |path: &str| methods(path).is_some();
    let rest = path.strip_prefix("/v1/");
    if is_known(path.trim_end_matches('/')) {
        Some(Correction::TrailingSlash)
    } else if is_known(&path.to_ascii_lowercase()) {
        Some(Correction::LowerCase)
    } else if let Some(prefix) =
        ["/v1", "/v1/auth"].into_iter().find(|prefix| is_known(&format!("{prefix}{path}")))
    {
        Some(Correction::PrefixMissing(prefix))
    } else if rest.is_some_and(|rest| is_known(&format!("/v1/auth/{rest}"))) {
        Some(Correction::AuthSegmentMissing)
    } else {
        other_action(path)
            .map(Correction::OtherAction)
            .or_else(|| similar(path).map(Correction::Similar))
    }
}

fn other_action(path: &str) -> Option<&'static OtherAction> {
    let (records, rest) = path.strip_prefix("/v1/")?.split_once('/')?;
    let (_, action) = rest.split_once('/')?;
    OTHER_ACTIONS.iter().find(|other| other.records == records && other.actions.contains(&action))
}

/// Segments with which the paths of other services, and ours, begin.
const FIRST_SEGMENTS: [&str; 7] = ["api", "auth", "oauth", "oauth2", "v1", "v2", "v3"];
/// The most letters that are wrong in a similar path.
const MOST_WRONG: usize = 2;

/// Returns the path of the route for programs that is most similar to `path`, if one is.
fn similar(path: &str) -> Option<&'static str> {
    let given = significant(path);
    let is_for_programs = |known: &&str| known.starts_with("/v1/") || *known == "/health";
    let known = ROUTES.iter().map(|(known, _)| *known).filter(is_for_programs);
    known
        .filter_map(|known| Some((difference(&significant(known), &given)?, known)))
        .filter(|(wrong, _)| *wrong <= MOST_WRONG)
        .min()
        .map(|(_, known)| known)
}

/// Returns the segments that name what a path is about.
fn significant(path: &str) -> Vec<&str> {
    let segments = path.split('/').filter(|segment| !segment.is_empty());
    segments.skip_while(|segment| FIRST_SEGMENTS.contains(segment)).collect()
}

/// Returns how many letters are wrong in `given`; `None` if it is not similar.
fn difference(known: &[&str], given: &[&str]) -> Option<usize> {
    if known.len() != given.len() || known.is_empty() {
        return None;
    }
    let pairs = known.iter().zip(given).filter(|(known, _)| !known.starts_with('{'));
    pairs.map(|(known, given)| letters_wrong(known, given)).sum()
}

/// Returns how many letters have to be added, removed or replaced to make `known` of `given`;
/// `None` if most of them.
fn letters_wrong(known: &str, given: &str) -> Option<usize> {
    if given.len() > 2 * known.len() {
        return None;
    }
    let given: Vec<_> = given.bytes().collect();
    let mut row: Vec<usize> = (0..=given.len()).collect();
    for (at, letter) in known.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], at + 1);
        for (column, other) in given.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row.last().copied().filter(|wrong| 2 * wrong < known.len())
}

#[cfg(test)]
mod tests {
    use super::{super::route::has_method, OTHER_ACTIONS};

    #[test]
    fn every_route_in_a_correction_exists() {
        for path in OTHER_ACTIONS.iter().filter_map(|other| other.path) {
            assert!(has_method(path, "POST"), "{path}");
        }
    }

    #[test]
    fn no_correction_is_for_an_action_that_exists() {
        for other in &OTHER_ACTIONS {
            for action in other.actions {
                let path = format!("/v1/{}/{{id}}/{action}", other.records);
                assert!(!has_method(&path, "POST"), "{path}");
            }
        }
    }
}
