use postern::{app::Needs, lambda};

#[tokio::main(flavor = "current_thread")]
async fn main() -> lambda::Outcome {
    lambda::serve_http(Needs::Verification, functions::services::handle).await
}
