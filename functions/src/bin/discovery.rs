//! The Lambda function `discovery`.

use postern::{crypto::KeyAccess, runtime::lambda};

#[tokio::main(flavor = "current_thread")]
async fn main() -> lambda::MainResult {
    lambda::serve_http(KeyAccess::Publication, functions::discovery::handle).await
}
