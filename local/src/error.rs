//! Failures of the local program, as messages for its user.

use http::StatusCode;

/// A failure of the local program.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The first organization was not created.
    #[error("creating the first organization failed: {answer}")]
    FirstOrganization {
        /// The status of the response.
        status: StatusCode,
        /// The body of the response.
        answer: String,
    },
    /// An I/O operation failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// The failure.
        source: std::io::Error,
    },
    /// The template is not understood.
    #[error("template.yaml: {0}")]
    Template(String),
    /// The embedded store failed.
    #[error("the embedded store: {0}")]
    Engine(String),
    /// Input or data is invalid.
    #[error("{0}")]
    Invalid(String),
    /// Postern failed, for example because of a setting.
    #[error(transparent)]
    Postern(#[from] postern::Fault),
}

impl Error {
    /// Adds what was being done to an I/O error.
    pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
