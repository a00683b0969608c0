//! `docs/routes.md` against the template and the functions: it lists every route, and what it says
//! about a route is what the route does.

use std::collections::{BTreeMap, BTreeSet};

use local::template::Template;
use postern::{Refusal, core::error::Fault, crypto::sign::Algorithm};
use regex::Regex;
use serde_json::{Value, json};
use tests::{
    Answer, ClientKey, World,
    page::{Page, code_spans, rows},
};

const SOME_ID: &str = "01h455vb4pex5vsknk084sn02q";

/// A row of a table of routes.
#[derive(Clone, Debug)]
struct DocumentedRoute {
    key: String,
    who: String,
    body: Members,
    response: String,
    errors: Vec<String>,
}

/// Members of a body or response.
#[derive(Clone, Debug, Default)]
struct Members {
    required: BTreeSet<String>,
    optional: BTreeSet<String>,
}

impl Members {
    /// Parses names in backticks, of which those with a question mark are optional.
    fn parse(text: &str) -> Self {
        let (optional, required): (BTreeSet<_>, BTreeSet<_>) =
            code_spans(text).into_iter().partition(|name| name.ends_with('?'));
        let optional = optional.iter().map(|name| name.trim_end_matches('?').to_owned()).collect();
        Self { required, optional }
    }

    fn all(&self) -> BTreeSet<String> {
        self.required.union(&self.optional).cloned().collect()
    }

    fn add(&mut self, other: Self) {
        self.required.extend(other.required);
        self.optional.extend(other.optional);
    }

    #[track_caller]
    fn assert_fit(&self, object: &Value, what: &str) {
        let names: BTreeSet<_> =
            object.as_object().into_iter().flat_map(|object| object.keys().cloned()).collect();
        let missing: Vec<_> = self.required.difference(&names).collect();
        let unknown: Vec<_> = names.difference(&self.all()).cloned().collect();
        assert!(missing.is_empty() && unknown.is_empty(), "{what}: {missing:?}, {unknown:?}");
    }
}

fn page() -> Page {
    Page::read("docs/routes.md")
}

/// Returns the routes of the API, without those for browsers.
fn api() -> Vec<DocumentedRoute> {
    let sections = [
        "## The caller",
        "## Tokens",
        "## API keys",
        "## CLI tokens",
        "## Agents",
        "## Services",
        "## Runners",
        "## Events",
        "## Organizations",
        "## Users",
    ];
    let found = sections.iter().flat_map(|heading| rows(&page().section(heading)));
    let found = found.filter(|cells| cells[0].contains(" /"));
    found
        .map(|cells| DocumentedRoute {
            key: code_spans(&cells[0]).remove(0),
            who: cells[1].clone(),
            body: Members::parse(cells[2].split(';').next().unwrap()),
            response: cells[3].clone(),
            errors: code_spans(&cells[4]),
        })
        .collect()
}

fn records() -> BTreeMap<String, Members> {
    let table = rows(&page().section("## Records"));
    table.into_iter().map(|cells| (cells[0].clone(), Members::parse(&cells[1]))).collect()
}

#[test]
fn every_route_of_the_template_is_documented_and_no_other() {
    let page = page();
    let is_route = Regex::new("^`([A-Z]+ /[^`]*)`$").unwrap();
    let mut documented: Vec<String> = page
        .rows()
        .iter()
        .filter_map(|cells| Some(is_route.captures(&cells[0])?[1].to_owned()))
        .collect();
    for cells in rows(&page.section("## The portal")) {
        let methods = cells[1].split(';').map(code_spans);
        let paths = code_spans(&cells[0]);
        assert_eq!(paths.len(), methods.clone().count(), "{cells:?}");
        for (path, methods) in paths.iter().zip(methods) {
            documented.extend(methods.iter().map(|method| format!("{method} {path}")));
        }
    }
    documented.sort();
    let template = Template::load().unwrap();
    let routes = template.functions.iter().flat_map(|function| &function.routes);
    let mut known: Vec<_> = routes
        .filter(|route| {
            route
                .target
                .as_ref()
                .is_some_and(|(method, _)| !["HEAD", "OPTIONS"].contains(&method.as_str()))
        })
        .map(local::template::Route::key)
        .collect();
    known.sort();
    assert_eq!(documented, known);
}

