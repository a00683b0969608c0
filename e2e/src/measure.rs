//! Measures the functions under the emulator, and other implementations of the authorizer.
//!
//! The subjects are started in turns, so that load on the machine affects all of them alike.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};

use crate::{
    Tools,
    emulator::Emulator,
    environment::{Environment, StoreKind},
    samples, scenario,
};

/// Warm invocations per start.
const WARM: usize = 50;

/// One thing to measure.
struct Subject {
    name: String,
    bootstrap: PathBuf,
    variables: BTreeMap<String, String>,
    event: Value,
    expected: Expected,
    /// The deployed package.
    zip_bytes: u64,
}

/// The answer that an invocation must give for its time to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// An authorizer allows the request.
    Allowed,
    /// A function refuses an event that is not an HTTP request.
    Refused,
    /// A function answers with this status.
    Status(u16),
}

/// The readings of all runs of one subject.
#[derive(Default)]
struct Readings {
    init_ms: Vec<f64>,
    first_ms: Vec<f64>,
    warm_ms: Vec<f64>,
    warm_cpu_ms: Vec<f64>,
    peak_mib: Vec<f64>,
}

/// Measures everything `runs` times and prints the table.
///
/// If `rivals` is given, also measures the authorizers there. If `page` is given, replaces its
/// table.
pub(crate) async fn run(
    tools: &Tools,
    runs: usize,
    rivals: Option<&Path>,
    page: Option<&Path>,
) -> Result<()> {
    let environment = Environment::start(tools, StoreKind::Embedded).await?;
    let decision = decision(&environment).await?;
    let mut subjects = functions(tools, &environment, &decision)?;
    if let Some(rivals) = rivals {
        subjects.extend(authorizers_of_others(&environment, rivals, &decision)?);
    }
    let mut readings: BTreeMap<&str, Readings> = BTreeMap::new();
    for run in 1..=runs {
        println!("-- run {run} of {runs}");
        for subject in &subjects {
            let readings = readings.entry(&subject.name).or_default();
            measure(tools, subject, readings).await.with_context(|| subject.name.clone())?;
        }
    }
    let report = report(&subjects, &readings, runs);
    println!("\n{report}");
    page.map_or(Ok(()), |page| rewrite(page, &report))
}

/// Returns every function for which a caller waits, with its last sample event. The authorizer is
/// measured with `decision`.
fn functions(tools: &Tools, environment: &Environment, decision: &Value) -> Result<Vec<Subject>> {
    let mut subjects = Vec::new();
    for (function, files) in samples::files()? {
        let bootstrap = tools.artifacts.join(&function).join("bootstrap");
        let variables = environment.variables_of(&function)?;
        let (event, expected) = match function.as_str() {
            "authorizer" => (decision.clone(), Expected::Allowed),
            "publish_events" | "report_expiry" => continue,
            "rotate_signing_key" => {
                (samples::read(files.last().context("no sample")?)?, Expected::Refused)
            }
            _ => {
                let sample = files.last().context("no sample")?;
                (samples::read(sample)?, Expected::Status(samples::status(sample)?))
            }
        };
        let zip_bytes = zipped(&[&bootstrap])?;
        subjects.push(Subject { name: function, bootstrap, variables, event, expected, zip_bytes });
    }
    Ok(subjects)
}

/// Returns the other implementations of the authorizer, built in the folder `rivals`.
fn authorizers_of_others(
    environment: &Environment,
    rivals: &Path,
    decision: &Value,
) -> Result<Vec<Subject>> {
    let others: [(&str, &str, &[&str]); 2] = [
        ("Node.js: aws-jwt-verify, AWS SDK v3", "node", &["dist"]),
        ("Python: PyJWT, boto3", "python", &["package", "authorizer.py", "runtime.py"]),
    ];
    let mut subjects = Vec::new();
    for (name, folder, deployed) in others {
        let folder = rivals.join(folder);
        let mut variables = environment.variables_of("authorizer")?;
        variables.insert(
            "RIVAL_PYTHON".into(),
            rivals.join("interpreter/bin/python3").display().to_string(),
        );
        variables.insert("PYTHONPATH".into(), folder.join("package").display().to_string());
        subjects.push(Subject {
            name: name.to_owned(),
            bootstrap: folder.join("bootstrap"),
            variables,
            event: decision.clone(),
            expected: Expected::Allowed,
            zip_bytes: zipped(&deployed.iter().map(|file| folder.join(file)).collect::<Vec<_>>())?,
        });
    }
    Ok(subjects)
}

