//! The embedded store: DynamoDB's API on SQLite, which the real SDK calls over loopback.

use std::{path::Path, time::Duration};

use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::config::{
    Credentials, ProvideCredentials as _, SharedCredentialsProvider, SharedHttpClient,
};
use dynoxide::Database;
use postern::{
    config::Tables,
    core::{
        entropy::{BASE62, Entropy},
        secret::Secret,
    },
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{
    Error,
    event_stream::{self, EventStream},
    http_server::{self, Shutdown},
    store_api,
    template::{Table, Template},
};

/// How often expired items are deleted. DynamoDB can take days.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// How often the stored events are read.
const REPORT_EVERY: Duration = Duration::from_millis(500);
/// The length of an access key, with at least 128 bits of entropy.
const ACCESS_KEY_LEN: usize = 32;

/// A running store, in this process or another one.
pub struct Engine {
    /// The URL at which it listens.
    pub url: String,
    /// The access key, as which AWS's SDKs take `AWS_ACCESS_KEY_ID`. The embedded store has a new
    /// one at every start, and does not check the secret access key.
    pub access_key: Secret,
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
    /// Opens the database at `path` (`None`: in memory), creates missing tables and indexes of the
    /// template, and serves it on `listener`.
    ///
    /// # Errors
    /// [`Error::Engine`] if the file cannot be opened, [`Error::Template`] if the engine does not
    /// accept a table, [`Error::Postern`] if no access key can be created.
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
        for table in &template.tables {
            if known.contains(&table.logical_id) {
                add_indexes(&database, table)?;
            } else {
                create(&database, table)?;
            }
        }
        let address = listener.local_addr().map_err(Error::io("the store's address"))?;
        let access_key = Secret::new(Entropy::system().random_string(BASE62, ACCESS_KEY_LEN)?);
        let router = store_api::router(database.clone(), &access_key, address.ip());
        let (stop, stopped) = Shutdown::manual();
        let server = tokio::spawn(async move {
            let _stop = stop; // the task is aborted instead
            http_server::run(listener, router, stopped).await;
        });
        let url = format!("http://{address}");
        Ok(Self { url, access_key, database: Some(database), tasks: vec![server] })
    }

    /// Returns a store that another program serves, such as `postern-local store`. Several programs
    /// can share one. Its access key is in the environment, as for every SDK of AWS.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the environment contains no access key.
    pub async fn remote(url: &str) -> Result<Self, Error> {
        let given = EnvironmentVariableCredentialsProvider::new().provide_credentials().await;
        let access_key = given.map_err(|_| {
            Error::Invalid(format!(
                "the store at {url} needs an access key: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY as `postern-local store` prints them"
            ))
        })?;
        let access_key = Secret::new(access_key.access_key_id().to_owned());
        Ok(Self { url: url.to_owned(), access_key, database: None, tasks: Vec::new() })
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

    /// Starts to write a line for each event that is stored from now on. Nothing publishes them here.
    ///
    /// # Errors
    /// [`Error::Engine`] if the store has no stream of events.
    pub fn report_events(&mut self) -> Result<(), Error> {
        let Some(database) = self.database.clone() else { return Ok(()) };
        let mut stream = EventStream::open(&database)?;
        stream.next(&database)?; // those of before
        self.tasks.push(tokio::spawn(async move {
            loop {
                tokio::time::sleep(REPORT_EVERY).await;
                match stream.next(&database) {
                    Ok(batch) => event_stream::log(&batch),
                    Err(error) => {
                        tracing::warn!(target: "postern", %error, "events could not be read");
                    }
                }
            }
        }));
        Ok(())
    }

    /// Returns the embedded database; `None` if another program has the store.
    pub fn database(&self) -> Option<&Database> {
        self.database.as_ref()
    }

    /// Returns the SDK's configuration for this store, with `http_client` or a plain client.
    pub fn sdk(&self, http_client: Option<SharedHttpClient>) -> SdkConfig {
        let http_client =
            http_client.unwrap_or_else(|| aws_smithy_http_client::Builder::new().build_http());
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static("eu-west-1"))
            .credentials_provider(SharedCredentialsProvider::new(Credentials::new(
                self.access_key.expose(),
                "local",
                None,
                None,
                "local",
            )))
            .endpoint_url(&self.url)
            .http_client(http_client)
            .build()
    }
}

/// Returns the names of the tables: locally, the logical ids of the template.
pub fn tables() -> Tables {
    Tables {
        keys: "Keys".into(),
        families: "Families".into(),
        nonces: "Nonces".into(),
        uses: "Uses".into(),
        events: "Events".into(),
    }
}

fn create(database: &Database, table: &Table) -> Result<(), Error> {
    let properties = &table.resource["Properties"];
    let mut definition = json!({"TableName": table.logical_id});
    for name in ["AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode"] {
        if let Some(value) = properties.get(name) {
            definition[name] = value.clone();
        }
    }
    if let Some(stream) = properties.get("StreamSpecification") {
        definition["StreamSpecification"] = stream.clone();
        definition["StreamSpecification"]["StreamEnabled"] = true.into();
    }
    database.create_table(request(definition)?).map_err(engine)?;
    if let Some(ttl) = properties.get("TimeToLiveSpecification") {
        let ttl = json!({"TableName": table.logical_id, "TimeToLiveSpecification": ttl});
        database.update_time_to_live(request(ttl)?).map_err(engine)?;
    }
    Ok(())
}

/// Adds the indexes that the table of an earlier version does not have.
fn add_indexes(database: &Database, table: &Table) -> Result<(), Error> {
    let (name, properties) = (&table.logical_id, &table.resource["Properties"]);
    let description = database.describe_table(request(json!({"TableName": name}))?);
    let description = description.map_err(engine)?.table;
    let known = description.global_secondary_indexes.unwrap_or_default();
    for index in properties["GlobalSecondaryIndexes"].as_array().into_iter().flatten() {
        if known.iter().any(|known| index["IndexName"] == known.index_name.as_str()) {
            continue;
        }
        let keys = index["KeySchema"].as_array().map(Vec::as_slice).unwrap_or_default();
        let is_key = |attribute: &&Value| {
            keys.iter().any(|key| key["AttributeName"] == attribute["AttributeName"])
        };
        let attributes = properties["AttributeDefinitions"].as_array().into_iter().flatten();
        let update = json!({
            "TableName": name,
            "AttributeDefinitions": attributes.filter(is_key).collect::<Vec<_>>(),
            "GlobalSecondaryIndexUpdates": [{"Create": index}],
        });
        database.update_table(request(update)?).map_err(engine)?;
    }
    Ok(())
}

pub(crate) fn request<T: serde::de::DeserializeOwned>(json: Value) -> Result<T, Error> {
    serde_json::from_value(json).map_err(|error| Error::Template(error.to_string()))
}

pub(crate) fn engine(error: impl std::fmt::Display) -> Error {
    Error::Engine(error.to_string())
}
