//! `[leaks]`: who reports leaked credentials, besides everyone who has one.

use serde::Deserialize;

use super::setting;
use crate::core::{error::Fault, url};

/// Where GitHub publishes the keys with which its secret scanning signs.
const GITHUB_KEYS: &str = "https://api.github.com/meta/public_keys/secret_scanning";

/// Whose reports of leaked credentials are accepted.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LeakSettings {
    /// Whether those of GitHub's secret scanning are.
    pub github: bool,
    /// Where the keys are published with which it signs them.
    pub github_keys_url: String,
}

impl Default for LeakSettings {
    fn default() -> Self {
        Self { github: false, github_keys_url: GITHUB_KEYS.into() }
    }
}

impl LeakSettings {
    /// Checks the URL.
    pub(super) fn validate(&self) -> Result<(), Fault> {
        if url::is_https_or_local(&self.github_keys_url) {
            return Ok(());
        }
        setting(format!(
            "[leaks] github_keys_url must be an https URL, not {:?}",
            self.github_keys_url
        ))
    }
}
