//! `postern-local explain`: why a request was answered as it was, from the lines of its log.

use std::fmt::Display;

use postern::{Refusal, telemetry::METRICS};
use serde_json::{Map, Value};

use crate::Error;

/// A line of the log.
type Line = Map<String, Value>;

/// Explains a request by the lines of a log, one JSON object each. Text that is not JSON, such as
/// the lines of the Lambda runtime, is skipped.
///
/// # Errors
/// [`Error::Invalid`] if the log does not contain the request; `searched` says where it is from.
pub fn explain(request_id: &str, log: &str, searched: &dyn Display) -> Result<String, Error> {
    let is_of_request = |line: &Line| text(line, "request_id") == Some(request_id);
    let parsed = log.lines().filter_map(|line| serde_json::from_str(line).ok());
    let lines: Vec<Line> = parsed.filter(is_of_request).collect();
    if lines.is_empty() {
        return Err(Error::Invalid(format!(
            "{searched} has no request with this id: use the request_id of an error, or the id at \
             the end of a line of the log"
        )));
    }
    let (answers, events): (Vec<&Line>, Vec<&Line>) =
        lines.iter().partition(|line| line.contains_key("duration_ms"));
    let mut page = String::new();
    for line in answers {
        write_answer(&mut page, request_id, line);
    }
    for line in events {
        write_event(&mut page, line);
    }
    Ok(page)
}

/// Writes what was answered, to whom, and why.
fn write_answer(page: &mut String, request_id: &str, line: &Line) {
    let outcome = match text(line, "decision") {
        Some("deny") => "denied by the authorizer",
        Some("allow") => "allowed by the authorizer",
        Some("open") => "allowed by the authorizer, as nobody has to be authenticated",
        _ => text(line, "message").unwrap_or("logged"),
    };
    paragraph(page, &format!("The request {request_id} was {outcome}."));
    row(page, "time", text(line, "timestamp"));
    row(page, "function", text(line, "function"));
    row(page, "route", text(line, "route"));
    row(page, "method", text(line, "method"));
    row(page, "status", status(line));
    row(page, "caller", Some(caller(line)));
    row(page, "actor", text(line, "actor"));
    row(page, "family", text(line, "family"));
    row(page, "provider", text(line, "provider"));
    row(page, "unmet", text(line, "unmet"));
    row(page, "lacks", text(line, "required_scopes"));
    let cause = text(line, "cause");
    let refusal = Refusal::ALL.iter().find(|refusal| Some(refusal.name()) == cause);
    row(page, "cause", cause);
    row(page, "meaning", refusal.map(|refusal| refusal.meaning()));
    row(page, "answer", refusal.map(|refusal| refusal.public().description));
    row(page, "fault", text(line, "fault"));
    row(page, "because", text(line, "causes"));
    row(page, "took", cost(line));
    row(page, "trace", text(line, "trace_id"));
}

/// Writes another line of the request, with its members.
fn write_event(page: &mut String, line: &Line) {
    paragraph(page, &format!("Meanwhile: {}.", text(line, "message").unwrap_or("an event")));
    let is_shown = |name: &str| {
        !matches!(name, "level" | "message" | "request_id" | "stack" | "_aws")
            && METRICS.iter().all(|(metric, _)| *metric != name)
    };
    for (name, value) in line.iter().filter(|(name, _)| is_shown(name)) {
        row(page, name, Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned)));
    }
}

fn status(line: &Line) -> Option<String> {
    let status = line.get("status").map(Value::to_string);
    let parts: Vec<_> = status.into_iter().chain(text(line, "code").map(str::to_owned)).collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}

fn caller(line: &Line) -> String {
    let Some(user) = text(line, "user_id") else { return "not authenticated".into() };
    let mut caller = user.to_owned();
    for (name, member) in [("with", "credential_id"), ("of", "org_id")] {
        if let Some(value) = text(line, member).filter(|value| *value != user) {
            caller.extend([" ", name, " ", value]);
        }
    }
    caller
}

fn cost(line: &Line) -> Option<String> {
    let number = |name: &str| line.get(name).and_then(Value::as_i64);
    let (duration, calls) = (number("duration_ms")?, number("store_calls")?);
    let unit = if calls == 1 { "call" } else { "calls" };
    Some(format!("{duration} ms, with {calls} {unit} to the store"))
}

fn text<'l>(line: &'l Line, name: &str) -> Option<&'l str> {
    line.get(name).and_then(Value::as_str)
}

fn paragraph(page: &mut String, sentence: &str) {
    if !page.is_empty() {
        page.push('\n');
    }
    page.extend([sentence, "\n"]);
}

fn row(page: &mut String, name: &str, value: Option<impl Display>) {
    if let Some(value) = value {
        page.push_str(&format!("  {name:<10} {value}\n"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::explain;

    #[test]
    fn a_refused_request_is_explained_with_its_cause() {
        let log = [
            json!({"request_id": "r-0", "message": "served", "status": 200, "duration_ms": 1, "store_calls": 1}),
            json!({
                "timestamp": "2026-01-01T00:00:00Z", "level": "INFO", "message": "refused",
                "request_id": "r-1", "method": "GET", "route": "GET /v1/keys/{id}",
                "provider": "api_key", "status": 401, "code": "invalid_token",
                "cause": "ApiKeyWrong", "duration_ms": 2, "store_calls": 1, "Requests": 1,
            }),
        ];
        let log = format!("{}\nnot JSON\n{}\n", log[0], log[1]);
        assert_eq!(
            explain("r-1", &log, &"the log").unwrap(),
            "The request r-1 was refused.\n  \
             time       2026-01-01T00:00:00Z\n  \
             route      GET /v1/keys/{id}\n  \
             method     GET\n  \
             status     401 invalid_token\n  \
             caller     not authenticated\n  \
             provider   api_key\n  \
             cause      ApiKeyWrong\n  \
             meaning    The key exists, but its secret is wrong.\n  \
             answer     The credential is not valid.\n  \
             took       2 ms, with 1 call to the store\n"
        );
    }

    #[test]
    fn the_other_lines_of_a_request_follow() {
        let event = json!({
            "timestamp": "2026-01-01T00:00:00Z", "level": "WARN", "event": "refresh_reused",
            "message": "a spent refresh token was used again", "request_id": "r-1",
            "family": "fam_1", "generation": 3, "Reuse": 1,
        });
        let page = explain("r-1", &event.to_string(), &"the log").unwrap();
        assert_eq!(
            page,
            "Meanwhile: a spent refresh token was used again.\n  \
             event      refresh_reused\n  \
             family     fam_1\n  \
             generation 3\n  \
             timestamp  2026-01-01T00:00:00Z\n"
        );
    }

    #[test]
    fn an_unknown_request_is_an_error_that_names_the_log() {
        let error = explain("r-1", "{\"request_id\":\"r-2\"}\n", &"the log").unwrap_err();
        assert!(error.to_string().starts_with("the log has no request with this id"), "{error}");
    }
}
