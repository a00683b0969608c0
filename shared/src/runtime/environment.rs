//! The state of an execution environment: an app whose keys are renewed.
//!
//! Between invocations an environment is frozen, perhaps for hours, so nothing can refresh in the
//! background. Each invocation therefore checks the time, and reads the deployment's secret again
//! if the current copy is older than [`SECRET_AGE`].

use std::{fmt, sync::Arc};

use aws_config::SdkConfig;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Mutex;

use crate::{
    app::App,
    config::{Config, ProviderKind, SecretSource},
    core::{
        clock::{self, Clock},
        entropy::Entropy,
        error::Fault,
    },
    crypto::{
        Digest, KeyAccess,
        secret_versions::SecretVersions,
        secrets::{self, SECRET_AGE, SECRET_RETRY, Secrets},
    },
    store::{Store, Timeouts},
    telemetry,
};

/// Changes an app in ways that settings cannot express, such as adding a custom provider.
pub type ConfigureApp = Box<dyn Fn(&mut App) + Send + Sync>;

/// A function's app, for as long as its execution environment lives.
pub struct ExecutionEnvironment {
    access: KeyAccess,
    sdk: SdkConfig,
    source: Option<SecretSource>,
    configure: ConfigureApp,
    cached: Mutex<Cached>,
}

struct Cached {
    app: Arc<App>,
    /// The digest of the secret that the app was made from.
    digest: Option<Digest>,
    read_at: Timestamp,
    /// How long after `read_at` the secret is read again.
    good_for: SignedDuration,
}

impl fmt::Debug for ExecutionEnvironment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ExecutionEnvironment")
    }
}

impl ExecutionEnvironment {
    /// Reads the secret, and opens the connection to the store at the same time.
    ///
    /// # Errors
    /// [`Fault::Setting`] for a setting that is wrong or missing, [`Fault::DeploymentSecret`] for a
    /// secret that cannot be read or used.
    pub async fn start(
        mut config: Config,
        sdk: SdkConfig,
        (clock, entropy): (Clock, Entropy),
        access: KeyAccess,
        configure: ConfigureApp,
    ) -> Result<Self, Fault> {
        match access {
            // Without keys, it cannot authenticate anyone by them.
            KeyAccess::Nothing | KeyAccess::Publication => {
                config.providers.clear();
                config.signins.clear();
                config.plans.clear();
            }
            KeyAccess::Verification | KeyAccess::Signing => {}
        }
        let source = config.deployment.secret.clone();
        let store = Store::new(&sdk, config.deployment.tables.clone(), Timeouts::default(), &clock);
        let connected = async {
            if access != KeyAccess::Publication {
                store.connect().await;
            }
        };
        let (read, ()) = tokio::join!(read(&sdk, source.as_ref(), access, &clock), connected);
        let (secrets, digest) = read?;
        let rotated = config.deployment.rotated_secrets.clone();
        let mut app = App::new(config, &secrets, store, clock, entropy)?;
        app.context.secret_versions = rotated.map(|arns| SecretVersions::new(&sdk, arns));
        let app = build(app, access, &configure)?;
        let cached = Cached {
            read_at: app.context.clock.now(),
            app: Arc::new(app),
            digest,
            good_for: SECRET_AGE,
        };
        Ok(Self { access, sdk, source, configure, cached: Mutex::new(cached) })
    }

    /// Returns the app, with keys that are at most [`SECRET_AGE`] old. If the secret cannot be
    /// read, keeps using the current keys and logs the failure.
    pub async fn app(&self) -> Arc<App> {
        let mut cached = self.cached.lock().await;
        let now = cached.app.context.clock.now();
        // If the clock is set back, keys must not look new forever.
        let is_fresh = cached.read_at <= now && now < clock::after(cached.read_at, cached.good_for);
        if self.access == KeyAccess::Nothing || is_fresh {
            return Arc::clone(&cached.app);
        }
        let good_for = match self.renew(&mut cached).await {
            Ok(()) => SECRET_AGE,
            Err(fault) => {
                telemetry::secret_stale(&fault);
                SECRET_RETRY
            }
        };
        (cached.read_at, cached.good_for) = (now, good_for);
        Arc::clone(&cached.app)
    }

    async fn renew(&self, cached: &mut Cached) -> Result<(), Fault> {
        let old = &cached.app;
        let (secrets, digest) =
            read(&self.sdk, self.source.as_ref(), self.access, &old.context.clock).await?;
        let is_same =
            digest.as_ref().zip(cached.digest.as_ref()).is_some_and(|(new, old)| new.matches(old));
        if !is_same {
            let (clock, entropy) = (old.context.clock.clone(), old.context.entropy.clone());
            let app = App::new(
                old.context.config.clone(),
                &secrets,
                old.context.store.clone(),
                clock,
                entropy,
            )?;
            cached.app = Arc::new(build(app, self.access, &self.configure)?);
            cached.digest = digest;
        }
        Ok(())
    }
}

async fn read(
    sdk: &SdkConfig,
    source: Option<&SecretSource>,
    access: KeyAccess,
    clock: &Clock,
) -> Result<(Secrets, Option<Digest>), Fault> {
    let (json, written) = match (access, source) {
        (KeyAccess::Nothing, _) => return Ok((Secrets::default(), None)),
        (_, Some(SecretSource::Arn(arn))) => secrets::get_secret_value(sdk, arn).await?,
        (_, Some(SecretSource::File(path))) => (crate::config::read_file(path)?, None),
        (_, None) => {
            return Err(Fault::Setting(
                "POSTERN_SECRET_ARN or POSTERN_SECRET_FILE must be set".into(),
            ));
        }
    };
    let secrets = secrets::parse(&json)?;
    let age_days =
        written.map(|written| (clock.now().as_second() - written.as_second()) / (24 * 3600));
    telemetry::secret_read(age_days);
    Ok((secrets, Some(Digest::of(json.as_bytes()))))
}

/// Returns the app, once it has the keys that its function needs.
fn build(mut app: App, access: KeyAccess, configure: &ConfigureApp) -> Result<App, Fault> {
    app.context.keyring.check_access(access)?;
    let knows_sessions =
        app.context.config.providers.iter().any(|kind| matches!(kind, ProviderKind::Session {}));
    if knows_sessions && !app.context.keyring.has_session_keys() {
        return Err(Fault::Setting(
            "the secret contains no session_keys, which a provider needs".into(),
        ));
    }
    if !app.identity_providers.is_empty() && !app.context.keyring.has_sealing_keys() {
        return Err(Fault::Setting(
            "the secret contains no sealing_keys, which a signin needs".into(),
        ));
    }
    configure(&mut app);
    Ok(app)
}
