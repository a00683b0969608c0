use postern::{app::Needs, lambda};

#[tokio::main(flavor = "current_thread")]
async fn main() -> lambda::Outcome {
    lambda::serve_http(Needs::Publication, functions::discovery::handle).await
}
