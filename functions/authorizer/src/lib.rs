//! The Lambda authorizer, for HTTP APIs (payload 2.0) and REST APIs (REQUEST).
//!
//! Not authenticated is the error `Unauthorized`, exactly: API Gateway makes a 401 of it. Not allowed is a Deny: 403. Our
//! own failure is any other error: 500, which is not cached, so that nobody drops a good credential for it.

use lambda_runtime::Error as LambdaError;
use postern::{
    App, Error, Fault, Refusal, authn,
    config::RouteAuth,
    policy::{Question, Verdict},
    telemetry,
};
use serde_json::Value;
use tracing::Instrument as _;

/// Answers one event of an authorizer.
///
/// # Errors
/// `Unauthorized` for an absent or bad credential; `internal_error` for a failure of ours.
pub async fn handle(app: &App, event: Value) -> Result<Value, LambdaError> {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let span =
        telemetry::request_span(text("/requestContext/requestId"), text("/requestContext/http/method"), "authorizer");
    async {
        let question = match Question::parse(&event, app.config.authorizer_answer) {
            Ok(Ok(question)) => question,
            Ok(Err(refusal)) => return Err(unauthorized(refusal)),
            Err(fault) => return Err(failed(&fault)),
        };
        match decide(app, &question).await {
            Ok(verdict) => {
                telemetry::decided(&verdict);
                Ok(question.answer(app, &verdict))
            }
            Err(Error::Refused(refusal) | Error::Explained(refusal, _)) => Err(unauthorized(refusal)),
            Err(Error::Failed(fault)) => Err(failed(&fault)),
        }
    }
    .instrument(span)
    .await
}

async fn decide(app: &App, question: &Question) -> Result<Verdict, Error> {
    let rules = match question.rules(&app.config.routes) {
        Ok(rules) => rules,
        Err(refusal) => return Ok(Verdict::Forbidden(None, refusal)),
    };
    if rules.iter().all(|rule| rule.is_some_and(|rule| rule.auth == RouteAuth::None)) {
        return Ok(Verdict::Open);
    }
    let principal = authn::authenticate(app, question).await?;
    let is_admitted = rules.into_iter().flatten().all(|rule| principal.scopes.cover_all(&rule.scopes));
    Ok(if is_admitted {
        Verdict::Allowed(principal)
    } else {
        Verdict::Forbidden(Some(principal), Refusal::ScopeInsufficient)
    })
}

fn unauthorized(refusal: Refusal) -> LambdaError {
    telemetry::refused(401, refusal.public().code, refusal);
    "Unauthorized".into()
}

fn failed(fault: &Fault) -> LambdaError {
    telemetry::failed(500, fault);
    fault.public().code.into()
}
