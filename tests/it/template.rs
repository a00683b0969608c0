//! Template, functions, routes and tables are compared, so that they cannot drift apart.

use std::collections::{BTreeMap, BTreeSet};

use local::{
    engine,
    template::{Function, Template},
};
use postern::store::key;
use serde_json::{Value, json};

fn template() -> Template {
    Template::load().unwrap()
}

fn root(path: &str) -> String {
    format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"))
}

/// Returns the names of the files in `path`, without their extension.
fn files(path: &str) -> BTreeSet<String> {
    let names = std::fs::read_dir(root(path))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.map(|name| name.strip_suffix(".rs").unwrap().to_owned()).collect()
}

#[test]
fn the_template_and_the_package_list_the_same_functions() {
    let binaries: BTreeSet<_> =
        template().functions.into_iter().map(|function| function.binary).collect();
    assert_eq!(binaries, files("functions/src/bin"));
    assert_eq!(binaries, functions::ALL.iter().map(|name| (*name).to_owned()).collect());
}

#[test]
fn no_route_is_listed_twice_and_the_route_table_equals_the_template() {
    let mut methods: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (method, path) in
        template().functions.into_iter().flat_map(|f| f.routes).filter_map(|route| route.target)
    {
        assert!(
            methods.entry(path.clone()).or_default().insert(method.clone()),
            "{method} {path} twice"
        );
    }
    let mut known = BTreeMap::<String, BTreeSet<String>>::new();
    for (path, method) in postern::http::route::ROUTES {
        known.entry((*path).to_owned()).or_default().insert((*method).to_owned());
    }
    assert_eq!(known, methods);
    let defaults = template()
        .functions
        .into_iter()
        .flat_map(|f| f.routes)
        .filter(|route| route.target.is_none());
    assert_eq!(defaults.count(), 1);
}

/// Lambda limits a function's resource policy to 20 KiB, and SAM adds a statement for each route.
#[test]
fn the_permissions_to_invoke_a_function_fit_into_its_policy() {
    const LIMIT: usize = 20 * 1024;
    let (stack, suffix) = ("a-long-name-of-a-stack", "AbCdEfGhIjKl");
    let region = "ap-southeast-1";
    for function in template().functions {
        let id = &function.logical_id;
        let size: usize = function
            .routes
            .iter()
            .map(|route| {
                let statement = json!({
                    "Sid": format!("{stack}-{id}{:24}Permission-{suffix}", ""), "Effect": "Allow",
                    "Principal": {"Service": "apigateway.amazonaws.com"},
                    "Action": "lambda:InvokeFunction",
                    "Resource": format!("arn:aws:lambda:{region}:123456789012:function:{stack}-{id}-{suffix}"),
                    "Condition": {"ArnLike": {"AWS:SourceArn": format!(
                        "arn:aws:execute-api:{region}:123456789012:a1b2c3d4e5/*/{}",
                        route.key().replace(' ', "")
                    )}},
                });
                statement.to_string().len()
            })
            .sum();
        assert!(size < LIMIT, "{id}: {size} bytes for {} routes", function.routes.len());
    }
}

#[test]
fn every_get_route_has_a_head_route_of_the_same_function() {
    for function in template().functions {
        let of = |wanted: &str| -> BTreeSet<String> {
            let targets = function.routes.iter().filter_map(|route| route.target.clone());
            targets.filter(|(method, _)| method == wanted).map(|(_, path)| path).collect()
        };
        assert_eq!(of("GET"), of("HEAD"), "{}", function.binary);
    }
}

