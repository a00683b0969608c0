//! What this program prints.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for a terminal")]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use http::Uri;
use local::{
    Error,
    data::{DataLocation, LocalCredentials, write_private},
    serve::{Options, Ready},
};
use postern::config::Config;
use serde_json::Value;

/// Prints a failure and its cause.
pub(crate) fn print_error(error: &Error) {
    eprintln!("postern: {error}");
}

/// Prints a function's answer on one line.
pub(crate) fn print_answer(answer: &Value) {
    println!("{answer}");
}

/// Prints a page unchanged.
pub(crate) fn print_page(page: &str) {
    print!("{page}");
}

/// Prints URLs, keys, and four commands to try.
pub(crate) fn print_ready(ready: &Ready, options: &Options, issuer: &str) {
    let Ready { url, api_key, .. } = ready;
    let data = match &options.data {
        DataLocation::Memory => "in memory, lost when this program stops".to_owned(),
        DataLocation::Folder(folder) => folder.display().to_string(),
    };
    println!("Postern is ready.\n");
    println!("  url           {url}");
    println!("  portal        {url}/login");
    println!("  API key       {api_key}");
    println!("  organization  {}", ready.organization_id);
    println!("  operator key  {}", ready.operator_key);
    println!("  store         {}  (DynamoDB's API)", ready.store_url);
    println!("  data          {data}\n");
    println!("Try:\n");
    println!("  curl {url}/v1/auth/whoami -H 'X-API-Key: {api_key}'\n");
    println!("  curl {url}/v1/agents -H 'X-API-Key: {api_key}' \\");
    println!(
        "    -H 'Content-Type: application/json' -d '{{\"name\": \"my-agent\", \"scopes\": [\"data:read\"]}}'\n"
    );
    println!("  curl {url}/v1/runners -H 'X-API-Key: {api_key}' \\");
    println!("    -H 'Content-Type: application/json' -d '{{\"name\": \"build-1\"}}'\n");
    println!("  curl {url}/v1/users -H 'X-API-Key: {api_key}' \\");
    println!("    -H 'Content-Type: application/json' \\");
    println!(
        "    -d '{{\"email\": \"you@example.com\", \"password\": \"correct horse battery\", \"role\": \"admin\"}}'\n"
    );
    println!("The last command creates a user, who can sign in at {url}/login\n");
    if let Some(session) = &ready.session {
        println!("Signed in:\n");
        println!("  curl {url}/v1/auth/whoami -H 'X-Postern-Session: {session}'\n");
    }
    if issuer != url {
        println!("The issuer of tokens is still {issuer}, the URL of the first start.\n");
    }
    println!("Press Ctrl-C to stop.");
}

/// Prints what is protected, and how to call it.
pub(crate) fn print_protecting(ready: &Ready, upstream: &Uri) {
    let Ready { url, api_key, .. } = ready;
    println!("Postern protects {upstream}\n");
    println!("  protected     {url}");
    println!("  API key       {api_key}");
    println!("  own routes    {}\n", ready.postern_url.as_deref().unwrap_or_default());
    println!("Try:\n");
    println!("  curl {url}/ -H 'X-API-Key: {api_key}'\n");
    println!("Press Ctrl-C to stop.");
}

/// Prints the URL of the store, and the variables that point the SDK at it.
pub(crate) fn print_store(url: &str) {
    println!("The store is ready.\n");
    println!(
        "  export AWS_ENDPOINT_URL_DYNAMODB={url} AWS_REGION=eu-west-1 AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local"
    );
    println!(
        "  export POSTERN_KEYS_TABLE=Keys POSTERN_FAMILIES_TABLE=Families POSTERN_NONCES_TABLE=Nonces\n"
    );
    println!("Press Ctrl-C to stop.");
}

/// Creates the secrets of a new deployment in two files.
pub(crate) fn make_secret(out: &Path, config: Option<PathBuf>) -> Result<(), Error> {
    let given = [
        ("ISSUER", "http://localhost"),
        ("KEYS_TABLE", "-"),
        ("FAMILIES_TABLE", "-"),
        ("NONCES_TABLE", "-"),
    ];
    let mut variables: BTreeMap<_, _> =
        given.map(|(name, value)| (format!("POSTERN_{name}"), value.to_owned())).into();
    if let Some(file) = config {
        variables.insert("POSTERN_CONFIG".into(), file.display().to_string());
    }
    let config = Config::from_variables(&variables)?;
    let mut shown = LocalCredentials::default();
    let secrets =
        DataLocation::Memory.secrets(None, &config.brand, config.signing.algorithm, &mut shown)?;
    if let Some(name) = ["signing.json", "verification.json", "public.json"]
        .into_iter()
        .find(|name| out.join(name).exists())
    {
        let there = out.join(name);
        return Err(Error::Invalid(format!(
            "{} already exists and may not be stored in AWS yet: move it first",
            there.display()
        )));
    }
    for (name, secrets) in [
        ("signing.json", &secrets),
        ("verification.json", &secrets.verification(&config.secret_refs())),
        ("public.json", &secrets.publication()),
    ] {
        let json =
            serde_json::to_string(secrets).map_err(|error| Error::Invalid(error.to_string()))?;
        write_private(&out.join(name), &json)?;
    }
    println!(
        "Created {}, {} and {}. Store them in the three secrets of the stack, then delete the files.\n",
        out.join("signing.json").display(),
        out.join("verification.json").display(),
        out.join("public.json").display()
    );
    println!(
        "  aws secretsmanager put-secret-value --secret-id SIGNING_SECRET_ARN --secret-string file://{}",
        out.join("signing.json").display()
    );
    println!(
        "  aws secretsmanager put-secret-value --secret-id VERIFICATION_KEYS_ARN --secret-string file://{}",
        out.join("verification.json").display()
    );
    println!(
        "  aws secretsmanager put-secret-value --secret-id PUBLIC_KEYS_ARN --secret-string file://{}\n",
        out.join("public.json").display()
    );
    println!("The operator key, shown only once:\n\n  {}", shown.operator_key.unwrap_or_default());
    Ok(())
}
