//! The Lambda function `cli_tokens`.

use postern::{crypto::KeyAccess, runtime::lambda};

#[tokio::main(flavor = "current_thread")]
async fn main() -> lambda::MainResult {
    lambda::serve_http(KeyAccess::Verification, functions::cli_tokens::handle).await
}