/// The routes that work without a credential. A new one is added here, so that its review
/// considers what anyone can do with it.
#[tokio::test]
async fn only_the_listed_routes_are_public() {
    const PUBLIC: [&str; 24] = [
        "GET /.well-known/jwks.json",
        "GET /.well-known/oauth-authorization-server",
        "GET /.well-known/openid-configuration",
        "GET /assets/{name}",
        "GET /health",
        "GET /invitation",
        "GET /login",
        "GET /v1/auth/authorize",
        "GET /v1/auth/github",
        "GET /v1/auth/github/callback",
        "GET /v1/auth/oidc/callback",
        "GET /v1/auth/oidc/start",
        "POST /invitation",
        "POST /login",
        "POST /v1/auth/device",
        "POST /v1/auth/invitation",
        "POST /v1/auth/login",
        "POST /v1/auth/oidc/callback",
        "POST /v1/auth/refresh",
        "POST /v1/auth/register",
        "POST /v1/auth/revoke",
        "POST /v1/auth/token",
        "POST /v1/keys/revoke-leaked",
        "POST /v1/keys/revoke-leaked/github",
    ];
    let world = tests::World::new().await;
    let mut public = BTreeSet::new();
    for (method, path) in
        template().functions.into_iter().flat_map(|f| f.routes).filter_map(|route| route.target)
    {
        if ["HEAD", "OPTIONS"].contains(&method.as_str()) {
            continue; // a HEAD answers as the GET does, and a preflight has no credential
        }
        let answer = world
            .call(&method, &path.replace("{id}", "key_01h455vb4pex5vsknk084sn02q"))
            .json(json!({}))
            .send()
            .await;
        let sends_to_login =
            answer.status == 303 && answer.header("location").unwrap().starts_with("/login");
        if answer.body["error"] != "auth_required" && !sends_to_login {
            public.insert(format!("{method} {path}"));
        }
    }
    assert_eq!(public, PUBLIC.map(str::to_owned).into());
}

#[test]
fn the_tables_match_what_the_store_expects() {
    let tables = engine::tables();
    let expected =
        BTreeSet::from([tables.keys, tables.families, tables.nonces, tables.uses, tables.events]);
    let template = template();
    assert_eq!(
        template.tables.iter().map(|table| table.logical_id.clone()).collect::<BTreeSet<_>>(),
        expected
    );
    for table in &template.tables {
        let properties = &table.resource["Properties"];
        let ttl = json!({"AttributeName": key::TTL, "Enabled": true});
        assert_eq!(properties["TimeToLiveSpecification"], ttl, "{}", table.logical_id);
        let mut keys = vec![json!({"AttributeName": key::PK, "KeyType": "HASH"})];
        if table.logical_id == "Events" {
            keys.push(json!({"AttributeName": key::EVENT_ID, "KeyType": "RANGE"}));
        }
        assert_eq!(properties["KeySchema"], json!(keys), "{}", table.logical_id);
        assert_eq!(properties["BillingMode"], "PAY_PER_REQUEST");
    }
}

#[test]
fn the_keys_table_is_backed_up_encrypted_and_protected_from_deletion() {
    let template = template();
    let keys = template.tables.iter().find(|table| table.logical_id == "Keys").unwrap();
    let properties = &keys.resource["Properties"];
    assert_eq!(
        properties["PointInTimeRecoverySpecification"],
        json!({"PointInTimeRecoveryEnabled": true})
    );
    assert_eq!(properties["DeletionProtectionEnabled"], true);
    assert_eq!(properties["SSESpecification"], json!({"SSEEnabled": true}));
    assert_eq!(
        (&keys.resource["DeletionPolicy"], &keys.resource["UpdateReplacePolicy"]),
        (&json!("Retain"), &json!("Retain"))
    );
}

