use postern::{app::Needs, lambda};

#[tokio::main(flavor = "current_thread")]
async fn main() -> lambda::Outcome {
    lambda::serve_events(Needs::Verification, functions::authorizer::handle).await
}
