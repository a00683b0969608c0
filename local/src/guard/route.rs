//! The routes of an HTTP API, such as `GET /orders/{id}`, `ANY /{proxy+}` and `$default`.

use http::Method;
use percent_encoding::percent_decode_str;
use postern::core::method::{self, METHODS};
use serde_json::{Map, Value};

/// The route of requests that match no other.
pub(super) const DEFAULT: &str = "$default";

/// Parses a route, such as `GET /orders/{id}` or `$default`.
///
/// # Errors
/// A message if it is not one.
pub fn parse(text: &str) -> Result<String, String> {
    if text == DEFAULT {
        return Ok(text.to_owned());
    }
    let Some((method, path)) = text.split_once(' ') else {
        let path = if text.starts_with('/') { text } else { "/orders/{id}" };
        return Err(format!(
            "expected a method and a path, such as \"GET {path}\", \"ANY {path}\" for every method, or {DEFAULT}"
        ));
    };
    if method != "ANY" && method::known(method).is_none() {
        let methods = METHODS.each_ref().map(Method::as_str).join(", ");
        return Err(format!("the method must be ANY, {methods}, in upper case"));
    }
    if path.contains('*') || path.split('/').any(|segment| segment.starts_with(':')) {
        return Err("* and :name are not special in a route: write {name} for a segment, and {proxy+} at the end for the rest".into());
    }
    let segments: Vec<_> =
        path.strip_prefix('/').map(|rest| rest.split('/').collect()).unwrap_or_default();
    let is_sound = |(at, segment): (usize, &&str)| match segment.strip_prefix('{') {
        None => !segment.contains(['{', '}', ' ', '?', '#']),
        Some(name) => name.strip_suffix('}').is_some_and(|name| {
            let greedy = name.strip_suffix('+');
            let is_last = at + 1 == segments.len();
            let name = greedy.unwrap_or(name);
            let is_word =
                |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
            (greedy.is_none() || is_last) && !name.is_empty() && name.bytes().all(is_word)
        }),
    };
    if !segments.is_empty() && segments.iter().enumerate().all(is_sound) {
        Ok(text.to_owned())
    } else {
        Err("the path must begin with / and can have parameters, such as /orders/{id}, and at its end /{proxy+}".into())
    }
}

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

/// Returns the method and the path of a request that one of `routes` matches, by GET if possible.
pub fn example(routes: &[String]) -> (&str, String) {
    let readable = |key: &&String| key.starts_with("GET ") || key.starts_with("ANY ");
    let key = if routes.iter().any(|key| key == DEFAULT) {
        None
    } else {
        routes.iter().find(readable).or(routes.first())
    };
    match key.and_then(|key| key.split_once(' ')) {
        None => ("GET", "/".into()),
        Some((method, path)) => {
            let segments =
                path.split('/').map(|part| if part.starts_with('{') { "1" } else { part });
            let method = if method == "ANY" { "GET" } else { method };
            (method, segments.collect::<Vec<_>>().join("/"))
        }
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
    use super::{parse, select};

    #[test]
    fn a_route_has_a_method_in_upper_case_and_a_path() {
        for good in ["$default", "GET /", "ANY /{proxy+}", "GET /orders/{id}/items", "PUT /a.b"] {
            assert_eq!(parse(good).as_deref(), Ok(good));
        }
        for (wrong, sentence) in [
            ("/orders", "expected a method and a path, such as \"GET /orders\""),
            ("orders", "expected a method and a path, such as \"GET /orders/{id}\""),
            ("", "expected a method and a path"),
            ("default", "or $default"),
            ("get /orders", "in upper case"),
            ("GET,POST /orders", "the method must be ANY, DELETE, GET"),
            ("GET orders", "the path must begin with /"),
            ("GET /orders/{id", "the path must begin with / and can have parameters"),
            ("GET /{proxy+}/x", "the path must begin with / and can have parameters"),
            ("GET  /orders", "the path must begin with /"),
            ("GET /orders/*", "write {name} for a segment, and {proxy+} at the end"),
            ("GET /orders/:id", "write {name} for a segment, and {proxy+} at the end"),
            ("GET /orders?x", "the path must begin with /"),
        ] {
            let message = parse(wrong).unwrap_err();
            assert!(message.contains(sentence), "{wrong}: {message}");
        }
    }

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
