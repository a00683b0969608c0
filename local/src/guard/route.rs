//! The routes of an HTTP API, such as `GET /orders/{id}`, `ANY /{proxy+}` and `$default`.

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

/// The route of requests that match no other.
pub(super) const DEFAULT: &str = "$default";

/// Returns the most specific of `routes` that matches a request: literal segments before
/// parameters, those before a greedy parameter, a method before `ANY`, and `$default` last.
pub(super) fn select<'r>(routes: &'r [String], method: &str, path: &str) -> Option<&'r str> {
    let matching = routes.iter().filter(|key| match key.split_once(' ') {
        None => true,
        Some((wanted, pattern)) => {
            (wanted == method || wanted == "ANY") && captures(pattern, path).is_some()
        }
    });
    matching.max_by_key(|key| specificity(key)).map(String::as_str)
}

/// Returns the path parameters of a route, or null if it has none.
pub(super) fn parameters(key: &str, path: &str) -> Value {
    let captured = key.split_once(' ').and_then(|(_, pattern)| captures(pattern, path));
    match captured.filter(|captured| !captured.is_empty()) {
        Some(captured) => Value::Object(captured),
        None => Value::Null,
    }
}

fn captures(pattern: &str, path: &str) -> Option<Map<String, Value>> {
    let mut given = path.strip_prefix('/')?.split('/');
    let mut captured = Map::new();
    for segment in pattern.strip_prefix('/')?.split('/') {
        let name = segment.strip_prefix('{').and_then(|name| name.strip_suffix('}'));
        match name.map(|name| (name, name.strip_suffix('+'))) {
            Some((_, Some(greedy))) => {
                let rest: Vec<_> = given.collect();
                captured.insert(greedy.to_owned(), decoded(&rest.join("/")).into());
                return (!rest.concat().is_empty()).then_some(captured);
            }
            Some((name, None)) => {
                let value = given.next().filter(|value| !value.is_empty())?;
                captured.insert(name.to_owned(), decoded(value).into());
            }
            None => {
                given.next().filter(|given| *given == segment)?;
            }
        }
    }
    given.next().is_none().then_some(captured)
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Orders routes: for each segment, a literal one, a parameter, a greedy one.
fn specificity(key: &str) -> (Vec<u8>, bool) {
    match key.split_once(' ') {
        None => (Vec::new(), false),
        Some((method, path)) => {
            let segments = path.split('/').map(|segment| match segment.strip_suffix('}') {
                Some(greedy) if greedy.ends_with('+') => 1,
                Some(_) => 2,
                None => 3,
            });
            (segments.collect(), method != "ANY")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::select;

    #[test]
    fn the_most_specific_route_is_selected() {
        let routes = [
            "$default",
            "ANY /{proxy+}",
            "GET /orders",
            "GET /orders/{id}",
            "ANY /orders/{id}",
            "GET /orders/new",
        ]
        .map(str::to_owned);
        for (method, path, expected) in [
            ("GET", "/orders", "GET /orders"),
            ("GET", "/orders/new", "GET /orders/new"),
            ("GET", "/orders/7", "GET /orders/{id}"),
            ("POST", "/orders/7", "ANY /orders/{id}"),
            ("GET", "/orders/7/x", "ANY /{proxy+}"),
            ("GET", "/Orders", "ANY /{proxy+}"),
            ("GET", "/", "$default"),
        ] {
            assert_eq!(select(&routes, method, path), Some(expected), "{method} {path}");
        }
        assert_eq!(select(&routes[2..], "POST", "/orders"), None);
    }
}
