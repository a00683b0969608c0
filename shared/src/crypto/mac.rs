//! HMAC-SHA256 (RFC 2104).

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// A message authentication code.
pub type Tag = [u8; 32];

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
