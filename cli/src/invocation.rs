//! One run of the program: its environment, and the profile that it names.

use std::{env, ffi::OsString};

use postern_client::{Config, Context, Error, ErrorCode, Home, Profile, ProfileName};

use crate::failure::Failure;

/// One run of the program.
#[derive(Debug)]
pub(crate) struct Invocation {
    pub(crate) context: Context,
    /// The profile of the option `--profile`.
    pub(crate) profile_name: Option<ProfileName>,
}

impl Invocation {
    pub(crate) fn new(profile_name: Option<ProfileName>) -> Result<Self, Failure> {
        refuse_unreadable_variables()?;
        Ok(Self { context: Context::new()?, profile_name })
    }

    /// Returns the folder of profiles and sessions. Commands that need none work without one.
    pub(crate) fn home(&self) -> Result<Home, Failure> {
        Ok(Home::from_environment(&self.context)?)
    }

    /// Returns the configuration.
    pub(crate) fn config(&self) -> Result<Config, Failure> {
        self.home()?.config().map_err(unusable)
    }

    /// Returns the profile that is named, else the default one.
    pub(crate) fn profile(&self) -> Result<Profile, Failure> {
        self.home()?.profile(&self.context, self.profile_name.as_ref()).map_err(unusable)
    }
}

/// A session that cannot be parsed is replaced by a login, but a configuration is not.
fn unusable(error: Error) -> Failure {
    if error.code() == ErrorCode::SessionInvalid {
        return Failure::failed(error.to_string());
    }
    error.into()
}

/// Refuses variables that are not text. Without them, another credential would be used.
#[expect(clippy::disallowed_methods, reason = "for the client, such a variable is not set")]
fn refuse_unreadable_variables() -> Result<(), Failure> {
    let is_unreadable = |(name, value): &(OsString, OsString)| {
        name.to_string_lossy().starts_with("POSTERN_") && value.to_str().is_none()
    };
    match env::vars_os().find(is_unreadable) {
        Some((name, _)) => Err(Failure::usage(format!(
            "The variable {} is not UTF-8. Set it again, or unset it.",
            name.display()
        ))),
        None => Ok(()),
    }
}
