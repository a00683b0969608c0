//! The environment of the functions: secrets in Secrets Manager, a store, and the functions
//! themselves.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::{
    config::{Credentials, SharedCredentialsProvider},
    types::AttributeValue,
};
use local::{
    data::{DataLocation, LocalCredentials},
    gateway::Gateway,
    template::{Function, TEMPLATE, Template, parse_yaml},
};
use postern::{
    core::clock::Clock,
    credential::TokenPrefix,
    crypto::{secrets::Secrets, sign::Algorithm},
};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::{
    Tools,
    bus::Bus,
    emulator::{Emulator, Emulators},
    process::{Process, free_address},
};

/// The `iss` of all tokens.
pub(crate) const ISSUER: &str = "https://auth.example.com";

/// The paths of root certificates: on Amazon Linux, which the template names, and on Debian.
const CERTIFICATES: [&str; 2] =
    ["/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/certs/ca-certificates.crt"];

/// An implementation of DynamoDB's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreKind {
    /// `postern-local store`.
    Embedded,
    /// An independent implementation.
    MiniStack,
}

impl fmt::Display for StoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Embedded => "the embedded store",
            Self::MiniStack => "MiniStack",
        })
    }
}

/// A deployment under the emulator.
#[derive(Debug)]
pub(crate) struct Environment {
    pub(crate) emulators: Emulators,
    pub(crate) gateway: Gateway,
    pub(crate) secrets: Secrets,
    pub(crate) operator_key: String,
    /// The ids of the secrets in Secrets Manager.
    pub(crate) arns: SecretArns,
    /// The bus for events.
    pub(crate) bus: Bus,
    /// The configuration of the store.
    store: SdkConfig,
    /// The URL of Secrets Manager.
    aws_url: String,
    /// The environment variables of each function, by its binary.
    variables: BTreeMap<String, BTreeMap<String, String>>,
    /// Dropped last: the programs that the functions need, and the store's folder.
    _servers: (Vec<Process>, TempDir),
}

impl Environment {
    /// Starts everything.
    pub(crate) async fn start(tools: &Tools, engine: StoreKind) -> Result<Self> {
        let template = Template::load()?;
        let folder = tempfile::tempdir()?;
        std::fs::create_dir_all(&tools.logs)?;

        let (ministack, aws_url) = ministack(&tools.ministack, &tools.logs).await?;
        let mut servers = vec![ministack];
        let (store_url, access_key) = match engine {
            StoreKind::Embedded => {
                let (store, url, access_key) = store(tools, &folder).await?;
                servers.push(store);
                (url, access_key)
            }
            StoreKind::MiniStack => {
                create_tables(&sdk(&aws_url), &template).await?;
                (aws_url.clone(), "e2e".into())
            }
        };

        let mut shown = LocalCredentials::default();
        let brand = TokenPrefix::parse("pst").context("the brand")?;
        let secrets =
            DataLocation::Memory.secrets(None, &brand, &[Algorithm::ES256], &mut shown)?;
        let arns = SecretArns::create(&sdk(&aws_url), &secrets).await?;

        let bus = Bus::start(&aws_url).await?;
        let (mut emulators, mut given) = (BTreeMap::new(), BTreeMap::new());
        for function in &template.functions {
            let mut variables = of_aws(&store_url, &access_key, &aws_url, &function.binary);
            variables.insert("AWS_ENDPOINT_URL_EVENTBRIDGE".into(), bus.url.clone());
            variables.extend(of_template(function, &arns)?);
            let bootstrap = tools.artifacts.join(&function.binary).join("bootstrap");
            let emulator = Emulator::start(tools, &bootstrap, &variables, &function.binary).await?;
            emulators.insert(function.binary.clone(), emulator);
            given.insert(function.binary.clone(), variables);
        }
        let emulators = Emulators(emulators);
        let of_fleet = |binary: &str| emulators.0.get(binary).map(Emulator::as_function);
        let gateway = Gateway::with_functions(&template, &Clock::system(), of_fleet)?;
        Ok(Self {
            emulators,
            gateway,
            secrets,
            operator_key: shown.operator_key.unwrap_or_default(),
            arns,
            bus,
            store: sdk_with_key(&store_url, &access_key),
            aws_url,
            variables: given,
            _servers: (servers, folder),
        })
    }

    /// Returns the SDK's configuration for AWS's services.
    pub(crate) fn aws(&self) -> SdkConfig {
        sdk(&self.aws_url)
    }

