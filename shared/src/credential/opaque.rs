//! Secrets that are looked up: `{brand}_{code}_{id}{secret}{check}`.
//!
//! `id` is the 26 characters of the record's id, `secret` 32 base62 characters (190 bits). Whoever parses one gets the
//! id and the digest: the text itself goes no further.

use type_safe_id::StaticType;

use super::{Brand, body, compose};
use crate::{
    core::{
        entropy::{BASE62, Entropy},
        error::Fault,
        id::{self, TypeSafeId},
        secret::Secret,
    },
    crypto::Digest,
};

/// Characters of the random part.
const SECRET_LEN: usize = 32;

/// A kind of record whose credential has this form.
pub trait CredentialKind: StaticType + Copy {
    /// The two letters behind the brand.
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

/// An agent's secret, presented.
pub type AgentSecret = ParsedSecret<id::Agent>;
/// An organization's API key, presented.
pub type ApiKey = ParsedSecret<id::ApiKey>;
/// A loopback code (RFC 8252), presented.
pub type AuthorizationCode = ParsedSecret<id::AuthorizationCode>;
/// A device code (RFC 8628), presented.
pub type DeviceCode = ParsedSecret<id::DeviceCode>;
/// The `state` of a sign-in, presented.
pub type SignInState = ParsedSecret<id::SignIn>;
/// A person's key, presented.
pub type CliToken = ParsedSecret<id::CliToken>;
/// The operator's key, presented.
pub type OperatorKey = ParsedSecret<id::Operator>;
/// A runner's token, presented.
pub type RunnerToken = ParsedSecret<id::Runner>;
/// A service's key, presented.
pub type ServiceKey = ParsedSecret<id::Service>;

/// Is `text` meant as one of Postern's own opaque credentials, of whatever kind?
pub fn is_ours(brand: &Brand, text: &str) -> bool {
    let rest = text.strip_prefix(brand.as_str()).and_then(|rest| rest.strip_prefix('_'));
    rest.is_some_and(|rest| rest.as_bytes().get(2) == Some(&b'_'))
}

/// A credential whose form and checksum are right; nothing is known about its truth.
#[derive(Debug)]
pub struct ParsedSecret<K: CredentialKind> {
    /// The record that it names.
    pub id: TypeSafeId<K>,
    /// The digest of the whole text.
    pub digest: Digest,
}

impl<K: CredentialKind> ParsedSecret<K> {
    /// Is `text` meant as a credential of this kind, whatever its checksum?
    pub fn has_prefix(brand: &Brand, text: &str) -> bool {
        let rest = text.strip_prefix(brand.as_str()).and_then(|rest| rest.strip_prefix('_'));
        rest.and_then(|rest| rest.strip_prefix(K::CODE)).is_some_and(|rest| rest.starts_with('_'))
    }

    /// Reads `text`; `None` where form or checksum is wrong. No I/O.
    pub fn parse(brand: &Brand, text: &str) -> Option<Self> {
        let body = body(brand, K::CODE, text)?;
        let (suffix, secret) = body.split_at_checked(id::SUFFIX_LEN)?;
        let sound =
            secret.len() == SECRET_LEN && secret.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let id = sound.then(|| id::from_suffix(suffix)).flatten()?;
        Some(Self { id, digest: Digest::of(text.as_bytes()) })
    }
}

/// A credential that was just made.
#[derive(Debug)]
pub struct Minted {
    /// The whole text, to be shown once.
    pub secret: Secret,
    /// What is stored of it.
    pub digest: Digest,
}

impl Minted {
    /// Makes a new secret for the record `id`.
    ///
    /// # Errors
    /// [`Fault::Entropy`] when the generator fails.
    pub fn new<K: CredentialKind>(
        brand: &Brand,
        id: &TypeSafeId<K>,
        entropy: &Entropy,
    ) -> Result<Self, Fault> {
        let random = entropy.letters(BASE62, SECRET_LEN)?;
        let text = compose(brand, K::CODE, &format!("{}{random}", id::suffix(id)));
        Ok(Self { digest: Digest::of(text.as_bytes()), secret: Secret::new(text) })
    }
}

/// What lists show of a credential: its prefix and id, which are public.
pub fn prefix<K: CredentialKind>(brand: &Brand, id: &TypeSafeId<K>) -> String {
    format!("{}_{}_{}", brand.as_str(), K::CODE, id::suffix(id))
}
