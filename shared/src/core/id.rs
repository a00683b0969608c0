//! Identifiers of records: TypeIDs, that is a prefix and a UUIDv7 in 26 characters of lowercase
//! Crockford base32.
//!
//! An id is public: it appears inside credentials, in lists and in logs. Ids sort by creation time.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use type_safe_id::StaticType;
pub use type_safe_id::TypeSafeId;

use crate::core::{
    entropy::{BASE62, Entropy},
    error::Fault,
};

/// The number of characters in an id after its prefix and underscore.
pub const SUFFIX_LEN: usize = 26;

macro_rules! ids {
    ($($(#[$doc:meta])* $record:ident = $prefix:literal => $alias:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $record;
        impl StaticType for $record { const TYPE: &'static str = $prefix; }
        #[doc = concat!("`", $prefix, "_` and 26 characters.")]
        pub type $alias = TypeSafeId<$record>;
    )*
        /// The prefixes of our own ids. A subject of another issuer is not allowed to begin with
        /// one of them, because it could be mistaken for our record.
        pub const RESERVED_PREFIXES: &[&str] = &[$(concat!($prefix, "_")),*];
    };
}

ids! {
    /// An access token (its `jti`).
    AccessToken = "tok" => AccessTokenId;
    /// An agent: a service account that exchanges its secret for tokens.
    Agent = "agt" => AgentId;
    /// An API key of an organization.
    ApiKey = "key" => ApiKeyId;
    /// A user's personal key for command-line tools.
    CliToken = "cli" => CliTokenId;
    /// A one-time code that a browser passes to a tool on the same machine (RFC 8252).
    AuthorizationCode = "cod" => AuthorizationCodeId;
    /// What a user has allowed a client to do.
    Consent = "con" => ConsentId;
    /// A device code, polled until a user approves the device (RFC 8628).
    DeviceCode = "dev" => DeviceCodeId;
    /// An event: something that happened to one of the other records.
    PublishedEvent = "evt" => EventId;
    /// All refresh tokens that descend from one grant.
    Family = "fam" => FamilyId;
    /// The operator of the deployment.
    Operator = "opr" => OperatorId;
    /// An organization, which owns all other records.
    Organization = "org" => OrganizationId;
    /// A self-hosted runner.
    Runner = "run" => RunnerId;
    /// One of our own services.
    Service = "svc" => ServiceId;
    /// A browser session.
    Session = "ses" => SessionId;
    /// A pending sign-in at an external identity provider.
    SignIn = "sin" => SignInId;
    /// A user with a password.
    User = "usr" => UserId;
}

/// Returns a new id with the timestamp `now`.
///
/// # Errors
/// [`Fault::Entropy`] when the generator fails.
pub fn mint<T: StaticType>(now: Timestamp, entropy: &Entropy) -> Result<TypeSafeId<T>, Fault> {
    let millis = u64::try_from(now.as_millisecond()).unwrap_or(0);
    Ok(TypeSafeId::from_uuid(
        uuid::Builder::from_unix_timestamp_millis(millis, &entropy.bytes()?).into_uuid(),
    ))
}

/// Returns an id with the timestamp `time` that is the same for the same bytes.
pub fn derived<T: StaticType>(time: Timestamp, bytes: &[u8; 10]) -> TypeSafeId<T> {
    let millis = u64::try_from(time.as_millisecond()).unwrap_or(0);
    TypeSafeId::from_uuid(uuid::Builder::from_unix_timestamp_millis(millis, bytes).into_uuid())
}

/// Returns when an id was created.
pub fn created_at<T: StaticType>(id: &TypeSafeId<T>) -> Timestamp {
    let bytes = id.uuid().into_bytes();
    let millis = bytes[..6].iter().fold(0, |millis, byte| (millis << 8) | i64::from(*byte));
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MIN)
}

/// Returns the 26 characters after the prefix.
pub fn suffix<T: StaticType>(id: &TypeSafeId<T>) -> String {
    let mut text = id.to_string();
    text.split_off(text.len() - SUFFIX_LEN)
}

/// Returns the id with these 26 characters; `None` if they are not a valid id.
pub fn from_suffix<T: StaticType>(suffix: &str) -> Option<TypeSafeId<T>> {
    format!("{}_{suffix}", T::TYPE).parse().ok()
}

/// The id of an OAuth client: an agent's id, or the name of a public client in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClientId(String);

impl ClientId {
    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<String> for ClientId {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for ClientId {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<AgentId> for ClientId {
    fn from(agent: AgentId) -> Self {
        Self(agent.to_string())
    }
}

/// The nonce of one attempt at a conditional write. It is stored with the write, so that a write
/// whose response was lost is recognized as our own when the SDK repeats it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AttemptId(String);

impl AttemptId {
    /// Returns a new nonce.
    ///
    /// # Errors
    /// [`Fault::Entropy`] when the generator fails.
    pub fn mint(entropy: &Entropy) -> Result<Self, Fault> {
        entropy.random_string(BASE62, 16).map(Self)
    }
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for AttemptId {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<FamilyId> for AttemptId {
    fn from(family: FamilyId) -> Self {
        Self(family.to_string())
    }
}
