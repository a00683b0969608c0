//! The template as CloudFormation receives it. What SAM's transform adds or omits is part of the
//! security design.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use local::template::Template;
use serde_json::{Map, Value, json};

/// The policies that SAM adds to every role, to write log lines and traces. Neither can read
/// Postern's data.
const ADDED_BY_SAM: [&str; 2] = [
    "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole",
    "arn:aws:iam::aws:policy/AWSXrayWriteOnlyAccess",
];

/// Checks the transformed template in `file`.
pub(crate) fn check(file: &Path) -> Result<()> {
    let document: Value = serde_json::from_str(&fs::read_to_string(file)?)?;
    let stack = Stack(document["Resources"].as_object().context("no Resources")?);
    let checks: [(&str, Check); 9] = [
        ("every role has exactly the permissions of the template", roles),
        (
            "every function can be invoked only by its own routes, by Secrets Manager or by the schedule",
            invocations,
        ),
        ("every function has the limits, logs and traces of the parameters", functions),
        ("the gateway throttles by kind of route", throttling),
        ("access logs contain no credential", access_logs),
        ("logs are kept for the time that the parameter sets", retention),
        ("tables are encrypted, and the table of keys outlives the stack", tables),
        ("secrets outlive the stack, and the template contains none", secrets),
        (
            "alarms watch faults, reuse, throttling and old keys, and stay silent without data",
            alarms,
        ),
    ];
    for (what, check) in checks {
        check(&stack).with_context(|| format!("failed: {what}"))?;
        println!("   {what}");
    }
    println!("\n{} passed, 0 failed", checks.len());
    Ok(())
}

/// A check of a stack.
type Check = fn(&Stack<'_>) -> Result<()>;

struct Stack<'a>(&'a Map<String, Value>);

impl<'a> Stack<'a> {
    fn of_type(&self, kind: &'static str) -> impl Iterator<Item = (&'a str, &'a Value)> {
        self.0
            .iter()
            .filter(move |(_, resource)| resource["Type"] == kind)
            .map(|(id, resource)| (id.as_str(), resource))
    }

    fn the(&self, id: &str) -> Result<&'a Value> {
        self.0.get(id).with_context(|| format!("there is no {id}"))
    }
}

