//! The sample events: each is answered as its file name states, `{function}.{case}.{answer}.json`.
//!
//! They also work with `cargo lambda invoke` and `sam local invoke` on an empty store: their
//! credentials are well-formed, but belong to no record.

use std::{collections::BTreeSet, fs};

use local::{invoke, template::Template};
use serde_json::{Value, json};
use tests::World;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../events");

fn samples() -> Vec<(String, Value)> {
    let mut samples: Vec<_> = fs::read_dir(FOLDER)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap())
        })
        .collect();
    samples.sort_by(|a, b| a.0.cmp(&b.0));
    samples
}

#[test]
fn every_function_has_a_sample_event() {
    let functions: BTreeSet<_> =
        Template::load().unwrap().functions.into_iter().map(|function| function.binary).collect();
    let with_sample: BTreeSet<_> =
        samples().into_iter().map(|(name, _)| name.split('.').next().unwrap().to_owned()).collect();
    assert_eq!(functions, with_sample);
}

#[tokio::test]
async fn every_sample_event_is_answered_as_its_name_states() {
    let world = World::new().await;
    for (name, event) in samples() {
        let parts: Vec<_> = name.split('.').collect();
        let [function, _, expected] = parts[..] else {
            panic!("{name} is not {{function}}.{{what}}.{{answer}}")
        };
        let invoke = invoke::in_process(&world.app, function).unwrap();
        let answer = match invoke(event).await {
            Ok(answer) if answer.get("statusCode").is_some() => {
                let body: Value =
                    serde_json::from_str(answer["body"].as_str().unwrap()).unwrap_or_default();
                match body["error"].as_str() {
                    Some(code) => format!("{}-{code}", answer["statusCode"]),
                    None => answer["statusCode"].to_string(),
                }
            }
            Ok(answer) if answer["complete"] == true => "complete".to_owned(),
            Ok(answer) if answer["batchItemFailures"] == json!([]) => "published".to_owned(),
            Ok(answer) => answer["context"]["error"].as_str().unwrap_or("allowed").to_owned(),
            Err(error) => error.split(':').next().unwrap().to_owned(),
        };
        assert_eq!(answer, expected, "{name}");
    }
}
