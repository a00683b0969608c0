//! What another system calls the owner of a credential.

use serde::{Deserialize, Serialize};

use crate::core::error::Refusal;

const LONGEST: usize = 128;

/// An id of another system, such as that of a customer: 1 to 128 visible ASCII characters, so that
/// two ids that look the same are the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ExternalId(String);

impl ExternalId {
    /// Returns it as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ExternalId {
    type Error = Refusal;

    fn try_from(text: String) -> Result<Self, Refusal> {
        let is_visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        if is_visible && (1..=LONGEST).contains(&text.len()) {
            Ok(Self(text))
        } else {
            Err(Refusal::ExternalIdMalformed)
        }
    }
}
