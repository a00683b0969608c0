//! Errors: a [`Refusal`] is the caller's mistake, and a [`Fault`] is our failure. Neither ever
//! becomes the other.
//!
//! The log contains the exact cause. The caller gets a general answer, the same for unknown, wrong,
//! expired and revoked credentials ([`Refusal::public`]).

mod refusal;

use jiff::SignedDuration;
use std::error::Error as StdError;

use super::scope::Scopes;
use http::StatusCode;
pub use refusal::Refusal;
pub(crate) use refusal::{SCOPE_NOT_GRANTED, SCOPE_RULE};

/// The reason why a request was not served.
#[derive(Debug)]
pub enum Error {
    /// The caller's mistake: a 4xx.
    Rejected(Rejection),
    /// Our failure: a 5xx, and never a reason for the caller to discard a valid credential.
    Failed(Fault),
}

/// A refusal, with advice for the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The exact cause.
    pub refusal: Refusal,
    /// A sentence that replaces the one of the table. It never contains a presented value.
    detail: Option<String>,
    /// How long the caller should wait before trying again.
    retry_after: Option<SignedDuration>,
    /// The scopes that the request requires.
    required_scopes: Option<Scopes>,
    /// Where a proof of possession was expected, if one was.
    proof: Option<ProofPlace>,
    /// Whether it is about the subject token of an exchange.
    is_of_subject_token: bool,
    /// The cause whose answer the caller gets, if it must not tell the two apart.
    answered_as: Option<Refusal>,
}

/// Where a proof of possession (RFC 9449) was expected, which decides how an error is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ProofPlace {
    /// At the token endpoint, where a wrong proof is a 400 (§5).
    TokenEndpoint,
    /// With an access token, where it is a 401 (§7.1).
    Api,
}

impl Error {
    /// Returns a refusal whose description is `detail`.
    pub fn with_detail(refusal: Refusal, detail: String) -> Self {
        Self::Rejected(Rejection { detail: Some(detail), ..refusal.into() })
    }

    /// Gives the caller the answer to another cause, from which it must not tell this one apart. A
    /// fault stays as it is.
    #[must_use]
    pub fn answered_as(self, other: Refusal) -> Self {
        match self {
            Self::Rejected(rejection) => {
                Self::Rejected(Rejection { answered_as: Some(other), ..rejection })
            }
            Self::Failed(fault) => Self::Failed(fault),
        }
    }

    /// Adds a sentence to the description of a refusal. A fault stays as it is.
    #[must_use]
    pub fn with_hint(self, hint: &str) -> Self {
        let sentence = format!("{} {hint}", self.description());
        match self {
            Self::Rejected(rejection) => {
                Self::Rejected(Rejection { detail: Some(sentence), ..rejection })
            }
            Self::Failed(fault) => Self::Failed(fault),
        }
    }

    /// Returns the refusal of a caller who lacks one of `scopes`.
    pub fn lacks_scope(scopes: impl Into<Scopes>) -> Self {
        let scopes = scopes.into();
        let detail = format!("The credential lacks the scope that is required: {scopes}.");
        Self::Rejected(Rejection {
            detail: Some(detail),
            required_scopes: Some(scopes),
            ..Refusal::ScopeInsufficient.into()
        })
    }

    /// Returns a refusal of a request that can succeed after `duration`, which the sentence says.
    pub fn rejected_until(refusal: Refusal, duration: SignedDuration) -> Self {
        let what = refusal.public().description;
        Self::Rejected(Rejection {
            detail: Some(format!("{what} Try again in {}.", in_words(duration))),
            retry_after: Some(duration),
            ..refusal.into()
        })
    }

    /// Marks a refusal as one of the token endpoint. A fault stays as it is.
    #[must_use]
    pub fn at_token_endpoint(self) -> Self {
        self.with_proof_place(ProofPlace::TokenEndpoint)
    }

    /// Marks a refusal as one of a token that is bound to a key. A fault stays as it is.
    #[must_use]
    pub fn of_bound_token(self) -> Self {
        self.with_proof_place(ProofPlace::Api)
    }