/// Returns the indexes of a table: name, sort key, and what they contain.
fn indexes(table: &str) -> Vec<[String; 3]> {
    let template = template();
    let table = template.tables.iter().find(|known| known.logical_id == table).unwrap();
    let indexes = table.resource["Properties"]["GlobalSecondaryIndexes"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let index = |index: &Value| {
        let [partition, sort] = &index["KeySchema"].as_array().unwrap()[..] else { panic!() };
        assert_eq!(partition["AttributeName"], key::LISTING);
        let contents = &index["Projection"]["ProjectionType"];
        [&index["IndexName"], &sort["AttributeName"], contents].map(text)
    };
    indexes.iter().map(index).collect()
}

/// An index that contains more than keys is written with every heartbeat of a runner.
#[test]
fn the_indexes_that_answer_questions_contain_only_keys() {
    let keys_only = |name: &str, sort_key: &str| [name, sort_key, "KEYS_ONLY"].map(str::to_owned);
    assert_eq!(
        indexes("Keys"),
        [
            [key::LISTING_INDEX, key::PK, "ALL"].map(str::to_owned),
            keys_only(key::EXPIRY_INDEX, key::TTL),
            keys_only(key::EXTERNAL_ID_INDEX, key::EXTERNAL_ID),
            keys_only(key::NAME_INDEX, key::SEARCH_KEY),
        ]
    );
    assert_eq!(indexes("Uses"), [keys_only(key::USE_INDEX, key::USED_ON)]);
}

#[test]
fn only_the_functions_with_lists_of_credentials_query_their_indexes() {
    let made = local::permissions::markdown(&template()).unwrap();
    let lists = ["agents", "cli_tokens", "keys", "runners", "services"];
    for (table, index, functions) in [
        ("Keys", key::EXPIRY_INDEX, &lists[..]),
        ("Keys", key::EXTERNAL_ID_INDEX, &lists),
        ("Keys", key::NAME_INDEX, &lists),
        ("Uses", key::USE_INDEX, &lists),
        ("Keys", key::LISTING_INDEX, &[&lists[..], &["people", "portal", "users"]].concat()),
    ] {
        let ending = format!("| `dynamodb:Query` | {table}, index `{index}` | all |");
        let querying = made.lines().filter_map(|row| row.strip_suffix(&ending));
        let querying: BTreeSet<_> = querying.map(|row| row.trim_matches(['|', ' ', '`'])).collect();
        assert_eq!(querying, functions.iter().copied().collect(), "{index}");
    }
}

fn statements(function: &Function) -> Vec<Value> {
    let policies = function.properties["Policies"].as_array().unwrap();
    policies
        .iter()
        .flat_map(|policy| {
            policy["Statement"].as_array().cloned().expect("an inline policy, no SAM template")
        })
        .collect()
}

#[test]
fn no_policy_has_a_wildcard_a_scan_or_an_unneeded_resource() {
    for function in template().functions {
        for statement in statements(&function) {
            assert_eq!(statement["Effect"], "Allow");
            for action in statement["Action"].as_array().unwrap() {
                let action = action.as_str().unwrap();
                // It reads the times of all credentials once a day, and no other attributes.
                let is_report = function.binary == "report_expiry";
                assert!(
                    !action.contains('*') && (is_report || !action.ends_with("Scan")),
                    "{}: {action}",
                    function.binary
                );
            }
            let resource = statement["Resource"].to_string();
            assert!(!resource.contains('*'), "{}: {resource}", function.binary);
            if resource.contains("/index/") {
                assert_eq!(statement["Action"], json!(["dynamodb:Query"]), "{}", function.binary);
            }
        }
    }
}

/// A change to that page is a change to the security design.
#[test]
fn every_function_has_exactly_the_documented_permissions() {
    let page = std::fs::read_to_string(root("docs/permissions.md")).unwrap();
    let made = local::permissions::markdown(&template()).unwrap();
    assert_eq!(
        page, made,
        "if this change is intended: cargo run -p local -- permissions > docs/permissions.md"
    );
}

/// The rows that a reviewer would check first on that page.
#[test]
fn verifying_functions_cannot_sign_and_the_heartbeat_writes_only_runners() {
    let made = local::permissions::markdown(&template()).unwrap();
    let rows = |function: &str| {
        made.lines()
            .filter(move |row| row.starts_with(&format!("| `{function}` |")))
            .collect::<Vec<_>>()
    };
    let reads = "| `secretsmanager:GetSecretValue` | SigningSecret |";
    for signs in [
        "download_token",
        "introspect",
        "login",
        "refresh",
        "revoke",
        "rotate_signing_key",
        "service_token",
        "token",
    ] {
        assert!(rows(signs).iter().any(|row| row.contains(reads)), "{signs}");
    }
    assert_eq!(made.matches(reads).count(), 8);
    let writes = "`secretsmanager:PutSecretValue`";
    assert_eq!(rows("rotate_signing_key").iter().filter(|row| row.contains(writes)).count(), 3);
    assert_eq!(made.matches(writes).count(), 3, "no other function writes a secret");
    assert_eq!(rows("heartbeat"), ["| `heartbeat` | `dynamodb:UpdateItem` | Keys | `run_*` |"]);
    assert_eq!(
        rows("discovery"),
        ["| `discovery` | `secretsmanager:GetSecretValue` | PublicKeys |  |"]
    );
}

/// Whoever takes over the authorizer can change no credential.
#[test]
fn the_authorizer_writes_only_sessions_nonces_and_last_uses() {
    let made = local::permissions::markdown(&template()).unwrap();
    let written: Vec<_> = made
        .lines()
        .filter(|row| row.starts_with("| `authorizer` |"))
        .filter(|row| ["Put", "Update", "Delete"].iter().any(|action| row.contains(action)))
        .collect();
    assert_eq!(
        written,
        [
            "| `authorizer` | `dynamodb:DeleteItem` | Families | `ses_*` |",
            "| `authorizer` | `dynamodb:PutItem` | Nonces | `non_*` |",
            "| `authorizer` | `dynamodb:UpdateItem` | Families | `ses_*` |",
            "| `authorizer` | `dynamodb:UpdateItem` | Uses | `cli_*` `key_*` `run_*` |",
        ]
    );
}

/// Whoever reads a credential records its uses; whoever creates or deletes one creates or deletes
/// its item of `Uses` in the same transaction.
#[test]
fn a_function_writes_the_uses_of_credentials_that_it_reads_or_creates() {
    let made = local::permissions::markdown(&template()).unwrap();
    for row in
        made.lines().filter(|row| row.contains("| Uses |") && !row.contains("`report_expiry`"))
    {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let of_keys = match cells[2] {
            "`dynamodb:BatchGetItem`" | "`dynamodb:UpdateItem`" => "`dynamodb:GetItem`",
            action @ ("`dynamodb:PutItem`" | "`dynamodb:DeleteItem`") => action,
            other => panic!("{other}"),
        };
        let same = format!("| {} | {of_keys} | Keys |", cells[1]);
        let of_keys = made.lines().find(|row| row.starts_with(&same)).unwrap();
        assert!(cells[4].split(' ').all(|kind| of_keys.contains(kind)), "{row}");
    }
    for kind in ["agt", "cli", "key", "run", "svc"] {
        for action in ["PutItem", "DeleteItem"] {
            let functions = |table: &str| -> BTreeSet<_> {
                let action = format!("| `dynamodb:{action}` | {table} |");
                let rows = made.lines().filter(|row| row.contains(&action));
                rows.filter(|row| row.contains(&format!("`{kind}_*`")))
                    .map(|row| row.split('|').nth(1).unwrap().to_owned())
                    .collect()
            };
            assert_eq!(functions("Keys"), functions("Uses"), "{action} {kind}");
        }
    }
}

/// Whoever takes over a function can add an event, and hide none. Only one function reads them.
#[test]
fn events_are_added_and_never_changed() {
    let made = local::permissions::markdown(&template()).unwrap();
    let rows: Vec<_> = made.lines().filter(|row| row.contains("| Events")).collect();
    let (reading, adding): (Vec<_>, Vec<_>) =
        rows.into_iter().partition(|row| !row.contains("`dynamodb:PutItem`"));
    assert_eq!(
        reading,
        [
            "| `events` | `dynamodb:Query` | Events | all |",
            "| `events` | `dynamodb:Query` | Events, index `by_organization` | all |",
            "| `publish_events` | `dynamodb:DescribeStream` | Events, stream | all |",
            "| `publish_events` | `dynamodb:GetRecords` | Events, stream | all |",
            "| `publish_events` | `dynamodb:GetShardIterator` | Events, stream | all |",
            "| `publish_events` | `dynamodb:ListStreams` | Events, stream | all |",
        ]
    );
    assert!(adding.len() > 10 && adding.iter().all(|row| !row.ends_with("| all |")), "{adding:?}");
}

/// The condition of a policy covers every record that the function could otherwise write.
#[test]
fn no_function_writes_every_kind_of_record() {
    let made = local::permissions::markdown(&template()).unwrap();
    for row in made.lines().filter(|row| {
        ["PutItem", "UpdateItem", "DeleteItem"].iter().any(|action| row.contains(action))
    }) {
        assert!(!row.ends_with("| all |"), "{row}");
    }
}

#[test]
fn the_release_version_is_the_same_everywhere() {
    let yaml = std::fs::read_to_string(root("template.yaml")).unwrap();
    let metadata =
        local::template::parse_yaml(&yaml).unwrap()["Metadata"]["AWS::ServerlessRepo::Application"]
            .clone();
    assert_eq!(metadata["SemanticVersion"], env!("CARGO_PKG_VERSION"));
    for file in [&metadata["LicenseUrl"], &metadata["ReadmeUrl"]] {
        assert!(std::path::Path::new(&root(file.as_str().unwrap())).exists(), "{file}");
    }
    let description = metadata["Description"].as_str().unwrap();
    assert!(description.len() <= 256, "AWS takes 256 characters");
}

/// The configuration that `just watch` gives to cargo-lambda.
#[test]
fn cargo_lambda_watch_routes_as_the_template_does() {
    let config: toml::Value = toml::from_str(&local::watch::config(&template())).unwrap();
    let router = config["watch"]["router"].as_table().unwrap();
    let text = |value: &toml::Value, name: &str| value[name].as_str().unwrap().to_owned();
    let known: BTreeSet<_> = router
        .iter()
        .flat_map(|(path, routes)| {
            routes.as_array().unwrap().iter().map(move |route| (path, route))
        })
        .map(|(path, route)| (text(route, "method"), path.clone(), text(route, "function")))
        .collect();
    let mut expected = BTreeSet::new();
    for function in template().functions {
        for (method, path) in function.routes.iter().filter_map(|route| route.target.clone()) {
            expected.insert((method, path, function.binary.clone()));
        }
    }
    assert_eq!(known, expected);
}

/// The parameters and outputs of a deployment, which other stacks use.
#[test]
fn every_parameter_is_described_with_a_safe_default_and_every_output_exists() {
    let yaml = std::fs::read_to_string(root("template.yaml")).unwrap();
    let document = local::template::parse_yaml(&yaml).unwrap();
    let parameters = document["Parameters"].as_object().unwrap();
    let grouped = document["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
        .as_array()
        .unwrap();
    let grouped: BTreeSet<_> = grouped
        .iter()
        .flat_map(|group| group["Parameters"].as_array().unwrap())
        .map(|p| p.as_str().unwrap())
        .collect();
    assert_eq!(grouped, parameters.keys().map(String::as_str).collect());
    for (name, parameter) in parameters {
        assert!(
            parameter["Description"].as_str().is_some_and(|text| text.ends_with('.')),
            "{name}"
        );
        assert_eq!(parameter.get("Default").is_some(), name != "Issuer", "{name}");
    }
    let outputs: BTreeSet<_> =
        document["Outputs"].as_object().unwrap().keys().map(String::as_str).collect();
    let attached_to = ["ApiUrl", "AuthorizerArn", "AuthorizerUri", "Issuer", "JwksUrl"];
    assert!(attached_to.iter().all(|output| outputs.contains(output)), "{outputs:?}");
}

#[test]
fn a_function_receives_the_secret_that_its_policy_lets_it_read() {
    for function in template().functions {
        let given = function
            .properties
            .pointer("/Environment/Variables/POSTERN_SECRET_ARN/!Ref")
            .and_then(Value::as_str);
        let readable = statements(&function)
            .into_iter()
            .find(|s| s["Action"] == json!(["secretsmanager:GetSecretValue"]));
        let readable =
            readable.map(|statement| statement["Resource"]["!Ref"].as_str().unwrap().to_owned());
        assert_eq!(given, readable.as_deref(), "{}", function.binary);
        let main =
            std::fs::read_to_string(root(&format!("functions/src/bin/{}.rs", function.binary)))
                .unwrap();
        let needs: &[_] = match given {
            None => &["KeyAccess::Nothing"],
            Some("SigningSecret") => &["KeyAccess::Signing"],
            Some("PublicKeys") => &["KeyAccess::Publication"],
            Some(_) => &["KeyAccess::Verification"],
        };
        assert!(needs.iter().any(|needs| main.contains(needs)), "{}", function.binary);
    }
}

fn example(name: &str) -> Value {
    let yaml = std::fs::read_to_string(root(&format!("examples/{name}/template.yaml"))).unwrap();
    local::template::parse_yaml(&yaml).unwrap()
}

#[test]
fn the_examples_disable_caching_and_let_the_gateway_invoke_the_authorizer() {
    let http =
        example("http-api")["Resources"]["Orders"]["Properties"]["Auth"]["Authorizers"]["Postern"]
            .clone();
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
    // The documents call both with `X-API-Key`, which an identity source would exclude.
    for identity in [&http["Identity"], &authorizer["Identity"]] {
        assert_eq!(identity.as_object().unwrap().len(), 1, "{identity}");
    }
    // SAM creates the permission of a REST API's authorizer by default.
    assert!(authorizer.get("DisableFunctionDefaultPermissions").is_none(), "{authorizer}");
    // RFC 6750 requires it on every 401, and here only the gateway can send it.
    let unauthorized = &api["GatewayResponses"]["UNAUTHORIZED"]["ResponseParameters"]["Headers"];
    assert_eq!(unauthorized["WWW-Authenticate"], "'Bearer'");
    assert!(api["GatewayResponses"].get("DEFAULT_4XX").is_none());
}

/// Whoever deploys an archive has neither Rust nor the repository.
#[test]
fn a_release_contains_and_runs_the_programs() {
    let read = |path: &str| std::fs::read_to_string(root(path)).unwrap();
    let workflow = read(".github/workflows/release.yml");
    let job = workflow.split("\n  build:\n").nth(1).unwrap().split("\n  sbom:\n").next().unwrap();
    let steps = [
        "--package local --package postern-cli --bin postern-local --bin postern",
        "--lambda-dir \"$RUNNER_TEMP/programs\"",
        "for program in postern-local postern; do",
        "\"$RUNNER_TEMP/programs/$program/bootstrap\" \"$bundle/$program\"",
        "gzip -9 -n >\"$RUNNER_TEMP/assets/",
        "./postern-local secret --out ",
        "./postern --version",
    ];
    let places: Vec<_> =
        steps.iter().map(|step| job.find(step).unwrap_or_else(|| panic!("no {step}"))).collect();
    assert!(places.is_sorted(), "{places:?}");
    assert!(workflow.contains("{functions,local,cli}/*_bin_"), "they are part of the SBOM");
    assert!(read("docs/deploying.md").contains("./postern-local secret --out ."));
}

/// What a deployment behind a proxy needs: docs/deploying.md.
#[test]
fn every_function_knows_the_trusted_proxy_and_the_own_address_can_be_disabled() {
    let yaml = std::fs::read_to_string(root("template.yaml")).unwrap();
    let document = local::template::parse_yaml(&yaml).unwrap();
    let given = &document["Globals"]["Function"]["Environment"]["Variables"];
    for (variable, parameter) in [
        ("POSTERN_PROXY_SECRET_SHA256", "ProxySecretSha256"),
        ("POSTERN_PROXY_ADDRESS_HEADER", "ProxyAddressHeader"),
    ] {
        assert_eq!(given[variable], json!({"!Ref": parameter}));
        let page = std::fs::read_to_string(root("docs/operating.md")).unwrap();
        assert!(page.contains(variable), "{variable}");
    }
    let condition = &document["Conditions"]["DisablesExecuteApiEndpoint"];
    assert_eq!(*condition, json!({"!Equals": [{"!Ref": "DisableExecuteApiEndpoint"}, "true"]}));
    assert_eq!(
        document["Resources"]["Api"]["Properties"]["DisableExecuteApiEndpoint"],
        json!({"!If": ["DisablesExecuteApiEndpoint", true, false]})
    );
}
