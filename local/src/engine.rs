//! The embedded store: DynamoDB's API on SQLite, which the real SDK calls over loopback.

use std::{path::Path, time::Duration};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::config::{Credentials, SharedCredentialsProvider, SharedHttpClient};
use dynoxide::Database;
use postern::config::Tables;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{
    Error,
    template::{Table, Template},
};

/// How often expired items are deleted. DynamoDB can take days.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// A running store, in this process or another one.
pub struct Engine {
    /// The URL at which it listens.
    pub url: String,
    database: Option<Database>,
    tasks: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Engine({})", self.url)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Engine {
    /// Opens the database at `path` (`None`: in memory), creates missing tables of the template,
    /// and serves it on `listener`.
    ///
    /// # Errors
    /// [`Error::Engine`] if the file cannot be opened, [`Error::Template`] if the engine does not
    /// accept a table.
    pub fn start(
        path: Option<&Path>,
        listener: TcpListener,
        template: &Template,
    ) -> Result<Self, Error> {
        let database = match path {
            None => Database::memory(),
            Some(path) => Database::new(&path.to_string_lossy()),
        };
        let database = database.map_err(engine)?;
        let known = database.list_tables(request(json!({}))?).map_err(engine)?.table_names;
        for table in template.tables.iter().filter(|table| !known.contains(&table.logical_id)) {
            create(&database, table)?;
        }
        let address = listener.local_addr().map_err(Error::io("the store's address"))?;
        let server = tokio::spawn(dynoxide::server::serve_on(listener, database.clone()));
        Ok(Self { url: format!("http://{address}"), database: Some(database), tasks: vec![server] })
    }

    /// Returns a store that another program serves, such as `postern store`. Several programs can
    /// share one.
    pub fn remote(url: &str) -> Self {
        Self { url: url.to_owned(), database: None, tasks: Vec::new() }
    }

    /// Starts to delete expired items, by the clock of this machine. Nothing relies on it: every
    /// read checks expiry itself.
    pub fn sweep(&mut self) {
        let Some(database) = self.database.clone() else { return };
        self.tasks.push(tokio::spawn(async move {
            loop {
                tokio::time::sleep(SWEEP_EVERY).await;
                let database = database.clone();
                if let Ok(Err(error)) =
                    tokio::task::spawn_blocking(move || database.sweep_ttl()).await
                {
                    tracing::warn!(target: "postern", %error, "expired items could not be deleted");
                }
            }
        }));
    }

    /// Returns the SDK's configuration for this store, with `http_client` or a plain client.
    pub fn sdk(&self, http_client: Option<SharedHttpClient>) -> SdkConfig {
        let http_client =
            http_client.unwrap_or_else(|| aws_smithy_http_client::Builder::new().build_http());
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static("eu-west-1"))
            .credentials_provider(SharedCredentialsProvider::new(Credentials::new(
                "local", "local", None, None, "local",
            )))
            .endpoint_url(&self.url)
            .http_client(http_client)
            .build()
    }
}

/// Returns the names of the tables: locally, the logical ids of the template.
pub fn tables() -> Tables {
    Tables { keys: "Keys".into(), families: "Families".into(), nonces: "Nonces".into() }
}

fn create(database: &Database, table: &Table) -> Result<(), Error> {
    let properties = &table.resource["Properties"];
    let mut definition = json!({"TableName": table.logical_id});
    for name in ["AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode"] {
        if let Some(value) = properties.get(name) {
            definition[name] = value.clone();
        }
    }
    database.create_table(request(definition)?).map_err(engine)?;
    if let Some(ttl) = properties.get("TimeToLiveSpecification") {
        let ttl = json!({"TableName": table.logical_id, "TimeToLiveSpecification": ttl});
        database.update_time_to_live(request(ttl)?).map_err(engine)?;
    }
    Ok(())
}

fn request<T: serde::de::DeserializeOwned>(json: Value) -> Result<T, Error> {
    serde_json::from_value(json).map_err(|error| Error::Template(error.to_string()))
}

fn engine(error: impl std::fmt::Display) -> Error {
    Error::Engine(error.to_string())
}
