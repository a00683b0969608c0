//! The configuration of the AWS SDK: credentials and region from the environment, and one pool of
//! connections for all services.
//!
//! By default, each client of the SDK parses the system's 140 root certificates twice when it
//! starts. One connector for all clients parses them once, and reuses the connections that another
//! client has opened.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_smithy_async::rt::sleep::default_async_sleep;
use aws_smithy_http_client::{
    Connector,
    proxy::ProxyConfig,
    tls::{Provider, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::http::{
    HttpConnectorSettings, SharedHttpClient, SharedHttpConnector, http_client_fn,
};

/// The timeout for connecting. It is short because of the authorizer; the first handshake of a
/// small Lambda takes most of it.
const CONNECT: Duration = Duration::from_secs(1);

/// Loads the SDK's configuration from the environment.
pub async fn load() -> SdkConfig {
    aws_config::from_env().http_client(http_client()).load().await
}

/// Returns a client with one connector for all SDK clients, whatever their settings. Each SDK
/// client sets its own timeout for whole responses.
fn http_client() -> SharedHttpClient {
    let mut builder = Connector::builder()
        .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
        .proxy_config(ProxyConfig::from_env())
        .connector_settings(HttpConnectorSettings::builder().connect_timeout(CONNECT).build());
    builder.set_sleep_impl(default_async_sleep());
    let connector = SharedHttpConnector::new(builder.build());
    http_client_fn(move |_, _| connector.clone())
}
