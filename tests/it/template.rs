//! Template, functions, routes and tables say the same, so that they cannot drift apart.

use std::collections::{BTreeMap, BTreeSet};

use local::{
    engine, functions,
    template::{Function, Template},
};
use serde_json::{Value, json};

fn template() -> Template {
    Template::load().unwrap()
}

fn root(path: &str) -> String {
    format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"))
}

fn folders(path: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(root(path)).unwrap().map(|entry| entry.unwrap());
    entries.filter(|entry| entry.path().is_dir()).map(|entry| entry.file_name().into_string().unwrap()).collect()
}

#[test]
fn every_function_of_the_template_is_a_folder_and_the_other_way_round() {
    let binaries: BTreeSet<_> = template().functions.into_iter().map(|function| function.binary).collect();
    assert_eq!(binaries, folders("functions"));
    for binary in binaries {
        let manifest = std::fs::read_to_string(root(&format!("functions/{binary}/Cargo.toml"))).unwrap();
        assert!(manifest.contains(&format!("name = \"{binary}\"")));
    }
}

#[test]
fn the_local_gateway_has_every_function_with_routes() {
    let with_routes: BTreeSet<_> =
        template().functions.into_iter().filter(|f| !f.routes.is_empty()).map(|f| f.binary).collect();
    let known: BTreeSet<_> = functions::HTTP.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(with_routes, known);
}

#[test]
fn no_route_is_given_twice_and_the_list_that_tells_405_from_404_is_the_templates() {
    let mut methods: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (method, path) in template().functions.into_iter().flat_map(|f| f.routes).filter_map(|route| route.target) {
        assert!(methods.entry(path.clone()).or_default().insert(method.clone()), "{method} {path} twice");
    }
    let known: BTreeMap<String, BTreeSet<String>> = discovery::ROUTES
        .iter()
        .map(|(path, methods)| ((*path).to_owned(), methods.split(", ").map(str::to_owned).collect()))
        .collect();
    assert_eq!(known, methods);
    let defaults = template().functions.into_iter().flat_map(|f| f.routes).filter(|route| route.target.is_none());
    assert_eq!(defaults.count(), 1);
}

/// The routes that work without a credential. This list only shrinks.
#[tokio::test]
async fn no_route_but_these_is_public() {
    const PUBLIC: [&str; 6] = [
        "GET /.well-known/jwks.json",
        "GET /health",
        "POST /v1/auth/refresh",
        "POST /v1/auth/revoke",
        "POST /v1/auth/token",
        "POST /v1/keys/revoke-leaked",
    ];
    let world = tests::World::new().await;
    let mut public = BTreeSet::new();
    for (method, path) in template().functions.into_iter().flat_map(|f| f.routes).filter_map(|route| route.target) {
        let answer =
            world.call(&method, &path.replace("{id}", "key_01h455vb4pex5vsknk084sn02q")).json(json!({})).send().await;
        if answer.status != 401 || answer.body["error"] != "auth_required" {
            public.insert(format!("{method} {path}"));
        }
    }
    assert_eq!(public, PUBLIC.map(str::to_owned).into());
}

#[test]
fn the_tables_are_those_that_the_store_expects() {
    let tables = engine::tables();
    let expected = BTreeSet::from([tables.keys, tables.families, tables.nonces]);
    let template = template();
    assert_eq!(template.tables.iter().map(|table| table.logical_id.clone()).collect::<BTreeSet<_>>(), expected);
    for table in &template.tables {
        let properties = &table.resource["Properties"];
        let ttl = json!({"AttributeName": postern::store::key::TTL, "Enabled": true});
        assert_eq!(properties["TimeToLiveSpecification"], ttl, "{}", table.logical_id);
        assert_eq!(properties["KeySchema"], json!([{"AttributeName": postern::store::key::PK, "KeyType": "HASH"}]));
        assert_eq!(properties["BillingMode"], "PAY_PER_REQUEST");
    }
}

