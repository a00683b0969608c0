//! The Lambda function `rotate_signing_key`.

use postern::{crypto::KeyAccess, runtime::lambda};

#[tokio::main(flavor = "current_thread")]
async fn main() -> lambda::MainResult {
    lambda::serve_events(KeyAccess::Nothing, functions::rotate_signing_key::handle).await
}
