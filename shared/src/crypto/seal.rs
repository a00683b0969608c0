//! Encryption at rest (AES-256-GCM, NIST SP 800-38D) of what must be read again, such as the tokens
//! of an identity provider.
//!
//! A sealed text is `{kid}.{base64url of nonce, ciphertext and tag}`. It is bound to one record,
//! whose id is authenticated with it.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};

use crate::core::{entropy::Entropy, error::Fault};

/// A sealing key.
pub struct SealingKey(LessSafeKey);

impl SealingKey {
    /// Prepares the key.
    ///
    /// # Errors
    /// [`Fault::Crypto`] if the library rejects it.
    pub fn new(bytes: &[u8; 32]) -> Result<Self, Fault> {
        let key =
            UnboundKey::new(&AES_256_GCM, bytes).map_err(Fault::crypto("prepare a sealing key"))?;
        Ok(Self(LessSafeKey::new(key)))
    }

    /// Seals `text` for the record `owner`. Nonces are random: a key may seal 2^32 texts before a
    /// repeated nonce becomes likely.
    pub(super) fn seal(&self, owner: &str, text: &str, entropy: &Entropy) -> Result<String, Fault> {
        let nonce = entropy.bytes::<NONCE_LEN>()?;
        let mut sealed = text.as_bytes().to_vec();
        self.0
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(owner.as_bytes()),
                &mut sealed,
            )
            .map_err(Fault::crypto("seal a text"))?;
        Ok(BASE64URL.encode([&nonce[..], &sealed].concat()))
    }

    pub(super) fn open(&self, owner: &str, sealed: &str) -> Option<String> {
        let mut bytes = BASE64URL.decode(sealed).ok()?;
        let (nonce, sealed) = bytes.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let text = self.0.open_in_place(nonce, Aad::from(owner.as_bytes()), sealed).ok()?;
        String::from_utf8(text.to_vec()).ok()
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_for_its_record_alone_and_whole_alone() {
        let (key, entropy) = (SealingKey::new(&[7; 32]).unwrap(), Entropy::system());
        let sealed = key.seal("ses_1", "a token", &entropy).unwrap();
        assert_ne!(sealed, key.seal("ses_1", "a token", &entropy).unwrap());
        assert_eq!(key.open("ses_1", &sealed).as_deref(), Some("a token"));
        assert_eq!(key.open("ses_2", &sealed), None);
        assert_eq!(SealingKey::new(&[8; 32]).unwrap().open("ses_1", &sealed), None);
        let bytes = BASE64URL.decode(&sealed).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(key.open("ses_1", &BASE64URL.encode(&changed)), None, "{at}");
            assert_eq!(key.open("ses_1", &BASE64URL.encode(&bytes[..at])), None, "{at}");
        }
    }
}
