//! The log of a function: one line of JSON per request, which also contains its metrics.

use std::collections::BTreeSet;

use http::StatusCode;
use postern::telemetry::{self, Labels, Lines, METRICS};
use serde_json::{Value, json};
use tests::{StoreFault, World, capture::Sink};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::{layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// Captures the lines of this test as functions of the stack `my-stack` write them, by the clock of
/// `world`.
pub(crate) fn listen(world: &World, stack: Option<&str>) -> (Sink, DefaultGuard) {
    let sink = Sink::default();
    let labels = Labels { stack: stack.map(str::to_owned), function: Some("my-function".into()) };
    let lines = Lines::new(labels, world.app.context.clock.clone(), sink.clone());
    // The store's engine runs in this process and warns about every failed condition.
    let filter = telemetry::in_lambda(tracing::Level::INFO)
        .with_target("dynoxide", tracing::level_filters::LevelFilter::OFF);
    (sink, tracing_subscriber::registry().with(lines).with(filter).set_default())
}

fn lines(sink: &Sink) -> Vec<Value> {
    sink.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn count(metric: &str) -> Value {
    json!({"Name": metric, "Unit": "Count"})
}

#[tokio::test]
async fn a_served_request_is_one_log_line() {
    let world = World::new().await;
    let (sink, _listening) = listen(&world, Some("my-stack"));
    world.get("/v1/auth/whoami").send().await.expect(200);
    let [line] = &lines(&sink)[..] else { panic!("{}", sink.text()) };
    let key_id = &line["credential_id"];
    assert!(key_id.as_str().unwrap().starts_with("key_"));
    let latency = json!({"Name": "StoreLatency", "Unit": "Milliseconds"});
    let metrics = json!([count("Requests"), latency, count("Throttles")]);
    assert_eq!(
        *line,
        json!({
            "timestamp": world.now().to_string(), "level": "INFO", "message": "served",
            "stack": "my-stack", "function": "my-function",
            "request_id": line["request_id"], "method": "GET", "route": "GET /v1/auth/whoami",
            "user_id": key_id, "org_id": world.org_id, "credential_id": key_id, "provider": "api_key",
            "status": 200, "duration_ms": 0, "store_calls": 1, "StoreLatency": 0, "Throttles": 0, "Requests": 1,
            "_aws": {"Timestamp": world.now().as_millisecond(), "CloudWatchMetrics": [
                {"Namespace": "Postern", "Dimensions": [["stack"]], "Metrics": metrics},
            ]},
        })
    );
}

#[tokio::test]
async fn a_refusal_is_counted_by_its_code_and_not_as_a_fault() {
    let world = World::new().await;
    let (sink, _listening) = listen(&world, Some("my-stack"));
    world.whoami(&world.unknown_key()).await;
    let [line] = &lines(&sink)[..] else { panic!("{}", sink.text()) };
    assert_eq!((&line["code"], &line["cause"]), (&json!("invalid_token"), &json!("ApiKeyUnknown")));
    assert_eq!(
        (&line["Refusals"], &line["Requests"], line.get("Faults")),
        (&json!(1), &json!(1), None)
    );
    let by_code = json!({"Namespace": "Postern", "Dimensions": [["stack", "code"]], "Metrics": [count("Refusals")]});
    assert_eq!(line["_aws"]["CloudWatchMetrics"][1], by_code);
}

#[tokio::test]
async fn the_line_of_a_caller_who_lacks_a_scope_names_it() {
    let world = World::new().await;
    let (_, narrow) = world.create_key(&["data:read"]).await;
    let (sink, _listening) = listen(&world, Some("my-stack"));
    let call = world.call("GET", "/v1/keys").key(&narrow);
    call.send().await.expect_error(403, "insufficient_scope");
    let [line] = &lines(&sink)[..] else { panic!("{}", sink.text()) };
    assert_eq!(
        (&line["cause"], &line["provider"], &line["required_scopes"]),
        (&json!("ScopeInsufficient"), &json!("api_key"), &json!("keys:read"))
    );
}

#[tokio::test]
async fn a_malformed_credential_logs_no_calls_and_no_latency() {
    let world = World::new().await;
    let (sink, _listening) = listen(&world, Some("my-stack"));
    assert_eq!(world.whoami("pst_ak_junk").await, 401);
    let [line] = &lines(&sink)[..] else { panic!("{}", sink.text()) };
    assert_eq!((&line["store_calls"], line.get("StoreLatency")), (&json!(0), None));
}

#[tokio::test]
async fn a_store_failure_is_a_fault_and_every_throttled_attempt_is_counted() {
    let world = World::new().await;
    let (sink, _listening) = listen(&world, Some("my-stack"));
    for (fault, throttles) in [(StoreFault::Throttled, 3), (StoreFault::ServerError, 0)] {
        world.wire.inject(fault);
        world.get("/v1/auth/whoami").send().await.expect(503);
        let line = lines(&sink).pop().unwrap();
        assert_eq!((&line["message"], &line["level"]), (&json!("failed"), &json!("ERROR")));
        assert_eq!((&line["Faults"], &line["store_calls"]), (&json!(1), &json!(1)), "{fault:?}");
        assert_eq!(line["Throttles"], throttles, "{fault:?}");
    }
}

#[tokio::test]
async fn reuse_is_logged_as_a_separate_event() {
    let world = World::new().await;
    let agent = world.agent(&["read"]).await;
    let first = world.exchange(&agent).await;
    let second = world.refresh(&first.refresh).send().await.member("refresh_token");
    world.refresh(&second).send().await.expect(200);
    let (sink, _listening) = listen(&world, Some("my-stack"));
    world.refresh(&first.refresh).send().await.expect_error(400, "invalid_grant");
    let [event, line] = &lines(&sink)[..] else { panic!("{}", sink.text()) };
    assert_eq!(
        (&event["event"], &event["Reuse"], &event["level"]),
        (&json!("refresh_reused"), &json!(1), &json!("WARN"))
    );
    assert_eq!(event["_aws"]["CloudWatchMetrics"][0]["Metrics"], json!([count("Reuse")]));
    assert_eq!((&line["message"], &line["family"]), (&json!("refused"), &event["family"]));
}

#[tokio::test]
async fn an_authorizer_decision_is_one_line_and_only_our_failure_is_a_fault() {
    let world = World::new().await;
    let (_, narrow) = world.create_key(&["read"]).await;
    let (sink, _listening) = listen(&world, Some("my-stack"));
    let guarded =
        world.reconfigured("[[route]]\nmethod = \"GET\"\npath = \"/x\"\nscopes = [\"write\"]\n");
    let ask = async |world: &World, key: &str| {
        let event = tests::authorizer_event("/x", json!({"x-api-key": key}));
        drop(functions::authorizer::handle(&world.app, event).await);
        lines(&sink).pop().unwrap()
    };
    let allowed = ask(&guarded, &world.api_key).await;
    assert_eq!(
        (&allowed["decision"], &allowed["Requests"], allowed.get("Refusals")),
        (&json!("allow"), &json!(1), None)
    );
    let denied = ask(&guarded, &narrow).await;
    assert_eq!(
        (&denied["decision"], &denied["code"]),
        (&json!("deny"), &json!("insufficient_scope"))
    );
    assert_eq!((&denied["Refusals"], denied.get("Faults")), (&json!(1), None));
    assert_eq!(
        (&denied["provider"], &denied["unmet"], &denied["required_scopes"]),
        (&json!("api_key"), &json!("[[route]] GET /x"), &json!("write"))
    );
    let unmatched = ask(&world.reconfigured("[authorizer]\ndefault = \"deny\"\n"), &narrow).await;
    assert_eq!(
        (&unmatched["unmet"], unmatched.get("required_scopes")),
        (&json!("no [[route]] matches, and the default is deny"), None)
    );
    let unknown = ask(&guarded, &world.unknown_key()).await;
    assert_eq!(
        (&unknown["status"], &unknown["Refusals"], unknown.get("Faults")),
        (&json!(401), &json!(1), None)
    );
    guarded.wire.inject(StoreFault::Unreachable);
    let failed = ask(&guarded, &world.api_key).await;
    assert_eq!((&failed["Faults"], failed.get("Refusals")), (&json!(1), None));
    assert_eq!(lines(&sink).len(), 5);
}

/// Each value of a dimension is billed as a metric of its own, so none may come from a caller.
#[tokio::test]
async fn metrics_have_only_the_stack_and_our_codes_as_dimensions() {
    let world = World::new().await;
    let (sink, _listening) = listen(&world, Some("my-stack"));
    world.get("/v1/auth/whoami").send().await.expect(200);
    world.whoami("junk").await;
    world.call("BREW", "/no/such/route").send().await;
    world.wire.inject(StoreFault::Unreachable);
    world.get("/v1/keys").send().await.expect(503);
    let known: BTreeSet<_> = METRICS.iter().map(|(name, _)| *name).collect();
    for line in lines(&sink) {
        for directive in line["_aws"]["CloudWatchMetrics"].as_array().unwrap() {
            assert_eq!(directive["Namespace"], "Postern");
            let sets = &directive["Dimensions"];
            assert!(*sets == json!([["stack"]]) || *sets == json!([["stack", "code"]]), "{sets}");
            // CloudWatch drops the whole line if a dimension is not text or a metric is not a
            // number.
            assert!(
                sets[0]
                    .as_array()
                    .unwrap()
                    .iter()
                    .all(|name| line[name.as_str().unwrap()].is_string()),
                "{line}"
            );
            for metric in directive["Metrics"].as_array().unwrap() {
                let name = metric["Name"].as_str().unwrap();
                assert!(known.contains(name) && line[name].is_number(), "{line}");
            }
        }
    }
}

#[tokio::test]
async fn without_a_stack_lines_have_no_metrics() {
    let world = World::new().await;
    let (sink, _listening) = listen(&world, None);
    world.get("/v1/auth/whoami").send().await.expect(200);
    let [line] = &lines(&sink)[..] else { panic!("{}", sink.text()) };
    assert_eq!(
        (&line["message"], line.get("_aws"), line.get("stack")),
        (&json!("served"), None, None)
    );
}

#[tokio::test]
async fn a_log_line_is_valid_json_whatever_it_contains() {
    let world = World::new().await;
    let (sink, _listening) = listen(&world, Some("my-stack"));
    let person =
        world.sign_in("ada\n{\"_aws\": 1}\u{2028}", postern::core::principal::Role::User).await;
    world
        .call("GET", "/v1/auth/whoami")
        .header("X-Postern-Session", &person)
        .send()
        .await
        .expect(200);
    let [line] = &lines(&sink)[..] else { panic!("{}", sink.text()) };
    assert_eq!(line["user_id"], "ada\n{\"_aws\": 1}\u{2028}");
}

/// The runtime logs every error that a handler returns, and an authorizer returns one for every
/// invalid credential.
#[tokio::test]
async fn library_warnings_are_logged_and_the_runtime_does_not_repeat_ours() {
    let world = World::new().await;
    let (sink, _listening) = listen(&world, Some("my-stack"));
    tracing::error!(target: "lambda_runtime::layers::panic", "\"Unauthorized\"");
    tracing::info!(target: "lambda_runtime::runtime", "an event, credentials included");
    tracing::warn!(target: "aws_config", "no region");
    let [line] = &lines(&sink)[..] else { panic!("{}", sink.text()) };
    assert_eq!((&line["message"], line.get("_aws")), (&json!("no region"), None));
}

/// The lines contain the metrics: a level that hid them would disable the alarms.
#[tokio::test]
async fn no_log_level_hides_request_lines() {
    let world = World::new().await;
    let sink = Sink::default();
    let lines_of_world =
        Lines::new(Labels::default(), world.app.context.clock.clone(), sink.clone());
    let filter = telemetry::in_lambda(tracing::Level::ERROR);
    let _listening = tracing_subscriber::registry().with(lines_of_world).with(filter).set_default();
    world.get("/v1/auth/whoami").send().await.expect(200);
    assert_eq!(lines(&sink).len(), 1, "{}", sink.text());
}

#[tokio::test]
async fn only_a_valid_trace_id_is_logged() {
    let world = World::new().await;
    let (sink, _listening) = listen(&world, Some("my-stack"));
    let id = "1-5759e988-bd862e3fe1be46a994272793";
    for (header, expected) in [
        (Some(format!("Root={id};Parent=53995c3f42cd8ad8;Sampled=1")), json!(id)),
        (Some(format!("Parent=53995c3f42cd8ad8;Root={id}")), json!(id)),
        (Some("Root=pst_ak_01h455vb4pex5vsknk084sn0".into()), json!(null)),
        (Some("Self=1;CalledFrom=evil".into()), json!(null)),
        (None, json!(null)),
    ] {
        telemetry::invocation_span(header.as_deref())
            .in_scope(|| telemetry::log_success(StatusCode::OK));
        assert_eq!(lines(&sink).pop().unwrap()["trace_id"], expected, "{header:?}");
    }
}

/// A panic message can contain presented values: slicing inside a character, for one, repeats the
/// text.
#[tokio::test]
async fn a_panic_is_a_fault_and_logs_its_location() {
    let world = World::new().await;
    let (sink, _listening) = listen(&world, Some("my-stack"));
    telemetry::panicked(Some(std::panic::Location::caller()));
    let [line] = &lines(&sink)[..] else { panic!("{}", sink.text()) };
    assert!(line["location"].as_str().unwrap().contains("lines.rs"), "{line}");
    assert_eq!((&line["message"], &line["Faults"]), (&json!("panicked"), &json!(1)));
    assert_eq!(line["_aws"]["CloudWatchMetrics"][0]["Metrics"], json!([count("Faults")]));
}

/// A start that fails because of its settings is still counted: the labels of a line are read
/// first.
#[test]
fn log_labels_do_not_depend_on_valid_settings() {
    let variables = [
        ("POSTERN_STACK", "my-stack"),
        ("AWS_LAMBDA_FUNCTION_NAME", "token"),
        ("POSTERN_NO_SUCH", "x"),
    ];
    let labels = Labels::from_variables(
        &variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
    );
    assert_eq!(
        (labels.stack.as_deref(), labels.function.as_deref()),
        (Some("my-stack"), Some("token"))
    );
    let labels = Labels::from_variables(&[("POSTERN_STACK".to_owned(), String::new())].into());
    assert_eq!(labels.stack, None);
}

#[tokio::test]
async fn a_response_that_cannot_be_sent_is_logged() {
    let world = World::new().await;
    let names: Vec<_> = (0..100).map(|n| format!("acme/{}-{n}", "x".repeat(90))).collect();
    let wanted = json!({"name": "k", "scopes": ["read"], "resources": {"repositories": names}});
    let key = world.post("/v1/keys", wanted).send().await.expect(201).member("key");
    let (sink, _listening) = listen(&world, Some("my-stack"));
    let event = json!({
        "type": "REQUEST", "methodArn": "arn:aws:execute-api:eu-west-1:1:a/prod/$connect", "headers": {"x-api-key": key},
        "requestContext": {"requestId": "r-1", "eventType": "CONNECT", "routeKey": "$connect", "stage": "prod"},
    });
    assert!(
        functions::authorizer::handle(&world.app, event).await.is_err(),
        "API Gateway takes 8 KB of a WebSocket's authorizer"
    );
    assert_eq!(
        lines(&sink).iter().filter(|line| line["Requests"] == 1).count(),
        1,
        "{}",
        sink.text()
    );
}
