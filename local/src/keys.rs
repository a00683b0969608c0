//! The keys of a local deployment: listing, replacing and removing them in the file of its secret.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use postern::{
    config::Config,
    core::{clock::Clock, entropy::Entropy},
    crypto::{
        key_list::{self, ListedKey},
        rotation::{self, DropKey},
        secrets::{self, Secrets},
    },
};
use tracing::Level;

use crate::{
    Error,
    data::{self, DataLocation, LocalCredentials},
    serve,
    settings::{self, ConfigSource},
};

/// The file of a deployment's secret.
#[derive(Debug)]
pub struct KeyFile {
    path: PathBuf,
    config: Config,
    clock: Clock,
    entropy: Entropy,
    /// What it contains.
    pub secrets: Secrets,
}

impl KeyFile {
    /// Reads the file that programs with this data folder use.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is none yet, or if it cannot be used; [`Error::Io`] if it cannot
    /// be read; [`Error::Postern`] if a setting is invalid.
    pub fn open(data: &DataLocation, config: &ConfigSource) -> Result<Self, Error> {
        let mut shown = LocalCredentials::default();
        let config = settings::load(config, &mut shown, "http://127.0.0.1:9000", Level::WARN)?;
        let configured = serve::configured_secret_file(&config)?;
        let path = data.secrets_file(configured.as_deref()).ok_or_else(|| {
            Error::Invalid("there are no keys to keep with --data :memory:: name a folder".into())
        })?;
        if !path.exists() {
            return Err(Error::Invalid(format!(
                "{} does not exist: start the program once, or name its folder with --data",
                path.display()
            )));
        }
        data::check_secret_file(&path)?;
        let secrets = secrets::parse(&data::read(&path)?).map_err(data::in_file(Some(&path)))?;
        let (clock, entropy) = (Clock::system(), Entropy::system());
        Ok(Self { path, config, clock, entropy, secrets })
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the keys, and the time to which their states belong.
    pub fn list(&self) -> (Vec<ListedKey>, Timestamp) {
        let now = self.clock.now();
        (key_list::list(&self.secrets, now), now)
    }

    /// Adds a key of every kind that signs later.
    ///
    /// # Errors
    /// [`Error::Postern`] if there would be too many keys, [`Error::Io`] if the file cannot be
    /// written.
    pub fn rotate(&mut self) -> Result<(), Error> {
        let plan = self.config.lifetimes.rotation_plan();
        let algorithms = self.config.signing_algorithms();
        let next = rotation::rotate(&self.secrets, &algorithms, &plan, &self.clock, &self.entropy)?;
        self.write(next)
    }

    /// Removes the key `kid`, and ends everything that was issued before `not_before`.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is no such key, or several, or if the time is not valid;
    /// [`Error::Io`] if the file cannot be written.
    pub fn drop_key(&mut self, kid: Option<&str>, not_before: Option<&str>) -> Result<(), Error> {
        let mut next = self.secrets.clone();
        if let Some(kid) = kid {
            let plan = self.config.lifetimes.rotation_plan();
            let (algorithms, random) =
                (self.config.signing_algorithms(), (&self.clock, &self.entropy));
            next = match rotation::drop_key(&next, kid, &algorithms, &plan, random)? {
                DropKey::Dropped(next) => *next,
                DropKey::Unknown => {
                    return Err(Error::Invalid(format!(
                        "{} contains no key {kid}: `postern keys list` shows its keys",
                        self.path.display()
                    )));
                }
                DropKey::Ambiguous(kinds) => {
                    let names: Vec<_> = kinds.iter().map(|kind| kind.with_kid(kid)).collect();
                    return Err(Error::Invalid(format!(
                        "several keys are named {kid}: write {}",
                        names.join(" or ")
                    )));
                }
            };
        }
        if let Some(text) = not_before {
            let set = rotation::set_not_before(&mut next, text, self.clock.now());
            set.map_err(Error::Invalid)?;
        }
        self.write(next)
    }

    fn write(&mut self, next: Secrets) -> Result<(), Error> {
        data::write_private(&self.path, &data::json(&next))?;
        self.secrets = next;
        Ok(())
    }
}
