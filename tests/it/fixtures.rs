//! Events that we did not write: the fixtures of AWS's own crate, and any number of broken variants
//! of them.

use std::{path::PathBuf, process::Command};

use serde_json::{Value, json};
use tests::World;

/// Returns the fixtures of `aws_lambda_events`, where cargo keeps the crate's source.
fn fixtures() -> Vec<(String, Value)> {
    let said = |program: &str, arguments: &[&str]| {
        let output = Command::new(program)
            .args(arguments)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    // Sources for other platforms are not downloaded.
    let version = said("rustc", &["-vV"]);
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let metadata = said(
        env!("CARGO"),
        &["metadata", "--offline", "--locked", "--format-version", "1", "--filter-platform", host],
    );
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let package = packages.iter().find(|package| package["name"] == "aws_lambda_events").unwrap();
    let folder =
        PathBuf::from(package["manifest_path"].as_str().unwrap()).with_file_name("src/fixtures");
    let mut all: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "json"))
        .filter_map(|path| {
            let event = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).ok()?;
            Some((path.file_stem().unwrap().to_str().unwrap().to_owned(), event))
        })
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

fn is_authorizers(name: &str) -> bool {
    name.starts_with("example-apigw-") && name.contains("custom-auth") && name.contains("request")
}

/// Reports whether an answer allows anything.
fn lets_pass(answer: &Value) -> bool {
    let statements = answer["policyDocument"]["Statement"].as_array();
    answer["isAuthorized"] == true
        || statements.is_some_and(|all| all.iter().any(|one| one["Effect"] != "Deny"))
}

/// Replaces the credential of the event.
fn present(event: &mut Value, credential: &str) {
    if event["type"] == "TOKEN" {
        event["authorizationToken"] = format!("Bearer {credential}").into()
    } else {
        event["headers"]["X-API-Key"] = credential.into();
        if event.get("multiValueHeaders").is_some() {
            event["multiValueHeaders"]["X-API-Key"] = json!([credential]);
        }
    }
}

#[tokio::test]
async fn authorizer_fixtures_are_refused_as_they_are_and_allowed_with_a_valid_key() {
    let world = World::new().await;
    let mut seen = 0;
    for (name, event) in fixtures().into_iter().filter(|(name, _)| is_authorizers(name)) {
        seen += 1;
        let error = functions::authorizer::handle(&world.app, event.clone()).await.unwrap_err();
        assert_eq!(error.to_string(), "Unauthorized", "{name}");
        let mut good = event;
        present(&mut good, &world.api_key);
        // One of them has the stage `*`, a wildcard that no policy is allowed to contain.
        let has_star = good["methodArn"].as_str().is_some_and(|arn| arn.contains('*'));
        let answer = functions::authorizer::handle(&world.app, good).await.unwrap();
        assert_eq!(lets_pass(&answer), !has_star, "{name}: {answer}");
        assert_eq!(answer["context"]["kind"], "api_key", "{name}");
    }
    assert_eq!(seen, 8);
}

#[tokio::test]
async fn no_fixture_of_another_service_is_allowed() {
    let world = World::new().await;
    let all = fixtures();
    assert!(all.len() > 100, "{}", all.len());
    for (name, event) in all {
        if let Ok(answer) = functions::authorizer::handle(&world.app, event).await {
            panic!("{name}: {answer}");
        }
    }
    assert!(world.wire.take().is_empty());
}

/// A small deterministic random number generator.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(sides).unwrap()).unwrap()
    }
}

/// Collects every location in `value`, as JSON pointers.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                places(
                    member,
                    &format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")),
                    found,
                );
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                places(item, &format!("{at}/{index}"), found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn mutate(event: &mut Value, dice: &mut Dice) {
    let mut found = Vec::new();
    places(event, "", &mut found);
    let place = &found[dice.roll(found.len())];
    let kind = dice.roll(13);
    let (parent, name) = place.rsplit_once('/').unwrap_or(("", ""));
    if kind < 3 {
        let name = name.replace("~1", "/").replace("~0", "~");
        if let Some(Value::Object(members)) = event.pointer_mut(parent) {
            let taken = members.remove(&name);
            if kind == 1 {
                members.insert(name.to_uppercase(), taken.clone().unwrap_or_default());
                members.insert(name.to_lowercase(), taken.unwrap_or_default());
            }
        }
        return;
    }
    let Some(target) = event.pointer_mut(place) else { return };
    const TEXTS: [&str; 16] = [
        "",
        "*",
        "?",
        "Bearer ",
        "Bearer *",
        "bearer eyJ.eyJ.",
        "../..",
        "\u{0}",
        "\u{7f}",
        "é",
        "1.0",
        "2.0",
        "TOKEN",
        "REQUEST",
        "MESSAGE",
        "arn:aws:execute-api:eu-west-1:1:a/*/*/*",
    ];
    *target = match kind {
        3 => Value::Null,
        4 => true.into(),
        5 => json!(-1),
        6 => json!(1e300),
        7 => json!([]),
        8 => json!({}),
        9 => json!([target.clone(), target.clone()]),
        10 => {
            let text = target.as_str().filter(|text| !text.is_empty()).unwrap_or("x").to_owned();
            let at = dice.roll(text.len());
            let letter = char::from(u8::try_from(dice.roll(128)).unwrap());
            let changed =
                text.char_indices().map(|(index, old)| if index == at { letter } else { old });
            changed.collect::<String>().into()
        }
        11 => json!({"policyDocument": {"Statement": [{"Effect": "Allow"}]}, "isAuthorized": true}),
        _ => TEXTS[dice.roll(TEXTS.len())].into(),
    };
}

/// None of them contains a valid credential: no variant is allowed, and none panics.
async fn broken_events(seed: u64, count: usize) {
    let world = World::new().await;
    let originals: Vec<_> =
        fixtures().into_iter().filter(|(name, _)| is_authorizers(name)).collect();
    let mut dice = Dice(seed);
    let (mut answered, mut refused) = (0, 0);
    for at in 0..count {
        let (name, original) = &originals[at % originals.len()];
        let mut event = original.clone();
        present(&mut event, ["nonsense", "eyJ.eyJ.x", "pst_ak_x", "a.b"][dice.roll(4)]);
        for _ in 0..=dice.roll(4) {
            mutate(&mut event, &mut dice);
        }
        match functions::authorizer::handle(&world.app, event.clone()).await {
            Ok(answer) => {
                assert!(!lets_pass(&answer), "{name}, seed {seed}, at {at}: {event}");
                answered += 1;
            }
            Err(error) => {
                assert!(
                    ["Unauthorized", "internal_error"].contains(&error.to_string().as_str()),
                    "{name}: {error}"
                );
                refused += 1;
            }
        }
    }
    assert!(
        answered > count / 1000 && refused > count / 2,
        "{answered} answered, {refused} refused"
    );
    assert!(world.wire.take().is_empty());
}

#[tokio::test]
async fn fifty_thousand_broken_events_are_never_allowed() {
    broken_events(0x9e37_79b9_7f4a_7c15, 50_000).await;
}

#[tokio::test]
async fn fifty_thousand_other_broken_events_are_never_allowed() {
    broken_events(0x2545_f491_4f6c_dd1d, 50_000).await;
}
