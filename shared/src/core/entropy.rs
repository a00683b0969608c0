//! The only source of randomness.

use std::{fmt, sync::Arc};

use crate::core::error::Fault;

/// `0-9A-Za-z`, most significant first.
pub const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

type Fill = dyn Fn(&mut [u8]) -> Result<(), Fault> + Send + Sync;

/// A source of random bytes: the operating system's generator, or a seeded one in tests.
#[derive(Clone)]
pub struct Entropy(Arc<Fill>);

impl Entropy {
    /// Returns the operating system's generator. It is called every time: no state is kept that a
    /// restored snapshot could repeat.
    #[expect(clippy::disallowed_methods, reason = "the only place that asks the operating system")]
    pub fn system() -> Self {
        Self::from_fn(|bytes| getrandom::fill(bytes).map_err(|_| Fault::Entropy))
    }

    /// Creates a source that `fill` fills.
    pub fn from_fn(fill: impl Fn(&mut [u8]) -> Result<(), Fault> + Send + Sync + 'static) -> Self {
        Self(Arc::new(fill))
    }

    /// Returns `N` random bytes.
    ///
    /// # Errors
    /// [`Fault::Entropy`] if the generator fails.
    pub fn bytes<const N: usize>(&self) -> Result<[u8; N], Fault> {
        let mut bytes = [0; N];
        (self.0)(&mut bytes)?;
        Ok(bytes)
    }

    /// Returns `length` characters of `alphabet`, each equally likely.
    ///
    /// Bytes of the incomplete last round are discarded, because a plain remainder would favor the
    /// first characters.
    ///
    /// # Errors
    /// [`Fault::Entropy`] if the generator fails.
    pub fn random_string<const N: usize>(
        &self,
        alphabet: &[u8; N],
        length: usize,
    ) -> Result<String, Fault> {
        const { assert!(N > 0 && N <= 256) }
        let fair = 256 / N * N; // the largest multiple that a byte can hold
        let mut letters = String::with_capacity(length);
        while letters.len() < length {
            let bytes =
                self.bytes::<48>()?.into_iter().map(usize::from).filter(|byte| *byte < fair);
            letters.extend(
                bytes.map(|byte| char::from(alphabet[byte % N])).take(length - letters.len()),
            );
        }
        Ok(letters)
    }
}

impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entropy")
    }
}
