//! The keys of a local deployment: listing, replacing and removing them in the file of its secret.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use postern::{
    config::Config,
    core::{clock::Clock, entropy::Entropy},
    crypto::{
        Keyring,
        key_list::{self, KeyState, ListedKey},
        key_rotation::{KeyRotation, removal::DropKey},
        secrets::Secrets,
    },
};
use tracing::Level;

use crate::{
    Error,
    data::{self, DataLocation, LocalCredentials},
    private_file::{self, ChangeLock},
    serve,
    settings::{self, ConfigSource},
};

/// What a command did to the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFileChange {
    /// It was written.
    Changed,
    /// It already was as it should be.
    Unchanged,
}

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
        data.check()?;
        let path = data.secrets_file(configured.as_deref()).ok_or_else(|| {
            Error::Invalid("there are no keys to keep with --data :memory:: name a folder".into())
        })?;
        if !path.exists() {
            return Err(Error::Invalid(format!(
                "{} does not exist: start the program once, or name its folder with --data",
                path.display()
            )));
        }
        if let Some(file) = &configured {
            data::check_secret_file(file)?;
        }
        let secrets = data::read_secrets(&path)?;
        let (clock, entropy) = (Clock::system(), Entropy::system());
        let file = Self { path, config, clock, entropy, secrets };
        file.check(&file.secrets)?;
        Ok(file)
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

    /// Returns when the first of the keys that wait begins to sign.
    pub fn waits_until(&self) -> Option<Timestamp> {
        let (keys, _) = self.list();
        let waiting = keys.into_iter().filter(|key| key.state == KeyState::Waiting);
        waiting.filter_map(|key| key.times.sign_from).min()
    }

    /// Adds a key of every kind that signs later.
    ///
    /// # Errors
    /// [`Error::Postern`] if there would be too many keys, [`Error::Io`] if the file cannot be
    /// written.
    pub fn rotate(&mut self) -> Result<KeyFileChange, Error> {
        self.change(|file, secrets| Ok(file.rotation().next(secrets)?))
    }

    /// Removes the key `kid`, and ends everything that was issued before `not_before`.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is no such key, or several, or if the time is not valid or
    /// earlier than the one in the file; [`Error::Io`] if the file cannot be written.
    pub fn drop_key(
        &mut self,
        kid: Option<&str>,
        not_before: Option<&str>,
    ) -> Result<KeyFileChange, Error> {
        self.change(|file, secrets| match file.rotation().drop_key(secrets, kid, not_before)? {
            DropKey::Dropped(next) => Ok(*next),
            DropKey::Unchanged => Ok(secrets.clone()),
            DropKey::Unknown => Err(Error::Invalid(format!(
                "{} contains no key {}: `postern-local keys list` shows its keys",
                file.path.display(),
                kid.unwrap_or_default()
            ))),
            DropKey::Ambiguous(kinds) => {
                let kid = kid.unwrap_or_default();
                let names: Vec<_> = kinds.iter().map(|kind| kind.with_kid(kid)).collect();
                let names = names.join(" or ");
                Err(Error::Invalid(format!("several keys are named {kid}: write {names}")))
            }
            DropKey::InvalidNotBefore(why) => Err(Error::Invalid(why.to_string())),
        })
    }

    fn rotation(&self) -> KeyRotation<'_> {
        self.config.key_rotation(&self.clock, &self.entropy)
    }

    /// Replaces the secrets in the file by what `next` makes of them. No other program changes the
    /// file meanwhile, and it is read again, because one may have done so since it was opened.
    fn change(
        &mut self,
        next: impl FnOnce(&Self, &Secrets) -> Result<Secrets, Error>,
    ) -> Result<KeyFileChange, Error> {
        let _lock = ChangeLock::acquire(&self.path)?;
        self.secrets = data::read_secrets(&self.path)?;
        self.check(&self.secrets)?;
        let next = next(self, &self.secrets)?;
        if data::json(&next) == data::json(&self.secrets) {
            return Ok(KeyFileChange::Unchanged);
        }
        self.check(&next)?;
        private_file::write(&self.path, &data::json(&next))?;
        self.secrets = next;
        Ok(KeyFileChange::Changed)
    }

    /// Checks that a start would not refuse the keys.
    fn check(&self, secrets: &Secrets) -> Result<(), Error> {
        Keyring::new(secrets, &self.config.signing_algorithms(), &self.clock)
            .map(drop)
            .map_err(data::in_file(Some(&self.path)))
    }
}