    /// Marks a refusal as one of a token exchange, where an invalid token makes the request invalid
    /// (RFC 8693 §2.2.2). A fault stays as it is.
    #[must_use]
    pub fn of_subject_token(self) -> Self {
        match self {
            Self::Rejected(rejection) => {
                // Advice about headers does not help who sends a parameter.
                let detail = rejection.detail.clone().filter(|_| !rejection.is_of_credential());
                Self::Rejected(Rejection { is_of_subject_token: true, detail, ..rejection })
            }
            Self::Failed(fault) => Self::Failed(fault),
        }
    }

    fn with_proof_place(self, place: ProofPlace) -> Self {
        match self {
            Self::Rejected(rejection) => {
                Self::Rejected(Rejection { proof: Some(place), ..rejection })
            }
            Self::Failed(fault) => Self::Failed(fault),
        }
    }

    /// Returns the cause of a refusal.
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Rejected(rejection) => Some(rejection.refusal),
            Self::Failed(_) => None,
        }
    }

    /// Returns what the caller sees.
    pub fn public(&self) -> PublicError {
        match self {
            Self::Rejected(rejection) => rejection.public(),
            Self::Failed(fault) => fault.public(),
        }
    }

    /// Returns the sentence for the caller.
    pub fn description(&self) -> &str {
        self.detail().unwrap_or(self.public().description)
    }

    /// Returns the sentence that replaces the general one of the refusal, if there is one.
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::Rejected(rejection) => rejection.detail.as_deref(),
            Self::Failed(_) => None,
        }
    }

    /// Returns the scopes that the request requires, if the caller lacks one.
    pub fn required_scopes(&self) -> Option<&Scopes> {
        match self {
            Self::Rejected(rejection) => rejection.required_scopes.as_ref(),
            Self::Failed(_) => None,
        }
    }

    /// Reports whether the same request can succeed later, so that nothing is known about its
    /// credential: a 503, which is not always a fault.
    pub fn is_temporary(&self) -> bool {
        self.public().status == StatusCode::SERVICE_UNAVAILABLE
    }

    /// Returns how long the caller should wait before trying again, if that is worthwhile.
    pub fn retry_after(&self) -> Option<SignedDuration> {
        let known = match self {
            Self::Rejected(rejection) => rejection.retry_after,
            Self::Failed(_) => None,
        };
        known.or_else(|| self.is_temporary().then_some(SignedDuration::from_secs(1)))
    }
}

impl Rejection {
    /// Reports whether it is that of a credential with which requests are authenticated.
    fn is_of_credential(&self) -> bool {
        matches!(self.answer().challenge, Challenge::Bearer | Challenge::BearerError)
    }

    /// Returns the row of the table that answers it.
    fn answer(&self) -> PublicError {
        self.answered_as.unwrap_or(self.refusal).public()
    }

    fn public(&self) -> PublicError {
        let public = self.answer();
        if self.is_of_subject_token && self.is_of_credential() {
            return INVALID_SUBJECT_TOKEN;
        }
        if self.is_of_subject_token && public.code == "invalid_grant" {
            return PublicError { code: "invalid_request", ..public };
        }
        match (self.proof, public.challenge) {
            (Some(ProofPlace::TokenEndpoint), Challenge::Dpop) => PublicError {
                status: StatusCode::BAD_REQUEST,
                challenge: Challenge::None,
                ..public
            },
            (Some(ProofPlace::Api), Challenge::BearerError) => public.challenging(Challenge::Dpop),
            _ => public,
        }
    }
}

