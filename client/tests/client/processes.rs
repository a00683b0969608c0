//! Processes that share one session at the local program, some of them killed, with answers that
//! are lost.
//!
//! Each process says again and again that its token was refused. Whatever they do, every token is
//! replaced by one refresh, because the refresh token is used under the lock.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    io::Write as _,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    response::Response,
};
use futures_util::stream;
use local::{
    data::DataLocation,
    gateway::Gateway,
    serve::{self, Deployment, Options, RequestLines},
    settings::ConfigSource,
};
use postern_client::{Context, ExposeSecret as _, Session, TokenRequest};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    process::{Child, Command},
};

const PROCESSES: usize = 8;
/// How often each process renews, unless `RENEWALS_PER_PROCESS` says otherwise.
const RENEWALS: usize = 25;
/// One of so many answers is lost.
const LOST: u64 = 8;
/// So many of the answers to one token, so that the three attempts of a process are enough.
const LOST_OF_A_TOKEN: usize = 2;
/// A process is killed about this often.
const KILL_INTERVAL: Duration = Duration::from_millis(60);

/// The local program, behind a proxy that counts and loses answers.
struct Program {
    url: String,
    counts: Arc<Counts>,
    deployment: Deployment,
}

#[derive(Default)]
struct Counts {
    /// How often each refresh token was presented.
    presented: Mutex<HashMap<String, usize>>,
    lost: AtomicUsize,
    refused: Mutex<Vec<String>>,
}

#[derive(Clone)]
struct Proxy {
    gateway: Gateway,
    counts: Arc<Counts>,
}

impl Program {
    async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let listen = listener.local_addr().unwrap();
        let url = format!("http://{listen}");
        let options = Options {
            listen,
            data: DataLocation::Memory,
            config: ConfigSource::BuiltIn,
            ready_file: None,
            store: None,
            sign_in: None,
            identity_sources: Vec::new(),
            mcp_server: None,
            show_operator_key: false,
            requests: RequestLines::None,
        };
        let deployment = serve::deploy(&options, &url).await.unwrap();
        let counts = Arc::new(Counts::default());
        let proxy = Proxy { gateway: deployment.gateway.clone(), counts: Arc::clone(&counts) };
        let router = Router::new().fallback(pass_on).with_state(proxy);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, counts, deployment }
    }

    /// Posts JSON with the key of the organization.
    async fn post(&self, path: &str, body: Value) -> Value {
        let key = self.deployment.ready(String::new()).api_key;
        let request = http::Request::post(path)
            .header("content-type", "application/json")
            .header("x-api-key", key)
            .body(Bytes::from(body.to_string()))
            .unwrap();
        let answer = self.deployment.gateway.call(request, Ipv4Addr::LOCALHOST.into()).await;
        assert!(answer.status().is_success(), "{answer:?}");
        serde_json::from_slice(answer.body()).unwrap()
    }

    /// Writes the session of a new agent.
    async fn write_session(&self, path: &Path) {
        let agent = self.post("/v1/agents", json!({"name": "a", "scopes": ["data:read"]})).await;
        let exchange = json!({"agent_id": agent["id"], "secret": agent["secret"]});
        let tokens = self.post("/v1/auth/token", exchange).await;
        let session = json!({
            "version": 1, "issuer": self.url, "client_id": agent["id"], "storage": "file",
            "refresh_token": tokens["refresh_token"], "access_tokens": [],
        });
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, session.to_string()).unwrap();
    }
}

