//! What a function holds between requests.

use crate::{
    authn::{self, Provider},
    clock::Clock,
    config::Config,
    crypto::{Keyring, secrets::Secrets},
    entropy::Entropy,
    error::Fault,
    fetch::Fetcher,
    store::Store,
    upstream::Upstream,
};

/// Everything that a handler needs: built once per cold start ([`Sandbox`](crate::sandbox::Sandbox)), passed by reference. Holds no
/// state that matters.
#[derive(Debug)]
pub struct App {
    pub config: Config,
    pub keyring: Keyring,
    pub store: Store,
    pub clock: Clock,
    pub entropy: Entropy,
    pub fetcher: Fetcher,
    /// In the order of the configuration.
    pub providers: Vec<Box<dyn Provider>>,
    /// Where people sign in, in the order of the configuration.
    pub upstreams: Vec<Upstream>,
}

/// The parts of the deployment's secret that a function's policy lets it read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// No key at all.
    Nothing,
    /// Public keys, to publish them; such a function asks the store for nothing.
    Publication,
    /// Public keys, to verify.
    Verification,
    /// Private keys, to sign.
    Signing,
}

impl App {
    /// Puts the parts together; no I/O.
    ///
    /// # Errors
    /// A key that cannot be used, or a provider whose secret is missing.
    pub fn new(config: Config, secrets: &Secrets, store: Store, clock: Clock, entropy: Entropy) -> Result<Self, Fault> {
        let keyring = Keyring::new(secrets, config.signing.algorithm)?;
        let providers = config.providers.iter().map(|kind| authn::provider(kind, secrets)).collect::<Result<_, _>>()?;
        let upstreams = config.signins.iter().map(|signin| Upstream::new(signin, secrets)).collect::<Result<_, _>>()?;
        Ok(Self { config, keyring, store, clock, entropy, fetcher: Fetcher::default(), providers, upstreams })
    }

    /// The sign-in that the configuration calls `name`.
    pub fn upstream(&self, name: &str) -> Option<&Upstream> {
        self.upstreams.iter().find(|upstream| upstream.name() == name)
    }
}
