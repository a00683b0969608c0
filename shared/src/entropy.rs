//! The one door to randomness.

use std::{fmt, sync::Arc};

use crate::error::Fault;

type Fill = dyn Fn(&mut [u8]) -> Result<(), Fault> + Send + Sync;

/// A source of random bytes: the operating system's generator, or a seeded one in tests.
#[derive(Clone)]
pub struct Entropy(Arc<Fill>);

impl Entropy {
    /// The operating system's generator, asked anew each time: nothing is kept that a restored snapshot could repeat.
    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    pub fn system() -> Self {
        Self::from_fn(|bytes| getrandom::fill(bytes).map_err(|_| Fault::Entropy))
    }

    /// A source that `fill` fills.
    pub fn from_fn(fill: impl Fn(&mut [u8]) -> Result<(), Fault> + Send + Sync + 'static) -> Self {
        Self(Arc::new(fill))
    }

    /// `N` random bytes.
    ///
    /// # Errors
    /// [`Fault::Entropy`] when the generator fails.
    pub fn bytes<const N: usize>(&self) -> Result<[u8; N], Fault> {
        let mut bytes = [0; N];
        (self.0)(&mut bytes)?;
        Ok(bytes)
    }

    /// `length` characters of `alphabet`, each equally likely: bytes in the incomplete last round are thrown away,
    /// because a plain remainder would favour the first letters.
    ///
    /// # Errors
    /// [`Fault::Entropy`] when the generator fails.
    pub fn letters(&self, alphabet: &[u8; 62], length: usize) -> Result<String, Fault> {
        const FAIR: u8 = 248; // the largest multiple of 62 that a byte can hold
        let mut letters = String::with_capacity(length);
        while letters.len() < length {
            let fair = self.bytes::<48>()?.into_iter().filter(|byte| *byte < FAIR);
            letters.extend(fair.map(|byte| char::from(alphabet[usize::from(byte) % 62])).take(length - letters.len()));
        }
        Ok(letters)
    }
}

impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entropy")
    }
}