#[test]
fn the_precious_table_is_protected() {
    let template = template();
    let keys = template.tables.iter().find(|table| table.logical_id == "Keys").unwrap();
    let properties = &keys.resource["Properties"];
    assert_eq!(properties["PointInTimeRecoverySpecification"], json!({"PointInTimeRecoveryEnabled": true}));
    assert_eq!(properties["DeletionProtectionEnabled"], true);
    assert_eq!(properties["SSESpecification"], json!({"SSEEnabled": true}));
    assert_eq!(
        (&keys.resource["DeletionPolicy"], &keys.resource["UpdateReplacePolicy"]),
        (&json!("Retain"), &json!("Retain"))
    );
    let index = &properties["GlobalSecondaryIndexes"][0];
    assert_eq!(index["IndexName"], postern::store::key::LISTING_INDEX);
    assert_eq!(index["KeySchema"][0]["AttributeName"], postern::store::key::LISTING);
}

fn statements(function: &Function) -> Vec<Value> {
    let policies = function.properties["Policies"].as_array().unwrap();
    policies
        .iter()
        .flat_map(|policy| policy["Statement"].as_array().cloned().expect("an inline policy, no SAM template"))
        .collect()
}

#[test]
fn no_policy_names_a_star_a_scan_or_a_resource_that_it_does_not_need() {
    for function in template().functions {
        for statement in statements(&function) {
            assert_eq!(statement["Effect"], "Allow");
            for action in statement["Action"].as_array().unwrap() {
                let action = action.as_str().unwrap();
                assert!(!action.contains('*') && !action.ends_with("Scan"), "{}: {action}", function.binary);
            }
            let resource = statement["Resource"].to_string();
            assert!(!resource.contains('*'), "{}: {resource}", function.binary);
            if resource.contains("/index/") {
                assert_eq!(statement["Action"], json!(["dynamodb:Query"]), "{}", function.binary);
            }
        }
    }
}

/// What each function may do to each thing. A change of this table is a change of the security design.
#[test]
fn every_function_may_do_exactly_this() {
    let mut table = BTreeMap::new();
    for function in template().functions {
        let mut may = BTreeSet::new();
        for statement in statements(&function) {
            let resource = statement["Resource"].as_object().unwrap().values().next().unwrap();
            let resource = resource.as_str().map_or_else(|| resource[0].as_str().unwrap().to_owned(), str::to_owned);
            let resource =
                resource.replace(".Arn", "").replace("${Keys}/index/by_organization", "Keys.by_organization");
            let ids = &statement["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"];
            let ids = ids.as_array().map(|ids| ids.iter().map(|id| id.as_str().unwrap()).collect::<Vec<_>>().join(" "));
            for action in statement["Action"].as_array().unwrap() {
                let action = action.as_str().unwrap().split(':').nth(1).unwrap();
                may.insert(format!(
                    "{action} {resource}{}",
                    ids.as_ref().map_or(String::new(), |ids| format!(" [{ids}]"))
                ));
            }
        }
        table.insert(function.binary, may.into_iter().collect::<Vec<_>>());
    }
    let of_callers = [
        "BatchGetItem Families",
        "BatchGetItem Keys",
        "GetItem Keys",
        "PutItem Nonces [non_*]",
        "UpdateItem Families [ses_*]",
    ];
    let authenticate = of_callers.iter().chain(&["GetSecretValue VerificationKeys"]);
    let with = |more: &[&str]| {
        let mut all: Vec<_> = authenticate.clone().chain(more).map(|text| (*text).to_owned()).collect();
        all.sort();
        all
    };
    let only = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let crud = |id: &str| ["PutItem", "UpdateItem", "DeleteItem"].map(|action| format!("{action} Keys [{id}_*]"));
    let crud_and_list = |id: &str, more: &[&str]| {
        let crud = crud(id);
        let crud = crud.iter().map(String::as_str);
        with(&crud.chain(["Query Keys.by_organization"]).chain(more.iter().copied()).collect::<Vec<_>>())
    };
    let expected = BTreeMap::from([
        ("agents", crud_and_list("agt", &[])),
        ("authorizer", with(&[])),
        (
            "cli_tokens",
            with(&[
                "DeleteItem Keys [cli_*]",
                "PutItem Keys [cli_*]",
                "PutItem Keys [org_* own_*]",
                "Query Keys.by_organization",
            ]),
        ),
        ("discovery", only(&["GetSecretValue VerificationKeys"])),
        (
            "download_token",
            only(&[
                "BatchGetItem Families",
                "BatchGetItem Keys",
                "GetItem Keys",
                "GetSecretValue SigningSecret",
                "PutItem Nonces [non_*]",
                "UpdateItem Families [ses_*]",
            ]),
        ),
        ("downloads", only(&["GetItem Keys [run_*]", "GetSecretValue VerificationKeys"])),
        ("heartbeat", only(&["UpdateItem Keys [run_*]"])),
        ("inspect", with(&[])),
        ("keys", crud_and_list("key", &["DeleteItem Keys [agt_* cli_* run_* svc_*]"])),
        ("organizations", with(&["PutItem Keys [org_* key_*]", "UpdateItem Keys [own_*]"])),
        ("refresh", only(&["GetItem Keys [agt_*]", "GetSecretValue SigningSecret", "UpdateItem Families [fam_*]"])),
        (
            "revoke",
            only(&[
                "GetSecretValue SigningSecret",
                "PutItem Families [fam_* tok_*]",
                "UpdateItem Families [fam_* tok_*]",
            ]),
        ),
        ("runners", crud_and_list("run", &[])),
        ("service_token", only(&["GetItem Keys [svc_*]", "GetSecretValue SigningSecret"])),
        ("services", with(&["DeleteItem Keys [svc_*]", "PutItem Keys [svc_*]", "Query Keys.by_organization"])),
        (
            "token",
            only(&[
                "BatchGetItem Families [fam_*]",
                "BatchGetItem Keys [agt_*]",
                "GetItem Keys [agt_*]",
                "GetSecretValue SigningSecret",
                "PutItem Families [fam_*]",
                "UpdateItem Families [fam_*]",
            ]),
        ),
    ]);
    let expected: BTreeMap<_, _> = expected.into_iter().map(|(name, may)| (name.to_owned(), may)).collect();
    assert_eq!(table, expected);
}

