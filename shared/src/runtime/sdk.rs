//! How AWS's SDK reaches AWS: credentials and region from the environment, and one pool of
//! connections for all services.
//!
//! Left to itself each client of the SDK parses the system's 140 root certificates twice at its
//! start. One connector for all of them does it once, and finds the connections that another client
//! has opened.

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

/// How long a connection may take: an authorizer has no second to lose, and the first handshake of
/// a small Lambda needs most of one.
const CONNECT: Duration = Duration::from_secs(1);

/// The SDK's configuration, as the environment says.
pub async fn load() -> SdkConfig {
    aws_config::from_env().http_client(http_client()).load().await
}

/// One connector, made once, for every client and whatever its settings: the time for whole answers
/// is each client's own to say.
fn http_client() -> SharedHttpClient {
    let mut builder = Connector::builder()
        .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
        .proxy_config(ProxyConfig::from_env())
        .connector_settings(HttpConnectorSettings::builder().connect_timeout(CONNECT).build());
    builder.set_sleep_impl(default_async_sleep());
    let connector = SharedHttpConnector::new(builder.build());
    http_client_fn(move |_, _| connector.clone())
}
