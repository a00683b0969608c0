//! A scenario that involves every function, run against the handlers, the local program, and the
//! functions under the emulator. All must respond alike, except for ids and secrets.

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http::{Method, Request};
use serde_json::{Value, json};

use crate::{
    Tools,
    answer::{mask_value, normalize},
    environment::Environment,
    target::Target,
};

/// The responses to a scenario, one entry per step.
type Transcript = Vec<(String, Value)>;

/// Runs the scenario against all three targets; returns the number of steps.
pub(crate) async fn compare(tools: &Tools, environment: &Environment) -> Result<usize> {
    let [handlers, program, emulator] = Target::all(tools, environment).await?;
    let expected = Scenario::new(&handlers, environment).run().await.context("at the handlers")?;
    for (name, target) in [("the local program", program), ("the emulator", emulator)] {
        let transcript = Scenario::new(&target, environment)
            .run()
            .await
            .with_context(|| format!("at {name}"))?;
        let has_authorizer = target.authorizer(environment).is_some();
        let expected: Vec<_> = expected
            .iter()
            .filter(|(step, _)| has_authorizer || !step.starts_with(AUTHORIZER))
            .collect();
        ensure!(
            expected.len() == transcript.len(),
            "{name} answers {} steps of {}",
            transcript.len(),
            expected.len()
        );
        for ((step, expected), (known, answer)) in expected.into_iter().zip(&transcript) {
            ensure!(
                step == known && expected == answer,
                "{step}: the handlers answer {expected}, {name} {answer}"
            );
        }
    }
    let asked = expected.iter().filter(|(step, _)| step.starts_with(AUTHORIZER)).count();
    ensure!(asked > 0, "the authorizer was never asked");
    println!(
        "   {} steps of the scenario: the same answers from handlers, local program and emulator",
        expected.len()
    );
    Ok(expected.len())
}

/// The prefix of steps of the authorizer, which the local program runs only in front of other APIs.
const AUTHORIZER: &str = "the authorizer";

const PASSWORD: &str = "correct horse battery";
const SESSION: &str = "__Host-postern_session";

struct Scenario<'a> {
    target: &'a Target,
    environment: &'a Environment,
    transcript: Transcript,
    steps: usize,
}

/// A credential, as a header.
type Credential<'a> = (&'static str, &'a str);
const NO_CREDENTIAL: Credential<'static> = ("", "");

/// Returns a text member of a response.
fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}

/// Returns the authorizer's event of an HTTP API for a request with a credential.
pub(crate) fn authorizer_event(header: &str, credential: &str) -> Value {
    json!({
        "version": "2.0", "type": "REQUEST", "routeArn": "arn:aws:execute-api:eu-west-1:1:api/$default/GET/orders",
        "rawPath": "/orders", "headers": {header: credential},
        "requestContext": {"requestId": "r", "http": {"method": "GET", "path": "/orders"}, "stage": "$default"},
    })
}

impl<'a> Scenario<'a> {
    fn new(target: &'a Target, environment: &'a Environment) -> Self {
        Self { target, environment, transcript: Transcript::new(), steps: 0 }
    }

