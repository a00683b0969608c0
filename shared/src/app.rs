//! What a function holds between requests.

use crate::{
    authn::{self, Provider},
    clock::Clock,
    config::{Config, ProviderKind, SecretSource},
    crypto::{
        Keyring,
        secrets::{self, Secrets},
    },
    entropy::Entropy,
    error::Fault,
    fetch::Fetcher,
    store::{Patience, Store},
};

/// Everything that a handler needs: built once per cold start, passed by reference. Holds no state that matters.
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
}

/// The parts of the deployment's secret that a function's policy lets it read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// No key at all.
    Nothing,
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
        Ok(Self { config, keyring, store, clock, entropy, fetcher: Fetcher::default(), providers })
    }

    /// Builds the app of a Lambda function from its environment and secret.
    ///
    /// # Errors
    /// A setting that is wrong, unknown or missing, and a secret that cannot be read: the start ends here.
    pub async fn from_environment(needs: Needs) -> Result<Self, Fault> {
        let mut config = Config::from_environment()?;
        if needs == Needs::Nothing {
            config.providers.clear(); // without keys it authenticates nobody by them
        }
        let sdk = aws_config::load_from_env().await;
        let secrets = match (needs, &config.secret) {
            (Needs::Nothing, _) => Secrets::default(),
            (_, Some(SecretSource::Arn(arn))) => secrets::fetch(&sdk, arn).await?,
            (_, Some(SecretSource::File(path))) => secrets::parse(&crate::config::read(path)?)?,
            (_, None) => return Err(Fault::Setting("POSTERN_SECRET_ARN or POSTERN_SECRET_FILE must be set".into())),
        };
        let store = Store::new(&sdk, config.tables.clone(), Patience::default());
        let app = Self::new(config, &secrets, store, Clock::system(), Entropy::system())?;
        app.keyring.suffice(needs)?;
        let knows_sessions = app.config.providers.iter().any(|kind| matches!(kind, ProviderKind::Session {}));
        if knows_sessions && !app.keyring.has_session_keys() {
            return Err(Fault::Setting("the secret holds no session_keys, and a provider needs them".into()));
        }
        Ok(app)
    }
}
