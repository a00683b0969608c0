//! The store: three DynamoDB tables, a file per kind of record.
//!
//! What the embedded engine cannot show, and DynamoDB does: reads that decide say `ConsistentRead`; a record is looked up
//! by id, never through an index; every read checks expiry itself; every check-and-set is one conditional write; and a put or
//! update that the SDK repeated after a lost answer is recognised as our own. (A repeated deletion finds nothing, and says so; a repeated count counts
//! twice, which errs on the safe side.)

pub mod api_key;
pub mod authorization_code;
pub mod cli_token;
mod client;
mod conditional;
pub mod counter;
pub mod device_code;
pub mod family;
pub mod key;
pub mod nonce;
pub mod organization;
mod record;
pub mod runner;
pub mod service_account;
pub mod session;
pub mod sign_in;
pub mod status;
pub mod token_owner;
pub mod user;

use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use jiff::Timestamp;

pub use client::Timeouts;
pub use record::{Deletion, HasSecret, Page, Record, Renewal};

use crate::{config::Tables, core::clock::Clock};

/// The store of one deployment.
#[derive(Clone, Debug)]
pub struct Store {
    client: Client,
    tables: Tables,
}

impl Store {
    /// A store over `tables`, reached as `sdk` says; its calls are measured by `clock`. No I/O.
    pub fn new(sdk: &SdkConfig, tables: Tables, patience: Timeouts, clock: &Clock) -> Self {
        Self { client: client::build(sdk, patience, clock), tables }
    }

    /// Opens a connection, so that the first request finds one: asks for nothing, and changes nothing.
    ///
    /// A start runs at full CPU, a request of a small function does not, and the handshake of TLS is most of what a first call takes.
    pub async fn connect(&self) {
        client::connect(&self.client).await;
    }
}

/// A stored time, in milliseconds.
pub fn time(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX)
}
