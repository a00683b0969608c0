//! The install script of a runner.

use postern::core::id::{self, RunnerId};

/// The script for the runner `id` of the deployment at `url`. Both are made of characters that a
/// shell takes as they are.
pub(crate) fn script(url: &str, id: &RunnerId) -> String {
    TEMPLATE
        .replace("@URL@", url)
        .replace("@RUNNER@", &id.to_string())
        .replace("@SUFFIX@", &id::suffix(id))
        .replace("@VERSION@", env!("CARGO_PKG_VERSION"))
}

const TEMPLATE: &str = include_str!("install.sh");
