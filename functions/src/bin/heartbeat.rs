//! The Lambda function `heartbeat`.

use postern::{crypto::KeyAccess, runtime::lambda};

#[tokio::main(flavor = "current_thread")]
async fn main() -> lambda::MainResult {
    lambda::serve_http(KeyAccess::Nothing, functions::heartbeat::handle).await
}
