//! A story that every function has a part in, told three times: to the handlers, to the local program, and to the functions under the
//! emulator. Each must hear the same, ids and secrets aside.

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http::{Method, Request};
use serde_json::{Value, json};

use crate::{
    Tools,
    answer::{masked, plain},
    door::Door,
    stage::Stage,
};

/// What was heard: a line per act.
type Heard = Vec<(String, Value)>;

/// Tells it at all three doors; how many acts it has.
pub(crate) async fn compare(tools: &Tools, stage: &Stage) -> Result<usize> {
    let [handlers, program, emulator] = Door::all(tools, stage).await?;
    let expected = Teller::new(&handlers, stage).tell().await.context("at the handlers")?;
    for (name, door) in [("the local program", program), ("the emulator", emulator)] {
        let heard = Teller::new(&door, stage).tell().await.with_context(|| format!("at {name}"))?;
        let has_authorizer = door.authorizer(stage).is_some();
        let expected: Vec<_> =
            expected.iter().filter(|(act, _)| has_authorizer || !act.starts_with(ASKED)).collect();
        ensure!(
            expected.len() == heard.len(),
            "{name} hears {} acts of {}",
            heard.len(),
            expected.len()
        );
        for ((act, expected), (known, heard)) in expected.into_iter().zip(&heard) {
            ensure!(
                act == known && expected == heard,
                "{act}: the handlers answer {expected}, {name} {heard}"
            );
        }
    }
    let asked = expected.iter().filter(|(act, _)| act.starts_with(ASKED)).count();
    ensure!(asked > 0, "nobody asked the authorizer");
    println!(
        "   {} acts of the story: the same answers from handlers, local program and emulator",
        expected.len()
    );
    Ok(expected.len())
}

/// How acts of the authorizer are called. The local program has it before APIs of others alone.
const ASKED: &str = "the authorizer";

const PASSWORD: &str = "correct horse battery";
const SESSION: &str = "__Host-postern_session";

struct Teller<'a> {
    door: &'a Door,
    stage: &'a Stage,
    heard: Heard,
    acts: usize,
}

/// A credential, as a header.
type Credential<'a> = (&'static str, &'a str);
const NOTHING: Credential<'static> = ("", "");

/// A member of an answer that is text.
fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}

/// An HTTP API's question about a request with a credential.
pub(crate) fn question(header: &str, credential: &str) -> Value {
    json!({
        "version": "2.0", "type": "REQUEST", "routeArn": "arn:aws:execute-api:eu-west-1:1:api/$default/GET/orders",
        "rawPath": "/orders", "headers": {header: credential},
        "requestContext": {"requestId": "r", "http": {"method": "GET", "path": "/orders"}, "stage": "$default"},
    })
}

impl<'a> Teller<'a> {
    fn new(door: &'a Door, stage: &'a Stage) -> Self {
        Self { door, stage, heard: Heard::new(), acts: 0 }
    }

