//! The forms of the pages and the OpenAPI document: other parameters of a form are ignored, so no
//! call of a test shows that one is missing in the document.

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use postern::{core::principal::Role, crypto::Digest};
use regex::Regex;
use serde_json::json;
use tests::{Browser, World, browser::PASSWORD, openapi::OpenApi, public_client::VERIFIER};

/// Asserts that the forms of a page have only the fields of the document; returns where they go.
fn check_forms(page: &str) -> BTreeSet<String> {
    let form = Regex::new(r#"(?s)<form [^>]*action="(/[^"]*)"(.*?)</form>"#).unwrap();
    let id = Regex::new("/[a-z]{3}_[0-9a-z]{26}/").unwrap();
    let field = Regex::new(r#" name="([a-z_]+)""#).unwrap();
    let paths = &OpenApi::of_repository().document["paths"];
    let mut actions = BTreeSet::new();
    for found in form.captures_iter(page) {
        let path = id.replace(&found[1], "/{id}/").into_owned();
        let content = &paths[&path]["post"]["requestBody"]["content"];
        let schema = &content["application/x-www-form-urlencoded"]["schema"];
        let known = &OpenApi::of_repository().resolve(schema)["properties"];
        for name in field.captures_iter(&found[2]) {
            assert!(known.get(&name[1]).is_some(), "{path} has no {}", &name[1]);
        }
        actions.insert(path);
    }
    actions
}

#[tokio::test]
async fn the_fields_of_every_form_are_in_the_document() {
    let settings = "[[client]]\nid = \"app\"\nname = \"The App\"\n\
        redirect_uris = [\"https://app.example.com/callback\"]\n";
    let world = World::configured(settings).await;
    let login = world.call("GET", "/login").header("Accept", "text/html").send().await;
    let mut actions = check_forms(&login.expect(200).text);
    let browser = Browser::of(&world, Role::Admin).await;
    let scopes = ("scopes", "data:read");
    for (page, fields) in [
        ("/agents", vec![("name", "deploy"), scopes]),
        ("/keys", vec![("name", "deploy"), scopes]),
        ("/runners", vec![("name", "deploy")]),
        ("/services", vec![("name", "deploy"), scopes]),
        ("/tokens", vec![("name", "deploy"), scopes]),
    ] {
        let csrf = browser.csrf_token(page).await;
        browser.send(page, &csrf, &fields).await.expect(303);
        actions.extend(check_forms(&browser.get(page).await.expect(200).text));
    }
    browser.another().await;
    world.create_user("eve@example.com", PASSWORD, Role::User).await;
    for page in ["/sessions", "/account", "/people", "/invitation"] {
        actions.extend(check_forms(&browser.get(page).await.expect(200).text));
    }

    let device = world.call("POST", "/v1/auth/device").form(&[("client_id", "postern-cli")]);
    let code = device.send().await.expect(200).member("user_code");
    actions.extend(check_forms(&browser.enter_user_code(&code).await.expect(200).text));
    browser.decide_device(&code, "approve").await;

    let challenge = BASE64URL.encode(Digest::of(VERIFIER.as_bytes()).bytes());
    let asked = format!(
        "/v1/auth/authorize?response_type=code&client_id=app&code_challenge={challenge}\
         &code_challenge_method=S256&scope=scans:read&state=s"
    );
    let consent = browser.get(&asked).await.expect(200);
    actions.extend(check_forms(&consent.text));
    browser.decide(&consent, "allow").await.expect(303);
    actions.extend(check_forms(&browser.get("/apps").await.expect(200).text));
    let agent = world.agent(&["data:read"]).await;
    let asked = browser.ask_for_agent(&agent.id, "", "scans:read").await.expect(200);
    actions.extend(check_forms(&asked.text));

    let paths = OpenApi::of_repository().document["paths"].as_object().unwrap().iter();
    let mut all: BTreeSet<_> = paths
        .filter(|(_, path)| path["post"]["tags"] == json!(["Portal"]))
        .map(|(path, _)| path.clone())
        .collect();
    // A device is listed once it has its tokens.
    all.remove("/devices/{id}/end");
    all.insert("/v1/auth/authorize".to_owned());
    assert_eq!(actions, all);
}
