//! What can go wrong: a [`Refusal`] is the caller's doing, a [`Fault`] is ours. They never turn into one another.
//!
//! We say exactly to ourselves what happened, and blandly to the caller: unknown, wrong, expired and revoked
//! credentials get one and the same answer. The table from one to the other is [`Refusal::public`].

use std::error::Error as StdError;

/// Why a request was not served.
#[derive(Debug)]
pub enum Error {
    /// The caller's doing: a 4xx.
    Refused(Refusal),
    /// The caller's doing, with a sentence of our own that helps to set it right. Never holds a value that was presented.
    Explained(Refusal, String),
    /// Ours: a 5xx, and never a reason for the caller to drop a good credential.
    Failed(Fault),
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self::Failed(fault)
    }
}

/// A failure of ours, with what we were doing.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// A record that is not what we wrote.
    #[error("the store holds a record that cannot be read: {0}")]
    Corrupt(String),
    /// A cryptographic operation that cannot fail, failed; or a key is not one.
    #[error("{0} failed")]
    Crypto(&'static str),
    /// The operating system gave no random bytes.
    #[error("the random generator failed")]
    Entropy,
    /// The secret cannot be read.
    #[error("reading the secret failed: {0}")]
    Secret(String),
    /// A setting is wrong, unknown or missing: the start ends here.
    #[error("{0}")]
    Setting(String),
    /// The store did not answer, or answered that it could not.
    #[error("the store failed to {operation}")]
    Store {
        operation: &'static str,
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
}

impl Fault {
    /// What the caller is told.
    pub fn public(&self) -> Public {
        match self {
            Fault::Store { .. } => UNAVAILABLE,
            Fault::Corrupt(_) | Fault::Crypto(_) | Fault::Entropy | Fault::Secret(_) | Fault::Setting(_) => INTERNAL,
        }
    }
}

/// Why we refused: one variant per cause, alphabetical, for our own log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.public().description)]
pub enum Refusal {
    AgentSecretMalformed,
    AgentSecretWrong,
    AgentUnknown,
    ApiKeyUnknown,
    ApiKeyWrong,
    BodyMalformed,
    BodyMissing,
    BodyTooLarge,
    ClientCredentialsDoubled,
    ClientCredentialsMissing,
    CredentialAbsent,
    CredentialMalformed,
    CredentialShapeUnknown,
    CursorMalformed,
    ExpiryInThePast,
    FamilyElsewhere,
    FamilyGone,
    FamilyOfAnotherClient,
    FamilyOrphaned,
    GrantTypeUnknown,
    HeaderDoubled,
    HeaderMalformed,
    LabelMalformed,
    LimitMalformed,
    MediaTypeUnsupported,
    MethodUnknown,
    NameMalformed,
    OperatorKeyWrong,
    OverlapTooLong,
    OwnerMalformed,
    OwnerNotYours,
    ParameterDoubled,
    ParameterMissing,
    PathMalformed,
    RecordChanged,
    RecordUnknown,
    RefreshTokenForged,
    RefreshTokenReused,
    RequestMalformed,
    ResourcesMalformed,
    RouteUnknown,
    RunnerStatusMalformed,
    RunnerTokenWrong,
    ScopeEscalation,
    ScopeInsufficient,
    ScopeMalformed,
    ScopeNotGranted,
    ScopesEmpty,
    ScopesTooMany,
    TokenEarly,
    TokenExpired,
    TokenForged,
    TokenMisfit,
    TokenOrphaned,
    TokenRevoked,
}

/// How a 401 asks for credentials (RFC 9110 §11.6.1, RFC 6750 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// No `WWW-Authenticate`.
    None,
    /// `Basic`: the token endpoint's own scheme (RFC 6749 §5.2).
    Basic,
    /// `Bearer` without an `error`: nothing was presented.
    Bearer,
    /// `Bearer` with the error's code.
    BearerError,
}

/// What the caller sees of a refusal or fault. Codes are stable for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Public {
    pub status: u16,
    pub code: &'static str,
    pub description: &'static str,
    pub challenge: Challenge,
}

const UNAVAILABLE: Public = Public {
    status: 503,
    code: "temporarily_unavailable",
    description: "A service that this depends on did not answer. Your credential is not at fault: try again shortly.",
    challenge: Challenge::None,
};
const INTERNAL: Public = Public {
    status: 500,
    code: "internal_error",
    description: "Something failed on our side. Your credential is not at fault.",
    challenge: Challenge::None,
};
const INVALID_TOKEN: Public = Public {
    status: 401,
    code: "invalid_token",
    description: "The credential is not valid.",
    challenge: Challenge::BearerError,
};
const INVALID_CLIENT: Public = Public {
    status: 401,
    code: "invalid_client",
    description: "The client's id or secret is not valid.",
    challenge: Challenge::Basic,
};
const INVALID_GRANT: Public = Public {
    status: 400,
    code: "invalid_grant",
    description: "The refresh token is not valid: sign in or exchange your credentials again.",
    challenge: Challenge::None,
};

const fn bad_request(description: &'static str) -> Public {
    Public { status: 400, code: "invalid_request", description, challenge: Challenge::None }
}

const fn invalid_scope(description: &'static str) -> Public {
    Public { status: 400, code: "invalid_scope", description, challenge: Challenge::None }
}

