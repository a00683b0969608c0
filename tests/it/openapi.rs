//! The OpenAPI document: it is made from the types, and says what the routes do. Every call of
//! every test is checked against it too (`tests/src/openapi.rs`).

use std::collections::{BTreeMap, BTreeSet};

use local::template::Template;
use postern::crypto::Digest;
use serde_json::{Value, json};
use tests::{
    World,
    openapi::{OpenApi, TEXT},
    page::{Page, code_spans, repository_path, rows},
};

const METHODS: [&str; 7] = ["delete", "get", "head", "options", "patch", "post", "put"];
/// The paths that exist in dev mode.
const PATHS: [&str; 5] = [
    "/openapi.json",
    "/docs",
    "/docs/docs.js",
    "/docs/swagger-ui-bundle.js",
    "/docs/swagger-ui.css",
];
const DEV: &str = "dev = true";

fn document() -> &'static Value {
    &OpenApi::of_repository().document
}

/// Returns the operations, by method and path.
fn operations() -> BTreeMap<String, &'static Value> {
    let paths = document()["paths"].as_object().unwrap();
    let all = paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().unwrap().iter();
        methods.map(move |(method, operation)| {
            assert!(METHODS.contains(&method.as_str()), "{method} {path}");
            (format!("{} {path}", method.to_uppercase()), operation)
        })
    });
    all.collect()
}

/// Returns the codes of the errors of an operation, by status.
fn codes(operation: &Value) -> BTreeMap<u16, BTreeSet<String>> {
    let openapi = OpenApi::of_repository();
    let responses = operation["responses"].as_object().unwrap().iter();
    let errors = responses.filter_map(|(status, response)| {
        let status: u16 = status.parse().unwrap();
        let schema = &openapi.resolve(response)["content"]["application/json"]["schema"];
        let of_code = |schema: &Value| {
            let codes = schema["properties"]["error"]["enum"].as_array()?;
            Some(codes.iter().map(|code| code.as_str().unwrap().to_owned()).collect())
        };
        Some((status, of_code(schema).or_else(|| of_code(&schema["anyOf"][0]))?))
    });
    errors.collect()
}

#[test]
fn the_document_is_made_from_the_types() {
    assert!(
        TEXT == functions::openapi::text(),
        "make it again: cargo run -p local -- openapi >docs/openapi.json"
    );
}

#[test]
fn every_route_of_the_template_is_in_the_document_and_no_other() {
    let template = Template::load().unwrap();
    let routes = template.functions.iter().flat_map(|function| &function.routes);
    let known: BTreeSet<_> =
        routes.filter(|route| route.target.is_some()).map(local::template::Route::key).collect();
    assert_eq!(operations().into_keys().collect::<BTreeSet<_>>(), known);
}

#[test]
fn every_reference_leads_to_a_component_and_every_component_is_used() {
    let mut found = BTreeSet::new();
    let mut pending = vec![document()];
    while let Some(value) = pending.pop() {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(reference)) = members.get("$ref") {
                    assert!(document().pointer(&reference[1..]).is_some(), "{reference}");
                    found.insert(reference.clone());
                }
                pending.extend(members.values());
            }
            Value::Array(items) => pending.extend(items),
            Value::Bool(_) | Value::Null | Value::Number(_) | Value::String(_) => {}
        }
    }
    for kind in ["headers", "parameters", "responses", "schemas"] {
        for name in document()["components"][kind].as_object().unwrap().keys() {
            let reference = format!("#/components/{kind}/{name}");
            assert!(found.contains(&reference), "{reference} is not used");
        }
    }
}

#[test]
fn every_operation_has_a_name_of_its_own_and_a_known_tag_and_scheme() {
    let tags: BTreeSet<_> = document()["tags"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tag| &tag["name"])
        .map(Value::to_string)
        .collect();
    let schemes = document()["components"]["securitySchemes"].as_object().unwrap();
    let mut names = BTreeSet::new();
    for (key, operation) in operations() {
        assert!(names.insert(operation["operationId"].as_str().unwrap()), "{key}");
        assert!(tags.contains(&operation["tags"][0].to_string()), "{key}");
        for alternative in operation["security"].as_array().unwrap() {
            let mut named = alternative.as_object().unwrap().keys();
            assert!(named.all(|name| schemes.contains_key(name)), "{key}");
        }
    }
}

#[test]
fn every_example_of_a_body_is_one() {
    let openapi = OpenApi::of_repository();
    let mut count = 0;
    for (key, operation) in operations() {
        for (media_type, content) in
            operation["requestBody"]["content"].as_object().into_iter().flatten()
        {
            let what = format!("{key} {media_type}");
            let errors = openapi.request_errors(&what, &content["schema"], &content["example"]);
            assert!(errors.is_empty(), "{what}: {errors:?}");
            count += 1;
        }
    }
    assert!(count > 50, "{count}");
}

/// Returns the rows of the pages about routes that are in the document: the row, and the operation.
fn documented_routes() -> Vec<(String, Vec<String>, &'static Value)> {
    let mut known = operations();
    let rows = Page::read("docs/routes.md").rows().into_iter().filter(|cells| cells.len() == 5);
    let found: Vec<_> = rows
        .filter_map(|cells| {
            let [key] = &code_spans(&cells[0])[..] else { return None };
            Some((key.clone(), cells, known.remove(key)?))
        })
        .collect();
    assert!(found.len() > 50, "{}", found.len());
    found
}

