//! The values that everything above the store receives by reference.

use crate::{
    config::{Client, Config},
    core::{clock::Clock, entropy::Entropy, error::Fault},
    crypto::{
        Keyring, github_keys::GithubKeys, key_set::KeySet, secret_versions::SecretVersions,
        secrets::Secrets,
    },
    fetch::{Fetcher, document_cache::DocumentCache},
    store::Store,
};

/// The configuration, the keys, the store, time and randomness: built once per cold start and
/// passed by reference.
#[derive(Debug)]
pub struct Context {
    /// All settings.
    pub config: Config,
    /// The keys that this function can use.
    pub keyring: Keyring,
    /// The four tables.
    pub store: Store,
    /// The only source of time.
    pub clock: Clock,
    /// The only source of randomness.
    pub entropy: Entropy,
    /// The only client of other servers.
    pub fetcher: Fetcher,
    /// The clients whose metadata documents were read.
    pub client_documents: DocumentCache<Client>,
    /// The versions of the deployment's secret, for the function that replaces keys.
    pub secret_versions: Option<SecretVersions>,
    /// The keys of clients that were fetched.
    pub client_keys: DocumentCache<KeySet>,
    /// The keys with which GitHub signs reports of leaked credentials.
    pub github_keys: DocumentCache<GithubKeys>,
}

impl Context {
    /// Assembles the context, without I/O.
    ///
    /// # Errors
    /// [`Fault::DeploymentSecret`] for a key that cannot be used.
    pub fn new(
        config: Config,
        secrets: &Secrets,
        store: Store,
        clock: Clock,
        entropy: Entropy,
    ) -> Result<Self, Fault> {
        let keyring = Keyring::new(secrets, &config.signing_algorithms(), &clock)?;
        let fetcher = Fetcher::new(config.destinations());
        Ok(Self {
            config,
            keyring,
            store,
            clock,
            entropy,
            fetcher,
            secret_versions: None,
            client_documents: DocumentCache::default(),
            client_keys: DocumentCache::default(),
            github_keys: DocumentCache::default(),
        })
    }
}
