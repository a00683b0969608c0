//! The store: five DynamoDB tables, a file per kind of record.
//!
//! The embedded engine of the tests cannot show some faults of DynamoDB, so these rules hold
//! throughout: a read that decides something says `ConsistentRead`; a record is looked up by id,
//! never through an index; every read checks expiry itself; every check-and-set is one conditional
//! write; and a put or update that the SDK repeated after a lost response is recognized as our own.
//! (A repeated deletion finds nothing and reports that. A repeated count counts twice, which errs
//! on the safe side.)

pub mod api_key;
pub mod authorization_code;
mod batch;
mod change;
pub mod cli_token;
mod client;
mod conditional;
pub mod consent;
pub mod counter;
pub mod credential_scan;
pub mod device_code;
pub mod family;
pub mod form;
mod health;
mod item;
pub mod key;
pub mod last_use;
mod list;
pub mod login;
pub mod membership;
pub mod nonce;
pub mod organization;
pub mod outbox;
pub mod properties;
mod record;
mod recorded_events;
mod recorded_uses;
pub mod redemption;
pub mod rotation;
pub mod runner;
pub mod service_account;
pub mod session;
pub mod session_lease;
pub mod sign_in;
pub mod status;
pub mod token_owner;
mod transaction;
pub mod user;

use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;

pub use change::ChangeOutcome;
pub(crate) use client::OPERATION;
pub use client::Timeouts;
pub use health::StoreHealth;
pub use list::Page;
pub use record::{
    Deletion, HasSecret, OldSecret, Record, RecordMeta, RecordUpdate, SecretReplacement,
    StoredSecret,
};
use recorded_events::RecordedEvents;
use recorded_uses::RecordedUses;

use crate::{config::Tables, core::clock::Clock};

/// The store of one deployment.
#[derive(Clone, Debug)]
pub struct Store {
    client: Client,
    tables: Tables,
    timeouts: Timeouts,
    health: StoreHealth,
    uses: RecordedUses,
    events: RecordedEvents,
}

impl Store {
    /// Returns a store over `tables`, reached as `sdk` says. `clock` measures its calls. No I/O.
    pub fn new(sdk: &SdkConfig, tables: Tables, timeouts: Timeouts, clock: &Clock) -> Self {
        let health = StoreHealth::new(clock);
        let client = client::build(sdk, timeouts, clock, &health);
        let (uses, events) = (RecordedUses::default(), RecordedEvents::default());
        Self { client, tables, timeouts, health, uses, events }
    }

    /// Returns what this process knows about the store from its calls so far.
    pub fn health(&self) -> &StoreHealth {
        &self.health
    }

    /// Opens a connection, so that the first request finds one. Reads and changes nothing.
    ///
    /// Initialization runs at full CPU and a request to a small function does not, and the TLS
    /// handshake is most of the duration of a first call.
    pub async fn connect(&self) {
        client::connect(&self.client).await;
        // Its response does not belong to DynamoDB's API, and no caller is waiting yet who could
        // repeat a request.
        self.health.forget_failures();
    }
}
