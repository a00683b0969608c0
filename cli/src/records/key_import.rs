//! `postern keys import`.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read},
};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{api::Api, credentials::Caller, failure::Failure, output, words};

/// How many keys a request imports.
const MOST: usize = 100;

/// What became of a key.
#[derive(Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
enum Outcome {
    Imported { id: String },
    Exists { id: String },
    Refused { error_description: String },
}

#[derive(Deserialize)]
struct Report {
    keys: Vec<Value>,
}

/// Imports the keys of `file`, which has a JSON object in each line, for an organization.
pub(super) async fn run(
    caller: &Caller,
    file: &str,
    organization: &str,
    is_json: bool,
) -> Result<(), Failure> {
    let keys = read(file)?;
    let mut outcomes = Vec::new();
    for some in keys.chunks(MOST) {
        let body = json!({"org_id": organization, "keys": some});
        let answer = Api::new(caller).post(&["v1", "keys", "import"], &body).await?;
        let report: Result<Report, _> = serde_json::from_value(answer);
        let report = report.map_err(|_| {
            Failure::failed("The answer is not one of an import: check the issuer.")
        })?;
        outcomes.extend(report.keys);
    }
    if is_json {
        output::print_json(&Value::Array(outcomes.clone()))?;
    } else {
        output::print(&words::table(&["line", "outcome", "id"], rows(&outcomes)))?;
    }
    let refused = outcomes.iter().filter(|one| one["outcome"] == "refused").count();
    if refused > 0 {
        let total = outcomes.len();
        return Err(Failure::failed(format!("{refused} of {total} keys were not imported.")));
    }
    Ok(())
}

fn rows(outcomes: &[Value]) -> Vec<Vec<String>> {
    let row = |(at, outcome): (usize, &Value)| {
        let (what, id) = match Outcome::deserialize(outcome) {
            Ok(Outcome::Imported { id }) => ("imported".to_owned(), id),
            Ok(Outcome::Exists { id }) => ("exists".to_owned(), id),
            Ok(Outcome::Refused { error_description }) => {
                (format!("refused: {error_description}"), String::new())
            }
            Err(_) => ("unknown".to_owned(), String::new()),
        };
        vec![(at + 1).to_string(), what, id]
    };
    outcomes.iter().enumerate().map(row).collect()
}

/// Reads the keys of a file, or of standard input if it is `-`.
fn read(file: &str) -> Result<Vec<Value>, Failure> {
    let input: Box<dyn Read> = match file {
        "-" => Box::new(io::stdin()),
        path => Box::new(File::open(path).map_err(|error| unreadable(file, &error.to_string()))?),
    };
    let mut keys = Vec::new();
    for (at, line) in BufReader::new(input).lines().enumerate() {
        let line = line.map_err(|error| unreadable(file, &error.to_string()))?;
        let key: Result<Value, _> = serde_json::from_str(&line);
        let key = key.ok().filter(Value::is_object).ok_or_else(|| {
            Failure::usage(format!("Line {} of {file} is not a JSON object.", at + 1))
        })?;
        keys.push(key);
    }
    Ok(keys)
}

fn unreadable(file: &str, problem: &str) -> Failure {
    Failure::usage(format!("{file} cannot be read: {problem}."))
}
