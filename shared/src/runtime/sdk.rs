//! The configuration of the AWS SDK: credentials and region from the environment, and one pool of
//! connections for all services.
//!
//! By default, each client of the SDK parses the system's 140 root certificates twice when it
//! starts. One connector for all clients parses them once, and reuses the connections that another
//! client has opened.

use std::time::Duration;

use aws_config::{
    BehaviorVersion, Region, SdkConfig, environment::EnvironmentVariableCredentialsProvider,
    identity::IdentityCache,
};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_async::{
    rt::sleep::{SharedAsyncSleep, TokioSleep},
    time::SharedTimeSource,
};
use aws_smithy_http_client::{
    Connector,
    proxy::ProxyConfig,
    tls::{Provider, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::http::{
    HttpConnectorSettings, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_types::service_config::{LoadServiceConfig, ServiceConfigKey};

use crate::config::AwsVariables;

/// The timeout for connecting. It is short because of the authorizer; the first handshake of a
/// small Lambda takes most of it.
const CONNECT: Duration = Duration::from_secs(1);

/// Returns the SDK's configuration. No I/O.
///
/// Lambda passes credentials and region in environment variables. The SDK's own loader would also
/// link and consult the sources of other platforms: profile files, instance metadata, STS.
pub fn config(variables: AwsVariables) -> SdkConfig {
    let is_set = |name| variables.get(name).is_some_and(|value| value == "true");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(variables.get("AWS_REGION").map(|region| Region::new(region.to_owned())))
        .credentials_provider(SharedCredentialsProvider::new(
            EnvironmentVariableCredentialsProvider::new(),
        ))
        .identity_cache(IdentityCache::lazy().build())
        .use_fips(is_set("AWS_USE_FIPS_ENDPOINT"))
        .use_dual_stack(is_set("AWS_USE_DUALSTACK_ENDPOINT"))
        .time_source(SharedTimeSource::default())
        .sleep_impl(SharedAsyncSleep::new(TokioSleep::new()))
        .http_client(http_client())
        .service_config(ServiceEndpoints(variables))
        .build()
}

/// The endpoint of a service, if the environment names one (`AWS_ENDPOINT_URL_DYNAMODB`).
#[derive(Debug)]
struct ServiceEndpoints(AwsVariables);

impl LoadServiceConfig for ServiceEndpoints {
    fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
        let service = key.service_id().replace(' ', "_").to_uppercase();
        let specific = format!("{}_{service}", key.env());
        self.0.get(&specific).or_else(|| self.0.get(key.env())).map(str::to_owned)
    }
}

/// Returns a client with one connector for all SDK clients, whatever their settings. Each SDK
/// client sets its own timeout for whole responses.
fn http_client() -> SharedHttpClient {
    let mut builder = Connector::builder()
        .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
        .proxy_config(ProxyConfig::from_env())
        .connector_settings(HttpConnectorSettings::builder().connect_timeout(CONNECT).build());
    builder.set_sleep_impl(Some(SharedAsyncSleep::new(TokioSleep::new())));
    let connector = SharedHttpConnector::new(builder.build());
    http_client_fn(move |_, _| connector.clone())
}