    /// Sends a request, and keeps what was answered. The body of the answer, as it is.
    async fn act(
        &mut self,
        status: u16,
        target: &str,
        credential: Credential<'_>,
        body: Option<Value>,
    ) -> Result<Value> {
        let (method, path) = target.split_once(' ').context("METHOD /path")?;
        let mut request =
            Request::builder().method(Method::from_bytes(method.as_bytes())?).uri(path);
        if !credential.0.is_empty() {
            request = request.header(credential.0, credential.1);
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
        let response = self.door.send(request.body(body)?).await?;
        let text = String::from_utf8_lossy(response.body()).into_owned();
        let heard = plain(&response);
        self.acts += 1;
        let name =
            format!("{} {method} {}", self.acts, masked(path.into()).as_str().unwrap_or_default());
        ensure!(
            response.status().as_u16() == status,
            "{name}: {} {text}, not {status}",
            response.status()
        );
        self.heard.push((name, heard));
        Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// Sends a form, or asks for a page, as a browser with this cookie does. The page, and the cookie that it sets.
    async fn browse(
        &mut self,
        status: u16,
        target: &str,
        cookie: &str,
        form: &[(&str, &str)],
    ) -> Result<(String, String)> {
        let (method, path) = target.split_once(' ').context("METHOD /path")?;
        let mut request =
            Request::builder().method(Method::from_bytes(method.as_bytes())?).uri(path);
        if !cookie.is_empty() {
            request = request.header("cookie", format!("{SESSION}={cookie}"));
        }
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        if !form.is_empty() {
            request = request.header("content-type", "application/x-www-form-urlencoded");
        }
        let response = self.door.send(request.body(Bytes::from(body))?).await?;
        let text = String::from_utf8_lossy(response.body()).into_owned();
        let set = response
            .headers()
            .get("set-cookie")
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let set = set.split([';', '=']).nth(1).unwrap_or_default().to_owned();
        self.acts += 1;
        let name =
            format!("{} {method} {}", self.acts, masked(path.into()).as_str().unwrap_or_default());
        ensure!(
            response.status().as_u16() == status,
            "{name}: {} {text}, not {status}",
            response.status()
        );
        self.heard.push((name, plain(&response)));
        Ok((text, set))
    }

    /// Asks the authorizer about a request with `key`, where the door has one.
    async fn ask(&mut self, key: &str) -> Result<()> {
        let Some(invoke) = self.door.authorizer(self.stage) else { return Ok(()) };
        let event = question("x-api-key", key);
        let heard =
            masked(invoke(event).await.unwrap_or_else(|message| json!({"errorMessage": message})));
        self.heard.push((format!("{ASKED}, after {} acts", self.acts), heard));
        Ok(())
    }

    async fn tell(mut self) -> Result<Heard> {
        let operator = format!("Bearer {}", self.door.operator_key());
        self.act(200, "GET /health", NOTHING, None).await?;
        self.act(200, "GET /.well-known/jwks.json", NOTHING, None).await?;
        self.act(404, "GET /no/such/route", NOTHING, None).await?;
        self.act(405, "PUT /v1/keys", NOTHING, None).await?;

        let founded = Some(json!({"name": "Acme"}));
        self.act(401, "POST /v1/organizations", NOTHING, founded.clone()).await?;
        let organization =
            self.act(201, "POST /v1/organizations", ("authorization", &operator), founded).await?;
        let key = text(&organization, "api_key");
        let key: Credential<'_> = ("x-api-key", &key);
        self.act(200, "GET /v1/organizations/current", key, None).await?;
        self.act(200, "GET /v1/auth/whoami", key, None).await?;

        self.tell_of_keys(key).await?;
        self.tell_of_an_agent(key).await?;
        self.tell_of_a_runner(key).await?;
        self.tell_of_a_service(key).await?;
        self.tell_of_a_person(key).await?;
        self.tell_of_a_device(key).await?;

        // A key is no person.
        let wanted = json!({"name": "cli", "scopes": ["data:read"], "all_repositories": true});
        self.act(403, "POST /v1/auth/cli-tokens", key, Some(wanted)).await?;
        Ok(self.heard)
    }

    /// Made, rotated with an overlap, deleted, and dead at once.
    async fn tell_of_keys(&mut self, key: Credential<'_>) -> Result<()> {
        let made = self
            .act(201, "POST /v1/keys", key, Some(json!({"name": "cron", "scopes": ["scans:read"]})))
            .await?;
        let (id, narrow) = (text(&made, "id"), text(&made, "key"));
        self.ask(&narrow).await?;
        self.act(403, "GET /v1/keys", ("x-api-key", &narrow), None).await?;
        self.act(200, &format!("POST /v1/keys/{id}/rotate"), key, Some(json!({"overlap_s": 60})))
            .await?;
        self.act(200, "GET /v1/auth/whoami", ("x-api-key", &narrow), None).await?;
        self.act(204, &format!("DELETE /v1/keys/{id}"), key, None).await?;
        self.act(401, "GET /v1/auth/whoami", ("x-api-key", &narrow), None).await?;
        self.ask(&narrow).await?;

        Ok(())
    }

    /// Tokens, a repeated refresh, theft, and the end of the family; then the same until its tokens are revoked.
    async fn tell_of_an_agent(&mut self, key: Credential<'_>) -> Result<()> {
        let scopes = json!({"name": "agent", "scopes": ["data:read"]});
        let agent = self.act(201, "POST /v1/agents", key, Some(scopes)).await?;
        let (id, secret) = (text(&agent, "id"), text(&agent, "secret"));
        self.act(200, "GET /v1/agents?limit=1", key, None).await?;
        let wrong = json!({"agent_id": id, "secret": format!("{secret}x")});
        self.act(401, "POST /v1/auth/token", NOTHING, Some(wrong)).await?;
        let first = self
            .act(
                200,
                "POST /v1/auth/token",
                NOTHING,
                Some(json!({"agent_id": id, "secret": secret})),
            )
            .await?;
        let access = format!("Bearer {}", text(&first, "access_token"));
        self.act(200, "GET /v1/auth/whoami", ("authorization", &access), None).await?;
        let refresh = |tokens: &Value| Some(json!({"refresh_token": tokens["refresh_token"]}));
        let second = self.act(200, "POST /v1/auth/refresh", NOTHING, refresh(&first)).await?;
        let again = self.act(200, "POST /v1/auth/refresh", NOTHING, refresh(&first)).await?;
        ensure!(
            again["refresh_token"] == second["refresh_token"],
            "a repetition got another successor"
        );
        let third = self.act(200, "POST /v1/auth/refresh", NOTHING, refresh(&second)).await?;
        self.act(400, "POST /v1/auth/refresh", NOTHING, refresh(&first)).await?;
        self.act(400, "POST /v1/auth/refresh", NOTHING, refresh(&third)).await?;
        self.act(401, "GET /v1/auth/whoami", ("authorization", &access), None).await?;

        let tokens = self
            .act(
                200,
                "POST /v1/auth/token",
                NOTHING,
                Some(json!({"agent_id": id, "secret": secret})),
            )
            .await?;
        let access = format!("Bearer {}", text(&tokens, "access_token"));
        self.act(
            200,
            "POST /v1/auth/revoke",
            NOTHING,
            Some(json!({"token": tokens["refresh_token"]})),
        )
        .await?;
        self.act(401, "GET /v1/auth/whoami", ("authorization", &access), None).await?;
        self.act(204, &format!("DELETE /v1/agents/{id}"), key, None).await?;

        Ok(())
    }

    /// Its heartbeat, its install script, and another token.
    async fn tell_of_a_runner(&mut self, key: Credential<'_>) -> Result<()> {
        let runner = self
            .act(201, "POST /v1/runners", key, Some(json!({"name": "build", "labels": ["linux"]})))
            .await?;
        let (id, token) = (text(&runner, "id"), text(&runner, "token"));
        let beat = json!({"status": "online", "version": "1.0.0"});
        let beat = |token: &str| (token.to_owned(), Some(beat.clone()));
        let (presented, body) = beat(&token);
        self.act(200, "POST /v1/runners/heartbeat", ("x-runner-token", &presented), body).await?;
        self.act(200, &format!("GET /v1/runners/{id}"), key, None).await?;
        let path = format!("/v1/runners/{id}/install.sh");
        let download =
            self.act(201, "POST /v1/auth/download-token", key, Some(json!({"path": path}))).await?;
        self.act(200, &format!("GET {path}?token={}", text(&download, "token")), NOTHING, None)
            .await?;
        self.act(401, &format!("GET {path}"), NOTHING, None).await?;
        self.act(200, &format!("POST /v1/runners/{id}/token"), key, None).await?;
        let (presented, body) = beat(&token);
        self.act(401, "POST /v1/runners/heartbeat", ("x-runner-token", &presented), body).await?;

        Ok(())
    }

    /// A service, and its token of minutes.
    async fn tell_of_a_service(&mut self, key: Credential<'_>) -> Result<()> {
        let scopes = json!({"name": "billing", "scopes": ["data:read"]});
        let service = self.act(201, "POST /v1/services", key, Some(scopes)).await?;
        let presented = text(&service, "key");
        let token = self
            .act(200, "POST /v1/auth/service-token", ("x-service-key", &presented), None)
            .await?;
        let token = text(&token, "access_token");
        self.act(200, "GET /v1/auth/whoami", ("x-service-token", &token), None).await?;
        Ok(())
    }

    /// Enrolled, with tokens and a session, and dismissed.
    async fn tell_of_a_person(&mut self, key: Credential<'_>) -> Result<()> {
        let ada = json!({"email": "ada@example.com", "password": PASSWORD, "role": "user"});
        let user = self.act(201, "POST /v1/users", key, Some(ada.clone())).await?;
        self.act(409, "POST /v1/users", key, Some(ada)).await?;
        let login =
            |password: &str| Some(json!({"email": "ada@example.com", "password": password}));
        self.act(401, "POST /v1/auth/login", NOTHING, login("wrong horse")).await?;
        let tokens = self.act(200, "POST /v1/auth/login", NOTHING, login(PASSWORD)).await?;
        let access = format!("Bearer {}", text(&tokens, "access_token"));
        let access: Credential<'_> = ("authorization", &access);
        self.act(200, "GET /v1/auth/whoami", access, None).await?;
        let wanted = json!({"name": "cli", "scopes": ["scans:read"], "all_repositories": true});
        let cli = self.act(201, "POST /v1/auth/cli-tokens", access, Some(wanted)).await?;
        self.ask(&text(&cli, "token")).await?;
        let refresh = Some(json!({"refresh_token": tokens["refresh_token"]}));
        self.act(200, "POST /v1/auth/refresh", NOTHING, refresh).await?;

        self.browse(
            401,
            "POST /login",
            "",
            &[("email", "ada@example.com"), ("password", "wrong horse")],
        )
        .await?;
        let form = [("email", "ada@example.com"), ("password", PASSWORD), ("next", "/tokens")];
        let (_, session) = self.browse(303, "POST /login", "", &form).await?;
        let (page, _) = self.browse(200, "GET /tokens", &session, &[]).await?;
        let csrf = csrf(&page);
        // Named like the other one: in a world whose clock stands still, the order of two is chance.
        let made = [("csrf", csrf.as_str()), ("name", "cli"), ("scope.scans:read", "on")];
        self.browse(200, "POST /tokens", &session, &made).await?;
        self.browse(403, "POST /tokens", &session, &made[1..]).await?;
        self.browse(200, "GET /devices", &session, &[]).await?;
        self.act(204, "POST /v1/auth/logout", ("x-postern-session", &session), None).await?;
        self.browse(303, "GET /tokens", &session, &[]).await?;

        self.act(204, &format!("DELETE /v1/users/{}", text(&user, "id")), key, None).await?;
        self.act(401, "GET /v1/auth/whoami", access, None).await?;
        self.act(401, "POST /v1/auth/login", NOTHING, login(PASSWORD)).await?;
        Ok(())
    }

    /// A tool without a browser, and the person who lets it in.
    async fn tell_of_a_device(&mut self, key: Credential<'_>) -> Result<()> {
        let grace = json!({"email": "grace@example.com", "password": PASSWORD, "role": "admin"});
        self.act(201, "POST /v1/users", key, Some(grace)).await?;
        let form = [("email", "grace@example.com"), ("password", PASSWORD)];
        let (_, session) = self.browse(303, "POST /login", "", &form).await?;
        let wanted = [("client_id", "postern-cli"), ("scope", "scans:read")];
        let (begun, _) = self.browse(200, "POST /v1/auth/device", "", &wanted).await?;
        let begun: Value = serde_json::from_str(&begun)?;
        let (device_code, user_code) = (text(&begun, "device_code"), text(&begun, "user_code"));
        let poll = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
            ("client_id", "postern-cli"),
            ("device_code", device_code.as_str()),
        ];
        self.browse(400, "POST /v1/auth/token", "", &poll).await?;
        let (page, _) =
            self.browse(200, &format!("GET /device?user_code={user_code}"), &session, &[]).await?;
        let csrf = csrf(&page);
        let approved =
            [("csrf", csrf.as_str()), ("user_code", &user_code), ("decision", "approve")];
        self.browse(303, "POST /device", &session, &approved).await?;
        let (tokens, _) = self.browse(200, "POST /v1/auth/token", "", &poll).await?;
        let access = format!("Bearer {}", text(&serde_json::from_str(&tokens)?, "access_token"));
        self.act(200, "GET /v1/auth/whoami", ("authorization", &access), None).await?;
        self.browse(400, "POST /v1/auth/token", "", &poll).await?;
        Ok(())
    }
}

/// The code in the forms of a page.
fn csrf(page: &str) -> String {
    page.split("name=\"csrf\" value=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .unwrap_or_default()
        .to_owned()
}
