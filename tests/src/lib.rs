//! What the tests share: a fresh world each, on the real embedded engine under the real SDK.
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
pub use wire::{Op, Trouble, Wire};
pub use world::{Agent, Setup, Tokens, World};

/// `text` with another last letter, whatever it was.
pub fn mistyped(text: &str) -> String {
    let (rest, last) = text.split_at(text.len() - 1);
    format!("{rest}{}", if last == "0" { "1" } else { "0" })
}