    /// Sends a request and records the response; returns its body.
    async fn call(
        &mut self,
        status: u16,
        route: &str,
        credential: Credential<'_>,
        body: Option<Value>,
    ) -> Result<Value> {
        let (method, path) = route.split_once(' ').context("METHOD /path")?;
        let mut request =
            Request::builder().method(Method::from_bytes(method.as_bytes())?).uri(path);
        if !credential.0.is_empty() {
            request = request.header(credential.0, credential.1);
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
        let response = self.target.send(request.body(body)?).await?;
        let text = String::from_utf8_lossy(response.body()).into_owned();
        let answer = normalize(&response);
        self.steps += 1;
        let name = format!(
            "{} {method} {}",
            self.steps,
            mask_value(path.into()).as_str().unwrap_or_default()
        );
        ensure!(
            response.status().as_u16() == status,
            "{name}: {} {text}, not {status}",
            response.status()
        );
        self.transcript.push((name, answer));
        Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// Sends a form or requests a page, as a browser with this cookie does.
    async fn browse(
        &mut self,
        status: u16,
        route: &str,
        cookie: &str,
        form: &[(&str, &str)],
    ) -> Result<Page> {
        let (method, path) = route.split_once(' ').context("METHOD /path")?;
        let mut request =
            Request::builder().method(Method::from_bytes(method.as_bytes())?).uri(path);
        if !cookie.is_empty() {
            request = request.header("cookie", format!("{SESSION}={cookie}"));
        }
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        if !form.is_empty() {
            request = request.header("content-type", "application/x-www-form-urlencoded");
        }
        let response = self.target.send(request.body(Bytes::from(body))?).await?;
        let text = String::from_utf8_lossy(response.body()).into_owned();
        let header = |name: &str| {
            let value = response.headers().get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let cookie = header("set-cookie").split([';', '=']).nth(1).unwrap_or_default().to_owned();
        let location = header("location");
        self.steps += 1;
        let name = format!(
            "{} {method} {}",
            self.steps,
            mask_value(path.into()).as_str().unwrap_or_default()
        );
        ensure!(
            response.status().as_u16() == status,
            "{name}: {} {text}, not {status}",
            response.status()
        );
        self.transcript.push((name, normalize(&response)));
        Ok(Page { text, cookie, location })
    }

    /// Asks the authorizer about a request with `key`, if the target has one.
    async fn authorize(&mut self, key: &str) -> Result<()> {
        let Some(invoke) = self.target.authorizer(self.environment) else { return Ok(()) };
        let event = authorizer_event("x-api-key", key);
        let answer = mask_value(
            invoke(event).await.unwrap_or_else(|message| json!({"errorMessage": message})),
        );
        self.transcript.push((format!("{AUTHORIZER}, after {} steps", self.steps), answer));
        Ok(())
    }

    async fn run(mut self) -> Result<Transcript> {
        let operator = format!("Bearer {}", self.target.operator_key());
        self.call(200, "GET /health", NO_CREDENTIAL, None).await?;
        self.call(200, "GET /.well-known/jwks.json", NO_CREDENTIAL, None).await?;
        self.call(200, "GET /.well-known/openid-configuration", NO_CREDENTIAL, None).await?;
        self.call(404, "GET /no/such/route", NO_CREDENTIAL, None).await?;
        self.call(405, "PUT /v1/keys", NO_CREDENTIAL, None).await?;

        let founded = Some(json!({"name": "Acme"}));
        self.call(401, "POST /v1/organizations", NO_CREDENTIAL, founded.clone()).await?;
        let organization =
            self.call(201, "POST /v1/organizations", ("authorization", &operator), founded).await?;
        let key = text(&organization, "api_key");
        let key: Credential<'_> = ("x-api-key", &key);
        self.call(200, "GET /v1/organizations/current", key, None).await?;
        self.call(200, "GET /v1/auth/whoami", key, None).await?;

        self.run_keys(key).await?;
        self.run_agent(key).await?;
        self.run_runner(key).await?;
        self.run_service(key).await?;
        self.run_person(key).await?;
        self.run_device(key).await?;

        // A key is not a user.
        let wanted = json!({"name": "cli", "scopes": ["data:read"], "all_repositories": true});
        self.call(403, "POST /v1/auth/cli-tokens", key, Some(wanted)).await?;
        Ok(self.transcript)
    }

    /// A key is created, rotated with an overlap, deleted, and refused at once.
    async fn run_keys(&mut self, key: Credential<'_>) -> Result<()> {
        let made = self
            .call(
                201,
                "POST /v1/keys",
                key,
                Some(json!({"name": "cron", "scopes": ["scans:read"]})),
            )
            .await?;
        let (id, narrow) = (text(&made, "id"), text(&made, "key"));
        self.authorize(&narrow).await?;
        self.call(403, "GET /v1/keys", ("x-api-key", &narrow), None).await?;
        self.call(200, &format!("POST /v1/keys/{id}/rotate"), key, Some(json!({"overlap_s": 60})))
            .await?;
        self.call(200, "GET /v1/auth/whoami", ("x-api-key", &narrow), None).await?;
        self.call(204, &format!("DELETE /v1/keys/{id}"), key, None).await?;
        self.call(401, "GET /v1/auth/whoami", ("x-api-key", &narrow), None).await?;
        self.authorize(&narrow).await?;

        Ok(())
    }

    /// An agent gets tokens, repeats a refresh, and loses the family by reuse; then it gets tokens
    /// that are revoked.
    async fn run_agent(&mut self, key: Credential<'_>) -> Result<()> {
        let scopes = json!({"name": "agent", "scopes": ["data:read"]});
        let agent = self.call(201, "POST /v1/agents", key, Some(scopes)).await?;
        let (id, secret) = (text(&agent, "id"), text(&agent, "secret"));
        self.call(200, "GET /v1/agents?limit=1", key, None).await?;
        let wrong = json!({"agent_id": id, "secret": format!("{secret}x")});
        self.call(401, "POST /v1/auth/token", NO_CREDENTIAL, Some(wrong)).await?;
        let first = self
            .call(
                200,
                "POST /v1/auth/token",
                NO_CREDENTIAL,
                Some(json!({"agent_id": id, "secret": secret})),
            )
            .await?;
        let access = format!("Bearer {}", text(&first, "access_token"));
        self.call(200, "GET /v1/auth/whoami", ("authorization", &access), None).await?;
        let refresh = |tokens: &Value| Some(json!({"refresh_token": tokens["refresh_token"]}));
        let second =
            self.call(200, "POST /v1/auth/refresh", NO_CREDENTIAL, refresh(&first)).await?;
        let again = self.call(200, "POST /v1/auth/refresh", NO_CREDENTIAL, refresh(&first)).await?;
        ensure!(
            again["refresh_token"] == second["refresh_token"],
            "a repeat got another successor"
        );
        let third =
            self.call(200, "POST /v1/auth/refresh", NO_CREDENTIAL, refresh(&second)).await?;
        self.call(400, "POST /v1/auth/refresh", NO_CREDENTIAL, refresh(&first)).await?;
        self.call(400, "POST /v1/auth/refresh", NO_CREDENTIAL, refresh(&third)).await?;
        self.call(401, "GET /v1/auth/whoami", ("authorization", &access), None).await?;

        let tokens = self
            .call(
                200,
                "POST /v1/auth/token",
                NO_CREDENTIAL,
                Some(json!({"agent_id": id, "secret": secret})),
            )
            .await?;
        let access = format!("Bearer {}", text(&tokens, "access_token"));
        self.call(
            200,
            "POST /v1/auth/revoke",
            NO_CREDENTIAL,
            Some(json!({"token": tokens["refresh_token"]})),
        )
        .await?;
        self.call(401, "GET /v1/auth/whoami", ("authorization", &access), None).await?;
        self.call(204, &format!("DELETE /v1/agents/{id}"), key, None).await?;

        Ok(())
    }

    /// A runner sends a heartbeat, downloads its install script, and gets another token.
    async fn run_runner(&mut self, key: Credential<'_>) -> Result<()> {
        let runner = self
            .call(201, "POST /v1/runners", key, Some(json!({"name": "build", "labels": ["linux"]})))
            .await?;
        let (id, token) = (text(&runner, "id"), text(&runner, "token"));
        let asked = json!({"token": token});
        self.call(200, "POST /v1/auth/introspect", key, Some(asked.clone())).await?;
        self.call(401, "POST /v1/auth/introspect", NO_CREDENTIAL, Some(asked)).await?;
        let beat = json!({"status": "online", "version": "1.0.0"});
        let beat = |token: &str| (token.to_owned(), Some(beat.clone()));
        let (presented, body) = beat(&token);
        self.call(200, "POST /v1/runners/heartbeat", ("x-runner-token", &presented), body).await?;
        self.call(200, &format!("GET /v1/runners/{id}"), key, None).await?;
        let path = format!("/v1/runners/{id}/install.sh");
        let download = self
            .call(201, "POST /v1/auth/download-token", key, Some(json!({"path": path})))
            .await?;
        self.call(
            200,
            &format!("GET {path}?token={}", text(&download, "token")),
            NO_CREDENTIAL,
            None,
        )
        .await?;
        self.call(401, &format!("GET {path}"), NO_CREDENTIAL, None).await?;
        self.call(200, &format!("POST /v1/runners/{id}/token"), key, None).await?;
        let (presented, body) = beat(&token);
        self.call(401, "POST /v1/runners/heartbeat", ("x-runner-token", &presented), body).await?;

        Ok(())
    }

    /// A service gets a short-lived token.
    async fn run_service(&mut self, key: Credential<'_>) -> Result<()> {
        let scopes = json!({"name": "billing", "scopes": ["data:read"]});
        let service = self.call(201, "POST /v1/services", key, Some(scopes)).await?;
        let presented = text(&service, "key");
        let token = self
            .call(200, "POST /v1/auth/service-token", ("x-service-key", &presented), None)
            .await?;
        let token = text(&token, "access_token");
        self.call(200, "GET /v1/auth/whoami", ("x-service-token", &token), None).await?;
        Ok(())
    }

    /// A user is enrolled, gets tokens and a session, and is deleted.
    async fn run_person(&mut self, key: Credential<'_>) -> Result<()> {
        let ada = json!({"email": "ada@example.com", "password": PASSWORD, "role": "user"});
        let user = self.call(201, "POST /v1/users", key, Some(ada.clone())).await?;
        self.call(409, "POST /v1/users", key, Some(ada)).await?;
        let login =
            |password: &str| Some(json!({"email": "ada@example.com", "password": password}));
        self.call(401, "POST /v1/auth/login", NO_CREDENTIAL, login("wrong horse")).await?;
        let tokens = self.call(200, "POST /v1/auth/login", NO_CREDENTIAL, login(PASSWORD)).await?;
        let access = format!("Bearer {}", text(&tokens, "access_token"));
        let access: Credential<'_> = ("authorization", &access);
        self.call(200, "GET /v1/auth/whoami", access, None).await?;
        let wanted = json!({"name": "cli", "scopes": ["scans:read"], "all_repositories": true});
        let cli = self.call(201, "POST /v1/auth/cli-tokens", access, Some(wanted)).await?;
        self.authorize(&text(&cli, "token")).await?;
        let refresh = Some(json!({"refresh_token": tokens["refresh_token"]}));
        self.call(200, "POST /v1/auth/refresh", NO_CREDENTIAL, refresh).await?;

        self.browse(
            401,
            "POST /login",
            "",
            &[("email", "ada@example.com"), ("password", "wrong horse")],
        )
        .await?;
        let form = [("email", "ada@example.com"), ("password", PASSWORD), ("next", "/tokens")];
        let session = self.browse(303, "POST /login", "", &form).await?.cookie;
        let page = self.browse(200, "GET /tokens", &session, &[]).await?;
        let csrf = csrf(&page.text);
        // Both have the same name, because their order is random while the clock stands still.
        let made = [("csrf", csrf.as_str()), ("name", "cli"), ("scope.scans:read", "on")];
        let sent = self.browse(303, "POST /tokens", &session, &made).await?;
        self.browse(303, "POST /tokens", &session, &made).await?;
        // The first request shows the secret, and the second one does not.
        let shown = format!("GET {}", sent.location);
        self.browse(200, &shown, &session, &[]).await?;
        self.browse(200, &shown, &session, &[]).await?;
        self.browse(403, "POST /tokens", &session, &made[1..]).await?;
        self.browse(200, "GET /devices", &session, &[]).await?;
        self.call(204, "POST /v1/auth/logout", ("x-postern-session", &session), None).await?;
        self.browse(303, "GET /tokens", &session, &[]).await?;

        self.call(204, &format!("DELETE /v1/users/{}", text(&user, "id")), key, None).await?;
        self.call(401, "GET /v1/auth/whoami", access, None).await?;
        self.call(401, "POST /v1/auth/login", NO_CREDENTIAL, login(PASSWORD)).await?;
        Ok(())
    }

    /// A tool without a browser gets tokens after a user approves it.
    async fn run_device(&mut self, key: Credential<'_>) -> Result<()> {
        let grace = json!({"email": "grace@example.com", "password": PASSWORD, "role": "admin"});
        self.call(201, "POST /v1/users", key, Some(grace)).await?;
        let form = [("email", "grace@example.com"), ("password", PASSWORD)];
        let session = self.browse(303, "POST /login", "", &form).await?.cookie;
        let wanted = [("client_id", "postern-cli"), ("scope", "scans:read")];
        let begun = self.browse(200, "POST /v1/auth/device", "", &wanted).await?;
        let begun: Value = serde_json::from_str(&begun.text)?;
        let (device_code, user_code) = (text(&begun, "device_code"), text(&begun, "user_code"));
        let poll = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
            ("client_id", "postern-cli"),
            ("device_code", device_code.as_str()),
        ];
        self.browse(400, "POST /v1/auth/token", "", &poll).await?;
        let page =
            self.browse(200, &format!("GET /device?user_code={user_code}"), &session, &[]).await?;
        let csrf = csrf(&page.text);
        let approved = [
            ("csrf", csrf.as_str()),
            ("user_code", &user_code),
            ("shown_scope", "scans:read"),
            ("decision", "approve"),
        ];
        self.browse(303, "POST /device", &session, &approved).await?;
        let tokens = self.browse(200, "POST /v1/auth/token", "", &poll).await?;
        let access =
            format!("Bearer {}", text(&serde_json::from_str(&tokens.text)?, "access_token"));
        self.call(200, "GET /v1/auth/whoami", ("authorization", &access), None).await?;
        self.browse(400, "POST /v1/auth/token", "", &poll).await?;
        Ok(())
    }
}

/// A page, or another response to a browser.
struct Page {
    text: String,
    /// The value of the cookie that it sets.
    cookie: String,
    /// Where it redirects to.
    location: String,
}

/// Returns the CSRF token in the forms of a page.
fn csrf(page: &str) -> String {
    page.split("name=\"csrf\" value=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .unwrap_or_default()
        .to_owned()
}
