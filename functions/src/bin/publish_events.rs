//! The Lambda function `publish_events`.

use functions::publish_events;
use postern::{crypto::KeyAccess, runtime::lambda};

#[tokio::main(flavor = "current_thread")]
async fn main() -> lambda::MainResult {
    let connect = Box::new(publish_events::connect);
    lambda::serve_events_with(KeyAccess::Nothing, connect, publish_events::handle).await
}
