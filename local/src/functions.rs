//! The functions, by the name of their binary, as something that a gateway can invoke: here in this process. Lambda, or an emulator of it, is
//! another way ([`Gateway::over`](crate::gateway::Gateway::over)).

use std::{future::Future, pin::Pin, sync::Arc};

use postern::{App, http::door};
use serde_json::Value;

/// An invocation: the function's answer, or the message of the error that it ended with.
pub type Invocation = Pin<Box<dyn Future<Output = Result<Value, String>> + Send>>;
/// A function: event in, answer out.
pub type Invoke = Arc<dyn Fn(Value) -> Invocation + Send + Sync>;

macro_rules! functions {
    (http: $($http:ident)*; events: $($events:ident)*) => {
        /// The binaries of all functions.
        pub const ALL: &[&str] = &[$(stringify!($http),)* $(stringify!($events),)*];

        /// The function whose binary is called `binary`, in this process.
        pub fn named(app: &Arc<App>, binary: &str) -> Option<Invoke> {
            let app = Arc::clone(app);
            match binary {
                $(stringify!($http) => Some(Arc::new(move |event| {
                    let app = Arc::clone(&app);
                    Box::pin(async move { Ok(door::serve(&app, event, $http::handle).await) })
                })),)*
                $(stringify!($events) => Some(Arc::new(move |event| {
                    let app = Arc::clone(&app);
                    Box::pin(async move { $events::handle(&app, event).await.map_err(|error| error.to_string()) })
                })),)*
                _ => None,
            }
        }
    };
}

functions! {
    http: agents cli_tokens device discovery download_token downloads heartbeat inspect keys login organizations portal refresh
        revoke runners service_token services signin token users;
    events: authorizer
}
