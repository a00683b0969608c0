//! The sample events: the handler, the local program and the function under the emulator give the
//! same answer to each.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use local::invoke;
use serde_json::{Value, json};
use tests::{Setup, World};

use crate::{
    Tools,
    answer::mask_value,
    environment::{Environment, ISSUER},
};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../events");

/// Returns the files of the sample events, by function.
pub(crate) fn files() -> Result<BTreeMap<String, Vec<PathBuf>>> {
    let mut files: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for entry in fs::read_dir(FOLDER)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let function = name.split('.').next().unwrap_or_default().to_owned();
        files.entry(function).or_default().push(path);
    }
    files.values_mut().for_each(|files| files.sort());
    Ok(files)
}

/// Reads an event.
pub(crate) fn read(file: &Path) -> Result<Value> {
    Ok(serde_json::from_str(&fs::read_to_string(file)?)?)
}

/// Returns the status that the name of a sample states.
pub(crate) fn status(file: &Path) -> Result<u16> {
    let name = file.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
    let stated =
        name.rsplit('.').next().and_then(|answer| answer.split('-').next()).unwrap_or_default();
    stated.parse().with_context(|| format!("{name} states no status"))
}

/// Sends every sample event to all three; returns the number of events.
pub(crate) async fn compare(tools: &Tools, environment: &Environment) -> Result<usize> {
    let world =
        World::with(Setup { secrets: Some(environment.secrets.clone()), ..Setup::default() }).await;
    let mut compared = 0;
    for (function, files) in files()? {
        let invoke = invoke::in_process(&world.app, &function)
            .with_context(|| format!("no handler {function}"))?;
        let emulator = environment
            .emulators
            .0
            .get(&function)
            .with_context(|| format!("no function {function}"))?;
        let of_program = of_program(tools, environment, &function, &files)?;
        for (file, of_program) in files.iter().zip(of_program) {
            let event = read(file)?;
            let of_handler = shown(invoke(event.clone()).await);
            let of_emulator = shown(emulator.invoke(event).await?);
            let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            ensure!(
                mask_value(of_program.clone()) == of_handler,
                "{name}: the handler answers {of_handler}, the local program {of_program}"
            );
            ensure!(
                of_emulator == of_handler,
                "{name}: the handler answers {of_handler}, the function {of_emulator}"
            );
            compared += 1;
        }
    }
    println!(
        "   {compared} sample events: the same answers from handler, local program and emulator"
    );
    Ok(compared)
}

/// Returns an answer as Lambda shows it.
fn shown(answer: Result<Value, String>) -> Value {
    mask_value(answer.unwrap_or_else(|message| json!({"errorMessage": message})))
}

/// Returns what `postern-local invoke` prints.
fn of_program(
    tools: &Tools,
    environment: &Environment,
    function: &str,
    files: &[PathBuf],
) -> Result<Vec<Value>> {
    let folder = tempfile::tempdir()?;
    let secret = folder.path().join("secrets.json");
    fs::write(&secret, serde_json::to_string(&environment.secrets)?)?;
    let mut command = Command::new(&tools.program);
    command.args(["invoke", function, "--data", ":memory:"]).args(files);
    let output =
        command.env("POSTERN_ISSUER", ISSUER).env("POSTERN_SECRET_FILE", &secret).output()?;
    ensure!(
        output.status.success(),
        "postern-local invoke {function}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let lines = String::from_utf8(output.stdout)?;
    let answers: Vec<_> = lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    ensure!(
        answers.len() == files.len(),
        "postern-local invoke {function} printed {} answers",
        answers.len()
    );
    Ok(answers)
}
