//! The install script of a runner.

use postern::core::id::{self, RunnerId};

/// Returns the script for the runner `id` of the deployment at `url`. Neither contains characters
/// that a shell interprets.
pub(crate) fn script(url: &str, id: &RunnerId) -> String {
    TEMPLATE
        .replace("@URL@", url)
        .replace("@RUNNER@", &id.to_string())
        .replace("@SUFFIX@", &id::suffix(id))
        .replace("@VERSION@", env!("CARGO_PKG_VERSION"))
}

const TEMPLATE: &str = include_str!("install.sh");
