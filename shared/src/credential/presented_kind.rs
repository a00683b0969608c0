//! What a presented string looks like, so that an answer can say where it belongs. The form is
//! public: it shows neither whether the credential exists nor whether it is valid.

use super::{
    TokenPrefix,
    opaque::{self, CredentialKind},
    refresh_token,
};
use crate::{core::id, crypto::jwt};

/// The kinds that have a prefix.
pub(super) const KINDS: [PresentedKind; 7] = [
    PresentedKind::AgentSecret,
    PresentedKind::ApiKey,
    PresentedKind::CliToken,
    PresentedKind::OperatorKey,
    PresentedKind::RefreshToken,
    PresentedKind::RunnerToken,
    PresentedKind::ServiceKey,
];

/// The shortest part of a credential that is recognized as one, without its prefix.
const SHORTEST_PART: usize = 8;

/// The kind of credential that a string has the form of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PresentedKind {
    /// An agent's secret.
    AgentSecret,
    /// An organization's API key.
    ApiKey,
    /// A user's CLI token.
    CliToken,
    /// An authorization code, a device code, an invitation, or the `state` of a sign-in.
    Code,
    /// A JWT of any issuer.
    Jwt,
    /// The operator's key.
    OperatorKey,
    /// A refresh token.
    RefreshToken,
    /// A runner's token.
    RunnerToken,
    /// A service's key.
    ServiceKey,
}

impl PresentedKind {
    /// Returns the kind, if `text` has the prefix of one, or the form of a JWT.
    pub fn of(brand: &TokenPrefix, text: &str) -> Option<Self> {
        if jwt::looks_like_jwt(text) {
            return Some(Self::Jwt);
        }
        let rest = text.strip_prefix(brand.as_str())?.strip_prefix('_')?;
        let (code, _) = rest.split_once('_')?;
        match code {
            id::AuthorizationCode::CODE
            | id::DeviceCode::CODE
            | id::SignIn::CODE
            | id::User::CODE => Some(Self::Code),
            id::ApiKey::CODE => Some(Self::ApiKey),
            id::Agent::CODE => Some(Self::AgentSecret),
            id::CliToken::CODE => Some(Self::CliToken),
            id::Operator::CODE => Some(Self::OperatorKey),
            id::Runner::CODE => Some(Self::RunnerToken),
            id::Service::CODE => Some(Self::ServiceKey),
            refresh_token::CODE => Some(Self::RefreshToken),
            _ => None,
        }
    }

    /// Says what is wrong with the form of `text`, which begins as a credential of this kind does:
    /// the rest of a sentence about it. `None` if nothing is, or if only the checksum is wrong.
    pub fn form_problem(self, brand: &TokenPrefix, text: &str) -> Option<String> {
        let (name, length) = (self.name(), self.length(brand)?);
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if !text.bytes().all(is_letter) {
            return Some(format!(
                "contains characters that are no part of {name}, such as a space, a quotation mark or an escaped line break (%0A): remove them."
            ));
        }
        let (prefix, given) = (self.prefix(brand).len(), text.len());
        let count = format!("it has {given} characters instead of {length}");
        if given > length {
            return Some(format!("is longer than {name}: {count}, so copy it again."));
        }
        if given == prefix + id::SUFFIX_LEN && self != Self::RefreshToken {
            return Some(format!(
                "is only the prefix of {name}, which lists show: {count}, so send the whole value, which was shown when it was created."
            ));
        }
        // A few characters were made up, and get the answer of an unknown one.
        (given < length && given >= prefix + SHORTEST_PART)
            .then(|| format!("is not the whole of {name}: {count}, so copy it again."))
    }

    /// Returns what every credential of this kind begins with, such as `pst_ak_`.
    pub fn prefix(self, brand: &TokenPrefix) -> String {
        match self.code() {
            Some(code) => format!("{}_{code}_", brand.as_str()),
            None => String::new(),
        }
    }

    /// Returns the letters between brand and body, if all credentials of this kind have the same.
    pub(super) const fn code(self) -> Option<&'static str> {
        match self {
            Self::AgentSecret => Some(id::Agent::CODE),
            Self::ApiKey => Some(id::ApiKey::CODE),
            Self::CliToken => Some(id::CliToken::CODE),
            Self::Code | Self::Jwt => None,
            Self::OperatorKey => Some(id::Operator::CODE),
            Self::RefreshToken => Some(refresh_token::CODE),
            Self::RunnerToken => Some(id::Runner::CODE),
            Self::ServiceKey => Some(id::Service::CODE),
        }
    }

    /// Returns what the id of its record begins with.
    pub(super) const fn record_prefix(self) -> Option<&'static str> {
        match self {
            Self::AgentSecret => Some("agt_"),
            Self::ApiKey => Some("key_"),
            Self::CliToken => Some("cli_"),
            Self::RunnerToken => Some("run_"),
            Self::ServiceKey => Some("svc_"),
            Self::Code | Self::Jwt | Self::OperatorKey | Self::RefreshToken => None,
        }
    }

    /// Returns the name of its record, with an article.
    pub(super) const fn record_name(self) -> &'static str {
        match self {
            Self::AgentSecret => "an agent",
            Self::RunnerToken => "a runner",
            Self::ServiceKey => "a service",
            Self::ApiKey
            | Self::CliToken
            | Self::Code
            | Self::Jwt
            | Self::OperatorKey
            | Self::RefreshToken => self.name(),
        }
    }

    /// Returns the number of characters of such a credential, if all have the same.
    fn length(self, brand: &TokenPrefix) -> Option<usize> {
        let prefix = brand.as_str().len() + "_ak_".len();
        match self {
            Self::Jwt => None,
            Self::RefreshToken => Some(prefix + refresh_token::BODY_LEN + super::CHECK_LEN),
            Self::AgentSecret
            | Self::ApiKey
            | Self::CliToken
            | Self::Code
            | Self::OperatorKey
            | Self::RunnerToken
            | Self::ServiceKey => Some(prefix + opaque::BODY_LEN + super::CHECK_LEN),
        }
    }

    /// Returns its name, with an article.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AgentSecret => "an agent secret",
            Self::ApiKey => "an API key",
            Self::CliToken => "a CLI token",
            Self::Code => "a code for one use",
            Self::Jwt => "a JWT",
            Self::OperatorKey => "the operator key",
            Self::RefreshToken => "a refresh token",
            Self::RunnerToken => "a runner token",
            Self::ServiceKey => "a service key",
        }
    }

    /// Returns how it is used, as an imperative.
    pub const fn usage(self) -> &'static str {
        match self {
            Self::AgentSecret => {
                "exchange it at POST /v1/auth/token, and send the access token from the response"
            }
            Self::ApiKey | Self::CliToken => "send it in X-API-Key, or as Authorization: Bearer",
            Self::Code => {
                "it does not authenticate requests, and is accepted only in the step that it was created for"
            }
            Self::Jwt => "send an access token as Authorization: Bearer",
            Self::OperatorKey => "only the routes of the operator accept it, so send an API key",
            Self::RefreshToken => {
                "exchange it at POST /v1/auth/refresh, and send the access token from the response"
            }
            Self::RunnerToken => "send it in X-Runner-Token",
            Self::ServiceKey => {
                "exchange it at POST /v1/auth/service-token, and send the service token from the response"
            }
        }
    }
}
