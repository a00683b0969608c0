//! The Lambda functions: a public module for each, with a binary of the same name in `src/bin`.
//!
//! A module parses requests, calls what `postern` offers, and responds. A binary is wiring.

pub mod agents;
pub mod authorizer;
pub mod cli_tokens;
pub mod device;
pub mod discovery;
mod docs;
pub mod download_token;
pub mod downloads;
pub mod events;
pub mod heartbeat;
pub mod inspect;
pub mod introspect;
pub mod keys;
pub mod login;
#[cfg(feature = "openapi")]
pub mod openapi;
pub mod organizations;
pub mod people;
pub mod portal;
pub mod publish_events;
pub mod refresh;
mod register;
pub mod report_expiry;
pub mod revoke;
pub mod rotate_signing_key;
pub mod runners;
pub mod service_token;
pub mod services;
pub mod signin;
pub mod token;
pub mod users;

use std::{pin::Pin, sync::Arc};

use postern::{App, runtime::ingress};
use serde_json::Value;

type Served<'a> = Pin<Box<dyn Future<Output = Value> + Send + 'a>>;

macro_rules! functions {
    (http: $($http:ident)*; events: $($events:ident)*) => {
        /// The names of all functions, which are those of their binaries.
        pub const ALL: &[&str] = &[$(stringify!($http),)* $(stringify!($events),)*];

        /// Invokes the function called `name` in this process: its response, or the message of the
        /// error that it ended with. `None` if there is no such function.
        pub async fn invoke(app: Arc<App>, name: &str, event: Value) -> Option<Result<Value, String>> {
            // On the heap: the futures of all functions together do not fit on a thread's stack.
            match name {
                $(stringify!($http) => {
                    fn serve(app: &App, event: Value) -> Served<'_> {
                        Box::pin(ingress::serve(app, event, $http::handle))
                    }
                    Some(Ok(serve(&app, event).await))
                })*
                $(stringify!($events) => Some($events::handle(&app, event).await.map_err(|error| error.to_string())),)*
                _ => None,
            }
        }
    };
}

functions! {
    http: agents cli_tokens device discovery download_token downloads events heartbeat inspect introspect keys login
        organizations people portal refresh revoke runners service_token services signin token users;
    events: authorizer publish_events report_expiry rotate_signing_key
}
