//! Ending all credentials of an owner at once.

use serde::{Deserialize, Serialize};

/// How often the credentials of a user or agent were ended together. A credential is valid only in
/// the epoch in which it was created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(u64);

impl Epoch {
    /// Reports whether it is the first epoch, which is stored as no attribute.
    pub fn is_first(&self) -> bool {
        self.0 == 0
    }

    /// Returns the epoch after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}
