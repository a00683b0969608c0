//! Secrets that are looked up: `{brand}_{code}_{id}{secret}{check}`.
//!
//! `id` is the 26 characters of the record's id, `secret` 32 base62 characters (190 bits). Parsing
//! returns the id and the digest; the text itself is not kept.

use type_safe_id::StaticType;

use super::{TokenPrefix, body, compose};
use crate::{
    core::{
        entropy::{BASE62, Entropy},
        error::Fault,
        id::{self, TypeSafeId},
        secret::Secret,
    },
    crypto::Digest,
};

/// The number of characters in the random part.
const SECRET_LEN: usize = 32;
/// The number of characters between the prefix and the checksum.
pub(super) const BODY_LEN: usize = id::SUFFIX_LEN + SECRET_LEN;

/// A kind of record that has a secret of this form.
pub trait CredentialKind: StaticType + Copy {
    /// The two letters after the brand.
    const CODE: &'static str;
}

impl CredentialKind for id::Agent {
    const CODE: &'static str = "as";
}
impl CredentialKind for id::ApiKey {
    const CODE: &'static str = "ak";
}
impl CredentialKind for id::AuthorizationCode {
    const CODE: &'static str = "ac";
}
impl CredentialKind for id::CliToken {
    const CODE: &'static str = "ct";
}
impl CredentialKind for id::DeviceCode {
    const CODE: &'static str = "dc";
}
impl CredentialKind for id::Operator {
    const CODE: &'static str = "op";
}
impl CredentialKind for id::Runner {
    const CODE: &'static str = "rn";
}
impl CredentialKind for id::Service {
    const CODE: &'static str = "sk";
}
impl CredentialKind for id::SignIn {
    const CODE: &'static str = "st";
}
impl CredentialKind for id::User {
    const CODE: &'static str = "iv";
}

/// An agent's secret, presented.
pub type AgentSecret = ParsedSecret<id::Agent>;
/// An organization's API key, presented.
pub type ParsedApiKey = ParsedSecret<id::ApiKey>;
/// A loopback code (RFC 8252), presented.
pub type ParsedAuthorizationCode = ParsedSecret<id::AuthorizationCode>;
/// A device code (RFC 8628), presented.
pub type ParsedDeviceCode = ParsedSecret<id::DeviceCode>;
/// The `state` of a sign-in, presented.
pub type SignInState = ParsedSecret<id::SignIn>;
/// The invitation with which a user sets a password, presented.
pub type ParsedInvitation = ParsedSecret<id::User>;
/// A user's personal key, presented.
pub type ParsedCliToken = ParsedSecret<id::CliToken>;
/// The operator's key, presented.
pub type OperatorKey = ParsedSecret<id::Operator>;
/// A runner's token, presented.
pub type RunnerToken = ParsedSecret<id::Runner>;
/// A service's key, presented.
pub type ServiceKey = ParsedSecret<id::Service>;

/// Reports whether `text` has the prefix of one of Postern's opaque credentials, of any kind.
pub fn is_ours(brand: &TokenPrefix, text: &str) -> bool {
    let rest = text.strip_prefix(brand.as_str()).and_then(|rest| rest.strip_prefix('_'));
    rest.is_some_and(|rest| rest.as_bytes().get(2) == Some(&b'_'))
}

/// A secret with a valid form and checksum, not yet verified.
#[derive(Debug)]
pub struct ParsedSecret<K: CredentialKind> {
    /// The id of its record.
    pub id: TypeSafeId<K>,
    /// The digest of the whole text.
    pub digest: Digest,
}

impl<K: CredentialKind> ParsedSecret<K> {
    /// Reports whether `text` has the prefix of this kind, whatever its checksum.
    pub fn has_prefix(brand: &TokenPrefix, text: &str) -> bool {
        let rest = text.strip_prefix(brand.as_str()).and_then(|rest| rest.strip_prefix('_'));
        rest.and_then(|rest| rest.strip_prefix(K::CODE)).is_some_and(|rest| rest.starts_with('_'))
    }

    /// Parses `text`, without I/O. Returns `None` if the form or the checksum is wrong.
    pub fn parse(brand: &TokenPrefix, text: &str) -> Option<Self> {
        let body = body(brand, K::CODE, text)?;
        let (suffix, secret) = body.split_at_checked(id::SUFFIX_LEN)?;
        let sound =
            secret.len() == SECRET_LEN && secret.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let id = sound.then(|| id::from_suffix(suffix)).flatten()?;
        Some(Self { id, digest: Digest::of(text.as_bytes()) })
    }
}

/// A new secret.
#[derive(Debug)]
pub struct Minted {
    /// The whole text, to be shown once.
    pub secret: Secret,
    /// The digest to store.
    pub digest: Digest,
}

impl Minted {
    /// Returns a new secret for the record `id`.
    ///
    /// # Errors
    /// [`Fault::Entropy`] when the generator fails.
    pub fn new<K: CredentialKind>(
        brand: &TokenPrefix,
        id: &TypeSafeId<K>,
        entropy: &Entropy,
    ) -> Result<Self, Fault> {
        let random = entropy.random_string(BASE62, SECRET_LEN)?;
        let text = compose(brand, K::CODE, &format!("{}{random}", id::suffix(id)));
        Ok(Self { digest: Digest::of(text.as_bytes()), secret: Secret::new(text) })
    }
}

/// Returns the public part of a credential, for lists: its prefix and id.
pub fn prefix<K: CredentialKind>(brand: &TokenPrefix, id: &TypeSafeId<K>) -> String {
    format!("{}_{}_{}", brand.as_str(), K::CODE, id::suffix(id))
}
