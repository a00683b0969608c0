//! The Lambda function `introspect`.

use postern::{crypto::KeyAccess, runtime::lambda};

#[tokio::main(flavor = "current_thread")]
async fn main() -> lambda::MainResult {
    lambda::serve_http(KeyAccess::Signing, functions::introspect::handle).await
}
