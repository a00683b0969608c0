//! The ids inside a [`Principal`](super::principal::Principal): those of the caller and of the
//! credential.
//!
//! Both are text in claims, stored records, logs and responses. They are parsed only where that
//! text is read; decisions match on a variant.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::core::id::{
    AccessTokenId, AgentId, ApiKeyId, CliTokenId, ClientId, FamilyId, RESERVED_PREFIXES, RunnerId,
    ServiceId, SessionId, UserId,
};

/// What the id of another issuer's token begins with if it is a part of the token's digest.
pub const TOKEN_DIGEST_PREFIX: &str = "token_";
/// The longest id that an issuer gives to a user, in bytes (OpenID Connect Core §2).
const LONGEST_ISSUED: usize = 255;
/// The longest prefix that the configuration gives to the users of an issuer, in bytes.
const LONGEST_PREFIX: usize = 45;
/// The prefix of the subject of a configured key.
pub const CONFIGURED_KEY_PREFIX: &str = "apikey_";
/// What the subject of a GitHub user begins with.
pub const GITHUB_PREFIX: &str = "github|";

/// Returns what the subjects of a messaging platform's senders begin with.
pub fn platform_prefix(platform: &str) -> String {
    format!("{platform}|")
}

/// What the subjects of one issuer begin with, as the configuration names it. It never reads as the
/// beginning of an id of ours or of a GitHub user, so that no issuer can name one.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct SubjectPrefix(String);

impl SubjectPrefix {
    /// Returns the prefixes that no configured issuer can have.
    pub fn reserved() -> impl Iterator<Item = &'static str> {
        RESERVED_PREFIXES.iter().copied().chain([CONFIGURED_KEY_PREFIX, GITHUB_PREFIX])
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for SubjectPrefix {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.len() > LONGEST_PREFIX || text.contains(char::is_control) {
            return Err(format!(
                "a subject_prefix has at most {LONGEST_PREFIX} bytes, and no control characters"
            ));
        }
        match Self::reserved().find(|reserved| text.starts_with(reserved)) {
            None => Ok(Self(text)),
            Some(reserved) => Err(format!("a subject_prefix cannot begin with {reserved:?}")),
        }
    }
}

/// The canonical identifier of a caller, the same for all credentials of one caller.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Subject {
    /// An agent.
    Agent(AgentId),
    /// An API key of an organization.
    ApiKey(ApiKeyId),
    /// A CLI token.
    CliToken(CliTokenId),
    /// A key from the configuration: `apikey_` and a part of its digest.
    ConfiguredKey(String),
    /// A subject of another issuer, with the prefix that the configuration gives to that issuer;
    /// the sender of a message, with the platform; the caller of a custom provider.
    External(String),
    /// A self-hosted runner.
    Runner(RunnerId),
    /// One of our own services.
    Service(ServiceId),
    /// A user with a password, created by an organization.
    User(UserId),
}

impl Subject {
    /// Parses the text of a stored record or of a verified claim. Text that is not one of our ids
    /// is the subject of another issuer.
    pub fn parse(text: String) -> Self {
        let parsed = None
            .or_else(|| text.parse().ok().map(Self::Agent))
            .or_else(|| text.parse().ok().map(Self::ApiKey))
            .or_else(|| text.parse().ok().map(Self::CliToken))
            .or_else(|| text.parse().ok().map(Self::Runner))
            .or_else(|| text.parse().ok().map(Self::Service))
            .or_else(|| text.parse().ok().map(Self::User));
        match parsed {
            Some(ours) => ours,
            None if text.starts_with(CONFIGURED_KEY_PREFIX) => Self::ConfiguredKey(text),
            None => Self::External(text),
        }
    }

    /// Parses the id of a user of any kind that a caller names; `None` if no user can have it.
    pub fn parse_user(text: String) -> Option<Self> {
        let is_sound = has_form_of_user_id(&text, LONGEST_PREFIX + LONGEST_ISSUED);
        is_sound.then(|| Self::parse(text)).filter(Self::is_possible_user)
    }

    /// Reports whether this can be the id of a user. An id of ours that is malformed or that of
    /// another kind of record cannot, because no issuer can assign one, and neither can a GitHub
    /// user without a number.
    pub fn is_possible_user(&self) -> bool {
        match self {
            Self::User(_) => true,
            Self::External(text) => match text.strip_prefix(GITHUB_PREFIX) {
                Some(number) => {
                    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
                }
                None => !SubjectPrefix::reserved().any(|reserved| text.starts_with(reserved)),
            },
            Self::Agent(_)
            | Self::ApiKey(_)
            | Self::CliToken(_)
            | Self::ConfiguredKey(_)
            | Self::Runner(_)
            | Self::Service(_) => false,
        }
    }

    /// Reports whether an organization created this user. Such a user belongs to that organization,
    /// and never gets a personal one.
    pub fn is_enrolled(&self) -> bool {
        matches!(self, Self::User(_))
    }
}

/// Reports whether an issuer can give the id `text` to a user. It chooses the characters, even
/// invisible ones, but no control characters.
pub fn is_issued_user_id(text: &str) -> bool {
    has_form_of_user_id(text, LONGEST_ISSUED)
}

fn has_form_of_user_id(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len()) && !text.contains(char::is_control)
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(id) => fmt::Display::fmt(id, f),
            Self::ApiKey(id) => fmt::Display::fmt(id, f),
            Self::CliToken(id) => fmt::Display::fmt(id, f),
            Self::ConfiguredKey(text) | Self::External(text) => f.write_str(text),
            Self::Runner(id) => fmt::Display::fmt(id, f),
            Self::Service(id) => fmt::Display::fmt(id, f),
            Self::User(id) => fmt::Display::fmt(id, f),
        }
    }
}

