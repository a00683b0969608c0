//! `[lifetimes]`: the lifetimes of credentials.

use jiff::SignedDuration;
use serde::Deserialize;

use super::setting;
use crate::core::{
    clock::{LEEWAY, seconds},
    error::Fault,
};

/// The lifetimes of credentials. In the file they are whole seconds.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lifetimes {
    /// An access token.
    #[serde(with = "seconds")]
    pub access_token: SignedDuration,
    /// How long a family of refresh tokens lives without being used.
    #[serde(with = "seconds")]
    pub refresh_idle: SignedDuration,
    /// The maximum lifetime of a family of refresh tokens.
    #[serde(with = "seconds")]
    pub refresh_absolute: SignedDuration,
    /// How long the same caller can repeat a refresh.
    #[serde(with = "seconds")]
    pub refresh_grace: SignedDuration,
    /// How long a browser session lives without being used.
    #[serde(with = "seconds")]
    pub session_idle: SignedDuration,
    /// The maximum lifetime of a browser session.
    #[serde(with = "seconds")]
    pub session_absolute: SignedDuration,
    /// How long a device waits for approval.
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
    /// How far the timestamp of a signed request can be from our clock.
    #[serde(with = "seconds")]
    pub signature_window: SignedDuration,
    /// How long "not revoked" can be cached. Only zero is supported.
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
            session_absolute: SignedDuration::from_secs(30 * 24 * 3600),
            device_code: SignedDuration::from_secs(600),
            authorization_code: SignedDuration::from_secs(60),
            service_token: SignedDuration::from_secs(300),
            download_token: SignedDuration::from_secs(300),
            signature_window: SignedDuration::from_secs(300),
            revocation_staleness: SignedDuration::from_secs(0),
        }
    }
}

/// The maximum lifetime of an access token.
pub(super) const LONGEST_ACCESS_TOKEN: SignedDuration = SignedDuration::from_secs(24 * 3600);
/// The maximum of every lifetime: ten years.
const LONGEST_S: i64 = 10 * 366 * 24 * 3600;
/// The maximum of `refresh_grace`. A longer window would give a thief more time to repeat a stolen
/// token.
pub(crate) const LONGEST_GRACE: SignedDuration = SignedDuration::from_secs(60);
/// The minimum of a session's lifetimes: long enough to read a page and send its form.
const SHORTEST_SESSION_S: i64 = 60;

impl Lifetimes {
    /// Checks the bounds and how the lifetimes relate to each other.
    pub(super) fn validate(&self) -> Result<(), Fault> {
        let within = |name: &str, value: SignedDuration, least: i64, most: i64| {
            let value = value.as_secs();
            if (least..=most).contains(&value) {
                Ok(())
            } else {
                setting(format!(
                    "lifetimes.{name} is {value}; it must be {least} to {most} seconds"
                ))
            }
        };
        let at_least = |name: &str, value: SignedDuration, of: &str, least: SignedDuration| {
            if value >= least {
                Ok(())
            } else {
                setting(format!(
                    "lifetimes.{name} is {}; it must be at least {of}, which is {}",
                    value.as_secs(),
                    least.as_secs()
                ))
            }
        };
        within(
            "access_token",
            self.access_token,
            LEEWAY.as_secs(),
            LONGEST_ACCESS_TOKEN.as_secs(),
        )?;
        // When a family ends, its access tokens end with it.
        at_least("refresh_idle", self.refresh_idle, "access_token", self.access_token)?;
        within("refresh_idle", self.refresh_idle, 1, LONGEST_S)?;
        at_least("refresh_absolute", self.refresh_absolute, "refresh_idle", self.refresh_idle)?;
        within("refresh_absolute", self.refresh_absolute, 1, LONGEST_S)?;
        within("refresh_grace", self.refresh_grace, 0, LONGEST_GRACE.as_secs())?;
        within("session_idle", self.session_idle, SHORTEST_SESSION_S, LONGEST_S)?;
        within("session_absolute", self.session_absolute, SHORTEST_SESSION_S, LONGEST_S)?;
        // Long enough to open the page and sign in, and short enough that a code that others have
        // seen is useless.
        within("device_code", self.device_code, 60, 3600)?;
        // RFC 6749 §4.1.2: at most ten minutes.
        within("authorization_code", self.authorization_code, 10, 600)?;
        // Neither can be revoked, so only their lifetimes limit them.
        within("service_token", self.service_token, LEEWAY.as_secs(), 3600)?;
        within("download_token", self.download_token, LEEWAY.as_secs(), 3600)?;
        within("signature_window", self.signature_window, 1, 3600)?;
        if self.revocation_staleness.is_zero() {
            Ok(())
        } else {
            setting(format!(
                "lifetimes.revocation_staleness is {}; only 0 is supported",
                self.revocation_staleness.as_secs()
            ))
        }
    }
}
