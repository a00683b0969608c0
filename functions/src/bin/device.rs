//! The Lambda function `device`.

use postern::{crypto::KeyAccess, runtime::lambda};

#[tokio::main(flavor = "current_thread")]
async fn main() -> lambda::MainResult {
    lambda::serve_http(KeyAccess::Verification, functions::device::handle).await
}
