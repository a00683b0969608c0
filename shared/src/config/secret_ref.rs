//! Where a configuration file names secrets, for sentences about a secret that cannot be used. It
//! is read after the file.

use super::{Config, SecretSource};
use crate::core::error::Fault;

/// The lines of a file that contain a `secret_ref`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SecretRefPlaces {
    file: String,
    /// The number of each line, and what it says.
    lines: Vec<(usize, String)>,
}

impl SecretRefPlaces {
    /// Finds the lines in `toml`, the text of `file`.
    pub(super) fn new(file: &str, toml: &str) -> Self {
        let lines = toml.lines().map(str::trim).enumerate();
        let lines = lines.filter(|(_, line)| line.starts_with("secret_ref"));
        let lines = lines.map(|(at, line)| (at + 1, line.to_owned())).collect();
        Self { file: file.to_owned(), lines }
    }

    /// Returns the place of `reference`: the file, and the line if there is one.
    fn of(&self, reference: &str) -> String {
        let quoted = [format!("{reference:?}"), format!("'{reference}'")];
        let names = |line: &str| quoted.iter().any(|quoted| line.contains(quoted.as_str()));
        match self.lines.iter().find(|(_, line)| names(line)) {
            Some((number, _)) => format!("{}, line {number}", self.file),
            None => self.file.clone(),
        }
    }
}

impl Config {
    /// Returns the fault of a secret that a setting names and that cannot be used, with the place
    /// of the setting and that of the secret.
    pub(crate) fn unusable_secret_ref(&self, reference: &str, problem: &str) -> Fault {
        let secret = match &self.deployment.secret {
            Some(SecretSource::Arn(arn)) => format!("the secret {arn}"),
            Some(SecretSource::File(file)) => file.clone(),
            None => "the deployment's secret (in memory: set POSTERN_SECRET_FILE to a file that \
                     contains it)"
                .into(),
        };
        let place = self.secret_refs_at.of(reference);
        Fault::Setting(format!(
            "{place}: secret_ref = {reference:?}: the member {reference:?} of refs in {secret} {problem}"
        ))
    }
}
