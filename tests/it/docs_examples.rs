//! The examples of the pages, against a deployment. The tour of the README and the page about the
//! API run in a shell instead, in `local/tests/program/pages.rs`, and that about the command
//! `postern` in `cli/tests/cli/docs.rs`.

use std::{
    collections::{BTreeSet, HashMap},
    process::Command,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use postern::{core::principal::Role, crypto::Digest};
use regex::Regex;
use serde_json::{Value, json};
use tests::{
    Browser, CurlCommand, Issuer, World,
    browser::{EMAIL, PASSWORD},
    page::Page,
    public_client::VERIFIER,
};

/// The pages whose commands run in a shell.
const IN_A_SHELL: [&str; 3] = ["README.md", "docs/cli.md", "docs/using-the-api.md"];

/// Returns the commands of a page that call a deployment of ours.
fn commands<const N: usize>(path: &str) -> [CurlCommand; N] {
    let page = Page::read(path);
    let found: Vec<_> =
        page.blocks_of("sh").iter().flat_map(|block| CurlCommand::find(block)).collect();
    let is_ours = |command: &CurlCommand| {
        ["https://auth.example.com/", "$URL/"].iter().any(|url| command.url.starts_with(url))
    };
    let ours: Vec<_> = found.into_iter().filter(is_ours).collect();
    let count = ours.len();
    ours.try_into().unwrap_or_else(|_| panic!("{path} has {count} commands: test all of them"))
}

/// Asserts that a value is as printed: `…` stands for any text.
#[track_caller]
fn assert_printed(printed: &Value, value: &Value) {
    match (printed, value) {
        (Value::Object(printed), Value::Object(object)) => {
            let names = |object: &serde_json::Map<String, Value>| {
                object.keys().cloned().collect::<BTreeSet<_>>()
            };
            assert_eq!(names(printed), names(object));
            printed.iter().for_each(|(name, printed)| assert_printed(printed, &object[name]));
        }
        (Value::String(printed), Value::String(text)) => {
            let pattern = regex::escape(printed).replace('…', ".*");
            let fits = Regex::new(&format!("^{pattern}$")).unwrap().is_match(text);
            assert!(fits, "{text} is not {printed}");
        }
        _ => assert_eq!(printed, value),
    }
}

#[test]
fn every_page_with_a_command_is_tested() {
    let tested = [
        "docs/credentials.md",
        "docs/deploying.md",
        "docs/federation.md",
        "docs/oauth.md",
        "docs/people.md",
        "docs/providers.md",
        "docs/routes.md",
    ];
    let with_commands: BTreeSet<_> = Page::all()
        .into_iter()
        .filter(|page| page.blocks().iter().any(|(_, text)| text.contains("curl ")))
        .map(|page| page.path)
        .collect();
    let known: BTreeSet<_> =
        tested.iter().chain(&IN_A_SHELL).map(|path| (*path).to_owned()).collect();
    assert_eq!(with_commands, known);
}

#[tokio::test]
async fn the_commands_about_passwords_and_invitations_work() {
    let world = World::new().await;
    let [create, login, invite, accept, disable, ..] = commands::<8>("docs/people.md");
    let own = [("$KEY", world.api_key.as_str())];
    create.send(&world, &own).await.expect(201);
    login.send(&world, &[]).await.expect(200);
    let invitation = invite.send(&world, &own).await.expect(201).member("invitation");
    accept.send(&world, &[("pst_iv_…", &invitation)]).await.expect(204);
    accept.send(&world, &[("pst_iv_…", &invitation)]).await.expect_error(400, "invalid_grant");
    let operator = [("$OPERATOR_KEY", world.operator_key.as_str())];
    disable.send(&world, &operator).await.expect(204);
    let other = [("$OPERATOR_KEY", world.api_key.as_str())];
    disable.send(&world, &other).await.expect_error(404, "not_found");
}

/// Returns the value of a parameter of a URL.
fn parameter(url: &str, name: &str) -> String {
    let query = url.split_once('?').unwrap().1.as_bytes();
    form_urlencoded::parse(query).into_owned().collect::<HashMap<_, _>>()[name].clone()
}

#[tokio::test]
async fn the_commands_of_tools_work() {
    let issuer = Issuer::start().await;
    let world = World::configured(&format!(
        "[[signin]]\ntype = \"github\"\nbase_url = \"{}\"\nclient_id = \"postern\"\nallow = [\"*\"]",
        issuer.url
    ))
    .await;
    let [.., redeem, start, poll] = commands::<8>("docs/people.md");
    let page = Page::read("docs/people.md");

    // The browser's way, as the page prints it.
    let challenge = BASE64URL.encode(Digest::of(VERIFIER.as_bytes()).bytes());
    let target = page.blocks_of("text").into_iter().find(|text| text.contains("cli=true")).unwrap();
    let target = target.trim().replace("code_challenge=…", &format!("code_challenge={challenge}"));
    let target = target.replace("state=…", "state=s");
    let arrived = world.sign_in_from(&target, &issuer, "7").await.expect(303);
    let location = arrived.header("location").unwrap();
    assert_eq!(parameter(location, "state"), "s");
    let code = parameter(location, "code");
    let verifier = format!("code_verifier={VERIFIER}");
    let values = [("pst_ac_…", code.as_str()), ("code_verifier=…", verifier.as_str())];
    redeem.send(&world, &values).await.expect(200);
    let wrong = [("pst_ac_…", code.as_str()), ("code_verifier=…", "code_verifier=x")];
    redeem.send(&world, &wrong).await.expect_error(400, "invalid_grant");

    let begun = start.send(&world, &[]).await.expect(200);
    let device_code = begun.member("device_code");
    let values = [("pst_dc_…", device_code.as_str())];
    poll.send(&world, &values).await.expect_error(400, "authorization_pending");
    let browser = Browser::with_session(&world, world.sign_in("ada", Role::Admin).await);
    browser.decide_device(&begun.member("user_code"), "approve").await.expect(200);
    world.advance_s(5);
    poll.send(&world, &values).await.expect(200);
}

#[tokio::test]
async fn the_commands_about_credentials_work() {
    let world = World::new().await;
    let [report, limit, issue] = commands("docs/credentials.md");
    let (id, _) = world.create_key(&["read"]).await;
    let values = [("key_…", id.as_str()), ("$KEY", &world.api_key)];
    let limited = limit.send(&world, &values).await.expect(200);
    assert_eq!(limited.body["allowed_networks"], json!(["192.0.2.0/24"]));
    let (id, leaked) = world.create_key(&["read"]).await;
    report.send(&world, &[("pst_ak_…", &leaked)]).await.expect(202);
    world.get(&format!("/v1/keys/{id}")).send().await.expect(404);
    let values = [("org_…", world.org_id.as_str()), ("$OPERATOR_KEY", world.operator_key.as_str())];
    let issued = issue.send(&world, &values).await.expect(201);
    assert_eq!(issued.body["scopes"], json!(["*"]));
    let values = [("org_…", world.org_id.as_str()), ("$OPERATOR_KEY", world.api_key.as_str())];
    issue.send(&world, &values).await.expect_error(401, "invalid_token");
}

#[tokio::test]
async fn the_commands_of_a_deployment_work() {
    let world = World::new().await;
    let [health, create, user, behind_the_proxy] = commands("docs/deploying.md");
    health.send(&world, &[]).await.expect(200);
    let created = create.send(&world, &[("pst_op_…", &world.operator_key)]).await.expect(201);
    let key = created.member("api_key");
    user.send(&world, &[("$KEY", &key), ("…", "correct horse battery")]).await.expect(201);
    behind_the_proxy.send(&world, &[]).await.expect(200);
}

/// Runs the printed commands that make a signature, at the time of the world.
fn sign(world: &World, commands: &[&str]) -> Vec<String> {
    let script = format!(
        "date() {{ echo {}; }}\n{}\nprintf '%s\\n' \"$body\" \"$nonce\" \"$signature\" \"$timestamp\"",
        world.now().as_second(),
        commands.join("\n")
    );
    let mut shell = Command::new("bash");
    let output = shell.args(["-eu", "-c", &script]).env("KEY", &world.api_key).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn the_commands_of_a_signed_request_work() {
    let world = World::new().await;
    let block = Page::read("docs/providers.md").blocks_of("sh").remove(0);
    let made: Vec<_> = block.lines().take_while(|line| !line.starts_with("curl")).collect();
    let signed = sign(&world, &made);
    let names = ["$body", "$nonce", "$signature", "$timestamp"];
    let mut values: Vec<_> = names.into_iter().zip(signed.iter().map(String::as_str)).collect();
    values.push(("$KEY", &world.api_key));
    let [command] = commands("docs/providers.md");
    command.send(&world, &values).await.expect(201);
    command.send(&world, &values).await.expect_error(401, "replayed_nonce");
}

#[tokio::test]
async fn the_commands_about_routes_answer_as_printed() {
    let world = World::new().await;
    let [service_token, cli_token, service] = commands("docs/routes.md");
    let printed: Vec<Value> = Page::read("docs/routes.md")
        .blocks_of("json")
        .iter()
        .map(|text| serde_json::from_str(text).unwrap())
        .collect();
    let key = world.api_key.as_str();
    let created = service.send(&world, &[("$KEY", key)]).await.expect(201);
    assert_printed(&printed[2], &created.body);
    let key = created.member("key");
    let token = service_token.send(&world, &[("$SERVICE_KEY", &key)]).await.expect(200);
    assert_printed(&printed[0], &token.body);

    world.create_user("ada@example.com", "correct horse battery", Role::Admin).await;
    let login = json!({"email": "ada@example.com", "password": "correct horse battery"});
    let login = world.call("POST", "/v1/auth/login").json(login).send().await.expect(200);
    let access_token = login.member("access_token");
    let created = cli_token.send(&world, &[("$ACCESS_TOKEN", &access_token)]).await.expect(201);
    assert_printed(&printed[1], &created.body);
}

#[tokio::test]
async fn the_first_token_of_the_page_about_oauth_works() {
    let page = Page::read("docs/oauth.md");
    let world = World::configured(&page.blocks_of("toml")[0]).await;
    let blocks = page.blocks_of("sh");
    let mut shell = Command::new("bash");
    shell.args(["-euc", &format!("{}\necho \"$verifier\" \"$state\"", blocks[0])]);
    let output = shell.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = String::from_utf8(output.stdout).unwrap();
    let printed: Vec<_> = output.split_whitespace().collect();
    let [url, verifier, state] = printed.as_slice() else { panic!("{output}") };

    let browser = Browser::of(&world, Role::User).await;
    let target = url.strip_prefix("https://auth.example.com").unwrap();
    let asked = browser.get(target).await.expect(200);
    let form = asked.text.split("action=\"/v1/auth/authorize\"").nth(1).unwrap();
    let field = Regex::new(r#"<input type="hidden" name="([^"]*)" value="([^"]*)">"#).unwrap();
    let hidden = field.captures_iter(form).map(|field| {
        let [name, value] = field.extract().1;
        (name, value.replace("&#38;", "&"))
    });
    let hidden: Vec<_> = hidden.collect();
    let hidden = hidden.iter().map(|(name, value)| (*name, value.as_str()));
    let fields: Vec<_> = hidden.chain([("decision", "allow")]).collect();
    let sent = browser.call("POST", "/v1/auth/authorize").form(&fields).send();
    let allowed = sent.await.expect(303);
    let location = allowed.header("location").unwrap();
    assert!(location.starts_with("https://app.example.com/callback?code=pst_ac_"), "{location}");
    assert_eq!(parameter(location, "state"), *state);
    assert_eq!(parameter(location, "iss"), "https://auth.example.com");

    let [redeem, refresh, ..] = commands::<5>("docs/oauth.md");
    let code = parameter(location, "code");
    let values = [("$CODE", code.as_str()), ("$verifier", *verifier)];
    let tokens = redeem.send(&world, &values).await.expect(200);
    assert_printed(&serde_json::from_str(&page.blocks_of("json")[0]).unwrap(), &tokens.body);
    assert!(
        blocks[2]
            .starts_with("curl -s https://api.example.com/orders -H \"Authorization: Bearer $")
    );
    let bearer = format!("Bearer {}", tokens.member("access_token"));
    let mut event = tests::authorizer_event("/orders", json!({"authorization": bearer}));
    event["routeArn"] = json!("arn:aws:execute-api:eu-west-1:1:a1b2c3d4e5/$default/GET/orders");
    let decision = functions::authorizer::handle(&world.app, event).await.unwrap();
    assert_eq!(decision["isAuthorized"], true, "{decision}");
    let refresh_token = tokens.member("refresh_token");
    let values = [("$REFRESH_TOKEN", refresh_token.as_str())];
    let refreshed = refresh.send(&world, &values).await.expect(200);
    assert_eq!(refreshed.member("scope"), "orders:read");
    redeem.send(&world, &[("$CODE", "pst_ac_x"), ("$verifier", *verifier)]).await.expect(400);
}

#[tokio::test]
async fn the_page_about_oauth_answers_as_printed() {
    let page = Page::read("docs/oauth.md");
    let world = World::configured(&page.blocks_of("toml")[0]).await;
    let (asks, agent) =
        (world.agent(&["tokens:introspect"]).await, world.agent(&["orders:read"]).await);
    let grant = [
        ("grant_type", "client_credentials"),
        ("client_id", agent.id.as_str()),
        ("client_secret", &agent.secret),
        ("resource", "https://api.example.com/orders"),
    ];
    let token = world.call("POST", "/v1/auth/token").form(&grant).send().await.expect(200);
    let token = token.member("access_token");
    let [_, _, create, _, ask] = commands("docs/oauth.md");
    let created = create.send(&world, &[("$KEY", &world.api_key)]).await.expect(201);
    let printed = page.blocks_of("json");
    let printed = printed.iter().find(|block| block.contains("\"jwks_uri\"")).unwrap();
    assert_printed(&serde_json::from_str(printed).unwrap(), &created.body);
    let values =
        [("$AGENT_ID", asks.id.as_str()), ("$AGENT_SECRET", &asks.secret), ("$TOKEN", &token)];
    let answer = ask.send(&world, &values).await.expect(200);
    let blocks = page.blocks_of("json");
    let printed = blocks.iter().find(|block| block.contains("\"active\"")).unwrap();
    assert_printed(&serde_json::from_str(printed).unwrap(), &answer.body);
}

#[tokio::test]
async fn the_page_about_oauth_lets_an_agent_act_for_a_user() {
    let page = Page::read("docs/oauth.md");
    let world = World::configured(&page.blocks_of("toml")[0]).await;
    let agent = world.agent(&["data:read"]).await;
    let links = page.blocks_of("text");
    let link = links.iter().find(|text| text.contains("/apps?")).unwrap().trim();
    let link = link.strip_prefix("https://auth.example.com").unwrap().replace("agt_…", &agent.id);
    let browser = Browser::of(&world, Role::User).await;
    let asked = browser.get(&link).await.expect(200);
    browser.decide_at("/apps", &asked, &[("decision", "allow")]).await.expect(303);
    let user = world.log_in(EMAIL, PASSWORD).await.expect(200).member("access_token");
    let [_, _, _, act, _] = commands("docs/oauth.md");
    let values = [
        ("$AGENT_ID", agent.id.as_str()),
        ("$AGENT_SECRET", &agent.secret),
        ("$USER_TOKEN", &user),
    ];
    let answer = act.send(&world, &values).await.expect(200);
    let blocks = page.blocks_of("json");
    let printed = blocks.iter().find(|block| block.contains("\"issued_token_type\"")).unwrap();
    assert_printed(&serde_json::from_str(printed).unwrap(), &answer.body);
}

#[tokio::test]
async fn the_message_of_the_page_about_providers_is_allowed() {
    let world = World::configured(
        "[[provider]]\ntype = \"allowlist\"\nplatforms = [\"telegram\"]\nuser_ids = [\"123\"]",
    )
    .await;
    let message = Page::read("docs/providers.md").blocks_of("json").remove(0);
    let mut message: Value = serde_json::from_str(&message).unwrap();
    let ask = async |event| functions::authorizer::handle(&world.app, event).await.unwrap();
    let allowed = ask(message.clone()).await;
    assert_eq!(
        (&allowed["isAuthorized"], &allowed["context"]["user_id"]),
        (&json!(true), &json!("telegram|123"))
    );
    message["user_id"] = json!("124");
    assert_eq!(ask(message).await["isAuthorized"], false);
}

/// The organization and the references that the page about the API prints as JSON.
#[tokio::test]
async fn the_json_of_the_page_about_the_api_is_accepted() {
    let blocks = Page::read("docs/using-the-api.md").blocks_of("json");
    let [organization, references] = blocks.as_slice() else { panic!("{}", blocks.len()) };
    let world = World::new().await;
    let body = serde_json::from_str(organization).unwrap();
    let call = world.call("POST", "/v1/organizations").bearer(&world.operator_key).json(body);
    call.send().await.expect(201);

    let references: Value = serde_json::from_str(references).unwrap();
    let mut secrets = world.secrets.clone();
    secrets.refs = references["refs"].as_object().unwrap().clone();
    let world = world.with_secrets(secrets);
    for name in ["partner", "rotating"] {
        let toml = format!(
            "[[provider]]\ntype = \"jwt\"\nalgorithm = \"HS256\"\nsecret_ref = \"{name}\"\nissuer = \"i\"\naudience = \"a\""
        );
        drop(world.reconfigured(&toml));
    }
    let signin = "[[signin]]\ntype = \"oidc\"\nname = \"huudis\"\nissuer = \"https://idp.example\"\n\
                  client_id = \"postern\"\nsecret_ref = \"huudis\"\nallow = [\"*\"]";
    drop(world.reconfigured(signin));
}