/// A route that was called as documented: its body, and the response.
type Called = BTreeMap<String, (Value, Answer)>;

/// Calls routes of a world.
struct Caller<'w> {
    world: &'w World,
    called: Called,
}

impl Caller<'_> {
    /// Calls a route with a header, and a body unless it is null.
    async fn call(&mut self, key: &str, id: &str, header: (&str, &str), body: Value) -> Answer {
        let (method, path) = key.split_once(' ').unwrap();
        let mut call = self.world.call(method, &path.replace("{id}", id));
        if !header.0.is_empty() {
            call = call.header(header.0, header.1);
        }
        if !body.is_null() {
            call = call.json(body.clone());
        }
        let answer = call.send().await;
        assert!(answer.status < 300, "{key}: {}", answer.text);
        self.called.insert(key.to_owned(), (body, answer.clone()));
        answer
    }

    /// Creates, lists, shows, changes, renews and deletes a record.
    async fn manage(&mut self, path: &str, renewal: Option<(&str, Value)>, body: Value) -> Answer {
        let key = self.world.api_key.clone();
        let own = ("X-API-Key", key.as_str());
        let created = self.call(&format!("POST {path}"), "", own, body).await;
        let id = created.member("id");
        self.call(&format!("GET {path}"), "", own, Value::Null).await;
        if path != "/v1/services" {
            self.call(&format!("GET {path}/{{id}}"), &id, own, Value::Null).await;
        }
        if path != "/v1/users" {
            self.call(&format!("PATCH {path}/{{id}}"), &id, own, json!({})).await;
        }
        if let Some((name, body)) = renewal {
            self.call(&format!("POST {path}/{{id}}/{name}"), &id, own, body).await;
        }
        self.call(&format!("DELETE {path}/{{id}}"), &id, own, Value::Null).await;
        created
    }
}

/// Calls every route of the API once, with a body that has only what is required.
async fn call_all(world: &World) -> Called {
    let mut caller = Caller { world, called: Called::new() };
    let own = ("X-API-Key", world.api_key.as_str());
    let named = json!({"name": "a", "scopes": ["read"]});
    caller.call("GET /v1/auth/whoami", "", own, Value::Null).await;
    caller.call("GET /v1/organizations/current", "", own, Value::Null).await;
    caller.manage("/v1/keys", Some(("rotate", Value::Null)), named.clone()).await;
    caller.manage("/v1/agents", Some(("secret", Value::Null)), named.clone()).await;
    let agent = world.agent(&["read"]).await;
    let key = ClientKey::generate("a", Algorithm::ES256);
    let keys = json!({"jwks": {"keys": [key.jwk]}});
    caller.call("PUT /v1/agents/{id}/jwks", &agent.id, own, keys).await;
    caller.manage("/v1/runners", Some(("token", Value::Null)), json!({"name": "a"})).await;
    caller.manage("/v1/services", None, named).await;
    caller.call("GET /v1/events", "", own, Value::Null).await;
    call_users(&mut caller).await;
    call_tokens(&mut caller).await;
    caller.called
}

