//! Our routes, for where no gateway has matched them: an HTTP API says `$default` of what no route takes, and function URLs and
//! `cargo lambda watch` say it of everything.

use percent_encoding::percent_decode_str;

/// Every path of the template, and its methods.
pub const ROUTES: [(&str, &str); 57] = [
    ("/health", "GET"),
    ("/.well-known/jwks.json", "GET"),
    ("/v1/organizations", "POST"),
    ("/v1/organizations/current", "GET"),
    ("/v1/keys", "GET, POST"),
    ("/v1/keys/{id}", "DELETE, GET"),
    ("/v1/keys/{id}/rotate", "POST"),
    ("/v1/keys/revoke-leaked", "POST"),
    ("/v1/agents", "GET, POST"),
    ("/v1/agents/{id}", "DELETE, GET"),
    ("/v1/agents/{id}/secret", "POST"),
    ("/v1/auth/cli-tokens", "GET, POST"),
    ("/v1/auth/cli-tokens/{id}", "DELETE"),
    ("/v1/auth/download-token", "POST"),
    ("/v1/auth/service-token", "POST"),
    ("/v1/auth/token", "POST"),
    ("/v1/auth/refresh", "POST"),
    ("/v1/auth/revoke", "POST"),
    ("/v1/auth/whoami", "GET"),
    ("/v1/runners", "GET, POST"),
    ("/v1/runners/{id}", "DELETE, GET"),
    ("/v1/runners/{id}/install.sh", "GET"),
    ("/v1/runners/{id}/token", "POST"),
    ("/v1/runners/heartbeat", "POST"),
    ("/v1/services", "GET, POST"),
    ("/v1/services/{id}", "DELETE"),
    ("/v1/auth/device", "POST"),
    ("/v1/auth/github", "GET"),
    ("/v1/auth/github/callback", "GET"),
    ("/v1/auth/login", "POST"),
    ("/v1/auth/logout", "POST"),
    ("/v1/auth/oidc/callback", "GET"),
    ("/v1/auth/oidc/start", "GET"),
    ("/v1/users", "GET, POST"),
    ("/v1/users/{id}", "DELETE, GET"),
    ("/", "GET"),
    ("/agents", "GET, POST"),
    ("/agents/{id}/delete", "POST"),
    ("/agents/{id}/renew", "POST"),
    ("/assets/{name}", "GET"),
    ("/device", "GET, POST"),
    ("/devices", "GET"),
    ("/devices/{id}/end", "POST"),
    ("/keys", "GET, POST"),
    ("/keys/{id}/delete", "POST"),
    ("/keys/{id}/renew", "POST"),
    ("/login", "GET, POST"),
    ("/logout", "POST"),
    ("/runners", "GET, POST"),
    ("/runners/{id}/delete", "POST"),
    ("/runners/{id}/renew", "POST"),
    ("/services", "GET, POST"),
    ("/services/{id}/delete", "POST"),
    ("/sessions", "GET"),
    ("/sessions/{id}/end", "POST"),
    ("/tokens", "GET, POST"),
    ("/tokens/{id}/delete", "POST"),
];

/// A path parameter: its name, and its value without escapes.
pub type Parameter = (String, String);

/// The methods of `path`, where it is one of ours: by these a wrong method is told from a wrong path.
pub fn methods(path: &str) -> Option<&'static str> {
    best(path, |_| true).map(|(_, methods, _)| methods)
}

/// The route that takes a request, and its parameters.
pub fn find(method: &str, path: &str) -> Option<(String, Vec<Parameter>)> {
    let has_method = |methods: &str| methods.split(", ").any(|known| known == method);
    best(path, has_method)
        .map(|(pattern, _, parameters)| (format!("{method} {pattern}"), parameters))
}

/// What is literal goes before what is a parameter.
fn best(
    path: &str,
    is_wanted: impl Fn(&str) -> bool,
) -> Option<(&'static str, &'static str, Vec<Parameter>)> {
    ROUTES
        .iter()
        .filter(|(_, methods)| is_wanted(methods))
        .filter_map(|(pattern, methods)| Some((*pattern, *methods, parameters(pattern, path)?)))
        .min_by_key(|(_, _, parameters)| parameters.len())
}

/// The parameters of `path`, if `pattern` takes it: `{name}` takes one segment that is not empty.
pub fn parameters(pattern: &str, path: &str) -> Option<Vec<Parameter>> {
    let (mut pattern, mut path) = (pattern.split('/'), path.split('/'));
    let mut parameters = Vec::new();
    loop {
        match (pattern.next(), path.next()) {
            (None, None) => return Some(parameters),
            (Some(literal), Some(segment)) if literal == segment => {}
            (Some(name), Some(segment)) if !segment.is_empty() => {
                let name = name.strip_prefix('{')?.strip_suffix('}')?;
                parameters.push((
                    name.to_owned(),
                    percent_decode_str(segment).decode_utf8_lossy().into_owned(),
                ));
            }
            _ => return None,
        }
    }
}