/// Returns a duration in words, rounded up: in minutes, if it is longer than one.
fn in_words(duration: SignedDuration) -> String {
    match duration.as_secs() {
        ..=1 => "1 second".into(),
        seconds @ 2..=60 => format!("{seconds} seconds"),
        seconds => format!("{} minutes", (seconds + 59) / 60),
    }
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        Self {
            refusal,
            detail: None,
            retry_after: None,
            required_scopes: None,
            proof: None,
            is_of_subject_token: false,
            answered_as: None,
        }
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

/// Our failure, with the operation that failed.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// A stored record cannot be read.
    #[error("a stored record cannot be read: {0}")]
    Corrupt(String),
    /// A cryptographic operation failed, or a key is invalid.
    #[error("the cryptographic library failed to {operation}")]
    Crypto {
        /// The operation, as an infinitive.
        operation: &'static str,
        /// What failed.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The operating system returned no random bytes.
    #[error("the random number generator failed")]
    Entropy,
    /// The event from Lambda is invalid.
    #[error("the event is invalid: {0}")]
    Event(String),
    /// A request to another issuer failed, or its response is invalid.
    #[error("request to {issuer} failed")]
    Issuer {
        /// The issuer's URL or name.
        issuer: String,
        /// What failed.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The deployment's secret cannot be read, or one of its keys cannot be used.
    #[error("the deployment's secret cannot be used: {0}")]
    DeploymentSecret(String),
    /// A response, record or page cannot be serialized.
    #[error("serialization failed")]
    Serialization(#[source] Box<dyn StdError + Send + Sync>),
    /// A setting is invalid, unknown or missing, which prevents the start.
    #[error("{0}")]
    Setting(String),
    /// The store did not respond, or its response was an error.
    #[error("the store failed to {operation}")]
    Store {
        /// The operation, as an infinitive.
        operation: &'static str,
        /// What failed.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
}

impl Fault {
    /// Returns a function that makes the library's error a fault.
    pub fn crypto<E: Into<Box<dyn StdError + Send + Sync>>>(
        operation: &'static str,
    ) -> impl Fn(E) -> Self {
        move |error| Self::Crypto { operation, source: error.into() }
    }

    /// Returns what the caller sees.
    pub fn public(&self) -> PublicError {
        match self {
            Fault::Issuer { .. } | Fault::Store { .. } => UNAVAILABLE,
            Fault::Corrupt(_)
            | Fault::Crypto { .. }
            | Fault::Entropy
            | Fault::Event(_)
            | Fault::DeploymentSecret(_)
            | Fault::Serialization(_)
            | Fault::Setting(_) => INTERNAL,
        }
    }
}

/// The challenge of a response: `WWW-Authenticate` (RFC 9110 §11.6.1, RFC 6750 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// No `WWW-Authenticate`.
    None,
    /// `Basic`, for clients of the token endpoint (RFC 6749 §5.2).
    Basic,
    /// `Bearer` without an `error`, because no credential was presented.
    Bearer,
    /// `Bearer` with the error's code.
    BearerError,
    /// `DPoP` with the error's code, for tokens that are bound to a key (RFC 9449 §7.1).
    Dpop,
}

/// The public part of a refusal or fault. Codes never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicError {
    /// The HTTP status.
    pub status: StatusCode,
    /// The code in `error`.
    pub code: &'static str,
    /// The sentence in `error_description`.
    pub description: &'static str,
    /// The challenge of the response.
    pub challenge: Challenge,
}

impl PublicError {
    /// Returns an answer without a challenge.
    const fn new(status: StatusCode, code: &'static str, description: &'static str) -> Self {
        Self { status, code, description, challenge: Challenge::None }
    }

    /// Adds a challenge.
    const fn challenging(self, challenge: Challenge) -> Self {
        Self { challenge, ..self }
    }
}

const INVALID_SUBJECT_TOKEN: PublicError = PublicError::new(
    StatusCode::BAD_REQUEST,
    "invalid_request",
    "The subject_token is not valid: send an API key, a CLI token or the access token of a user that works.",
);
const UNAVAILABLE: PublicError = PublicError::new(
    StatusCode::SERVICE_UNAVAILABLE,
    "temporarily_unavailable",
    "A required service is unavailable. Your credential is unaffected: try again shortly.",
);
const INTERNAL: PublicError = PublicError::new(
    StatusCode::INTERNAL_SERVER_ERROR,
    "internal_error",
    "An internal error occurred. Your credential is unaffected.",
);
