//! The Lambda function `authorizer`.

use postern::{crypto::KeyAccess, runtime::lambda};

#[tokio::main(flavor = "current_thread")]
async fn main() -> lambda::MainResult {
    lambda::serve_events(KeyAccess::Verification, functions::authorizer::handle).await
}