/// Expands `!Ref X` and `!GetAtt X.Y` as the transform does.
fn expanded(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(expanded).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| match (name.as_str(), value) {
                ("!Ref", value) => ("Ref".to_owned(), value.clone()),
                ("!Sub", value) => ("Fn::Sub".to_owned(), value.clone()),
                ("!GetAtt", Value::String(path)) => {
                    ("Fn::GetAtt".to_owned(), path.split('.').collect())
                }
                (_, value) => (name.clone(), expanded(value)),
            })
            .collect::<Map<_, _>>()
            .into(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

fn roles(stack: &Stack<'_>) -> Result<()> {
    let template = Template::load()?;
    ensure!(
        stack.of_type("AWS::IAM::Role").count() == template.functions.len(),
        "a role that belongs to no function"
    );
    ensure!(
        stack.of_type("AWS::IAM::Policy").count()
            + stack.of_type("AWS::IAM::ManagedPolicy").count()
            == 0,
        "a policy outside of a role"
    );
    for function in &template.functions {
        let id = &function.logical_id;
        let role = &stack.the(&format!("{id}Role"))?["Properties"];
        ensure!(
            stack.the(id)?["Properties"]["Role"]
                == json!({"Fn::GetAtt": [format!("{id}Role"), "Arn"]}),
            "{id}"
        );
        ensure!(
            role["ManagedPolicyArns"] == json!(ADDED_BY_SAM),
            "{id}: {}",
            role["ManagedPolicyArns"]
        );
        let trust = &role["AssumeRolePolicyDocument"]["Statement"];
        let service = json!({"Service": ["lambda.amazonaws.com"]});
        ensure!(
            trust.as_array().map(Vec::len) == Some(1) && trust[0]["Principal"] == service,
            "{id}: {trust}"
        );
        let documents = |policies: &Value| -> Vec<Value> {
            policies
                .as_array()
                .into_iter()
                .flatten()
                .map(|policy| policy["PolicyDocument"]["Statement"].clone())
                .collect()
        };
        let written = function.properties["Policies"].as_array().context("policies")?;
        let written: Vec<_> = written.iter().map(|policy| expanded(&policy["Statement"])).collect();
        ensure!(
            documents(&role["Policies"]) == written,
            "{id}: {} is not {}",
            json!(documents(&role["Policies"])),
            json!(written)
        );
    }
    Ok(())
}

fn invocations(stack: &Stack<'_>) -> Result<()> {
    let mut expected = BTreeSet::new();
    for function in Template::load()?.functions {
        // The default route can be any path, so its one permission covers all of them.
        let takes_rest = function.routes.iter().any(|route| route.target.is_none());
        let routes = function.routes.iter().filter_map(|route| route.target.as_ref()).map(
            |(method, path)| {
                let path: Vec<_> = path
                    .split('/')
                    .map(|part| if part.starts_with('{') { "*" } else { part })
                    .collect();
                format!("{method}{}", path.join("/"))
            },
        );
        let sources: Vec<_> = if takes_rest { vec!["*".to_owned()] } else { routes.collect() };
        expected.extend(sources.into_iter().map(|source| (function.logical_id.clone(), source)));
    }
    let mut granted = BTreeSet::new();
    let of_rotation = json!({
        "FunctionName": {"Ref": "RotateSigningKey"}, "Action": "lambda:InvokeFunction",
        "Principal": "secretsmanager.amazonaws.com", "SourceAccount": {"Ref": "AWS::AccountId"},
        "SourceArn": {"Ref": "SigningSecret"},
    });
    let of_schedule = json!({
        "FunctionName": {"Ref": "ReportExpiry"}, "Action": "lambda:InvokeFunction",
        "Principal": "events.amazonaws.com", "SourceArn": {"Fn::GetAtt": ["ReportSchedule", "Arn"]},
    });
    for (id, permission) in stack.of_type("AWS::Lambda::Permission") {
        let properties = &permission["Properties"];
        if id == "RotateSigningKeyPermission" {
            ensure!(*properties == of_rotation, "{id}: {properties}");
            continue;
        }
        if id == "ReportExpiryPermission" {
            ensure!(*properties == of_schedule, "{id}: {properties}");
            continue;
        }
        ensure!(properties["Action"] == "lambda:InvokeFunction", "{id}");
        ensure!(
            properties["Principal"] == "apigateway.amazonaws.com",
            "{id}: {}",
            properties["Principal"]
        );
        let arn = &properties["SourceArn"]["Fn::Sub"];
        ensure!(arn[1]["__ApiId__"] == json!({"Ref": "Api"}), "{id}: from another API");
        let source = arn.as_str().or(arn[0].as_str());
        let path = source.and_then(|arn| arn.split_once("${__Stage__}/")).context("a source")?.1;
        granted.insert((
            properties["FunctionName"]["Ref"].as_str().unwrap_or_default().to_owned(),
            path.to_owned(),
        ));
    }
    ensure!(granted == expected, "granted {granted:?}, routes {expected:?}");
    ensure!(
        stack.of_type("AWS::Lambda::Url").count() == 0,
        "a function URL would accept unauthenticated requests"
    );
    Ok(())
}

fn functions(stack: &Stack<'_>) -> Result<()> {
    for (id, function) in stack.of_type("AWS::Lambda::Function") {
        let properties = &function["Properties"];
        ensure!(
            properties["Runtime"] == "provided.al2023"
                && properties["Architectures"] == json!([{"Ref": "Architecture"}]),
            "{id}"
        );
        let logs = json!({"LogFormat": "JSON", "ApplicationLogLevel": "TRACE", "SystemLogLevel": "WARN", "LogGroup": {"Ref": "Logs"}});
        ensure!(properties["LoggingConfig"] == logs, "{id}: {}", properties["LoggingConfig"]);
        ensure!(properties["TracingConfig"] == json!({"Mode": {"Ref": "Tracing"}}), "{id}");
        let parameter =
            if id == "Authorizer" { "AuthorizerConcurrency" } else { "ReservedConcurrency" };
        let reserved = json!({"Fn::If": [format!("Has{parameter}"), {"Ref": parameter}, {"Ref": "AWS::NoValue"}]});
        ensure!(
            properties["ReservedConcurrentExecutions"] == reserved,
            "{id}: {}",
            properties["ReservedConcurrentExecutions"]
        );
        // Enough for the timeouts of Secrets Manager, an issuer and five calls to the store. An
        // HTTP API waits ten seconds for an authorizer.
        let timeout = match id {
            "Authorizer" => 10,
            "PublishEvents" | "RotateSigningKey" => 60,
            "ReportExpiry" => 900,
            _ => 25,
        };
        ensure!(properties["Timeout"] == timeout, "{id}: {}", properties["Timeout"]);
        // Anyone who can read a function's configuration can see its variables.
        let variables = properties["Environment"]["Variables"].as_object().context("variables")?;
        for (name, value) in variables {
            let is_reference = name.starts_with("POSTERN_") && value.is_object();
            ensure!(
                is_reference || name == "SSL_CERT_FILE",
                "{id}: {name} has a value in the template"
            );
        }
    }
    Ok(())
}

fn stage<'a>(stack: &Stack<'a>) -> Result<&'a Value> {
    let (_, stage) = stack.of_type("AWS::ApiGatewayV2::Stage").next().context("no stage")?;
    Ok(&stage["Properties"])
}

