//! Logins of users. Each ends with the tokens of a session, and stores nothing itself.

mod browser;
mod callback;
mod device;

pub(crate) use browser::with_browser;
pub use device::DevicePrompt;
pub(crate) use device::with_device;

use crate::{Error, ErrorCode, Issuer, Storage};

/// What a login asks for.
#[derive(Clone, Debug, Default)]
pub struct Login {
    /// Scopes, separated by spaces. Without it, what the server gives by default.
    pub scope: Option<String>,
    /// The API that the tokens are for (RFC 8707).
    pub resource: Option<String>,
    /// Where the refresh token goes. Without it, to the keyring if this machine has one and the
    /// feature `keyring` is on, else to the file.
    pub storage: Option<Storage>,
}

impl Login {
    fn scopes(&self) -> impl Iterator<Item = oauth2::Scope> {
        let scope = self.scope.as_deref().unwrap_or_default();
        scope.split_ascii_whitespace().map(|scope| oauth2::Scope::new(scope.to_owned()))
    }
}

fn not_supported(issuer: &Issuer, what: &str, member: &str) -> Error {
    let message = format!(
        "{issuer} does not support {what}: its metadata has no {member}. Use another way to log \
         in."
    );
    Error::new(ErrorCode::InvalidResponse, message)
}
