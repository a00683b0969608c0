//! The route table, for requests whose route the gateway has not matched.
//!
//! An HTTP API uses the route key `$default` for a request that matches no route. Function URLs and
//! `cargo lambda watch` use it for every request.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use matchit::{Params, Router};
use percent_encoding::percent_decode_str;

/// Path and method of every route of `template.yaml`, sorted.
pub const ROUTES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/routes.rs"));

/// A path parameter: its name, and its value without escapes.
pub type Parameter = (String, String);

static TABLE: LazyLock<Table> = LazyLock::new(Table::new);

/// The patterns of each method, and the methods of each pattern.
#[derive(Default)]
struct Table {
    by_method: BTreeMap<&'static str, Router<&'static str>>,
    methods: Router<BTreeSet<&'static str>>,
}

impl Table {
    fn new() -> Self {
        let mut table = Self::default();
        let mut by_path = BTreeMap::<_, BTreeSet<_>>::new();
        for (path, method) in ROUTES {
            by_path.entry(*path).or_default().insert(*method);
            // A pattern that the router rejects matches nothing; a test looks up every route.
            drop(table.by_method.entry(method).or_default().insert(*path, *path));
        }
        for (path, methods) in by_path {
            drop(table.methods.insert(path, methods));
        }
        table
    }
}

/// Returns the methods of `path` as an `Allow` header lists them, if it is one of our paths.
pub fn methods(path: &str) -> Option<String> {
    let found = TABLE.methods.at(path).ok()?;
    Some(found.value.iter().copied().collect::<Vec<_>>().join(", "))
}

/// Returns the path of the route for programs that corresponds to `path`, which is that of a page
/// or lacks its first segments: `/v1/auth/login` for `/login`.
pub fn for_programs(path: &str) -> Option<String> {
    let below = path.strip_prefix("/v1").filter(|rest| rest.starts_with('/')).unwrap_or(path);
    let candidates = [format!("/v1{below}"), format!("/v1/auth{below}")];
    candidates.into_iter().find(|candidate| candidate != path && methods(candidate).is_some())
}

/// Returns the methods of `path`, if it is a path of its own that also fits the pattern of the
/// route
/// `key`, which a gateway matches if the path does not have the method: `/v1/runners/heartbeat` for
/// `GET /v1/runners/{id}`.
pub fn methods_instead_of(key: &str, path: &str) -> Option<String> {
    let pattern =
        key.split_once(' ').map(|(_, pattern)| pattern).filter(|one| one.contains('{'))?;
    let is_static = path != pattern && ROUTES.iter().any(|(known, _)| *known == path);
    if is_static { methods(path) } else { None }
}

/// Segments with which the paths of other services, and ours, begin.
const FIRST_SEGMENTS: [&str; 7] = ["api", "auth", "oauth", "oauth2", "v1", "v2", "v3"];
/// The most letters that are wrong in a similar path.
const MOST_WRONG: usize = 2;

/// Returns the path of the route for programs that is most similar to `path`, if one is.
pub fn similar(path: &str) -> Option<&'static str> {
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

/// Returns the key of the route that matches a request, such as `GET /v1/keys/{id}`, and its path
/// parameters.
pub fn match_route(method: &str, path: &str) -> Option<(String, Vec<Parameter>)> {
    let found = TABLE.by_method.get(method)?.at(path).ok()?;
    Some((format!("{method} {}", found.value), parameters(&found.params)))
}

fn parameters(params: &Params<'_, '_>) -> Vec<Parameter> {
    let decode = |value| percent_decode_str(value).decode_utf8_lossy().into_owned();
    params.iter().map(|(name, value)| (name.to_owned(), decode(value))).collect()
}