/// Routes on which anyone can try a credential, or make us store something or fetch a document.
const GUESSABLE: [&str; 19] = [
    "GET /device",
    "GET /v1/auth/authorize",
    "GET /v1/auth/github",
    "GET /v1/auth/oidc/start",
    "HEAD /device",
    "HEAD /v1/auth/authorize",
    "HEAD /v1/auth/github",
    "HEAD /v1/auth/oidc/start",
    "POST /device",
    "POST /login",
    "POST /v1/auth/device",
    "POST /v1/auth/invitation",
    "POST /v1/auth/login",
    "POST /v1/auth/password",
    "POST /v1/auth/refresh",
    "POST /v1/auth/register",
    "POST /v1/auth/service-token",
    "POST /v1/auth/token",
    "POST /v1/organizations",
];

fn throttling(stack: &Stack<'_>) -> Result<()> {
    let stage = stage(stack)?;
    let default = json!({
        "ThrottlingRateLimit": {"Ref": "RequestRate"}, "ThrottlingBurstLimit": {"Ref": "RequestBurst"}, "DetailedMetricsEnabled": false,
    });
    ensure!(stage["DefaultRouteSettings"] == default, "{}", stage["DefaultRouteSettings"]);
    let of_routes = stage["RouteSettings"].as_object().context("no settings of routes")?;
    ensure!(
        of_routes.keys().collect::<BTreeSet<_>>() == GUESSABLE.map(str::to_owned).iter().collect(),
        "{of_routes:?}"
    );
    let limits = json!({"ThrottlingRateLimit": 100, "ThrottlingBurstLimit": 200}); // numbers, which parameters cannot be
    ensure!(of_routes.values().all(|settings| *settings == limits), "{of_routes:?}");
    let routes: BTreeSet<_> = Template::load()?
        .functions
        .iter()
        .flat_map(|f| &f.routes)
        .map(|route| route.key())
        .collect();
    ensure!(GUESSABLE.iter().all(|route| routes.contains(*route)), "a route that does not exist");
    Ok(())
}

fn access_logs(stack: &Stack<'_>) -> Result<()> {
    const HARMLESS: [&str; 9] = [
        "error.responseType",
        "identity.sourceIp",
        "integration.status",
        "integrationLatency",
        "requestId",
        "requestTime",
        "responseLatency",
        "routeKey",
        "status",
    ];
    let settings = &stage(stack)?["AccessLogSettings"];
    ensure!(
        settings["DestinationArn"] == json!({"Fn::GetAtt": ["AccessLogs", "Arn"]}),
        "{settings}"
    );
    let format = settings["Format"].as_str().context("a format")?;
    let line: Map<String, Value> = serde_json::from_str(format).context("a line of JSON")?;
    for (name, value) in line {
        let variable = value
            .as_str()
            .and_then(|value| value.strip_prefix("$context."))
            .context("a variable")?;
        ensure!(HARMLESS.contains(&variable), "{name} logs {variable}");
    }
    Ok(())
}

