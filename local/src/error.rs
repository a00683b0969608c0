//! Failures of the local program, as messages for its user.

/// A failure of the local program.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{what}: {source}")]
    Io { what: String, source: std::io::Error },
    #[error("template.yaml: {0}")]
    Template(String),
    #[error("the embedded store: {0}")]
    Engine(String),
    #[error("{0}")]
    Data(String),
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
