//! Writes the route table from `template.yaml`, which is the only list of routes.

use std::{collections::BTreeSet, env, error::Error, fs, path::Path};

use serde_norway::Value;

/// The events of an HTTP API, in the functions of the template.
const HTTP_API: &str = "HttpApi";

fn main() -> Result<(), Box<dyn Error>> {
    let template = Path::new(&variable("CARGO_MANIFEST_DIR")?).join("../template.yaml");
    println!("cargo:rerun-if-changed={}", template.display());
    let document: Value = serde_norway::from_str(&fs::read_to_string(template)?)?;
    let resources = document.get("Resources").and_then(Value::as_mapping).ok_or("no Resources")?;
    let mut routes = BTreeSet::new();
    for (name, resource) in resources {
        let Some(events) = resource.get("Properties").and_then(|all| all.get("Events")) else {
            continue;
        };
        for event in events.as_mapping().ok_or("Events is not a mapping")?.values() {
            let text = |name: &str| event.get("Properties").and_then(|all| all.get(name)?.as_str());
            if event.get("Type").and_then(Value::as_str) != Some(HTTP_API) {
                continue;
            }
            match (text("Path"), text("Method")) {
                (Some(path), Some(method)) => drop(routes.insert((path, method))),
                (None, None) => {} // `$default`, which matches what no other route does
                _ => return Err(format!("{name:?} has a route without path or method").into()),
            }
        }
    }
    if routes.is_empty() {
        return Err("template.yaml has no routes".into());
    }
    let table = format!("&{:?}", routes.into_iter().collect::<Vec<_>>());
    fs::write(Path::new(&variable("OUT_DIR")?).join("routes.rs"), table)?;
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "this is how Cargo passes values to a build script")]
fn variable(name: &str) -> Result<String, env::VarError> {
    env::var(name)
}
