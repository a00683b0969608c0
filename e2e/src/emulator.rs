//! Functions under AWS's runtime interface emulator, each in its own process.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::{Context as _, Result, bail, ensure};
use local::invoke::Invoke;
use serde_json::{Value, json};
use tests::capture;

use crate::{
    Tools,
    process::{Process, free_address},
};

/// A function under the emulator.
#[derive(Debug)]
pub(crate) struct Emulator {
    process: Process,
    url: String,
    log: PathBuf,
    client: reqwest::Client,
    invocations: Arc<AtomicUsize>,
}

impl Emulator {
    /// Starts the emulator for `bootstrap`, which itself starts with its first invocation.
    pub(crate) async fn start(
        tools: &Tools,
        bootstrap: &Path,
        variables: &BTreeMap<String, String>,
        name: &str,
    ) -> Result<Self> {
        let (address, runtime): (SocketAddr, SocketAddr) = (free_address()?, free_address()?);
        let log = tools.logs.join(format!("{name}.log"));
        let mut command = Command::new(&tools.emulator);
        command.args([
            "--log-level",
            "info",
            "--runtime-interface-emulator-address",
            &address.to_string(),
        ]);
        command.args(["--runtime-api-address", &runtime.to_string()]).arg(bootstrap);
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("AWS_LAMBDA_FUNCTION_TIMEOUT", "30")
            .envs(variables);
        let mut process = Process::start(name, &mut command, &log)?;
        process.wait_for_listener(address).await?;
        let url = format!("http://{address}/2015-03-31/functions/function/invocations");
        let client = reqwest::Client::builder().no_proxy().build()?;
        Ok(Self { process, url, log, client, invocations: Arc::default() })
    }

    /// Invokes the function; returns its answer, or the message of its error.
    pub(crate) async fn invoke(&self, event: Value) -> Result<Result<Value, String>> {
        invoke(&self.client, &self.url, event, &self.invocations).await
    }

    /// Returns the function in the form that a gateway invokes.
    pub(crate) fn as_function(&self) -> Invoke {
        let (client, url, invocations) =
            (self.client.clone(), self.url.clone(), Arc::clone(&self.invocations));
        Arc::new(move |event| {
            let (client, url, invocations) =
                (client.clone(), url.clone(), Arc::clone(&invocations));
            Box::pin(async move {
                invoke(&client, &url, event, &invocations)
                    .await
                    .unwrap_or_else(|error| Err(format!("{error:#}")))
            })
        })
    }

    /// Returns how long the start took, as the emulator reports it.
    pub(crate) fn init_ms(&self) -> Result<f64> {
        let log = fs::read_to_string(&self.log)?;
        let (_, report) =
            log.split_once("INIT REPORT(durationMs: ").context("the emulator reported no start")?;
        Ok(report.split(')').next().unwrap_or_default().parse()?)
    }

    /// Returns the process id of the function itself.
    pub(crate) fn pid(&self) -> Result<u32> {
        self.process.descendants().pop().context("the function is not running")
    }
}

async fn invoke(
    client: &reqwest::Client,
    url: &str,
    event: Value,
    invocations: &AtomicUsize,
) -> Result<Result<Value, String>> {
    invocations.fetch_add(1, Ordering::SeqCst);
    let answer = client.post(url).body(event.to_string()).send().await?.text().await?;
    // A function that cannot start returns an empty response.
    let answer: Value = serde_json::from_str(&answer)
        .with_context(|| format!("the function answered {answer:?}"))?;
    Ok(match answer.get("errorMessage") {
        None => Ok(answer),
        Some(message) => Err(message.as_str().unwrap_or_default().to_owned()),
    })
}

/// Every function of the template under the emulator, by its binary.
#[derive(Debug)]
pub(crate) struct Emulators(pub(crate) BTreeMap<String, Emulator>);

impl Emulator {
    /// Returns the file of the function's log.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }
}

impl Emulators {
    /// Checks the log of each function: one line of JSON per request, with its metrics and without
    /// credentials.
    pub(crate) fn check_log_lines(&self) -> Result<usize> {
        for (name, function) in &self.0 {
            let text = fs::read_to_string(&function.log)?;
            ensure!(
                !capture::contains_secret(text.as_bytes()),
                "{name} logs a secret: {}",
                function.log.display()
            );
            let lines: Vec<Value> =
                text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
            // No lines of the runtime, and no failures but the end of a rotation after a drop.
            const KNOWN: [&str; 5] = ["started", "secret read", "served", "refused", "decided"];
            const EVENTS: [&str; 3] = [
                "a spent refresh token was used again",
                "events were not published",
                "the keys of the deployment were changed",
            ];
            let is_withdrawn = |line: &Value| {
                line["fault"].as_str().is_some_and(|fault| fault.contains("it was withdrawn"))
            };
            let is_known = |line: &&Value| {
                KNOWN.iter().chain(&EVENTS).any(|known| line["message"] == *known)
                    || is_withdrawn(line)
            };
            if let Some(stray) = lines.iter().find(|line| !is_known(line)) {
                bail!("{name} writes an unexpected line: {stray}");
            }
            let of_requests = lines.iter().filter(|line| line["Requests"] == 1);
            let (logged, invoked) =
                (of_requests.clone().count(), function.invocations.load(Ordering::SeqCst));
            ensure!(
                logged == invoked,
                "{name} was invoked {invoked} times, and logs {logged} lines of requests"
            );
            for line in of_requests {
                ensure!(
                    line["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "Postern",
                    "{name}: no metrics in {line}"
                );
                ensure!(
                    line["stack"] == "e2e" && line["function"] == json!(name),
                    "{name}: {line}"
                );
                ensure!(
                    line.get("Faults").is_none() || is_withdrawn(line),
                    "{name} failed: {line}"
                );
            }
            ensure!(
                lines.iter().any(|line| line["message"] == "started"),
                "{name} does not log its start"
            );
        }
        println!(
            "   {} functions: one line per invocation, with metrics, without credentials",
            self.0.len()
        );
        Ok(self.0.len())
    }
}