/// Passes a request on. Loses some of the answers to refreshes, after they were made.
async fn pass_on(State(proxy): State<Proxy>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let refresh_token = form_urlencoded::parse(&body)
        .find(|(name, _)| name == "refresh_token")
        .map(|(_, token)| token.into_owned());
    let request = http::Request::from_parts(parts, body.clone());
    let answer = proxy.gateway.call(request, Ipv4Addr::LOCALHOST.into()).await;
    if let Some(token) = refresh_token {
        let times = {
            let mut presented = proxy.counts.presented.lock().unwrap();
            let times = presented.entry(token).or_default();
            *times += 1;
            *times
        };
        if !answer.status().is_success() {
            let text = String::from_utf8_lossy(answer.body()).into_owned();
            proxy.counts.refused.lock().unwrap().push(text);
        } else if times <= LOST_OF_A_TOKEN && random().is_multiple_of(LOST) {
            proxy.counts.lost.fetch_add(1, Ordering::SeqCst);
            let lost = std::io::Error::other("lost");
            return Response::new(Body::from_stream(stream::iter([Err::<Bytes, _>(lost)])));
        }
    }
    answer.map(Body::from)
}

fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[expect(clippy::disallowed_methods, reason = "how often to renew, and what a process is told")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The processes and what they leave behind.
struct Run {
    folder: tempfile::TempDir,
    is_locked: bool,
    renewals: usize,
    kills: usize,
    failures: Vec<String>,
}

impl Run {
    fn new(is_locked: bool) -> Self {
        let renewals = variable("RENEWALS_PER_PROCESS").and_then(|number| number.parse().ok());
        let renewals = renewals.unwrap_or(RENEWALS);
        let folder = tempfile::tempdir().unwrap();
        Self { folder, is_locked, renewals, kills: 0, failures: Vec::new() }
    }

    fn session_file(&self) -> PathBuf {
        self.folder.path().join("sessions/default.json")
    }

    /// The tokens that a process was refused with, one a line.
    fn progress(&self, slot: usize) -> PathBuf {
        self.folder.path().join(format!("{slot}.progress"))
    }

    fn spawn(&self, slot: usize) -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "processes::a_process_of_the_tests_here", "--ignored", "--nocapture"])
            .env("POSTERN_TEST_SESSION", self.session_file())
            .env("POSTERN_TEST_PROGRESS", self.progress(slot))
            .env("POSTERN_TEST_RENEWALS", self.renewals.to_string())
            .env("POSTERN_TEST_LOCK", if self.is_locked { "kept" } else { "deleted" })
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    /// Runs the processes until each has renewed often enough, and kills some of them.
    async fn complete(&mut self) {
        let mut processes: Vec<_> = (0..PROCESSES).map(|slot| Some(self.spawn(slot))).collect();
        while processes.iter().any(Option::is_some) && self.failures.is_empty() {
            for (slot, process) in processes.iter_mut().enumerate() {
                let Some(child) = process else { continue };
                match child.try_wait().unwrap() {
                    None => {}
                    Some(status) if status.success() => *process = None,
                    Some(status) if status.code().is_none() => *process = Some(self.spawn(slot)),
                    Some(_) => {
                        let output = process.take().unwrap().wait_with_output().await.unwrap();
                        self.failures.push(String::from_utf8_lossy(&output.stderr).into_owned());
                    }
                }
            }
            let victim = usize::try_from(random() % PROCESSES as u64).unwrap();
            let victim = processes.get_mut(victim).and_then(Option::as_mut);
            // Not in the middle of nothing: only a moment that no test can choose is of interest.
            tokio::time::sleep(KILL_INTERVAL.mul_f64(0.5 + (random() % 100) as f64 / 100.0)).await;
            if self.kills < PROCESSES * self.renewals / 10
                && let Some(victim) = victim
                && victim.try_wait().unwrap().is_none()
            {
                victim.start_kill().unwrap();
                self.kills += 1;
            }
        }
    }

    /// Returns the tokens that were refused.
    fn refused_tokens(&self) -> BTreeSet<String> {
        let files = (0..PROCESSES).map(|slot| fs::read_to_string(self.progress(slot)).unwrap());
        files.flat_map(|file| file.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
    }
}

