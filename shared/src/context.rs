//! The values that everything above the store receives by reference.

use jiff::Timestamp;

use crate::{
    config::{Client, Config},
    core::{
        clock::{Clock, start_of_hour},
        entropy::Entropy,
        error::Fault,
        event::{Event, EventContents},
    },
    crypto::{
        Digest, Keyring, github_keys::GithubKeys, key_set::KeySet, secret_versions::SecretVersions,
        secrets::Secrets,
    },
    event_bus::EventBus,
    fetch::{Fetcher, document_cache::DocumentCache},
    store::Store,
    telemetry,
};

/// The configuration, the keys, the store, time and randomness: built once per cold start and
/// passed by reference.
#[derive(Debug)]
pub struct Context {
    /// All settings.
    pub config: Config,
    /// The keys that this function can use.
    pub keyring: Keyring,
    /// The five tables.
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
    /// The bus for events, for the function that publishes them.
    pub event_bus: Option<EventBus>,
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
            event_bus: None,
            client_documents: DocumentCache::default(),
            client_keys: DocumentCache::default(),
            github_keys: DocumentCache::default(),
        })
    }

    /// Returns an event of this moment and of the current request.
    ///
    /// # Errors
    /// [`Fault::Entropy`] when the generator fails.
    pub fn event(&self, contents: EventContents) -> Result<Event, Fault> {
        Event::new(contents, telemetry::request_id(), self.clock.now(), &self.entropy)
    }

    /// Stores an event that reports no change of a record: once in an hour for this subject, type
    /// and `whom`, so that strangers cannot cause more. A failure is logged, and fails nothing.
    pub async fn report_event(&self, contents: EventContents, whom: &str) {
        let now = self.clock.now();
        let event = self.event_of_hour(contents, whom, now);
        if let Err(fault) = self.store.record_event(&event, now).await {
            telemetry::event_not_recorded(&event.event_type(), &fault);
        }
    }

    /// Stores an event that is due since a time, once: the id follows from the subject, the type and
    /// that time.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn store_due_event(
        &self,
        contents: EventContents,
        since: Timestamp,
    ) -> Result<(), Fault> {
        let (kind, name) = (contents.subject.kind.as_str(), contents.data.name());
        let digest = digest_of(&[kind, name, &contents.subject.id]);
        let (id, now) = (telemetry::request_id(), self.clock.now());
        let event = Event::of_window(contents, id, now, since, &digest);
        self.store.put_event_once(&event).await
    }

    fn event_of_hour(&self, contents: EventContents, whom: &str, now: Timestamp) -> Event {
        let (kind, name) = (contents.subject.kind.as_str(), contents.data.name());
        let digest = digest_of(&[kind, name, &contents.subject.id, whom]);
        let beginning = start_of_hour(now);
        Event::of_window(contents, telemetry::request_id(), now, beginning, &digest)
    }
}

/// Returns a part of the digest of these texts, of which none contains a line break.
fn digest_of(texts: &[&str]) -> [u8; 10] {
    let mut part = [0; 10];
    part.copy_from_slice(&Digest::of(texts.join("\n").as_bytes()).bytes()[..10]);
    part
}
