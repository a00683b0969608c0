//! The one door to other servers: a `GET` that is bounded in size and time, and follows nothing.

use std::{fmt, sync::OnceLock, time::Duration};

use crate::error::Fault;

/// How long a connection, and a whole answer, may take.
const CONNECT: Duration = Duration::from_secs(1);
const ANSWER: Duration = Duration::from_millis(1500);

/// A client for documents of other servers. It is built at its first use: most functions never need one.
#[derive(Default)]
pub struct Fetcher(OnceLock<reqwest::Client>);

impl Fetcher {
    /// The body of a 200 answer, of at most `largest` bytes.
    ///
    /// # Errors
    /// [`Fault::Issuer`] for everything else.
    pub async fn get(&self, url: &str, largest: usize) -> Result<Vec<u8>, Fault> {
        let failed =
            |source: Box<dyn std::error::Error + Send + Sync>| Fault::Issuer { issuer: url.to_owned(), source };
        let client = self.client().map_err(|error| failed(error.into()))?;
        let mut answer = client.get(url).send().await.map_err(|error| failed(error.into()))?;
        if answer.status() != reqwest::StatusCode::OK {
            return Err(failed(format!("it answered {}", answer.status()).into()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| failed(error.into()))? {
            body.extend_from_slice(&chunk);
            if body.len() > largest {
                return Err(failed(format!("its answer is larger than {largest} bytes").into()));
            }
        }
        Ok(body)
    }

    fn client(&self) -> Result<&reqwest::Client, reqwest::Error> {
        if let Some(client) = self.0.get() {
            return Ok(client);
        }
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none()) // the address is the configuration's to say
            .no_proxy()
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .user_agent(concat!("postern/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(self.0.get_or_init(|| client))
    }
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fetcher")
    }
}
