//! A function as something that a gateway can invoke: here in this process. Lambda, or an emulator of it, is another way
//! ([`Gateway::over`](crate::gateway::Gateway::over)).

use std::{future::Future, pin::Pin, sync::Arc};

use postern::App;
use serde_json::Value;

/// An invocation: the function's answer, or the message of the error that it ended with.
pub type Invocation = Pin<Box<dyn Future<Output = Result<Value, String>> + Send>>;
/// A function: event in, answer out.
pub type Invoke = Arc<dyn Fn(Value) -> Invocation + Send + Sync>;

/// The function whose binary is called `binary`, in this process.
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