/// Reads the file again and again until it is told to stop, as a program that is not ours could.
fn read_continuously(path: PathBuf, stop: Arc<AtomicBool>) -> tokio::task::JoinHandle<usize> {
    tokio::task::spawn_blocking(move || {
        let mut reads = 0;
        while !stop.load(Ordering::SeqCst) {
            let text = fs::read(&path).unwrap();
            let session: Value = serde_json::from_slice(&text).unwrap();
            assert!(session["refresh_token"].is_string());
            reads += 1;
            std::thread::yield_now();
        }
        reads
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_are_killed_share_one_session() {
    let program = Program::start().await;
    let mut run = Run::new(true);
    program.write_session(&run.session_file()).await;
    let stop = Arc::new(AtomicBool::new(false));
    let reader = read_continuously(run.session_file(), Arc::clone(&stop));
    run.complete().await;
    stop.store(true, Ordering::SeqCst);
    let reads = reader.await.unwrap(); // every read found a whole session

    assert_eq!(run.failures, [""; 0]);
    assert_eq!(*program.counts.refused.lock().unwrap(), [""; 0]);
    // The family is alive, also if the last process was killed within its last renewal.
    let session = Session::open_file(&Context::new().unwrap(), &run.session_file()).await.unwrap();
    let wanted = TokenRequest::default();
    let token = session.access_token(&wanted).await.unwrap();
    session.renew(&wanted, &token).await.unwrap();

    let mut replaced = run.refused_tokens();
    replaced.insert(token.value.expose_secret().to_owned());
    let presented = program.counts.presented.lock().unwrap().clone();
    // The first refresh replaced no token.
    assert_eq!(presented.len(), replaced.len() + 1, "one refresh for each token that ended");
    assert!(presented.len() > run.renewals, "{} refreshes", presented.len());
    let repeated: usize = presented.values().map(|times| times - 1).sum();
    let (lost, kills) = (program.counts.lost.load(Ordering::SeqCst), run.kills);
    assert!(repeated <= lost + kills, "{repeated} repetitions, {lost} lost, {kills} kills");
    assert!(reads > 0 && lost > 0 && kills > 0);
}

/// Shows that the lock is needed: the same, with a lock file that is deleted all the time.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "shows what the lock is for"]
async fn without_the_lock_the_session_ends() {
    let program = Program::start().await;
    let mut run = Run::new(false);
    program.write_session(&run.session_file()).await;
    run.complete().await;
    let refused = program.counts.refused.lock().unwrap();
    assert!(refused.iter().any(|answer| answer.contains("invalid_grant")), "{refused:?}");
    assert!(run.failures.iter().any(|failure| failure.contains("has ended")), "{:?}", run.failures);
}

#[tokio::test]
#[ignore = "a process of the tests above"]
async fn a_process_of_the_tests_here() {
    let (Some(path), Some(progress)) =
        (variable("POSTERN_TEST_SESSION"), variable("POSTERN_TEST_PROGRESS"))
    else {
        return;
    };
    let renewals: usize = variable("POSTERN_TEST_RENEWALS").unwrap().parse().unwrap();
    let is_locked = variable("POSTERN_TEST_LOCK").as_deref() == Some("kept");
    let done = fs::read_to_string(&progress).map_or(0, |text| text.lines().count());
    let mut progress = fs::File::options().create(true).append(true).open(progress).unwrap();
    // On a machine that is too slow for an attempt, a request would be repeated without a loss.
    let context = Context::new().unwrap().attempt_timeout(Duration::from_secs(9));
    let session = Session::open_file(&context, Path::new(&path)).await.unwrap();
    let wanted = TokenRequest::default();
    for _ in done..renewals {
        let token = session.access_token(&wanted).await.unwrap();
        let line = format!("{}\n", token.value.expose_secret());
        progress.write_all(line.as_bytes()).unwrap();
        if !is_locked {
            drop(fs::remove_file(Path::new(&path).with_extension("lock")));
        }
        session.renew(&wanted, &token).await.unwrap();
    }
}
