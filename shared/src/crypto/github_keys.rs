//! The keys with which GitHub's secret scanning signs its reports: ECDSA on P-256 with SHA-256.

use super::{jws::JwsAlgorithm, verifying_key::VerifyingKey};
use crate::core::json::lenient::LenientObject;

/// How many keys are read.
const MOST: usize = 100;

/// The published keys, each with its identifier.
#[derive(Clone, Debug)]
pub struct GithubKeys(Vec<(String, VerifyingKey)>);

/// Whether a signature is that of a published key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GithubSignature {
    /// It is.
    Valid,
    /// The key is published, and its signature is another one.
    Wrong,
    /// No published key has this identifier.
    KeyUnknown,
}

impl GithubKeys {
    /// Parses the document. A key that GitHub does not use for new signatures any more counts for
    /// as long as it is published. Members that are not keys for these signatures are ignored.
    ///
    /// # Errors
    /// A sentence that quotes nothing of the document, if it contains no key.
    pub fn parse(json: &str) -> Result<Self, String> {
        let document = LenientObject::parse(json).ok_or("it is not a JSON object")?;
        let published = document.elements("public_keys").ok_or("it has no list public_keys")?;
        let keys = published.into_iter().take(MOST).filter_map(|element| {
            let element = LenientObject::of(element)?;
            let id = element.text("key_identifier")?;
            let key = VerifyingKey::from_pem(JwsAlgorithm::ES256, &element.text("key")?).ok()?;
            Some((id, key))
        });
        let keys: Vec<_> = keys.collect();
        if keys.is_empty() { Err("it has no valid keys".into()) } else { Ok(Self(keys)) }
    }

    /// Verifies the signature of `message`, in DER, by the key `id`.
    pub fn verify(&self, id: &str, message: &[u8], signature: &[u8]) -> GithubSignature {
        let mut named = self.0.iter().filter(|(known, _)| known == id).peekable();
        if named.peek().is_none() {
            GithubSignature::KeyUnknown
        } else if named.any(|(_, key)| key.verifies_der(message, signature)) {
            GithubSignature::Valid
        } else {
            GithubSignature::Wrong
        }
    }
}
