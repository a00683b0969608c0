//! Functions that a gateway can invoke, here in this process. For others, such as functions in an
//! emulator, see [`Gateway::with_functions`](crate::gateway::Gateway::with_functions).

use std::{future::Future, pin::Pin, sync::Arc};

use postern::App;
use serde_json::Value;

/// An invocation: resolves to the function's answer, or to the message of its error.
pub type Invocation = Pin<Box<dyn Future<Output = Result<Value, String>> + Send>>;
/// A function, from event to answer.
pub type Invoke = Arc<dyn Fn(Value) -> Invocation + Send + Sync>;

/// Returns the function with the binary `binary`, in this process.
pub fn in_process(app: &Arc<App>, binary: &str) -> Option<Invoke> {
    let (app, name) = (Arc::clone(app), functions::ALL.iter().find(|name| **name == binary)?);
    Some(Arc::new(move |event| {
        let app = Arc::clone(&app);
        Box::pin(async move {
            let unknown = || Err(format!("there is no function {name}"));
            functions::invoke(app, name, event).await.unwrap_or_else(unknown)
        })
    }))
}
