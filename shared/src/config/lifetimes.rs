//! `[lifetimes]`: how long credentials live.

use jiff::SignedDuration;
use serde::Deserialize;

use super::setting;
use crate::core::{
    clock::{LEEWAY, seconds},
    error::Fault,
};

/// How long credentials live; whole seconds in the file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lifetimes {
    /// An access token.
    #[serde(with = "seconds")]
    pub access_token: SignedDuration,
    /// A family of refresh tokens that is not used.
    #[serde(with = "seconds")]
    pub refresh_idle: SignedDuration,
    /// A family of refresh tokens in any case.
    #[serde(with = "seconds")]
    pub refresh_absolute: SignedDuration,
    /// How long the same caller may repeat a refresh.
    #[serde(with = "seconds")]
    pub refresh_grace: SignedDuration,
    /// A browser session that is not used.
    #[serde(with = "seconds")]
    pub session_idle: SignedDuration,
    /// How long a device waits for a person.
    #[serde(with = "seconds")]
    pub device_code: SignedDuration,
    /// The one-time code of a tool.
    #[serde(with = "seconds")]
    pub authorization_code: SignedDuration,
    /// A service token.
    #[serde(with = "seconds")]
    pub service_token: SignedDuration,
    /// A download token.
    #[serde(with = "seconds")]
    pub download_token: SignedDuration,
    /// How far the timestamp of a signed request may be from our clock.
    #[serde(with = "seconds")]
    pub signature_window: SignedDuration,
    /// How old a cached "not revoked" may be; only zero is offered.
    #[serde(with = "seconds")]
    pub revocation_staleness: SignedDuration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            access_token: SignedDuration::from_secs(3600),
            refresh_idle: SignedDuration::from_secs(7 * 24 * 3600),
            refresh_absolute: SignedDuration::from_secs(90 * 24 * 3600),
            refresh_grace: SignedDuration::from_secs(10),
            session_idle: SignedDuration::from_secs(7 * 24 * 3600),
            device_code: SignedDuration::from_secs(600),
            authorization_code: SignedDuration::from_secs(60),
            service_token: SignedDuration::from_secs(300),
            download_token: SignedDuration::from_secs(300),
            signature_window: SignedDuration::from_secs(300),
            revocation_staleness: SignedDuration::from_secs(0),
        }
    }
}

/// The longest life that may be set: ten years.
const LONGEST_S: i64 = 10 * 366 * 24 * 3600;

impl Lifetimes {
    /// Checks the bounds and how the lifetimes relate to each other.
    pub(super) fn check(&self) -> Result<(), Fault> {
        let within = |name: &str, value: SignedDuration, least: i64, most: i64| {
            let value = value.as_secs();
            if (least..=most).contains(&value) {
                Ok(())
            } else {
                setting(format!(
                    "postern.toml: lifetimes.{name} is {value}; it must be {least} to {most} seconds"
                ))
            }
        };
        within("access_token", self.access_token, LEEWAY.as_secs(), 24 * 3600)?;
        // A family that ends before its access token would take the token with it.
        within("refresh_idle", self.refresh_idle, self.access_token.as_secs(), LONGEST_S)?;
        within("refresh_absolute", self.refresh_absolute, self.refresh_idle.as_secs(), LONGEST_S)?;
        // A longer one would let a stolen token be repeated at leisure.
        within("refresh_grace", self.refresh_grace, 0, 60)?;
        within("session_idle", self.session_idle, 60, LONGEST_S)?;
        // Long enough to find the page and sign in, short enough that a code seen by others is of
        // no use.
        within("device_code", self.device_code, 60, 3600)?;
        // RFC 6749 §4.1.2: at most ten minutes.
        within("authorization_code", self.authorization_code, 10, 600)?;
        // Neither can be revoked: only their lifetime bounds them.
        within("service_token", self.service_token, LEEWAY.as_secs(), 3600)?;
        within("download_token", self.download_token, LEEWAY.as_secs(), 3600)?;
        within("signature_window", self.signature_window, 1, 3600)?;
        within("revocation_staleness", self.revocation_staleness, 0, 0)
    }
}