fn retention(stack: &Stack<'_>) -> Result<()> {
    let groups: BTreeSet<_> = stack.of_type("AWS::Logs::LogGroup").map(|(id, _)| id).collect();
    ensure!(groups == BTreeSet::from(["AccessLogs", "Logs"]), "{groups:?}");
    for (id, group) in stack.of_type("AWS::Logs::LogGroup") {
        ensure!(
            group["Properties"]["RetentionInDays"] == json!({"Ref": "LogRetentionDays"}),
            "{id}"
        );
    }
    Ok(())
}

fn tables(stack: &Stack<'_>) -> Result<()> {
    for (id, table) in stack.of_type("AWS::DynamoDB::Table") {
        let properties = &table["Properties"];
        ensure!(
            properties["SSESpecification"] == json!({"SSEEnabled": true}),
            "{id} is not encrypted with a key of the account"
        );
        ensure!(
            properties["TimeToLiveSpecification"]["Enabled"] == true,
            "{id} does not delete expired items"
        );
        let is_precious = id == "Keys";
        let protections = [
            properties["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"] == true,
            properties["DeletionProtectionEnabled"] == true,
            table["DeletionPolicy"] == "Retain",
            table["UpdateReplacePolicy"] == "Retain",
        ];
        ensure!(protections == [is_precious; 4], "{id}: {protections:?}");
    }
    Ok(())
}

fn secrets(stack: &Stack<'_>) -> Result<()> {
    for (id, secret) in stack.of_type("AWS::SecretsManager::Secret") {
        ensure!(
            secret["DeletionPolicy"] == "Retain" && secret["UpdateReplacePolicy"] == "Retain",
            "{id}"
        );
        let properties = secret["Properties"].as_object().context("properties")?;
        ensure!(
            !properties.contains_key("SecretString")
                && !properties.contains_key("GenerateSecretString"),
            "{id}"
        );
    }
    Ok(())
}

fn alarms(stack: &Stack<'_>) -> Result<()> {
    let known: BTreeSet<_> = postern::telemetry::METRICS.iter().map(|(name, _)| *name).collect();
    let mut watched = BTreeSet::new();
    for (id, alarm) in stack.of_type("AWS::CloudWatch::Alarm") {
        let properties = &alarm["Properties"];
        let metric = properties["MetricName"].as_str().context("a metric")?;
        watched.insert((properties["Namespace"].as_str().unwrap_or_default(), metric));
        if properties["Namespace"] == "Postern" {
            ensure!(known.contains(metric), "{id}: the metric {metric} does not exist");
            ensure!(
                properties["Dimensions"]
                    == json!([{"Name": "stack", "Value": {"Ref": "AWS::StackName"}}]),
                "{id}"
            );
        }
        ensure!(properties["TreatMissingData"] == "notBreaching", "{id}");
        ensure!(properties["AlarmDescription"].is_string(), "{id} has no description");
        let actions = json!({"Fn::If": ["HasAlarmTopic", [{"Ref": "AlarmTopicArn"}], {"Ref": "AWS::NoValue"}]});
        ensure!(properties["AlarmActions"] == actions, "{id}");
    }
    let expected = [
        ("AWS/ApiGateway", "5xx"),
        ("AWS/Lambda", "IteratorAge"),
        ("AWS/Lambda", "Throttles"),
        ("Postern", "Faults"),
        ("Postern", "Reuse"),
        ("Postern", "SecretAge"),
        ("Postern", "Throttles"),
    ];
    ensure!(watched == expected.into(), "{watched:?}");
    let dashboard = stack.of_type("AWS::CloudWatch::Dashboard").next().context("no dashboard")?.1;
    let body = dashboard["Properties"]["DashboardBody"]["Fn::Sub"].as_str().context("a body")?;
    let widgets: Value = serde_json::from_str(body).context("the dashboard is not JSON")?;
    let shown = widgets.to_string();
    for metric in known {
        // The alarm shows the age of the keys.
        ensure!(
            metric == "SecretAge" || shown.contains(metric),
            "the dashboard does not show {metric}"
        );
    }
    Ok(())
}
