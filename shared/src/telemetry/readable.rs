//! Writes an event as a line for people, in the local program.

use serde_json::{Map, Value};

use super::METRICS;

/// The route in the span of the authorizer, which is not a route of its own: the gateway in front
/// of a protected API reports each request.
pub const AUTHORIZER: &str = "authorizer";

/// The member with the path of a request that matches no route. Only the local program sets it, and
/// only lines for people contain it: a path can contain anything.
pub(super) const SHOWN_PATH: &str = "shown_path";

/// Returns the text of a line; `None` for the authorizer's decisions.
pub(super) fn readable(line: &Map<String, Value>) -> Option<String> {
    let text = |name: &str| line.get(name).and_then(Value::as_str);
    let (status, route) = (line.get("status"), text("route"));
    match (text("level"), status, route) {
        (Some("ERROR"), _, _) | (_, None, None) => Some(event(line)),
        (_, _, Some(AUTHORIZER)) => None,
        (_, Some(status), Some(route)) => Some(request(line, status, route)),
        (_, Some(_), None) | (_, None, Some(_)) => Some(event(line)),
    }
}

/// Returns the line of a request: `401 GET /v1/auth/whoami: auth_required (CredentialMissing), …`.
fn request(line: &Map<String, Value>, status: &Value, route: &str) -> String {
    let text = |name: &str| line.get(name).and_then(Value::as_str);
    let route = match route {
        "$default" => {
            let method = text("method").unwrap_or_default();
            format!("{method} {}", text(SHOWN_PATH).unwrap_or("(no such route)"))
        }
        route => route.to_owned(),
    };
    let outcome = match (text("code"), text("cause")) {
        (Some(code), Some(cause)) => Some(format!("{code} ({cause})")),
        _ => text("user_id").map(str::to_owned),
    };
    let duration = line.get("duration_ms").map(|duration| format!("{duration} ms"));
    let request = text("request_id").map(|id| format!("request {id}"));
    let details: Vec<_> = [outcome, duration, request].into_iter().flatten().collect();
    format!("{status} {route}: {}", details.join(", "))
}

/// Returns the line of any other event: its level, its message, and its members.
fn event(line: &Map<String, Value>) -> String {
    let text = |name: &str| line.get(name).and_then(Value::as_str).unwrap_or_default();
    let mut written = format!("{}: {}", text("level").to_lowercase(), text("message"));
    let is_said = |name: &str| {
        matches!(name, "timestamp" | "level" | "message")
            || name == SHOWN_PATH
            || METRICS.iter().any(|(metric, _)| *metric == name)
    };
    for (name, value) in line.iter().filter(|(name, _)| !is_said(name)) {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        written.extend([" ", name, "=", &value]);
    }
    written
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::readable;

    fn line(members: Value) -> Option<String> {
        let members: Map<String, Value> = serde_json::from_value(members).unwrap();
        readable(&members)
    }

    #[test]
    fn a_request_is_its_status_its_route_and_who_or_why() {
        let mut members = json!({
            "timestamp": "2026-01-01T00:00:00Z", "level": "INFO", "message": "served",
            "request_id": "r-1", "method": "GET", "route": "GET /v1/keys/{id}", "user_id": "ada",
            "status": 200, "duration_ms": 2, "store_calls": 1, "Requests": 1,
        });
        let text = "200 GET /v1/keys/{id}: ada, 2 ms, request r-1";
        assert_eq!(line(members.clone()).as_deref(), Some(text));
        let anonymous = json!({"route": "GET /health", "status": 200, "duration_ms": 0});
        assert_eq!(line(anonymous).as_deref(), Some("200 GET /health: 0 ms"));
        members["status"] = json!(401);
        members["code"] = json!("invalid_token");
        members["cause"] = json!("KeyUnknown");
        let text = "401 GET /v1/keys/{id}: invalid_token (KeyUnknown), 2 ms, request r-1";
        assert_eq!(line(members.clone()).as_deref(), Some(text));
        members["route"] = json!("$default");
        members["code"] = json!("not_found");
        members["cause"] = json!("RouteUnknown");
        let text = "401 GET (no such route): not_found (RouteUnknown), 2 ms, request r-1";
        assert_eq!(line(members.clone()).as_deref(), Some(text));
        members["shown_path"] = json!("/nowhere");
        let text = "401 GET /nowhere: not_found (RouteUnknown), 2 ms, request r-1";
        assert_eq!(line(members.clone()).as_deref(), Some(text));
        members["route"] = json!("authorizer");
        assert_eq!(line(members), None);
    }

    #[test]
    fn any_other_event_has_all_members_but_its_metrics() {
        let members = json!({
            "timestamp": "2026-01-01T00:00:00Z", "level": "WARN",
            "message": "a spent refresh token was used again", "event": "refresh_reused",
            "generation": 3, "Reuse": 1,
        });
        let text = "warn: a spent refresh token was used again event=refresh_reused generation=3";
        assert_eq!(line(members).as_deref(), Some(text));
        let failed = json!({
            "level": "ERROR", "message": "failed", "route": "authorizer", "status": 500,
            "fault": "the store did not respond", "Faults": 1,
        });
        let text = "error: failed fault=the store did not respond route=authorizer status=500";
        assert_eq!(line(failed).as_deref(), Some(text));
    }
}