async fn call_users(caller: &mut Caller<'_>) {
    let operator = format!("Bearer {}", caller.world.operator_key);
    let operator = ("Authorization", operator.as_str());
    let organization = caller.call("POST /v1/organizations", "", operator, json!({"name": "a"}));
    let organization = organization.await.member("id");
    let key = json!({"name": "a", "scopes": ["read"]});
    caller.call("POST /v1/organizations/{id}/keys", &organization, operator, key).await;
    let key = json!({"sha256": "ab".repeat(32), "name": "a", "scopes": ["read"]});
    let import = json!({"org_id": organization, "keys": [key]});
    caller.call("POST /v1/keys/import", "", operator, import).await;
    let (key, _) = caller.world.create_key(&["read"]).await;
    caller.call("PUT /v1/keys/{id}/plan", &key, operator, json!({"plan": null})).await;

    let user = json!({"email": "ada@example.com", "invite": true});
    let invited = caller.manage("/v1/users", Some(("invitation", Value::Null)), user).await;
    assert!(invited.body["invitation"].is_string());
    let own = caller.world.api_key.clone();
    let own = ("X-API-Key", own.as_str());
    let user = json!({"email": "ada@example.com", "invite": true, "role": "admin"});
    let invited = caller.call("POST /v1/users", "", own, user).await;
    let role = json!({"role": "admin"});
    caller.call("PATCH /v1/users/{id}", &invited.member("id"), own, role).await;
    let password = "correct horse battery";
    let accepted = json!({"invitation": invited.member("invitation"), "password": password});
    caller.call("POST /v1/auth/invitation", "", ("", ""), accepted).await;

    let login = json!({"email": "ada@example.com", "password": password});
    let tokens = caller.call("POST /v1/auth/login", "", ("", ""), login).await;
    let bearer = format!("Bearer {}", tokens.member("access_token"));
    let user = ("Authorization", bearer.as_str());
    let token = json!({"name": "a", "scopes": ["read"], "all_repositories": true});
    let token = caller.call("POST /v1/auth/cli-tokens", "", user, token).await.member("id");
    caller.call("GET /v1/auth/cli-tokens", "", user, Value::Null).await;
    caller.call("PATCH /v1/auth/cli-tokens/{id}", &token, user, json!({})).await;
    caller.call("DELETE /v1/auth/cli-tokens/{id}", &token, user, Value::Null).await;
    let change = json!({"current_password": password, "password": "another horse battery"});
    caller.call("POST /v1/auth/password", "", user, change).await;
    caller.call("POST /v1/auth/logout", "", ("", ""), json!({"refresh_token": "x"})).await;
    let user = json!({"user_id": invited.member("id")});
    for key in ["POST /v1/users/sign-out", "POST /v1/users/disable", "POST /v1/users/enable"] {
        caller.call(key, "", own, user.clone()).await;
    }
}

async fn call_tokens(caller: &mut Caller<'_>) {
    let world = caller.world;
    let own = ("X-API-Key", world.api_key.as_str());
    let agent = world.agent(&["read"]).await;
    let exchange = json!({"agent_id": agent.id, "secret": agent.secret});
    let tokens = caller.call("POST /v1/auth/token", "", ("", ""), exchange).await;
    let refresh = json!({"refresh_token": tokens.member("refresh_token")});
    caller.call("POST /v1/auth/refresh", "", ("", ""), refresh).await;
    caller.call("POST /v1/auth/revoke", "", ("", ""), json!({"token": "x"})).await;
    caller.call("POST /v1/keys/revoke-leaked", "", ("", ""), json!({"token": "x"})).await;
    caller.call("POST /v1/auth/introspect", "", own, json!({"token": world.api_key})).await;
    let tool = json!({"client_id": "postern-cli"});
    caller.call("POST /v1/auth/device", "", ("", ""), tool).await;

    let service = json!({"name": "a", "scopes": ["read"]});
    let service = world.post("/v1/services", service).send().await.expect(201).member("key");
    let header = ("X-Service-Key", service.as_str());
    caller.call("POST /v1/auth/service-token", "", header, Value::Null).await;
    let (id, token) = world.runner().await;
    let beat = json!({"status": "online", "version": "1"});
    caller.call("POST /v1/runners/heartbeat", "", ("X-Runner-Token", &token), beat).await;
    let path = json!({"path": format!("/v1/runners/{id}/install.sh")});
    let download = caller.call("POST /v1/auth/download-token", "", own, path).await;
    let bearer = format!("Bearer {}", download.member("token"));
    let header = ("Authorization", bearer.as_str());
    caller.call("GET /v1/runners/{id}/install.sh", &id, header, Value::Null).await;
}

