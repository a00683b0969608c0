//! Identifiers of records: TypeIDs, that is a prefix and a UUIDv7 in 26 characters of lowercase Crockford base32.
//!
//! An id is public: it stands inside credentials, in lists and in logs. It sorts by the time of creation.

use jiff::Timestamp;
use type_safe_id::StaticType;
pub use type_safe_id::TypeSafeId;

use crate::core::{entropy::Entropy, error::Fault};

/// Characters of an id behind its prefix and underscore.
pub const SUFFIX_LEN: usize = 26;

macro_rules! ids {
    ($($(#[$doc:meta])* $record:ident = $prefix:literal => $alias:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $record;
        impl StaticType for $record { const TYPE: &'static str = $prefix; }
        #[doc = concat!("`", $prefix, "_` and 26 characters.")]
        pub type $alias = TypeSafeId<$record>;
    )*};
}

ids! {
    /// An access token (its `jti`).
    AccessToken = "tok" => AccessTokenId;
    /// A machine that exchanges its secret for tokens.
    Agent = "agt" => AgentId;
    /// A static key of an organization.
    ApiKey = "key" => ApiKeyId;
    /// A person's key.
    CliToken = "cli" => CliTokenId;
    /// What a signed-in browser hands a tool on the same machine, once.
    AuthorizationCode = "cod" => AuthorizationCodeId;
    /// What a device waits with until a person has approved it.
    DeviceCode = "dev" => DeviceCodeId;
    /// All refresh tokens that descend from one grant.
    Family = "fam" => FamilyId;
    /// Whoever runs the deployment.
    Operator = "opr" => OperatorId;
    /// The owner of everything else.
    Organization = "org" => OrganizationId;
    /// A self-hosted runner.
    Runner = "run" => RunnerId;
    /// One of our own services.
    Service = "svc" => ServiceId;
    /// A person's time at a browser.
    Session = "ses" => SessionId;
    /// A person's way to another issuer and back.
    SignIn = "sin" => SignInId;
    /// A person with a password.
    User = "usr" => UserId;
}

/// A new id of the moment `now`.
///
/// # Errors
/// [`Fault::Entropy`] when the generator fails.
pub fn mint<T: StaticType>(now: Timestamp, entropy: &Entropy) -> Result<TypeSafeId<T>, Fault> {
    let millis = u64::try_from(now.as_millisecond()).unwrap_or(0);
    Ok(TypeSafeId::from_uuid(
        uuid::Builder::from_unix_timestamp_millis(millis, &entropy.bytes()?).into_uuid(),
    ))
}

/// The 26 characters behind the prefix.
pub fn suffix<T: StaticType>(id: &TypeSafeId<T>) -> String {
    let mut text = id.to_string();
    text.split_off(text.len() - SUFFIX_LEN)
}

/// The id with these 26 characters; `None` where they are no such thing.
pub fn from_suffix<T: StaticType>(suffix: &str) -> Option<TypeSafeId<T>> {
    format!("{}_{suffix}", T::TYPE).parse().ok()
}
