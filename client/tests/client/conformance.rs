//! The cases of `clients/conformance`, which every language runs against the local program.

use std::{
    collections::BTreeSet,
    fs,
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use futures_util::{FutureExt as _, future::join_all};
use postern_client::{
    AccessToken, Context, Error, ExposeSecret as _, Home, Issuer, Login, Logout, Profile,
    ProfileName, Session, Storage, TokenRequest, WorkloadSource, reqwest,
    server::{Principal, Refusal},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

use crate::{
    moving_clock::MovingClock,
    system::{create_folder, set_mode},
    verdicts,
};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../clients/conformance");
/// In real time. The clock of a case does not end a login that waits for the browser.
const LONGEST_LOGIN: Duration = Duration::from_secs(60);

/// The harness as a process of its own. It ends, and stops the local program, when its input is
/// closed, which dropping it does.
struct Harness {
    ready: Value,
    _process: Child,
}

/// What a call returned.
enum Outcome {
    Token(AccessToken),
    Status(u16),
    /// A logout, with its warning.
    Logout(Option<String>),
    /// What a verifier decided.
    Verdict(Box<Result<Principal, Refusal>>),
}

/// One run of a case, with a folder and a clock of its own.
struct Run<'a> {
    harness: &'a Harness,
    folder: tempfile::TempDir,
    clock: MovingClock,
    context: Context,
    session: Option<Session>,
    /// The token of the last call.
    last: Option<AccessToken>,
    /// The file before the last change.
    before: Value,
}

impl Harness {
    async fn start() -> Self {
        let mut process = Command::new("python3")
            .arg(format!("{FOLDER}/harness.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = lines.next_line().await.unwrap().unwrap_or_default();
        let ready = serde_json::from_str(&line);
        let ready = ready.unwrap_or_else(|_| panic!("the harness did not start: {line}"));
        Self { ready, _process: process }
    }

    fn text(&self, name: &str) -> &str {
        self.ready[name].as_str().unwrap()
    }

    /// Sends commands to the harness; returns its answer.
    async fn control(&self, commands: &Value) -> Value {
        control(self.text("control"), commands).await
    }
}

async fn control(url: &str, commands: &Value) -> Value {
    let body = commands.to_string();
    let answer = reqwest::Client::new().post(url).body(body).send().await.unwrap();
    let (status, text) = (answer.status(), answer.text().await.unwrap());
    assert!(status.is_success(), "{commands}: {text}");
    serde_json::from_str(&text).unwrap()
}

impl Run<'_> {
    fn new(harness: &Harness) -> Run<'_> {
        let clock = MovingClock::default();
        let folder = tempfile::tempdir().unwrap();
        let context = Context::with_system(clock.system()).unwrap();
        Run { harness, folder, clock, context, session: None, last: None, before: Value::Null }
    }

    fn home(&self) -> &Path {
        self.folder.path()
    }

    fn file(&self) -> PathBuf {
        self.home().join("sessions/default.json")
    }

    /// Returns the file of the session, or null.
    fn stored(&self) -> Value {
        let text = fs::read(self.file()).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    fn filled(&self, text: &str) -> String {
        let home = self.home().to_str().unwrap();
        text.replace("{home}", home).replace("{issuer}", self.harness.text("issuer"))
    }

    fn issuer(&self, named: &Value) -> postern_client::Result<Issuer> {
        named.as_str().unwrap_or(self.harness.text("issuer")).parse()
    }

    async fn step(&mut self, step: &Value) {
        let members = step.as_object().unwrap();
        let (name, value) =
            members.iter().find(|(name, _)| !matches!(name.as_str(), "with" | "expect")).unwrap();
        match name.as_str() {
            "control" => self.control(value.clone()).await,
            "write" => self.write(value),
            "chmod" => {
                let mode = u32::from_str_radix(value["mode"].as_str().unwrap(), 8).unwrap();
                set_mode(&self.home().join(value["path"].as_str().unwrap()), mode);
            }
            "advance" => self.clock.advance(value.as_i64().unwrap()),
            "new_session" => self.session = None,
            "call" => self.call(value.as_str().unwrap(), &step["with"], &step["expect"]).await,
            "check" => self.check(value).await,
            other => panic!("unknown step: {other}"),
        }
    }

    async fn control(&mut self, mut commands: Value) {
        if let Some(session) = commands.get_mut("session") {
            session["home"] = self.home().to_str().into();
        }
        self.harness.control(&commands).await;
        self.before = self.stored();
    }

    fn write(&self, file: &Value) {
        let path = self.home().join(file["path"].as_str().unwrap());
        create_folder(path.parent().unwrap());
        fs::write(&path, file["text"].as_str().unwrap()).unwrap();
        set_mode(&path, 0o600);
        if let Some(age) = file["age"].as_u64() {
            let changed = self.clock.real_time() - Duration::from_secs(age);
            fs::File::options().append(true).open(&path).unwrap().set_modified(changed).unwrap();
        }
    }

    async fn call(&mut self, name: &str, arguments: &Value, expected: &Value) {
        self.before = self.stored();
        self.clock.forget_waits();
        let previous = self.last.clone();
        let outcome = self.perform(name, arguments).await;
        self.compare_waits(&expected["waits"]);
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(error) => return self.compare_error(&error, expected),
        };
        let is_verdict = matches!(outcome, Outcome::Verdict(_));
        assert!(is_verdict || expected.get("error").is_none(), "{name} did not fail");
        match &outcome {
            Outcome::Token(token) => self.compare_token(token, previous.as_ref(), expected).await,
            Outcome::Status(status) => assert_eq!(json!(status), expected["status"]),
            Outcome::Logout(warning) => {
                self.compare_words(warning.as_deref().unwrap_or_default(), expected);
                let warns = expected["warns"].as_bool().unwrap_or(false);
                assert_eq!(warning.is_some(), warns, "{warning:?}");
            }
            Outcome::Verdict(verdict) => {
                verdicts::compare(verdict, &self.harness.ready, expected);
                if let Err(refusal) = &**verdict {
                    self.compare_words(&refusal.to_string(), expected);
                }
            }
        }
    }

    async fn perform(&mut self, name: &str, with: &Value) -> Result<Outcome, Error> {
        match name {
            "access_token" => {
                let session = self.opened(with).await?;
                self.token_of(session, with).await
            }
            "renew" => {
                let session = self.opened(with).await?;
                let refused = match self.last.clone() {
                    Some(token) => token,
                    None => session.access_token(&wanted(with)).await?,
                };
                self.keep(session.renew(&wanted(with), &refused).await)
            }
            "request" => {
                let path = with["path"].as_str().unwrap_or_default();
                let own = format!("{}{path}", self.harness.text("issuer"));
                let url = with["url"].as_str().unwrap_or(&own).parse().unwrap();
                let request = reqwest::Request::new(reqwest::Method::GET, url);
                let session = self.opened(&Value::Null).await?;
                let response = session.execute(&TokenRequest::default(), request).await?;
                Ok(Outcome::Status(response.status().as_u16()))
            }
            "logout" => self.logout().await,
            "verify" => {
                let verdict = verdicts::verify(&self.context, &self.harness.ready, with).await;
                Ok(Outcome::Verdict(Box::new(verdict)))
            }
            "login_with_device" => self.login_with_device(with).await,
            "login_with_browser" => self.login_with_browser(with).await,
            "client_credentials" => {
                let agent = &self.harness.ready["agent"];
                let id = agent["id"].as_str().unwrap();
                let secret = with["secret"].as_str().or(agent["secret"].as_str()).unwrap();
                let issuer = self.issuer(&Value::Null)?;
                let session =
                    Session::client_credentials(&self.context, &issuer, id, secret.into());
                self.token_of(session, with).await
            }
            "federation" => {
                let source = self.workload_source(with).await;
                let issuer = self.issuer(&Value::Null)?;
                let session = Session::federation(&self.context, &issuer, source);
                self.token_of(session, with).await
            }
            "api_key" => {
                let key = self.harness.text("api_key").into();
                self.token_of(Session::api_key(&self.context, key), with).await
            }
            other => panic!("unknown call: {other}"),
        }
    }

    fn keep(&mut self, token: Result<AccessToken, Error>) -> Result<Outcome, Error> {
        let token = token?;
        self.last = Some(token.clone());
        Ok(Outcome::Token(token))
    }

    /// Returns the token of a session. Many callers at the same time get the same outcome.
    async fn token_of(&mut self, session: Session, with: &Value) -> Result<Outcome, Error> {
        let (wanted, callers) = (wanted(with), with["callers"].as_u64().unwrap_or(1));
        let calls = (0..callers).map(|_| session.access_token(&wanted));
        let mut outcomes = join_all(calls).await;
        let shown = |outcome: &Result<AccessToken, Error>| match outcome {
            Ok(token) => token.value.expose_secret().to_owned(),
            Err(error) => error.code().to_string(),
        };
        assert_eq!(outcomes.iter().map(shown).collect::<BTreeSet<_>>().len(), 1);
        self.session = Some(session);
        self.keep(outcomes.swap_remove(0))
    }

    /// Returns the session that is named, else that of the last call, else the default one.
    async fn opened(&mut self, with: &Value) -> Result<Session, Error> {
        let file = match (with["path"].as_str(), with["profile"].as_str()) {
            (Some(path), _) => self.home().join(path),
            (None, Some(profile)) => Home::at(self.home()).session_file(&profile.parse()?),
            (None, None) => match &self.session {
                Some(session) => return Ok(session.clone()),
                None => self.file(),
            },
        };
        let session = Session::open_file(&self.context, &file).await?;
        self.session = Some(session.clone());
        Ok(session)
    }

    async fn logout(&mut self) -> Result<Outcome, Error> {
        let session = self.opened(&Value::Null).await?;
        Ok(Outcome::Logout(match session.logout().await? {
            Logout::Complete => None,
            Logout::OnlyHere(warning) => Some(warning.to_string()),
        }))
    }

    fn login(&self, with: &Value) -> Result<(Profile, Login), Error> {
        let name: ProfileName = "default".parse()?;
        let session_file = Home::at(self.home()).session_file(&name);
        let client_id = with["client_id"].as_str().unwrap_or("postern-cli").to_owned();
        let issuer = self.issuer(&with["issuer"])?;
        let TokenRequest { resource, scope } = wanted(with);
        let login = Login { scope, resource, storage: Some(Storage::File) };
        Ok((Profile { name, issuer, client_id, session_file }, login))
    }

    async fn login_with_device(&mut self, with: &Value) -> Result<Outcome, Error> {
        let (profile, login) = self.login(with)?;
        let url = self.harness.text("control").to_owned();
        let decision = with["decision"].clone();
        // The user decides before the first poll, on a thread that can wait for it.
        let prompt = move |prompt: &postern_client::DevicePrompt| {
            if decision.is_null() {
                return;
            }
            let device = json!({"user_code": prompt.user_code, "decision": decision});
            let decided = async move { control(&url, &json!({"device": device})).await };
            let runtime = tokio::runtime::Handle::current();
            tokio::task::block_in_place(|| runtime.block_on(decided));
        };
        let session = Session::login_with_device(&self.context, &profile, &login, prompt).await?;
        self.token_of(session, &Value::Null).await
    }

    async fn login_with_browser(&mut self, with: &Value) -> Result<Outcome, Error> {
        let (profile, login) = self.login(with)?;
        let url = self.harness.text("control").to_owned();
        let decision = with["decision"].as_str().unwrap_or("allow").to_owned();
        let (callback, stray) = (with["callback"].clone(), with["stray"].clone());
        let times = if with["twice"].as_bool() == Some(true) { 2 } else { 1 };
        let open = move |page: &reqwest::Url| {
            let consent = json!({"url": page.as_str(), "decision": decision});
            tokio::spawn(async move {
                let back = control(&url, &json!({"consent": consent})).await;
                let location = back["consent"].as_str().unwrap();
                if !stray.is_null() {
                    let page = reqwest::get(returned(location, &stray)).await.unwrap();
                    assert_eq!(page.status(), 400);
                }
                join_all((0..times).map(|_| reqwest::get(returned(location, &callback)))).await
            });
        };
        let login = Session::login_with_browser(&self.context, &profile, &login, open);
        let session = tokio::time::timeout(LONGEST_LOGIN, login).await.unwrap()?;
        self.token_of(session, &Value::Null).await
    }

    /// Returns a source of workload tokens, and gives it what the harness says.
    async fn workload_source(&self, with: &Value) -> WorkloadSource {
        let from = with["from"].as_str().unwrap();
        let workload = &self.harness.ready["workload"];
        let audience = workload["audience"].as_str().map(str::to_owned);
        let path = self.home().join("token");
        let is_there = with["without"].is_null();
        match from {
            "github" => {
                for (name, value) in workload["github"].as_object().unwrap() {
                    if is_there {
                        self.clock.set(name, value.as_str().unwrap());
                    }
                }
                return WorkloadSource::Github { audience };
            }
            "gitlab" if is_there => {
                self.clock.set("POSTERN_ID_TOKEN", &self.workload_token("gitlab", with).await);
            }
            "kubernetes" if is_there => {
                fs::write(&path, self.workload_token("kubernetes", with).await).unwrap();
            }
            "file" if is_there => {
                fs::write(&path, self.workload_token("oidc", with).await).unwrap();
            }
            _ => {}
        }
        match from {
            "gitlab" => WorkloadSource::Gitlab { token_variable: None },
            "kubernetes" => WorkloadSource::Kubernetes { path: Some(path) },
            "file" => WorkloadSource::File { path },
            other => panic!("unknown source: {other}"),
        }
    }

    async fn workload_token(&self, kind: &str, with: &Value) -> String {
        let token = json!({"kind": kind, "claims": with["claims"]});
        let answer = self.harness.control(&json!({"workload_token": token})).await;
        answer["workload_token"].as_str().unwrap().to_owned()
    }

    fn compare_waits(&self, expected: &Value) {
        let Some(expected) = expected.as_array() else { return };
        let waits = self.clock.waits();
        assert_eq!(waits.len(), expected.len(), "{waits:?}");
        for (waited, range) in waits.iter().zip(expected) {
            let (least, most) = (range[0].as_f64().unwrap(), range[1].as_f64().unwrap());
            assert!((least..=most).contains(&waited.as_secs_f64()), "{waits:?}");
        }
    }

    fn compare_error(&self, error: &Error, expected: &Value) {
        assert_eq!(json!(error.code().as_str()), expected["error"], "{error}");
        self.compare_words(&error.to_string(), expected);
    }

    /// Compares an error or a warning.
    fn compare_words(&self, text: &str, expected: &Value) {
        for words in expected["says"].as_array().into_iter().flatten() {
            let words = self.filled(words.as_str().unwrap());
            assert!(text.contains(&words), "{text} does not say {words}");
        }
        self.assert_safe_to_show(text);
    }

    fn assert_safe_to_show(&self, text: &str) {
        let ready = &self.harness.ready;
        let stored = self.before["access_tokens"].as_array().into_iter().flatten();
        let secrets = stored.map(|token| &token["value"]).chain([
            &self.before["refresh_token"],
            &ready["agent"]["secret"],
            &ready["api_key"],
        ]);
        let last = self.last.as_ref().map(|token| token.value.expose_secret());
        for secret in secrets.filter_map(Value::as_str).chain(last) {
            assert!(secret.is_empty() || !text.contains(secret), "an error shows a secret");
        }
        assert!(!text.contains(char::is_control), "an error has control characters: {text:?}");
    }

    async fn compare_token(
        &self,
        token: &AccessToken,
        previous: Option<&AccessToken>,
        expected: &Value,
    ) {
        let value = token.value.expose_secret();
        let previous = previous.map(|token| token.value.expose_secret());
        let stored = self.before["access_tokens"][0]["value"].as_str();
        match expected["token"].as_str().unwrap_or_default() {
            "" => {}
            "stored" => assert_eq!(Some(value), stored),
            "same" => assert_eq!(Some(value), previous),
            "new" => {
                assert!(Some(value) != stored && Some(value) != previous);
                self.assert_accepted(value).await;
            }
            other => panic!("unknown token: {other}"),
        }
        if let Some(scope) = expected["scope"].as_str() {
            let set = |scope: &str| scope.split(' ').map(str::to_owned).collect::<BTreeSet<_>>();
            assert_eq!(token.scope.as_deref().map(set), Some(set(scope)));
        }
        if let Some(audience) = expected["audience"].as_str() {
            assert_eq!(tests::claims(value)["aud"], self.filled(audience));
        }
    }

    /// Asserts that the server accepts a token, if it is for the server itself.
    async fn assert_accepted(&self, token: &str) {
        if tests::claims(token)["aud"] != self.harness.ready["issuer"] {
            return;
        }
        let url = format!("{}/v1/auth/whoami", self.harness.text("upstream"));
        let request = reqwest::Client::new().get(url).bearer_auth(token);
        assert_eq!(request.send().await.unwrap().status(), 200);
    }

    async fn check(&self, expected: &Value) {
        let counts = self.harness.control(&json!({})).await["counts"].clone();
        for (name, count) in expected["requests"].as_object().into_iter().flatten() {
            let counted = counts.get(name).unwrap_or(&Value::from(0)).clone();
            assert_eq!(&counted, count, "{name}: {counts}");
        }
        for (name, value) in expected["file"].as_object().into_iter().flatten() {
            self.check_file(name, value);
        }
    }

    fn check_file(&self, name: &str, expected: &Value) {
        let stored = self.stored();
        match name {
            "exists" => assert_eq!(json!(self.file().exists()), *expected),
            "mode" => assert_eq!(json!(mode(&self.file())), *expected),
            "refresh_token" => {
                let is_kept = stored["refresh_token"] == self.before["refresh_token"];
                assert_eq!(json!(if is_kept { "kept" } else { "changed" }), *expected);
            }
            "tokens" => {
                assert_eq!(json!(stored["access_tokens"].as_array().unwrap().len()), *expected);
            }
            "files" => assert_eq!(json!(names(self.file().parent().unwrap())), *expected),
            "members" => assert!(has_members(&stored, expected), "{stored}"),
            "token_members" => {
                let tokens = stored["access_tokens"].as_array().unwrap();
                assert!(tokens.iter().any(|token| has_members(token, expected)), "{expected}");
            }
            other => panic!("unknown check: {other}"),
        }
    }
}

fn has_members(object: &Value, expected: &Value) -> bool {
    expected.as_object().unwrap().iter().all(|(name, value)| &object[name] == value)
}

fn wanted(with: &Value) -> TokenRequest {
    let text = |name: &str| with[name].as_str().map(str::to_owned);
    TokenRequest { resource: text("resource"), scope: text("scope") }
}

/// Returns the URL to which the browser is sent, with changed parameters.
fn returned(url: &str, changes: &Value) -> reqwest::Url {
    let mut url: reqwest::Url = url.parse().unwrap();
    let mut parameters: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    for (name, value) in changes.as_object().into_iter().flatten() {
        parameters.retain(|(known, _)| known != name);
        parameters.extend(value.as_str().map(|value| (name.clone(), value.to_owned())));
    }
    url.query_pairs_mut().clear().extend_pairs(parameters);
    url
}

fn mode(path: &Path) -> String {
    use std::os::unix::fs::PermissionsExt as _;

    format!("{:04o}", fs::metadata(path).unwrap().permissions().mode() & 0o7777)
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Returns the cases of all files, each with its name.
fn cases() -> Vec<(String, Value)> {
    let files = names(Path::new(&format!("{FOLDER}/cases")));
    let cases = files.iter().flat_map(|file| {
        let text = fs::read(format!("{FOLDER}/cases/{file}")).unwrap();
        let mut document: Value = serde_json::from_slice(&text).unwrap();
        let Value::Array(cases) = document["cases"].take() else { panic!("{file} has no cases") };
        cases.into_iter().map(move |case| (format!("{file}: {}", case["name"]), case))
    });
    cases.collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the local program as POSTERN_PROGRAM: e2e/run clients"]
#[expect(clippy::print_stderr, reason = "says which case failed")]
async fn every_case_of_the_suite_passes() {
    let harness = Harness::start().await;
    let cases = cases();
    assert!(cases.len() > 90, "{} cases: this test checks nothing", cases.len());
    let mut failed = Vec::new();
    for (name, case) in cases {
        eprintln!("{name}");
        harness.control(&json!({"reset": true})).await;
        let mut run = Run::new(&harness);
        let steps = async {
            for step in case["steps"].as_array().unwrap() {
                run.step(step).await;
            }
        };
        if AssertUnwindSafe(steps).catch_unwind().await.is_err() {
            failed.push(name);
        }
    }
    assert_eq!(failed, [""; 0]);
}
