//! Our routes, for where no gateway has matched them: an HTTP API says `$default` of what no route takes, and function URLs and
//! `cargo lambda watch` say it of everything.

/// Every path of the template, and its methods.
pub const ROUTES: [(&str, &str); 26] = [
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
];

/// The methods of `path`, where it is one of ours: by these a wrong method is told from a wrong path.
pub fn methods(path: &str) -> Option<&'static str> {
    ROUTES
        .iter()
        .filter(|(pattern, _)| parameters(pattern, path).is_some())
        .min_by_key(|(pattern, _)| pattern.contains('{'))
        .map(|(_, methods)| *methods)
}

/// The route that takes a request, and its path parameters. What is literal goes before what is a parameter.
pub fn find<'p>(method: &str, path: &'p str) -> Option<(String, Vec<(&'static str, &'p str)>)> {
    ROUTES
        .iter()
        .filter(|(_, methods)| methods.split(", ").any(|known| known == method))
        .filter_map(|(pattern, _)| Some((pattern, parameters(pattern, path)?)))
        .min_by_key(|(_, parameters)| parameters.len())
        .map(|(pattern, parameters)| (format!("{method} {pattern}"), parameters))
}

/// The parameters of `path`, as they were sent, if `pattern` takes it: `{name}` takes one segment that is not empty.
pub fn parameters<'r, 'p>(pattern: &'r str, path: &'p str) -> Option<Vec<(&'r str, &'p str)>> {
    let (mut pattern, mut path) = (pattern.split('/'), path.split('/'));
    let mut parameters = Vec::new();
    loop {
        match (pattern.next(), path.next()) {
            (None, None) => return Some(parameters),
            (Some(literal), Some(segment)) if literal == segment => {}
            (Some(name), Some(segment)) if !segment.is_empty() => {
                parameters.push((name.strip_prefix('{')?.strip_suffix('}')?, segment));
            }
            _ => return None,
        }
    }
}
