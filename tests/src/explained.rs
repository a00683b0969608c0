//! The record of every refusal in every test, by which the program explains it: whoever operates a
//! deployment finds out the cause of each, and nothing that was presented.

use std::{
    collections::{BTreeSet, HashMap},
    env, fs, io,
    path::PathBuf,
    sync::{Mutex, OnceLock},
};

use bytes::Bytes;
use http::{Request, Response};
use local::explain;
use postern::{
    Refusal,
    core::clock::Clock,
    telemetry::{Labels, Lines},
};
use serde_json::Value;
use tracing_subscriber::fmt::MakeWriter;

use crate::capture::contains_secret;

/// The headers that carry credentials, of which a record contains nothing.
const CREDENTIALS: [&str; 5] = ["authorization", "cookie", "dpop", "x-api-key", "x-runner-token"];

/// Returns the layer that records refusals.
pub fn layer() -> Lines<Records> {
    Lines::new(Labels::default(), Clock::system(), Records)
}

/// Checks that the refusal of a request is explained by its request id.
///
/// # Errors
/// What is wrong with the explanation.
pub fn check(request: &Request<Bytes>, response: &Response<Bytes>) -> Result<(), String> {
    let body: Value = serde_json::from_slice(response.body()).unwrap_or_default();
    let Some(id) = body["request_id"].as_str() else { return Ok(()) };
    let lines = lines().lock().unwrap().remove(id).unwrap_or_default();
    let listens_here = tracing::dispatcher::get_default(|dispatch| {
        dispatch.downcast_ref::<Lines<Records>>().is_some()
    });
    if !listens_here || !response.status().is_client_error() {
        return Ok(());
    }
    let page = explain::explain(id, &lines, &"the log").map_err(|error| error.to_string())?;
    let is_explained = |refusal: &&Refusal| {
        let cause =
            format!("  cause      {}\n  meaning    {}\n", refusal.name(), refusal.meaning());
        page.contains(&cause)
    };
    if !Refusal::ALL.iter().any(|refusal| is_explained(&refusal)) {
        return Err(format!("the refusal {id} is not explained:\n{page}"));
    }
    let presented = CREDENTIALS.iter().flat_map(|name| request.headers().get_all(*name));
    let presented = presented.filter_map(|value| value.to_str().ok()?.split(' ').next_back());
    let is_recorded = |secret: &str| secret.len() >= 16 && page.contains(secret);
    if contains_secret(page.as_bytes()) || presented.into_iter().any(is_recorded) {
        return Err(format!("the record of the refusal {id} contains what was presented"));
    }
    Ok(())
}

/// Returns the causes that no test has met since their folder was removed.
pub fn causes_not_met() -> BTreeSet<&'static str> {
    let is_met = |name: &&str| fs::exists(folder_of_causes().join(name)).unwrap();
    Refusal::ALL.iter().map(|refusal| refusal.name()).filter(|name| !is_met(name)).collect()
}

/// Notes that a line explains its cause. There is an empty file for each such cause, because
/// several test programs meet them.
fn note(id: &str, cause: &str, line: &str) {
    let Some(refusal) = Refusal::ALL.iter().find(|refusal| refusal.name() == cause) else { return };
    let page = explain::explain(id, line, &"the log").unwrap_or_default();
    if page.contains(cause) && page.contains(refusal.meaning()) {
        fs::create_dir_all(folder_of_causes()).unwrap();
        fs::write(folder_of_causes().join(cause), "").unwrap();
    }
}

/// The folder `tmp/causes` of the build output.
fn folder_of_causes() -> PathBuf {
    let program = env::current_exe().unwrap();
    let output = program.ancestors().nth(3).expect("OUTPUT/debug/deps/PROGRAM");
    output.join("tmp/causes")
}

/// The lines of refused requests, by request id.
fn lines() -> &'static Mutex<HashMap<String, String>> {
    static LINES: OnceLock<Mutex<HashMap<String, String>>> = OnceLock::new();
    LINES.get_or_init(Mutex::default)
}

/// Keeps the lines of refusals.
#[derive(Clone, Copy, Debug)]
pub struct Records;

impl io::Write for Records {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let value: Value = serde_json::from_slice(line).unwrap_or_default();
        if let (Some(id), Some(cause)) = (value["request_id"].as_str(), value["cause"].as_str()) {
            let text = String::from_utf8_lossy(line);
            note(id, cause, &text);
            lines().lock().unwrap().entry(id.to_owned()).or_default().push_str(&text);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for Records {
    type Writer = Self;

    fn make_writer(&'w self) -> Self {
        *self
    }
}
