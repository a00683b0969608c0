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

/// Returns the methods of `path`, if it is one of our paths.
pub fn methods(path: &str) -> Option<Vec<&'static str>> {
    let found = TABLE.methods.at(path).ok()?;
    Some(found.value.iter().copied().collect())
}

/// Reports whether `path` has this method.
pub fn has_method(path: &str, method: &str) -> bool {
    TABLE.methods.at(path).is_ok_and(|found| found.value.contains(method))
}

/// Returns the path of the route for programs that corresponds to `path`, which is that of a page
/// or lacks its first segments: `/v1/auth/login` for `/login`.
pub fn for_programs(path: &str) -> Option<String> {
    let below = path.strip_prefix("/v1").filter(|rest| rest.starts_with('/')).unwrap_or(path);
    let candidates = [format!("/v1{below}"), format!("/v1/auth{below}")];
    candidates.into_iter().find(|candidate| candidate != path && methods(candidate).is_some())
}

/// Returns the methods of `path`, if it is a path of its own that also fits the pattern of the
/// route `key`, which a gateway matches if the path does not have the method:
/// `/v1/runners/heartbeat` for `GET /v1/runners/{id}`.
pub fn methods_instead_of(key: &str, path: &str) -> Option<Vec<&'static str>> {
    let pattern =
        key.split_once(' ').map(|(_, pattern)| pattern).filter(|one| one.contains('{'))?;
    let is_static = path != pattern && ROUTES.iter().any(|(known, _)| *known == path);
    if is_static { methods(path) } else { None }
}

/// Where documents of an issuer are (RFC 8615).
const WELL_KNOWN: &str = "/.well-known/";
/// The documents that RFC 8414 §3.1 and §5 find by the path of the issuer after their own.
const METADATA: [&str; 2] =
    ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"];

/// Returns the path of the route for a document of an issuer that has a path, if `path` is where
/// clients look for it: with the issuer's path after that of the metadata (RFC 8414 §3.1), or
/// before that of any document (OpenID Connect Discovery §4), where the gateway does not remove it.
pub fn of_issuer_with_path<'p>(path: &'p str, issuer_path: &str) -> Option<&'p str> {
    if issuer_path.is_empty() {
        return None;
    }
    let before = path.strip_prefix(issuer_path).filter(|rest| rest.starts_with(WELL_KNOWN));
    let after = path.strip_suffix(issuer_path).filter(|rest| METADATA.contains(rest));
    before.or(after)
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
