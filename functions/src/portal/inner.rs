//! Asking our own routes in a visitor's name.

use postern::{
    App, Error, Refusal,
    http::Request,
    runtime::ingress::{self, Inner},
};
use serde_json::Value;

use crate::{agents, cli_tokens, keys, runners, services};

/// The JSON that `inner` answers.
pub(crate) async fn ask(app: &App, request: &Request, inner: Inner<'_>) -> Result<Value, Error> {
    let inner_request = ingress::within(app, request, inner)?;
    let noun = inner
        .path
        .trim_start_matches("/v1/")
        .trim_start_matches("auth/")
        .split('/')
        .next()
        .unwrap_or_default();
    let answer = match noun {
        "keys" => Box::pin(keys::handle(app, &inner_request)).await,
        "cli-tokens" => Box::pin(cli_tokens::handle(app, &inner_request)).await,
        "agents" => Box::pin(agents::handle(app, &inner_request)).await,
        "services" => Box::pin(services::handle(app, &inner_request)).await,
        "runners" => Box::pin(runners::handle(app, &inner_request)).await,
        _ => Err(Refusal::RouteUnknown.into()),
    };
    Ok(answer?.value())
}
