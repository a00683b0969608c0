//! SHA-256 digests, the only form in which secrets are stored.
//!
//! A plain hash is enough, because each of these secrets has 190 bits of entropy (NIST SP 800-63B
//! requires a slow hash only below 112).

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// The SHA-256 digest of a secret. Serialized as 64 lowercase hexadecimal digits.
#[derive(Clone, Copy)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Returns the digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Parses 64 lowercase hexadecimal digits; `None` for anything else.
    pub fn from_hex(hex: &str) -> Option<Self> {
        HEXLOWER.decode(hex.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok()).map(Self)
    }

    /// Parses 43 characters of base64url, the format of a PKCE challenge (RFC 7636 §4.2); `None`
    /// for anything else.
    pub fn from_base64url(text: &str) -> Option<Self> {
        BASE64URL.decode(text).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()).map(Self)
    }

    /// Returns the 32 bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the 64 hexadecimal digits.
    pub fn to_hex(self) -> String {
        HEXLOWER.encode(&self.0)
    }

    /// Returns 32 hexadecimal digits of the digest's own digest. They tell secrets apart, and
    /// neither authenticate nor reveal one.
    pub fn fingerprint(&self) -> String {
        let mut hex = Self::of(&self.0).to_hex();
        hex.truncate(32);
        hex
    }

    /// Reports whether both are equal, in constant time. There is no `==`.
    pub fn matches(&self, other: &Digest) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest")
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_hex())
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let hex = String::deserialize(deserializer)?;
        Self::from_hex(&hex)
            .ok_or_else(|| D::Error::custom("a SHA-256 digest is 64 lowercase hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_survives_its_hexadecimal_form() {
        let digest = Digest::of(b"abc");
        assert_eq!(
            digest.to_hex(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert!(Digest::from_hex(&digest.to_hex()).is_some_and(|read| read.matches(&digest)));
    }

    #[test]
    fn anything_but_64_lowercase_digits_is_no_digest() {
        let upper = Digest::of(b"abc").to_hex().to_uppercase();
        for hex in ["", "ba78", &upper, &"g".repeat(64), &"+f".repeat(32), &"é".repeat(32)] {
            assert!(Digest::from_hex(hex).is_none(), "{hex}");
        }
    }
}
