//! The settings of a local deployment: the configuration file in force, and what the environment of
//! a deployment in AWS would add.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use postern::config::{Config, DEFAULT, environment_variables, read_file};
use tracing::Level;

use crate::{Error, data::LocalCredentials, engine};

/// The variable that names a configuration file.
const CONFIG: &str = "POSTERN_CONFIG";

/// The configuration file that is read without `--config` and `POSTERN_CONFIG`, if the current
/// folder contains it.
const BESIDE: &str = "postern.toml";

/// The configuration in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    /// The `postern.toml` with which the program was built.
    BuiltIn,
    /// A file.
    File(PathBuf),
}

impl fmt::Display for ConfigSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => write!(f, "built in (there is no {BESIDE} in this folder)"),
            Self::File(file) => file.display().fmt(f),
        }
    }
}

impl ConfigSource {
    /// Returns the file `given` on the command line, else the one that `POSTERN_CONFIG` names, else
    /// the `postern.toml` of the current folder, if there is one.
    pub fn find(given: Option<&Path>) -> Self {
        let named = || environment_variables().remove(CONFIG).filter(|name| !name.is_empty());
        let beside = || Some(PathBuf::from(BESIDE)).filter(|file| file.exists());
        let file = given.map(Path::to_path_buf).or_else(|| named().map(PathBuf::from));
        file.or_else(beside).map_or(Self::BuiltIn, Self::File)
    }

    /// Returns the text of the configuration.
    ///
    /// # Errors
    /// [`Error::Postern`] if the file cannot be read.
    pub fn read(&self) -> Result<String, Error> {
        match self {
            Self::BuiltIn => Ok(DEFAULT.to_owned()),
            Self::File(file) => Ok(read_file(file)?),
        }
    }

    /// Adds the variable that names the file.
    pub fn name_in(&self, variables: &mut BTreeMap<String, String>) {
        match self {
            Self::BuiltIn => drop(variables.remove(CONFIG)),
            Self::File(file) => {
                drop(variables.insert(CONFIG.into(), file.display().to_string()));
            }
        }
    }
}

/// Checks a configuration as the start of a deployment does, without its environment. Returns what
/// to print if nothing is wrong.
///
/// # Errors
/// [`Error::Postern`] if a setting is invalid.
pub fn check(source: &ConfigSource) -> Result<String, Error> {
    parse(source, &source.read()?)?;
    Ok(format!("{source}: the configuration is valid\n"))
}

/// Parses a configuration with the variables that every deployment needs.
///
/// # Errors
/// [`Error::Postern`] if a setting is invalid.
pub(crate) fn parse(source: &ConfigSource, toml: &str) -> Result<Config, Error> {
    let given = [
        ("ISSUER", "https://localhost"),
        ("KEYS_TABLE", "-"),
        ("FAMILIES_TABLE", "-"),
        ("NONCES_TABLE", "-"),
        ("USES_TABLE", "-"),
        ("EVENTS_TABLE", "-"),
    ];
    let variables = given.map(|(name, value)| (format!("POSTERN_{name}"), value.to_owned())).into();
    Ok(Config::from_file(&variables, toml, &source.to_string())?)
}

/// Reads the settings from the environment and the file, and adds those of a local deployment that
/// is reached at `url`. The first start chooses the issuer. `level` is the log level by default.
///
/// # Errors
/// [`Error::Postern`] if a setting is invalid.
pub fn load(
    source: &ConfigSource,
    shown: &mut LocalCredentials,
    url: &str,
    level: Level,
) -> Result<Config, Error> {
    let mut variables = environment_variables();
    source.name_in(&mut variables);
    let tables = engine::tables();
    variables.insert("POSTERN_KEYS_TABLE".into(), tables.keys);
    variables.insert("POSTERN_FAMILIES_TABLE".into(), tables.families);
    variables.insert("POSTERN_NONCES_TABLE".into(), tables.nonces);
    variables.insert("POSTERN_USES_TABLE".into(), tables.uses);
    variables.insert("POSTERN_EVENTS_TABLE".into(), tables.events);
    variables.entry("POSTERN_LOG".into()).or_insert(level.to_string());
    let has_public_url = variables.contains_key("POSTERN_ISSUER");
    let issuer = shown.issuer.get_or_insert_with(|| url.to_owned()).clone();
    variables.entry("POSTERN_ISSUER".into()).or_insert(issuer);
    let mut config = Config::from_variables(&variables)?;
    config.dev = true; // the documents of the API, for whoever tries it on this machine
    // The issuer stays that of the first start. The pages are where the program listens now.
    if !has_public_url {
        url.clone_into(&mut config.deployment.public_url);
    }
    Ok(config)
}
