//! The Lambda function `download_token`.

use postern::{crypto::KeyAccess, runtime::lambda};

#[tokio::main(flavor = "current_thread")]
async fn main() -> lambda::MainResult {
    lambda::serve_http(KeyAccess::Signing, functions::download_token::handle).await
}