#[test]
fn a_route_has_the_errors_that_its_page_names() {
    let page = Page::read("docs/routes.md");
    let common = rows(page.text.split("\n## ").next().unwrap());
    let common: BTreeSet<_> = common.iter().flat_map(|cells| code_spans(&cells[1])).collect();
    for (key, cells, operation) in documented_routes() {
        let named: BTreeSet<_> = code_spans(&cells[4]).into_iter().collect();
        let all: BTreeSet<_> = codes(operation).into_values().flatten().collect();
        let more: Vec<_> = all.difference(&named).filter(|code| !common.contains(*code)).collect();
        // An error that reaches a client by a redirect is not one of the response.
        let is_redirected = cells[4].starts_with("to the client");
        let missing: Vec<_> = named.difference(&all).filter(|_| !is_redirected).collect();
        assert!(more.is_empty() && missing.is_empty(), "{key}: {more:?}, {missing:?}");
    }
}

#[test]
fn a_route_requires_the_credential_and_the_scope_that_its_page_names() {
    for (key, cells, operation) in documented_routes() {
        let security = operation["security"].as_array().unwrap();
        let alternatives = || security.iter().flat_map(|one| one.as_object().unwrap());
        let schemes: BTreeSet<_> = alternatives().map(|(scheme, _)| scheme.as_str()).collect();
        let scopes: BTreeSet<_> = alternatives()
            .flat_map(|(_, scopes)| scopes.as_array().unwrap())
            .map(Value::to_string)
            .collect();
        let is_public = security.is_empty() || security.contains(&json!({}));
        match cells[1].as_str() {
            "public" => assert!(is_public && scopes.is_empty(), "{key}"),
            "any credential" | "a user" => assert!(!is_public && scopes.is_empty(), "{key}"),
            "operator key" => assert_eq!(schemes, BTreeSet::from(["operatorKey"]), "{key}"),
            "`X-Service-Key`" => assert_eq!(schemes, BTreeSet::from(["serviceKey"]), "{key}"),
            "`X-Runner-Token`" => assert_eq!(schemes, BTreeSet::from(["runnerToken"]), "{key}"),
            // Users need no scope for themselves.
            _ if key == "POST /v1/users/sign-out" => assert!(schemes.contains("operatorKey")),
            scope if scope.starts_with('`') => {
                assert!(!is_public, "{key}");
                assert_eq!(scopes, BTreeSet::from([scope.replace('`', "\"")]), "{key}");
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn without_dev_mode_there_is_no_documentation() {
    let world = World::new().await;
    for path in PATHS {
        for method in ["GET", "HEAD", "POST", "OPTIONS"] {
            let unknown = world.call(method, "/openapi.xml").send().await;
            let answer = world.call(method, path).send().await;
            assert_eq!(answer.fingerprint(), unknown.fingerprint(), "{method} {path}");
            assert_eq!(answer.status, 404);
        }
        let call = |path: &str| world.call("GET", path).header("Accept", "text/html");
        let (unknown, answer) = (call("/nothing").send().await, call(path).send().await);
        assert_eq!((answer.status, &answer.headers), (404, &unknown.headers), "{path}");
    }
}

#[tokio::test]
async fn in_dev_mode_the_document_names_the_deployment() {
    let world = World::configured(DEV).await;
    let answer = world.call("GET", "/openapi.json").send().await.expect(200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let mut expected = document().clone();
    expected["servers"] = json!([{"url": "https://auth.example.com"}]);
    assert_eq!(answer.body, expected);
    let head = world.call("HEAD", "/openapi.json").send().await.expect(200);
    assert_eq!(head.text, "");
    let answer = world.call("POST", "/openapi.json").send().await;
    assert_eq!(answer.header("allow"), Some("GET, HEAD"));
    answer.expect_error(405, "method_not_allowed");
}

#[tokio::test]
async fn in_dev_mode_a_page_shows_the_document() {
    let world = World::configured(DEV).await;
    let page = world.call("GET", "/docs").send().await.expect(200);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'"), "{policy}");
    for (name, media_type) in [
        ("docs.js", "text/javascript; charset=utf-8"),
        ("swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
        ("swagger-ui.css", "text/css; charset=utf-8"),
    ] {
        let path = format!("/docs/{name}");
        assert!(page.text.contains(&format!("\"{path}\"")), "{path}");
        let asset = world.call("GET", &path).send().await.expect(200);
        assert_eq!(asset.header("content-type"), Some(media_type));
        assert_eq!(asset.header("cache-control"), Some("public, max-age=3600"));
    }
    world.call("GET", "/docs/LICENSE").send().await.expect_error(404, "not_found");
}

/// A file that was changed by hand is no longer the one that was released.
#[test]
fn the_viewer_is_the_released_one() {
    let folder = "functions/assets/swagger-ui";
    let readme = Page::read(&format!("{folder}/README.md"));
    for name in ["swagger-ui-bundle.js", "swagger-ui.css"] {
        let bytes = std::fs::read(repository_path(&format!("{folder}/{name}"))).unwrap();
        let digest =
            Digest::of(&bytes).bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert!(
            rows(&readme.text)
                .iter()
                .any(|cells| cells[0] == format!("`{name}`") && cells[1] == format!("`{digest}`")),
            "{name} {digest}"
        );
    }
    let licence = std::fs::read_to_string(repository_path(&format!("{folder}/LICENSE"))).unwrap();
    assert!(licence.contains("Apache License"));
}
