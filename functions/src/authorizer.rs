//! The Lambda authorizer: REST APIs (TOKEN and REQUEST), HTTP APIs (payload 1.0 and 2.0), WebSocket APIs; and messages, which a
//! trusted function passes on.
//!
//! Not authenticated is the error `Unauthorized`, exactly: API Gateway makes a 401 of it. Not allowed is a Deny: 403. Our
//! own failure is any other error: 500, which is not cached, so that nobody drops a good credential for it.

use lambda_runtime::Error as LambdaError;
use postern::{
    App, Error, Refusal,
    authn::{self, Message},
    config::RouteAuth,
    policy::{self, Asked, Question, Verdict},
    telemetry,
};
use serde_json::Value;
use tracing::Instrument as _;

/// Answers one event.
///
/// # Errors
/// `Unauthorized` for an absent or bad credential; `internal_error` or `temporarily_unavailable` for a failure of ours.
pub async fn handle(app: &App, event: Value) -> Result<Value, LambdaError> {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let span =
        telemetry::request_span(text("/requestContext/requestId"), text("/requestContext/http/method"), "authorizer");
    let outcome = async {
        match Asked::parse(&event, &app.config) {
            Ok(Ok(Asked::Request(question))) => answer(app, &question).await,
            Ok(Ok(Asked::Message(message))) => answer_message(app, &message).await,
            Ok(Err(refusal)) => Err(refusal.into()),
            Err(fault) => Err(fault.into()),
        }
        .map_err(|error| report(&error))
    };
    telemetry::metered(&app.clock, outcome).instrument(span).await
}

async fn answer(app: &App, question: &Question) -> Result<Value, Error> {
    let verdict = decide(app, question).await?;
    let answer = question.answer(app, &verdict)?; // can still fail: then that is the line
    telemetry::decided(&verdict);
    Ok(answer)
}

async fn decide(app: &App, question: &Question) -> Result<Verdict, Error> {
    let rules = match question.rules(&app.config.routes) {
        Ok(rules) => rules,
        Err(refusal) => return Ok(Verdict::Forbidden(None, refusal)),
    };
    let is_open = rules.iter().all(|rule| rule.is_some_and(|rule| rule.auth == RouteAuth::None));
    if is_open && !question.answers_policy() {
        return Ok(Verdict::Open);
    }
    match authn::authenticate(app, question).await {
        Ok(principal) => {
            let is_admitted = rules.into_iter().flatten().all(|rule| principal.scopes.cover_all(&rule.scopes));
            Ok(if is_admitted {
                Verdict::Allowed(principal)
            } else {
                Verdict::Forbidden(Some(principal), Refusal::ScopeInsufficient)
            })
        }
        // A policy is held against the caller's other requests too: on an open route a good credential still gets its own.
        Err(Error::Refused(_) | Error::Explained(..) | Error::Later(..)) if is_open => Ok(Verdict::Open),
        Err(Error::Refused(refusal)) if refusal.public().status == 403 => Ok(Verdict::Forbidden(None, refusal)),
        Err(error) => Err(error),
    }
}

/// A sender who may not is no error: the function that asks wants a yes or a no.
async fn answer_message(app: &App, message: &Message) -> Result<Value, Error> {
    match authn::authenticate(app, message).await {
        Ok(principal) => {
            let answer = policy::answer_message(Ok(&principal));
            telemetry::decided(&Verdict::Allowed(principal));
            Ok(answer)
        }
        Err(Error::Refused(refusal) | Error::Explained(refusal, _) | Error::Later(refusal, _)) => {
            telemetry::decided(&Verdict::Forbidden(None, refusal));
            Ok(policy::answer_message(Err(refusal)))
        }
        Err(error) => Err(error),
    }
}

/// API Gateway makes a 401 of `Unauthorized`, exactly, and a 500 of everything else.
fn report(error: &Error) -> LambdaError {
    match error {
        Error::Refused(refusal) | Error::Explained(refusal, _) | Error::Later(refusal, _) => {
            telemetry::refused(401, refusal.public().code, *refusal);
            "Unauthorized".into()
        }
        Error::Failed(fault) => {
            telemetry::failed(500, fault);
            fault.public().code.into()
        }
    }
}
