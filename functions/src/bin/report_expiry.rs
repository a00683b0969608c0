//! The Lambda function `report_expiry`.

use postern::{crypto::KeyAccess, runtime::lambda};

#[tokio::main(flavor = "current_thread")]
async fn main() -> lambda::MainResult {
    lambda::serve_events(KeyAccess::Nothing, functions::report_expiry::handle).await
}
