//! The composition root.

use crate::{
    authn::ProviderChain,
    config::Config,
    context::Context,
    core::{clock::Clock, entropy::Entropy, error::Fault},
    crypto::secrets::Secrets,
    grant::{federation::TrustedIssuers, usage_plan::UsageKeys},
    identity_provider::IdentityProviders,
    store::Store,
};

/// Everything that a handler needs: built once per cold start and passed by reference. Its only
/// state is caches.
#[derive(Debug)]
pub struct App {
    /// The values that the protocols use.
    pub context: Context,
    /// The ways to authenticate, in the order of the configuration.
    pub providers: ProviderChain,
    /// The identity providers at which users sign in, in the order of the configuration.
    pub identity_providers: IdentityProviders,
    /// The issuers whose workloads get tokens.
    pub trusted_issuers: TrustedIssuers,
    /// The API keys of API Gateway that count requests.
    pub usage_keys: UsageKeys,
}

impl App {
    /// Assembles the app, without I/O.
    ///
    /// # Errors
    /// [`Fault::DeploymentSecret`] for a key that cannot be used, [`Fault::Setting`] for a
    /// secret that is missing.
    pub fn new(
        config: Config,
        secrets: &Secrets,
        store: Store,
        clock: Clock,
        entropy: Entropy,
    ) -> Result<Self, Fault> {
        let context = Context::new(config, secrets, store, clock, entropy)?;
        let identity_providers = IdentityProviders::new(&context.config, secrets)?;
        let providers = ProviderChain::new(&context.config, secrets, &identity_providers)?;
        let trusted_issuers = TrustedIssuers::new(&context.config);
        let usage_keys = UsageKeys::new(&context.config, secrets)?;
        Ok(Self { context, providers, identity_providers, trusted_issuers, usage_keys })
    }
}
