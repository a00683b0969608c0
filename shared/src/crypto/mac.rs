//! HMAC-SHA256 (RFC 2104).

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// A message authentication code.
pub type Tag = [u8; 32];

/// The length of the name of a MAC key, in characters. Refresh tokens contain the name, so its
/// length is fixed.
pub const MAC_KEY_ID_LEN: usize = 2;

/// The name of a MAC key: two letters or digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacKeyId(String);

impl MacKeyId {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text is not the name of a MAC key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name of a MAC key is two letters or digits")]
pub struct InvalidMacKeyId;

impl TryFrom<String> for MacKeyId {
    type Error = InvalidMacKeyId;

    fn try_from(text: String) -> Result<Self, InvalidMacKeyId> {
        let is_name =
            text.len() == MAC_KEY_ID_LEN && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        is_name.then_some(Self(text)).ok_or(InvalidMacKeyId)
    }
}

impl From<MacKeyId> for String {
    fn from(id: MacKeyId) -> Self {
        id.0
    }
}

/// A key for HMAC-SHA256. Always 32 bytes: a shorter key would be weaker than the hash (RFC 2104
/// §3).
#[derive(Clone)]
pub struct MacKey(Hmac<Sha256>);

impl MacKey {
    /// Prepares the key once; each use copies the prepared state.
    pub fn new(bytes: &[u8; 32]) -> Self {
        let mut block = [0; 64]; // a key shorter than the hash's block is padded with zeros (RFC 2104 §2)
        block[..32].copy_from_slice(bytes);
        Self(Hmac::new(&block.into()))
    }

    /// Returns the MAC of `message`.
    pub fn sign(&self, message: &[u8]) -> Tag {
        self.0.clone().chain_update(message).finalize().into_bytes().into()
    }

    /// Reports whether `tag` is the MAC of `message`, in constant time.
    pub fn verifies(&self, message: &[u8], tag: &Tag) -> bool {
        self.0.clone().chain_update(message).verify_slice(tag).is_ok()
    }
}

/// Reports whether `tag` is the MAC of `message` under `key`, which can have any length, in
/// constant time.
pub fn verifies_under(key: &[u8], message: &[u8], tag: &Tag) -> bool {
    Hmac::<Sha256>::new_from_slice(key)
        .is_ok_and(|mac| mac.chain_update(message).verify_slice(tag).is_ok())
}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MacKey")
    }
}