impl From<String> for Subject {
    fn from(text: String) -> Self {
        Self::parse(text)
    }
}

impl From<&str> for Subject {
    fn from(text: &str) -> Self {
        Self::parse(text.to_owned())
    }
}

impl From<Subject> for String {
    fn from(subject: Subject) -> Self {
        subject.to_string()
    }
}

/// A key that can be exchanged for access tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyId {
    /// An API key.
    ApiKey(ApiKeyId),
    /// A CLI token.
    CliToken(CliTokenId),
}

impl KeyId {
    /// Returns the key that this credential is, if it is one.
    pub fn of(credential: &CredentialId) -> Option<Self> {
        match credential {
            CredentialId::ApiKey(id) => Some(Self::ApiKey(*id)),
            CredentialId::CliToken(id) => Some(Self::CliToken(*id)),
            CredentialId::AccessToken(_)
            | CredentialId::External(_)
            | CredentialId::Family(_)
            | CredentialId::Runner(_)
            | CredentialId::Session(_) => None,
        }
    }

    /// Returns the key that is its own client with this id.
    pub fn of_client(client: &ClientId) -> Option<Self> {
        let text = client.as_str();
        let api_key = text.parse().ok().map(Self::ApiKey);
        api_key.or_else(|| text.parse().ok().map(Self::CliToken))
    }

    /// Returns the id of the client that the key is.
    pub fn client_id(self) -> ClientId {
        match self {
            Self::ApiKey(id) => id.to_string().into(),
            Self::CliToken(id) => id.to_string().into(),
        }
    }
}

/// The credential that a caller presented.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum CredentialId {
    /// An API key.
    ApiKey(ApiKeyId),
    /// A CLI token.
    CliToken(CliTokenId),
    /// A credential that we did not issue: a token of another issuer, a configured key.
    External(String),
    /// An access token that was issued with a family of refresh tokens.
    Family(FamilyId),
    /// A runner's token.
    Runner(RunnerId),
    /// A browser session.
    Session(SessionId),
    /// A token without a family: an agent's access token, a service token.
    AccessToken(AccessTokenId),
}

impl CredentialId {
    /// Returns the id of a token that another issuer issued: its own id, or else a part of its
    /// digest, which `digest` returns.
    ///
    /// An id that reads as one of ours, is not visible ASCII or is long is not used: it is shown to
    /// callers, to guarded APIs and in logs.
    pub fn of_issuer(id: Option<&str>, digest: impl FnOnce() -> String) -> Self {
        let is_sound = |id: &&str| {
            (1..=200).contains(&id.len())
                && id.bytes().all(|byte| byte.is_ascii_graphic())
                && !SubjectPrefix::reserved()
                    .chain([TOKEN_DIGEST_PREFIX])
                    .any(|reserved| id.starts_with(reserved))
        };
        Self::External(id.filter(is_sound).map_or_else(digest, str::to_owned))
    }

    /// Parses the text of a verified claim in one of our tokens.
    fn parse(text: String) -> Self {
        None.or_else(|| text.parse().ok().map(Self::ApiKey))
            .or_else(|| text.parse().ok().map(Self::CliToken))
            .or_else(|| text.parse().ok().map(Self::Family))
            .or_else(|| text.parse().ok().map(Self::Runner))
            .or_else(|| text.parse().ok().map(Self::Session))
            .or_else(|| text.parse().ok().map(Self::AccessToken))
            .unwrap_or(Self::External(text))
    }
}

impl fmt::Display for CredentialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ApiKey(id) => fmt::Display::fmt(id, f),
            Self::CliToken(id) => fmt::Display::fmt(id, f),
            Self::External(text) => f.write_str(text),
            Self::Family(id) => fmt::Display::fmt(id, f),
            Self::Runner(id) => fmt::Display::fmt(id, f),
            Self::Session(id) => fmt::Display::fmt(id, f),
            Self::AccessToken(id) => fmt::Display::fmt(id, f),
        }
    }
}

impl From<String> for CredentialId {
    fn from(text: String) -> Self {
        Self::parse(text)
    }
}

impl From<CredentialId> for String {
    fn from(id: CredentialId) -> Self {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::{CredentialId, Subject};

    #[test]
    fn the_text_of_a_subject_survives_parsing() {
        for (text, is_enrolled) in [
            ("agt_01h455vb4pex5vsknk084sn02q", false),
            ("apikey_0123456789ab", false),
            ("cli_01h455vb4pex5vsknk084sn02q", false),
            ("github|7", false),
            ("key_01h455vb4pex5vsknk084sn02q", false),
            ("run_01h455vb4pex5vsknk084sn02q", false),
            ("svc_01h455vb4pex5vsknk084sn02q", false),
            ("usr_01h455vb4pex5vsknk084sn02q", true),
            ("usr_01H455VB4PEX5VSKNK084SN02Q", false),
            ("usr_not-an-id", false),
            ("usr_", false),
            ("", false),
        ] {
            let subject = Subject::from(text);
            assert_eq!((subject.to_string().as_str(), subject.is_enrolled()), (text, is_enrolled));
        }
    }

    #[test]
    fn the_text_of_a_credential_id_survives_parsing() {
        for kind in ["cli", "fam", "key", "run", "ses", "tok"] {
            let text = format!("{kind}_01h455vb4pex5vsknk084sn02q");
            let id = CredentialId::from(text.clone());
            assert!(!matches!(id, CredentialId::External(_)), "{text}");
            assert_eq!(id.to_string(), text);
        }
        assert_eq!(CredentialId::from("b-1".to_owned()), CredentialId::External("b-1".into()));
    }
}