#[tokio::test]
async fn a_route_answers_with_the_documented_members() {
    let world = World::new().await;
    let called = call_all(&world).await;
    let (routes, records) = (api(), records());
    assert_eq!(called.len(), routes.len());
    for DocumentedRoute { key, response, .. } in routes {
        let (_, answer) = &called[&key];
        let (status, rest) = response.split_at(3);
        assert_eq!(answer.status.to_string(), status, "{key}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{key}");
        let mut members = Members::default();
        for part in rest.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            match part.strip_prefix("list of ") {
                Some(record) => {
                    let list = "`items`, `next_cursor`";
                    members.add(Members::parse(list));
                    let items = answer.body["items"].as_array().unwrap();
                    assert!(!items.is_empty(), "{key}");
                    records[record].assert_fit(&items[0], &key);
                }
                None if part == "a shell script" => assert!(answer.text.starts_with("#!"), "{key}"),
                None if part.starts_with('`') => members.add(Members::parse(part)),
                None => members.add(records[part].clone()),
            }
        }
        members.assert_fit(&answer.body, &key);
    }
    for cells in rows(&page().section("## Discovery")) {
        let key = code_spans(&cells[0]).remove(0);
        let answer = world.call("GET", key.trim_start_matches("GET ")).send().await.expect(200);
        let members = Members::parse(&cells[2]);
        if !members.required.is_empty() {
            members.assert_fit(&answer.body, &key);
        }
    }
}

#[tokio::test]
async fn a_route_reads_the_documented_members() {
    let world = World::new().await;
    let called = call_all(&world).await;
    let quoted = Regex::new("'([^']+)'").unwrap();
    let (bearer, (_, token)) = (token_of_a_user(&world).await, world.runner().await);
    for DocumentedRoute { key, body, who, .. } in api() {
        let (method, path) = key.split_once(' ').unwrap();
        if method != "POST" || who == "`X-Service-Key`" {
            continue;
        }
        let (complete, _) = &called[&key];
        body.assert_fit(complete, &key);
        let ask = async |sent: Value| {
            let call = world.call(method, &path.replace("{id}", &id_for(path))).json(sent);
            let call = match who.as_str() {
                "a user" => call.bearer(&bearer),
                "operator key" => call.bearer(&world.operator_key),
                "public" | "session or refresh token" => call,
                "`X-Runner-Token`" => call.header("X-Runner-Token", &token),
                _ => call.key(&world.api_key),
            };
            call.send().await.expect_error(400, "invalid_request").member("error_description")
        };
        let sentence = ask(json!({"nonsense": 1})).await;
        let (_, names) =
            sentence.split_once("is unknown: ").unwrap_or_else(|| panic!("{key}: {sentence}"));
        let names: BTreeSet<_> =
            quoted.captures_iter(names).map(|name| name[1].to_owned()).collect();
        assert_eq!(names, body.all(), "{key}");
        for name in &body.required {
            let mut rest = complete.clone();
            rest.as_object_mut().unwrap().remove(name);
            let sentence = ask(rest).await;
            assert!(sentence.starts_with(&format!("The member '{name}' ")), "{key}: {sentence}");
        }
    }
}

/// Returns an id of the kind that a path contains.
fn id_for(path: &str) -> String {
    let kinds = [
        ("keys", "key"),
        ("agents", "agt"),
        ("runners", "run"),
        ("users", "usr"),
        ("organizations", "org"),
    ];
    let kind = kinds.iter().find(|(noun, _)| path.starts_with(&format!("/v1/{noun}/")));
    format!("{}_{SOME_ID}", kind.map_or("cli", |(_, kind)| kind))
}

/// Returns the access token of an administrator's login.
async fn token_of_a_user(world: &World) -> String {
    let body =
        json!({"email": "eve@example.com", "password": "correct horse battery", "role": "admin"});
    world.post("/v1/users", body.clone()).send().await.expect(201);
    let login = json!({"email": body["email"], "password": body["password"]});
    world.call("POST", "/v1/auth/login").json(login).send().await.expect(200).member("access_token")
}