    /// Returns the environment variables of a program that calls AWS's services.
    pub(crate) fn aws_variables(&self) -> [(&'static str, &str); 4] {
        [
            ("AWS_ENDPOINT_URL", &self.aws_url),
            ("AWS_REGION", "eu-west-1"),
            ("AWS_ACCESS_KEY_ID", "e2e"),
            ("AWS_SECRET_ACCESS_KEY", "e2e"),
        ]
    }

    /// Returns the items of the table of events as DynamoDB's JSON, in the order of their ids.
    pub(crate) async fn stored_events(&self) -> Result<Vec<Value>> {
        let client = aws_sdk_dynamodb::Client::new(&self.store);
        let items = client.scan().table_name("Events").send().await?.items.unwrap_or_default();
        let text = |item: &HashMap<String, AttributeValue>| {
            let texts = item.iter().filter_map(|(name, value)| Some((name, value.as_s().ok()?)));
            texts.map(|(name, text)| (name.clone(), json!({"S": text}))).collect::<Map<_, _>>()
        };
        let mut items: Vec<_> = items.iter().map(|item| Value::from(text(item))).collect();
        items.sort_by_key(|item| item["id"]["S"].as_str().unwrap_or_default().to_owned());
        Ok(items)
    }

    /// Returns the value of a secret that is in force.
    pub(crate) async fn secret(&self, arn: &str) -> Result<Secrets> {
        let client = aws_sdk_secretsmanager::Client::new(&self.aws());
        let answer = client.get_secret_value().secret_id(arn).send().await?;
        Ok(postern::crypto::secrets::parse(&answer.secret_string.context("no value")?)?)
    }

    /// Returns the environment variables of a function, by its binary.
    pub(crate) fn variables_of(&self, binary: &str) -> Result<BTreeMap<String, String>> {
        self.variables.get(binary).cloned().with_context(|| format!("no function {binary}"))
    }
}

/// The secrets of the deployment.
#[derive(Debug)]
pub(crate) struct SecretArns {
    pub(crate) signing: String,
    pub(crate) verification: String,
    pub(crate) public: String,
}

impl SecretArns {
    async fn create(sdk: &SdkConfig, secrets: &Secrets) -> Result<Self> {
        Ok(Self {
            signing: put(sdk, "signing", secrets).await?,
            verification: put(sdk, "verification", &secrets.verification(&[])).await?,
            public: put(sdk, "public", &secrets.publication()).await?,
        })
    }

    /// Returns the one that the template gives to `function`.
    fn of(&self, function: &Function) -> &str {
        match secret_of(function) {
            Some("SigningSecret") => &self.signing,
            Some("PublicKeys") => &self.public,
            _ => &self.verification,
        }
    }
}

/// Returns the environment variables that the template gives to a function.
fn of_template(function: &Function, arns: &SecretArns) -> Result<BTreeMap<String, String>> {
    let binary = &function.binary;
    let with_value = |name: String| {
        let value = match name.as_str() {
            "POSTERN_SECRET_ARN" => Some(arns.of(function).to_owned()),
            "POSTERN_SIGNING_SECRET_ARN" => Some(arns.signing.clone()),
            "POSTERN_VERIFICATION_KEYS_ARN" => Some(arns.verification.clone()),
            "POSTERN_PUBLIC_KEYS_ARN" => Some(arns.public.clone()),
            _ => value_of(&name),
        };
        let value = value.with_context(|| {
            format!("{binary} is given {name}, which has no value in this environment")
        })?;
        Ok((name, value))
    };
    names(function)?.into_iter().map(with_value).collect()
}

/// Returns the secret that the template gives to a function.
fn secret_of(function: &Function) -> Option<&str> {
    function
        .properties
        .pointer("/Environment/Variables/POSTERN_SECRET_ARN/!Ref")
        .and_then(Value::as_str)
}

/// Returns the names of the variables that the template gives to a function.
fn names(function: &Function) -> Result<BTreeSet<String>> {
    let globals = parse_yaml(TEMPLATE)?["Globals"]["Function"].clone();
    let of = |properties: &Value| {
        properties["Environment"]["Variables"].as_object().cloned().unwrap_or_default()
    };
    Ok(of(&globals).into_iter().chain(of(&function.properties)).map(|(name, _)| name).collect())
}

/// Returns the value of a variable of the template in this environment.
fn value_of(name: &str) -> Option<String> {
    let certificates = || CERTIFICATES.into_iter().find(|file| Path::new(file).exists());
    let value = match name {
        "POSTERN_ISSUER" => ISSUER,
        "POSTERN_KEYS_TABLE" => "Keys",
        "POSTERN_FAMILIES_TABLE" => "Families",
        "POSTERN_NONCES_TABLE" => "Nonces",
        "POSTERN_USES_TABLE" => "Uses",
        "POSTERN_EVENTS_TABLE" => "Events",
        "POSTERN_EVENT_BUS" => "default",
        "POSTERN_STACK" => "e2e",
        "POSTERN_AUTHORIZER_ANSWER" => "simple",
        "POSTERN_PROXY_SECRET_SHA256" => "",
        "POSTERN_PROXY_ADDRESS_HEADER" => "CloudFront-Viewer-Address",
        "SSL_CERT_FILE" => certificates()?,
        _ => return None,
    };
    Some(value.to_owned())
}

/// Returns the variables that Lambda itself sets, and the endpoints of AWS's services.
fn of_aws(
    store_url: &str,
    access_key: &str,
    aws_url: &str,
    binary: &str,
) -> BTreeMap<String, String> {
    [
        ("AWS_REGION", "eu-west-1"),
        ("AWS_ACCESS_KEY_ID", access_key),
        ("AWS_SECRET_ACCESS_KEY", "e2e"),
        ("AWS_ENDPOINT_URL_DYNAMODB", store_url),
        ("AWS_ENDPOINT_URL_SECRETS_MANAGER", aws_url),
        ("AWS_LAMBDA_FUNCTION_NAME", binary),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// Runs `command` with the URL of a store of the second implementation, with empty tables, in its
/// environment.
pub(crate) async fn run_with_second_store(
    program: &Path,
    logs: &Path,
    command: &[String],
) -> Result<()> {
    std::fs::create_dir_all(logs)?;
    let (_running, url) = ministack(program, logs).await?;
    create_tables(&sdk(&url), &Template::load()?).await?;
    let (name, arguments) = command.split_first().context("no command")?;
    let mut command = tokio::process::Command::new(name);
    command.args(arguments).env("POSTERN_TEST_STORE", url).kill_on_drop(true);
    command.env("AWS_ACCESS_KEY_ID", "e2e").env("AWS_SECRET_ACCESS_KEY", "e2e");
    let status = command.status().await.with_context(|| format!("cannot run {name}"))?;
    anyhow::ensure!(status.success(), "{name} failed with the second store: {status}");
    Ok(())
}

async fn ministack(program: &Path, logs: &Path) -> Result<(Process, String)> {
    let address = free_address()?;
    let mut command = Command::new(program);
    command.env("BIND_HOST", "127.0.0.1").env("GATEWAY_PORT", address.port().to_string());
    let mut ministack = Process::start("MiniStack", &mut command, &logs.join("ministack.log"))?;
    ministack.wait_for_listener(address).await?;
    Ok((ministack, format!("http://{address}")))
}

/// Starts the embedded store; returns its URL and access key.
async fn store(tools: &Tools, folder: &TempDir) -> Result<(Process, String, String)> {
    let ready = folder.path().join("ready.json");
    let mut command = Command::new(&tools.program);
    command
        .args(["store", "--listen", "127.0.0.1:0", "--data", ":memory:", "--ready-file"])
        .arg(&ready);
    let mut store = Process::start("the store", &mut command, &tools.logs.join("store.log"))?;
    let ready: Value = serde_json::from_str(&store.wait_for_file(&ready).await?)?;
    let text = |name: &str| ready[name].as_str().unwrap_or_default().to_owned();
    Ok((store, text("store_url"), text("store_access_key_id")))
}

/// Returns the SDK's configuration for one of these servers.
pub(crate) fn sdk(url: &str) -> SdkConfig {
    sdk_with_key(url, "e2e")
}

fn sdk_with_key(url: &str, access_key: &str) -> SdkConfig {
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("eu-west-1"))
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new(
            access_key, "e2e", None, None, "e2e",
        )))
        .endpoint_url(url)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build()
}