const fn forbidden_scope(description: &'static str) -> Public {
    Public { status: 403, code: "insufficient_scope", description, challenge: Challenge::BearerError }
}

impl Refusal {
    /// The one table from a cause to what the caller is told. No `_` arm: a new cause must be placed by hand.
    pub const fn public(self) -> Public {
        match self {
            Self::ApiKeyUnknown
            | Self::ApiKeyWrong
            | Self::CredentialMalformed
            | Self::CredentialShapeUnknown
            | Self::OperatorKeyWrong
            | Self::RunnerTokenWrong
            | Self::TokenEarly
            | Self::TokenExpired
            | Self::TokenForged
            | Self::TokenMisfit
            | Self::TokenOrphaned
            | Self::TokenRevoked => INVALID_TOKEN,
            Self::AgentSecretMalformed
            | Self::AgentSecretWrong
            | Self::AgentUnknown
            | Self::ClientCredentialsMissing => INVALID_CLIENT,
            Self::FamilyElsewhere
            | Self::FamilyGone
            | Self::FamilyOfAnotherClient
            | Self::FamilyOrphaned
            | Self::RefreshTokenForged
            | Self::RefreshTokenReused => INVALID_GRANT,
            Self::CredentialAbsent => Public {
                status: 401,
                code: "auth_required",
                description: "No credential was presented: send one in the Authorization header.",
                challenge: Challenge::Bearer,
            },
            Self::ScopeInsufficient => forbidden_scope("The credential lacks the scope that this needs."),
            Self::ScopeEscalation => {
                forbidden_scope("A credential cannot be given scopes or resources that its maker lacks.")
            }
            Self::ScopeMalformed => invalid_scope(
                "A scope is resource:action of lowercase letters, digits, _ and -, or *; at most 64 characters.",
            ),
            Self::ScopeNotGranted => invalid_scope("A scope was asked for that was not granted."),
            Self::ScopesEmpty => invalid_scope("At least one scope is needed."),
            Self::ScopesTooMany => invalid_scope("At most 64 scopes, and 2048 characters in all."),
            Self::GrantTypeUnknown => Public {
                status: 400,
                code: "unsupported_grant_type",
                description: "The grant_type is not one of client_credentials and refresh_token.",
                challenge: Challenge::None,
            },
            Self::RecordUnknown => Public {
                status: 404,
                code: "not_found",
                description: "There is no such record in your organization.",
                challenge: Challenge::None,
            },
            Self::RecordChanged => Public {
                status: 409,
                code: "conflict",
                description: "Somebody else changed the record at the same time: read it again.",
                challenge: Challenge::None,
            },
            Self::RouteUnknown => Public {
                status: 404,
                code: "not_found",
                description: "There is no such route.",
                challenge: Challenge::None,
            },
            Self::MethodUnknown => Public {
                status: 405,
                code: "method_not_allowed",
                description: "The route has no such method; the Allow header lists those that it has.",
                challenge: Challenge::None,
            },
            Self::BodyTooLarge => Public {
                status: 413,
                code: "payload_too_large",
                description: "The body is larger than 64 KiB.",
                challenge: Challenge::None,
            },
            Self::MediaTypeUnsupported => Public {
                status: 415,
                code: "unsupported_media_type",
                description: "The Content-Type is not one that this route reads: send application/json.",
                challenge: Challenge::None,
            },
            Self::BodyMalformed => bad_request("The body is not the JSON object that this route reads."),
            Self::BodyMissing => bad_request("The request needs a body."),
            Self::ClientCredentialsDoubled => {
                bad_request("The client's credentials are in the Authorization header and in the body: send them once.")
            }
            Self::CursorMalformed => bad_request("The cursor is not one that a list answered."),
            Self::ExpiryInThePast => bad_request("expires_at lies in the past."),
            Self::HeaderDoubled => bad_request("A header that carries a credential was sent twice."),
            Self::HeaderMalformed => bad_request("A header is malformed."),
            Self::LabelMalformed => bad_request("At most 32 labels, each of 1 to 64 characters."),
            Self::LimitMalformed => bad_request("limit is a number from 1 to 100."),
            Self::NameMalformed => bad_request("A name has 1 to 100 characters, none of them a control character."),
            Self::OverlapTooLong => bad_request("overlap_s is a number of seconds from 0 to 604800."),
            Self::OwnerMalformed => bad_request("owner is a user id of 1 to 200 characters."),
            Self::OwnerNotYours => bad_request("Only the operator names the owner of an organization."),
            Self::ParameterDoubled => bad_request("A parameter was sent twice."),
            Self::ParameterMissing => bad_request("A parameter is missing."),
            Self::PathMalformed => bad_request(
                "The path can be read in two ways: dot or empty segments, needless escapes, semicolons, stars, backslashes or control characters.",
            ),
            Self::RequestMalformed => bad_request("The request is malformed."),
            Self::ResourcesMalformed => {
                bad_request("resources lists names by kind, at most 100 in all: {'repositories': ['acme/site']}.")
            }
            Self::RunnerStatusMalformed => {
                bad_request("status has 1 to 32 of a-z, 0-9, _ and -; version has 1 to 64 visible characters.")
            }
        }
    }
}