#[tokio::test]
async fn a_route_requires_the_documented_credential() {
    let world = World::new().await;
    let called = call_all(&world).await;
    let (_, weak) = world.create_key(&["nothing:of-ours"]).await;
    for DocumentedRoute { key, who, .. } in api() {
        let (method, path) = key.split_once(' ').unwrap();
        let call = || {
            let call = world.call(method, &path.replace("{id}", &id_for(path)));
            if called[&key].0.is_null() || who == "session or refresh token" {
                call
            } else {
                call.json(called[&key].0.clone())
            }
        };
        let anonymous = call().send().await;
        if who == "public" {
            assert_ne!(anonymous.body["error"], "auth_required", "{key}");
            continue;
        }
        let sentence = anonymous.expect_error(401, "auth_required").member("error_description");
        let as_weak = call().key(&weak).send().await;
        match who.as_str() {
            "any credential" => assert!(as_weak.status < 300, "{key}: {}", as_weak.text),
            "a user" => drop(
                call().key(&world.api_key).send().await.expect_error(403, "insufficient_scope"),
            ),
            "operator key" => {
                call().bearer(&world.api_key).send().await.expect_error(401, "invalid_token");
                assert!(sentence.contains("Authorization"), "{key}: {sentence}");
            }
            "download token" => assert!(sentence.contains("download token"), "{key}: {sentence}"),
            "session or refresh token" => assert!(sentence.contains("refresh_token"), "{key}"),
            header if header.starts_with("`X-") => {
                assert!(sentence.contains(&header.replace('`', "")), "{key}: {sentence}");
            }
            scope => {
                let challenge = as_weak.expect_error(403, "insufficient_scope");
                let scope = format!("scope=\"{}\"", scope.replace('`', ""));
                assert!(challenge.header("www-authenticate").unwrap().contains(&scope), "{key}");
            }
        }
    }
}

/// Every code that a caller can get is on the page, and no other.
#[test]
fn the_documented_errors_are_those_of_the_functions() {
    let store = Fault::Store { operation: "read a record", source: "away".into() };
    let refusals = Refusal::ALL.iter().map(|refusal| refusal.public().code);
    let faults = [Fault::Entropy.public(), store.public()].map(|answer| answer.code);
    let codes: BTreeSet<_> = refusals.chain(faults).map(str::to_owned).collect();
    let common = rows(page().text.split("\n## ").next().unwrap());
    let mut documented: BTreeSet<_> =
        common.iter().flat_map(|cells| code_spans(&cells[1])).collect();
    documented.extend(api().into_iter().flat_map(|route| route.errors));
    for section in ["## Signing in elsewhere", "## Clients"] {
        let rows = rows(&page().section(section));
        documented.extend(rows.iter().flat_map(|cells| code_spans(&cells[4])));
    }
    assert_eq!(documented, codes);
}

/// The table of grants, against the token endpoint.
#[tokio::test]
async fn a_documented_grant_names_its_missing_parameters() {
    let world = World::new().await;
    let table = rows(&page().section("## Tokens"));
    let grants: Vec<_> = table.into_iter().filter(|cells| cells.len() == 3).collect();
    assert_eq!(grants.len(), 6);
    for cells in grants {
        let grant = code_spans(&cells[0]).remove(0);
        let parameters = Members::parse(cells[1].split(';').next().unwrap()).required;
        let form = [("grant_type", grant.as_str()), ("client_id", "postern-cli")];
        let answer = world.call("POST", "/v1/auth/token").form(&form).send().await;
        assert_ne!(answer.body["error"], "unsupported_grant_type", "{grant}");
        let sentence = answer.member("error_description");
        match sentence.strip_prefix("The parameter '") {
            Some(rest) => {
                let name = rest.split('\'').next().unwrap();
                assert!(parameters.contains(name), "{grant}: {sentence}");
            }
            // The client of this grant is not a tool.
            None => assert_eq!((grant.as_str(), answer.status), ("client_credentials", 401)),
        }
    }
}
