//! Keys that another system minted, of which only the digests are imported.
//!
//! Such a key has no id in its text. The id of its record is computed from its digest instead, so
//! one read by id finds the record, as for a key of ours. The id is a digest of the digest, cut to
//! 122 bits: it authenticates nothing, and the digest cannot be computed from it.

use super::ParsedApiKey;
use crate::{
    core::id::{ApiKeyId, TypeSafeId},
    crypto::Digest,
};

/// Separates these digests from all others. It never changes, or imported keys are not found.
const DOMAIN: &[u8] = b"postern imported key 1\n";
/// The length of a UUID.
const UUID_LEN: usize = 16;
/// Texts whose digests are in every list of leaked passwords, or that programs hash by mistake.
const COMMON: [&str; 28] = [
    "0",
    "1",
    "123456",
    "12345678",
    "123456789",
    "admin",
    "api-key",
    "api_key",
    "apikey",
    "changeme",
    "default",
    "demo",
    "example",
    "false",
    "foo",
    "key",
    "none",
    "null",
    "password",
    "password1",
    "qwerty",
    "secret",
    "test",
    "test123",
    "token",
    "true",
    "undefined",
    "user",
];

/// Returns the id of the record of the key with this digest.
pub fn imported_id(digest: &Digest) -> ApiKeyId {
    let derived = Digest::of(&[DOMAIN, digest.bytes()].concat());
    let mut bytes = [0; UUID_LEN];
    bytes.copy_from_slice(&derived.bytes()[..UUID_LEN]);
    TypeSafeId::from_uuid(uuid::Builder::from_custom_bytes(bytes).into_uuid())
}

impl ParsedApiKey {
    /// Returns what `text` is as a key of another system.
    pub fn imported(text: &str) -> Self {
        let digest = Digest::of(text.as_bytes());
        Self { id: imported_id(&digest), digest }
    }
}

/// Parses the digest of a key that begins with `prefix`: SHA-256 in hexadecimal digits, base64url
/// or base64.
///
/// # Errors
/// What is wrong with it: the rest of a sentence.
pub fn parse_digest(text: &str, prefix: &str) -> Result<Digest, String> {
    let digest = of_hex(text).or_else(|| of_base64(text));
    let digest = digest.ok_or_else(|| other_hash(text, prefix))?;
    match guessable(&digest, prefix) {
        Some(problem) => Err(problem.into()),
        None => Ok(digest),
    }
}

fn of_hex(text: &str) -> Option<Digest> {
    text.is_ascii().then(|| Digest::from_hex(&text.to_ascii_lowercase())).flatten()
}

fn of_base64(text: &str) -> Option<Digest> {
    let unpadded = text.strip_suffix('=').unwrap_or(text);
    Digest::from_base64url(&unpadded.replace('+', "-").replace('/', "_"))
}

/// Says what `text` is, which is no SHA-256.
fn other_hash(text: &str, prefix: &str) -> String {
    const SALTED: [&str; 9] =
        ["$2a$", "$2b$", "$2y$", "$argon2", "$scrypt$", "$pbkdf2", "pbkdf2_", "$5$", "$6$"];
    if text.is_empty() {
        return "is empty: send the SHA-256 of the key.".into();
    }
    if SALTED.iter().any(|beginning| text.starts_with(beginning)) {
        return "is a hash with a salt, such as those of bcrypt and Argon2, by which no key can be looked up: create a new key in its place.".into();
    }
    if !prefix.is_empty() && text.starts_with(prefix) {
        return "begins as the key itself does: send only the SHA-256 of a key, and replace the key that was sent.".into();
    }
    let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let weak = |name: &str| {
        format!(
            "has the length of {name}, which is too weak: only SHA-256 is accepted, so create a new key in its place."
        )
    };
    let other = |name: &str| {
        format!(
            "has the length of {name}: only SHA-256 is accepted, so create a new key in its place."
        )
    };
    match text.len() {
        32 if is_hex => weak("an MD5"),
        40 if is_hex => weak("a SHA-1"),
        56 if is_hex => other("a SHA-224"),
        96 if is_hex => other("a SHA-384"),
        128 if is_hex => other("a SHA-512"),
        _ => "is not the SHA-256 of a key: send 64 hexadecimal digits, or 43 characters of base64url.".into(),
    }
}

/// Says why a key with this digest could be guessed.
fn guessable(digest: &Digest, prefix: &str) -> Option<&'static str> {
    let is_of = |text: &str| digest.matches(&Digest::of(text.as_bytes()));
    let bytes = digest.bytes();
    if bytes.iter().all(|byte| *byte == bytes[0]) {
        return Some("is no SHA-256: all of its bytes are the same.");
    }
    if is_of("") || is_of(prefix) {
        return Some(
            "is the SHA-256 of an empty text or of the prefix: the program that made it had no key.",
        );
    }
    COMMON
        .iter()
        .any(|word| is_of(word) || is_of(&format!("{prefix}{word}")))
        .then_some("is the SHA-256 of a word that anyone guesses: create a new key in its place.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_an_imported_key_never_changes() {
        let key = ParsedApiKey::imported("sk_live_0123456789abcdefghijklmnopqrstuv");
        assert_eq!(key.id.uuid().get_version_num(), 8);
        assert_eq!(key.id.to_string(), "key_13qerz63h6ghdraff7vxbev5vn");
    }
}