async fn put(sdk: &SdkConfig, name: &str, secrets: &Secrets) -> Result<String> {
    let client = aws_sdk_secretsmanager::Client::new(sdk);
    let secret = client
        .create_secret()
        .name(name)
        .secret_string(serde_json::to_string(secrets)?)
        .send()
        .await?;
    secret.arn.context("the secret has no ARN")
}

/// Creates the template's tables, as CloudFormation does.
async fn create_tables(sdk: &SdkConfig, template: &Template) -> Result<()> {
    use aws_sdk_dynamodb::types::{
        AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType,
        Projection, ProjectionType, ScalarAttributeType,
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let schema = |keys: &Value| -> Result<Vec<_>> {
        let element = |key: &Value| {
            let (name, kind) =
                (text(&key["AttributeName"]), KeyType::from(text(&key["KeyType"]).as_str()));
            Ok(KeySchemaElement::builder().attribute_name(name).key_type(kind).build()?)
        };
        list(keys).iter().map(element).collect()
    };
    let client = aws_sdk_dynamodb::Client::new(sdk);
    for table in &template.tables {
        let properties = &table.resource["Properties"];
        let mut call = client
            .create_table()
            .table_name(&table.logical_id)
            .billing_mode(BillingMode::PayPerRequest);
        for attribute in list(&properties["AttributeDefinitions"]) {
            let (name, kind) =
                (text(&attribute["AttributeName"]), text(&attribute["AttributeType"]));
            let definition = AttributeDefinition::builder()
                .attribute_name(name)
                .attribute_type(ScalarAttributeType::from(kind.as_str()));
            call = call.attribute_definitions(definition.build()?);
        }
        for index in list(&properties["GlobalSecondaryIndexes"]) {
            let projection = text(&index["Projection"]["ProjectionType"]);
            let projection = Projection::builder()
                .projection_type(ProjectionType::from(projection.as_str()))
                .build();
            let index = GlobalSecondaryIndex::builder()
                .index_name(text(&index["IndexName"]))
                .set_key_schema(Some(schema(&index["KeySchema"])?))
                .projection(projection);
            call = call.global_secondary_indexes(index.build()?);
        }
        call.set_key_schema(Some(schema(&properties["KeySchema"])?)).send().await?;
    }
    Ok(())
}
