//! What the tests share: a fresh deployment for each, with the real SDK on the embedded engine.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod answer;
mod call;
pub mod capture;
mod issuer;
mod wire;
mod world;

pub use answer::Answer;
pub use call::Call;
pub use issuer::{Behaviour, Issuer, encode};
pub use wire::{Op, StoreFault, Wire};
pub use world::{Agent, Setup, Tokens, World};

/// Returns `text` with another last character.
pub fn mistyped(text: &str) -> String {
    let (rest, last) = text.split_at(text.len() - 1);
    format!("{rest}{}", if last == "0" { "1" } else { "0" })
}

/// Runs all futures concurrently; returns their outputs in the order of completion.
pub async fn at_once<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut under_way: Vec<_> = futures.into_iter().map(Box::pin).collect();
    let mut done = Vec::new();
    std::future::poll_fn(move |context| {
        under_way.retain_mut(|future| match future.as_mut().poll(context) {
            std::task::Poll::Ready(output) => {
                done.push(output);
                false
            }
            std::task::Poll::Pending => true,
        });
        if under_way.is_empty() {
            std::task::Poll::Ready(std::mem::take(&mut done))
        } else {
            std::task::Poll::Pending
        }
    })
    .await
}
