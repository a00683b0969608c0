//! What can go wrong: a [`Refusal`] is the caller's doing, a [`Fault`] is ours. They never turn into one another.
//!
//! We say exactly to ourselves what happened, and blandly to the caller: unknown, wrong, expired and revoked
//! credentials get one and the same answer. The table from one to the other is in
//! [`refusal`](Refusal::public).

mod refusal;

use std::error::Error as StdError;

pub use refusal::Refusal;

/// Why a request was not served.
#[derive(Debug)]
pub enum Error {
    /// The caller's doing: a 4xx.
    Rejected(Rejection),
    /// Ours: a 5xx, and never a reason for the caller to drop a good credential.
    Failed(Fault),
}

/// A refusal, with what helps the caller to do better.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The exact cause.
    pub refusal: Refusal,
    /// A sentence that replaces the one of the table. It never holds a value that was presented.
    detail: Option<String>,
    /// After how many seconds another try is worthwhile.
    retry_after_s: Option<i64>,
}

impl Error {
    /// A refusal that `detail` explains better than the table does.
    pub fn explained(refusal: Refusal, detail: String) -> Self {
        Self::Rejected(Rejection { detail: Some(detail), ..refusal.into() })
    }

    /// A refusal of what may succeed after `seconds`.
    pub fn retry_after(refusal: Refusal, seconds: i64) -> Self {
        Self::Rejected(Rejection { retry_after_s: Some(seconds), ..refusal.into() })
    }

    /// Returns the cause, if it is the caller's doing.
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Rejected(rejection) => Some(rejection.refusal),
            Self::Failed(_) => None,
        }
    }

    /// Returns what the caller sees.
    pub fn public(&self) -> Public {
        match self {
            Self::Rejected(rejection) => rejection.refusal.public(),
            Self::Failed(fault) => fault.public(),
        }
    }

    /// Returns the sentence for the caller.
    pub fn description(&self) -> &str {
        match self {
            Self::Rejected(Rejection { detail: Some(detail), .. }) => detail,
            Self::Rejected(_) | Self::Failed(_) => self.public().description,
        }
    }

    /// Returns after how many seconds the caller should try again, if that is worthwhile.
    pub fn retry_after_s(&self) -> Option<i64> {
        match self {
            Self::Rejected(rejection) => rejection.retry_after_s,
            Self::Failed(fault) => (fault.public().status == 503).then_some(1),
        }
    }
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, detail: None, retry_after_s: None }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Rejected(refusal.into())
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
    /// Another issuer did not give us its keys, or did not answer otherwise.
    #[error("{issuer} did not do what it was asked for")]
    Issuer {
        issuer: String,
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
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
            Fault::Issuer { .. } | Fault::Store { .. } => UNAVAILABLE,
            Fault::Corrupt(_)
            | Fault::Crypto(_)
            | Fault::Entropy
            | Fault::Secret(_)
            | Fault::Setting(_) => INTERNAL,
        }
    }
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

impl Public {
    /// An answer without a challenge.
    const fn new(status: u16, code: &'static str, description: &'static str) -> Self {
        Self { status, code, description, challenge: Challenge::None }
    }

    const fn challenging(self, challenge: Challenge) -> Self {
        Self { challenge, ..self }
    }
}

const UNAVAILABLE: Public = Public::new(
    503,
    "temporarily_unavailable",
    "A service that this depends on did not answer. Your credential is not at fault: try again shortly.",
);
const INTERNAL: Public = Public::new(
    500,
    "internal_error",
    "Something failed on our side. Your credential is not at fault.",
);