#[test]
fn a_function_is_given_the_secret_that_its_policy_lets_it_read() {
    for function in template().functions {
        let given =
            function.properties.pointer("/Environment/Variables/POSTERN_SECRET_ARN/!Ref").and_then(Value::as_str);
        let readable =
            statements(&function).into_iter().find(|s| s["Action"] == json!(["secretsmanager:GetSecretValue"]));
        let readable = readable.map(|statement| statement["Resource"]["!Ref"].as_str().unwrap().to_owned());
        assert_eq!(given, readable.as_deref(), "{}", function.binary);
        let main = std::fs::read_to_string(root(&format!("functions/{}/src/main.rs", function.binary))).unwrap();
        let needs: &[_] = match given {
            None => &["Needs::Nothing"],
            Some("SigningSecret") => &["Needs::Signing"],
            Some(_) => &["Needs::Publication", "Needs::Verification"],
        };
        assert!(needs.iter().any(|needs| main.contains(needs)), "{}", function.binary);
    }
}

fn example(name: &str) -> Value {
    let yaml = std::fs::read_to_string(root(&format!("examples/{name}/template.yaml"))).unwrap();
    local::template::plain(&yaml).unwrap()
}

#[test]
fn the_examples_hold_no_answer_that_must_not_be_held_and_let_the_gateway_in() {
    let http = example("http-api")["Resources"]["Orders"]["Properties"]["Auth"]["Authorizers"]["Postern"].clone();
    assert_eq!(http["Identity"]["ReauthorizeEvery"], 0);
    assert_eq!(http["EnableFunctionDefaultPermissions"], true);
    assert_eq!(
        (&http["AuthorizerPayloadFormatVersion"], &http["EnableSimpleResponses"]),
        (&json!("2.0"), &json!(true))
    );

    let rest = example("rest-api")["Resources"].clone();
    let api = &rest["Orders"]["Properties"];
    let authorizer = &api["Auth"]["Authorizers"]["Postern"];
    assert_eq!(
        (&authorizer["FunctionPayloadType"], &authorizer["Identity"]["ReauthorizeEvery"]),
        (&json!("REQUEST"), &json!(0))
    );
    assert_eq!(rest["MayInvokeAuthorizer"]["Properties"]["Principal"], "apigateway.amazonaws.com");
    // RFC 6750 wants it on every 401, and only the gateway's own response can say it.
    let unauthorized = &api["GatewayResponses"]["UNAUTHORIZED"]["ResponseParameters"]["Headers"];
    assert_eq!(unauthorized["WWW-Authenticate"], "'Bearer'");
    assert!(api["GatewayResponses"].get("DEFAULT_4XX").is_none());
}
