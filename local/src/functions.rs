//! The functions that a gateway can invoke, by the name of their binary.

use std::{future::Future, pin::Pin, sync::Arc};

use postern::{App, http::door};
use serde_json::Value;

/// An invocation of an HTTP function: event in, answer out.
pub type Invocation = Pin<Box<dyn Future<Output = Value> + Send>>;
/// A function behind a route.
pub type Invoke = fn(Arc<App>, Value) -> Invocation;

macro_rules! http_functions {
    ($($name:ident),*) => {
        /// Every function that serves routes.
        pub const HTTP: &[(&str, Invoke)] = &[$((
            stringify!($name),
            |app, event| Box::pin(async move { door::serve(&app, event, $name::handle).await }),
        )),*];
    };
}

http_functions!(
    agents,
    cli_tokens,
    discovery,
    download_token,
    downloads,
    heartbeat,
    inspect,
    keys,
    organizations,
    refresh,
    revoke,
    runners,
    service_token,
    services,
    token
);

/// The function named `binary`.
pub fn http(binary: &str) -> Option<Invoke> {
    HTTP.iter().find(|(name, _)| *name == binary).map(|(_, invoke)| *invoke)
}