/// Returns the event of an HTTP API for a request with an access token. Deciding it takes one
/// verification and one read of two records.
async fn decision(environment: &Environment) -> Result<Value> {
    let send = async |path: &str, name: &str, value: &str, body: Value| -> Result<Value> {
        let request =
            Request::post(path).header(name, value).header("content-type", "application/json");
        let response = environment
            .gateway
            .call(request.body(Bytes::from(body.to_string()))?, [127, 0, 0, 1].into())
            .await;
        Ok(serde_json::from_slice(response.body())?)
    };
    let operator = format!("Bearer {}", environment.operator_key);
    let organization =
        send("/v1/organizations", "authorization", &operator, json!({"name": "Acme"})).await?;
    let key = organization["api_key"].as_str().context("an API key")?;
    let agent =
        send("/v1/agents", "x-api-key", key, json!({"name": "agent", "scopes": ["data:read"]}))
            .await?;
    let credentials = json!({"agent_id": agent["id"], "secret": agent["secret"]});
    let tokens = send("/v1/auth/token", "accept", "*/*", credentials).await?;
    let access = tokens["access_token"].as_str().context("an access token")?;
    Ok(scenario::authorizer_event("authorization", &format!("Bearer {access}")))
}

async fn measure(tools: &Tools, subject: &Subject, readings: &mut Readings) -> Result<()> {
    let emulator =
        Emulator::start(tools, &subject.bootstrap, &subject.variables, "measured").await?;
    let first_ms = timed(&emulator, subject).await?;
    let pid = emulator.pid()?;
    let before_ms = cpu_ms(pid)?;
    let mut warm_ms = Vec::new();
    for _ in 0..WARM {
        warm_ms.push(timed(&emulator, subject).await?);
    }
    readings.warm_cpu_ms.push((cpu_ms(pid)? - before_ms) / WARM as f64);
    readings.init_ms.push(emulator.init_ms()?);
    readings.first_ms.push(first_ms);
    readings.warm_ms.push(median(&warm_ms));
    readings.peak_mib.push(peak_mib(pid)?);
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a stopwatch; the process is never frozen")]
async fn timed(emulator: &Emulator, subject: &Subject) -> Result<f64> {
    static CALLERS: AtomicU32 = AtomicU32::new(0);
    let event = from_caller(&subject.event, CALLERS.fetch_add(1, Ordering::Relaxed));
    let began = Instant::now();
    let answer = emulator.invoke(event).await?;
    let took_ms = began.elapsed().as_secs_f64() * 1000.0;
    let is_right = match (&answer, subject.expected) {
        (Ok(answer), Expected::Allowed) => answer["isAuthorized"] == true,
        (Ok(answer), Expected::Status(status)) => answer["statusCode"] == status,
        (Ok(_), Expected::Refused) | (Err(_), Expected::Allowed | Expected::Status(_)) => false,
        (Err(_), Expected::Refused) => true,
    };
    ensure!(is_right, "it answers {answer:?}, not {:?}", subject.expected);
    Ok(took_ms)
}

/// Returns `event` as caller number `caller` sends it: from its own address, and, if the body
/// contains an email address, with its own account.
///
/// Failed logins are throttled per address and per account. If one caller repeated the sample of
/// `login`, it would measure the throttle after a few invocations, and not the login.
fn from_caller(event: &Value, caller: u32) -> Value {
    let mut event = event.clone();
    if let Some(source_ip) = event.pointer_mut("/requestContext/http/sourceIp") {
        // 198.18.0.0/15 is reserved for benchmarks (RFC 2544).
        let address = u32::from(Ipv4Addr::new(198, 18, 0, 0)) | (caller & 0x1_ffff);
        *source_ip = Ipv4Addr::from(address).to_string().into();
    }
    let body = event["body"].as_str().and_then(|body| serde_json::from_str::<Value>(body).ok());
    if let Some(mut body) = body.filter(|body| body["email"].is_string()) {
        body["email"] = format!("caller-{caller}@example.com").into();
        event["body"] = body.to_string().into();
    }
    event
}

/// Returns the CPU time of a process, of all its threads.
fn cpu_ms(pid: u32) -> Result<f64> {
    let mut ns = 0.0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        ns += text.split(' ').next().unwrap_or_default().parse::<f64>()?;
    }
    Ok(ns / 1e6)
}

