//! What can go wrong, and what to do about it.

use std::{error::Error as StdError, fmt, sync::Arc};

/// The result of everything here that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error: what is wrong, and what to do. It never contains a token.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    code: ErrorCode,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The kind of an error. The codes are the same in all languages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorCode {
    /// The user, or the server, refused.
    AccessDenied,
    /// The program or the user ended the operation.
    Cancelled,
    /// The code of a device, or the time to log in, expired.
    ExpiredToken,
    /// A URL is neither `https` nor on this machine, or is not that of an issuer.
    InsecureIssuer,
    /// The server does not know the client, or its secret is wrong.
    InvalidClient,
    /// The program passed something that cannot be used or sent.
    InvalidRequest,
    /// The server sent something that it should not have.
    InvalidResponse,
    /// The server does not grant these scopes.
    InvalidScope,
    /// The server does not issue tokens for this resource.
    InvalidTarget,
    /// Another process has kept the session locked for too long.
    LockTimeout,
    /// There is no session, or it ended. The user has to log in.
    LoginRequired,
    /// The server did not answer, or says that it cannot now. The session is kept.
    ServerUnavailable,
    /// A file of the session cannot be parsed, or the name of a profile is not valid.
    SessionInvalid,
    /// A file of the session cannot be read or written, or other users can change it.
    StorageFailed,
    /// The platform has no token for this workload, or it has been used.
    WorkloadTokenUnavailable,
}

impl ErrorCode {
    /// Returns the code as text, such as `login_required`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AccessDenied => "access_denied",
            Self::Cancelled => "cancelled",
            Self::ExpiredToken => "expired_token",
            Self::InsecureIssuer => "insecure_issuer",
            Self::InvalidClient => "invalid_client",
            Self::InvalidRequest => "invalid_request",
            Self::InvalidResponse => "invalid_response",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::LockTimeout => "lock_timeout",
            Self::LoginRequired => "login_required",
            Self::ServerUnavailable => "server_unavailable",
            Self::SessionInvalid => "session_invalid",
            Self::StorageFailed => "storage_failed",
            Self::WorkloadTokenUnavailable => "workload_token_unavailable",
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Error {
    /// Creates an error. `message` says what is wrong and what to do, and contains no token.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner { code, message: message.into(), source: None }))
    }

    pub(crate) fn with_source(
        code: ErrorCode,
        message: impl Into<String>,
        source: impl StdError + Send + Sync + 'static,
    ) -> Self {
        let source = Some(Box::new(source) as Box<dyn StdError + Send + Sync>);
        Self(Arc::new(Inner { code, message: message.into(), source }))
    }

    /// Returns the kind of the error.
    pub fn code(&self) -> ErrorCode {
        self.0.code
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.code, self.0.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}