fn peak_mib(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no peak")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}

fn zipped(files: &[impl AsRef<OsStr>]) -> Result<u64> {
    let folder = tempfile::tempdir()?;
    let zip = folder.path().join("it.zip");
    let status =
        Command::new("python3").args(["-m", "zipfile", "-c"]).arg(&zip).args(files).status()?;
    ensure!(status.success(), "python3 -m zipfile: {status}");
    Ok(fs::metadata(&zip)?.len())
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

fn report(subjects: &[Subject], readings: &BTreeMap<&str, Readings>, runs: usize) -> String {
    let mut text = format!(
        "Medians of {runs} starts each, in turns; {WARM} warm invocations per start.\n\n\
         | | init ms | first invoke ms | warm invoke ms | CPU ms per warm invoke | peak MiB | zip MiB |\n|---|--:|--:|--:|--:|--:|--:|\n"
    );
    for subject in subjects {
        let Some(of) = readings.get(subject.name.as_str()) else { continue };
        let row = [&of.init_ms, &of.first_ms, &of.warm_ms, &of.warm_cpu_ms, &of.peak_mib]
            .map(|values| median(values));
        let zip = subject.zip_bytes as f64 / 1024.0 / 1024.0;
        text += &format!(
            "| {} | {:.1} | {:.1} | {:.2} | {:.2} | {:.1} | {:.2} |\n",
            subject.name, row[0], row[1], row[2], row[3], row[4], zip
        );
    }
    let init = |name: &str| readings.get(name).map_or(f64::NAN, |of| median(&of.init_ms));
    let ours = init("authorizer");
    for subject in subjects.iter().filter(|subject| subject.name.contains(':')) {
        text += &format!(
            "\nThe authorizer starts {:.1} × faster than {}.",
            init(&subject.name) / ours,
            subject.name
        );
    }
    text
}

/// Replaces the text between the two marks of `page` with `report`.
fn rewrite(page: &Path, report: &str) -> Result<()> {
    const BEGIN: &str = "<!-- measured: begin -->";
    const END: &str = "<!-- measured: end -->";
    let old = fs::read_to_string(page)?;
    let (before, rest) = old.split_once(BEGIN).context("no mark at the beginning of the table")?;
    let (_, after) = rest.split_once(END).context("no mark at the end of the table")?;
    fs::write(page, format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", report.trim_end()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::from_caller;

    #[test]
    fn every_caller_has_an_address_and_an_account() {
        let body = json!({"email": "nobody@example.com", "password": "correct horse"}).to_string();
        let event = json!({"body": body, "requestContext": {"http": {"sourceIp": "192.0.2.1"}}});
        let (first, second) = (from_caller(&event, 0), from_caller(&event, 0x1_ffff));
        let source_ip = "/requestContext/http/sourceIp";
        assert_eq!(first.pointer(source_ip), Some(&json!("198.18.0.0")));
        assert_eq!(second.pointer(source_ip), Some(&json!("198.19.255.255")));
        assert_ne!(first["body"], second["body"]);
        assert_eq!(from_caller(&json!({"body": "a=b"}), 1), json!({"body": "a=b"}));
    }
}
