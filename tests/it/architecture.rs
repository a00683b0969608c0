//! The architecture as tests: the direction of dependencies, and which module is allowed to name
//! what. See ARCHITECTURE.md.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use postern::{Refusal, core::error::Fault};
use regex::Regex;
use tests::explained::causes_not_met;

const SHARED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/src");
const FUNCTIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../functions/src");

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            found.push(path);
        }
    }
    found
}

/// Returns the production part of a file, without comments.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]").next().unwrap();
    text.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
}

/// Asserts that of all files of `shared` only those in `modules` name `word`.
#[track_caller]
fn only(modules: &[&str], word: &str) {
    let mut found = false;
    for path in files(Path::new(SHARED)) {
        let module = path.strip_prefix(SHARED).unwrap().to_str().unwrap();
        if code(&path).contains(word) {
            found = true;
            assert!(
                modules.iter().any(|allowed| module.starts_with(allowed)),
                "{module} names {word}, which only {modules:?} may"
            );
        }
    }
    assert!(found, "no file names {word}: this test checks nothing");
}

/// Returns the modules of `shared` in reading order, as `lib.rs` lists them: each is allowed to use
/// those below it.
fn reading_order() -> Vec<String> {
    let text = fs::read_to_string(Path::new(SHARED).join("lib.rs")).unwrap();
    text.lines()
        .filter_map(|line| Some(line.strip_prefix("pub mod ")?.strip_suffix(';')?.to_owned()))
        .collect()
}

/// Returns the modules that `code` imports from its own crate: the names after `crate::`, also
/// inside braces.
fn imports(code: &str) -> BTreeSet<String> {
    let word = |text: &str| -> String {
        text.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect()
    };
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let is_ours = !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$');
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            _ if !is_ours => {}
            None => drop(found.insert(word(rest))),
            Some(group) => {
                let mut depth = 0;
                let mut item = String::new();
                for c in group.chars() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => drop(found.insert(word(&std::mem::take(&mut item)))),
                        _ if depth == 0 && !c.is_whitespace() => item.push(c),
                        _ => {}
                    }
                }
                found.insert(word(&item));
            }
        }
    }
    found.retain(|module| !module.is_empty());
    found
}

/// Returns the imports that point against the reading order, in a graph from modules to their
/// imports.
fn arrows_against<'a>(
    order: &[String],
    graph: &'a [(String, BTreeSet<String>)],
) -> Vec<(&'a str, &'a str)> {
    let place = |module: &str| order.iter().position(|known| known == module);
    graph
        .iter()
        .flat_map(|(from, to)| to.iter().map(move |to| (from.as_str(), to.as_str())))
        .filter(|(from, to)| from != to)
        .filter(|(from, to)| match (place(from), place(to)) {
            (Some(from), Some(to)) => to < from,
            _ => true, // a module that the reading order does not list
        })
        .collect()
}

fn graph() -> Vec<(String, BTreeSet<String>)> {
    let mut graph = BTreeMap::<String, BTreeSet<String>>::new();
    for path in files(Path::new(SHARED)) {
        let name = path.strip_prefix(SHARED).unwrap().to_str().unwrap();
        let module = name.split('/').next().unwrap().trim_end_matches(".rs");
        if module != "lib" {
            graph.entry(module.to_owned()).or_default().extend(imports(&code(&path)));
        }
    }
    graph.into_iter().collect()
}

#[test]
fn dependencies_point_one_way() {
    let (order, graph) = (reading_order(), graph());
    let modules: BTreeSet<_> = graph.iter().map(|(module, _)| module).collect();
    assert_eq!(modules, order.iter().collect(), "lib.rs lists every module, and nothing else");
    assert_eq!(arrows_against(&order, &graph), [], "imports against the reading order of lib.rs");
    let arrows: usize = graph.iter().map(|(_, to)| to.len()).sum();
    assert!(arrows > 50, "{arrows} imports: this test watches nothing");
}

#[test]
fn a_reversed_dependency_is_detected() {
    let (order, graph) = (reading_order(), graph());
    for (from, to) in graph.iter().flat_map(|(from, to)| to.iter().map(move |to| (from, to))) {
        if from != to {
            let reversed = [(to.clone(), BTreeSet::from([from.clone()]))];
            assert_eq!(arrows_against(&order, &reversed), [(to.as_str(), from.as_str())]);
        }
    }
}

#[test]
fn every_form_of_import_is_parsed() {
    let read = |code: &str| imports(code).into_iter().collect::<Vec<_>>();
    assert_eq!(read("use crate::store::Store;"), ["store"]);
    assert_eq!(
        read("use crate::{\n    app::App,\n    core::{error::Error, id},\n};"),
        ["app", "core"]
    );
    assert_eq!(read("fn f() { crate::http::path::g() }"), ["http"]);
    assert_eq!(read("use lambda_crate::x; use crate::Fault;"), Vec::<String>::new());
}

#[test]
fn architecture_md_lists_the_modules_in_reading_order() {
    let text =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../ARCHITECTURE.md")).unwrap();
    let section = text.split("## Inside `shared`").nth(1).unwrap();
    let block = section.split("```").nth(1).unwrap();
    let listed: Vec<_> = block
        .lines()
        .filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()))
        .map(|line| line.split([' ', '/', '.']).next().unwrap().to_owned())
        .collect();
    assert_eq!(listed, reading_order());
}

/// The types that a crate declares, with the files that declare them. The id markers of `ids!` are
/// among them.
fn declared_types(folder: &str) -> BTreeMap<String, Vec<String>> {
    let mut types: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for path in files(Path::new(folder)) {
        let file = path.strip_prefix(folder).unwrap().display().to_string();
        for line in code(&path).lines() {
            let visible = line.trim_start().strip_prefix("pub").unwrap_or_default();
            let declaration = visible.split_once(' ').map_or("", |(scope, rest)| {
                if scope.starts_with('(') || scope.is_empty() { rest } else { "" }
            });
            let kinds = ["struct ", "enum ", "trait ", "type ", "union "];
            let declared = kinds.iter().find_map(|kind| declaration.strip_prefix(kind));
            let marker = line.split_once(" = \"").filter(|(_, rest)| rest.contains("\" => "));
            if let Some(rest) = declared.or(marker.map(|(name, _)| name.trim())) {
                let is_part = |c: char| c.is_alphanumeric() || c == '_';
                let name: String = rest.chars().take_while(|c| is_part(*c)).collect();
                if !name.is_empty() {
                    types.entry(name).or_default().push(file.clone());
                }
            }
        }
    }
    types
}

#[test]
fn no_public_type_name_means_two_things_in_one_crate() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    for (folder, known) in [
        ("shared/src", ["ApiKey", "Session"]),
        ("functions/src", ["LoginPage", "CredentialPage"]),
        ("client/src", ["Session", "Issuer"]),
        ("cli/src", ["Caller", "Failure"]),
        ("local/src", ["Engine", "Gateway"]),
        ("tests/src", ["World", "Issuer"]),
        ("e2e/src", ["Environment", "Target"]),
    ] {
        let types = declared_types(&format!("{root}/{folder}"));
        assert!(known.iter().all(|name| types.contains_key(*name)), "{folder}: {types:?}");
        let repeated: Vec<_> = types.into_iter().filter(|(_, files)| files.len() > 1).collect();
        assert!(repeated.is_empty(), "{folder}: {repeated:?}");
    }
}

/// A longer name says more than one fact.
#[test]
fn names_of_tests_are_short() {
    let test =
        Regex::new(r"#\[(?:tokio::)?test[^\n]*\n(?:\s*#\[[^\n]*\n)*\s*(?:async )?fn (\w+)\(");
    let test = test.unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folders = [
        "shared/src",
        "functions/src",
        "client/src",
        "client/tests",
        "cli/src",
        "cli/tests",
        "local/src",
        "local/tests",
        "tests/it",
        "e2e/src",
    ];
    let mut count = 0;
    for path in folders.iter().flat_map(|folder| files(&root.join(folder))) {
        for found in test.captures_iter(&fs::read_to_string(&path).unwrap()) {
            assert!(found[1].len() <= 75, "{}: {}", path.display(), &found[1]);
            count += 1;
        }
    }
    assert!(count > 800, "{count} tests: this test checks nothing");
}

#[test]
fn the_client_uses_no_other_crate_of_the_workspace() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../client/Cargo.toml");
    let manifest: toml::Value = toml::from_str(&fs::read_to_string(manifest).unwrap()).unwrap();
    let dependencies = manifest["dependencies"].as_table().unwrap();
    assert!(dependencies.contains_key("oauth2"), "this test checks nothing");
    for ours in ["postern", "functions", "postern-cli", "local", "tests", "e2e"] {
        assert!(!dependencies.contains_key(ours), "client uses {ours}, and could not be published");
    }
}

#[test]
fn only_the_context_of_the_client_reads_time_randomness_and_the_environment() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../client/src");
    for word in ["SystemTime::now", "Instant::now", "getrandom::", "std::env"] {
        for path in files(Path::new(folder)).iter().filter(|path| code(path).contains(word)) {
            assert!(path.ends_with("client/src/context.rs"), "{} names {word}", path.display());
        }
    }
}

#[test]
fn only_crypto_uses_cryptographic_crates() {
    for word in ["jsonwebtoken", "hmac::", "sha2::", "subtle::", "aws_lc_rs", "argon2::"] {
        only(&["crypto/"], word);
    }
}

#[test]
fn only_the_store_uses_dynamodb_and_only_secrets_uses_secrets_manager() {
    only(&["store/"], "aws_sdk_dynamodb");
    only(&["crypto/secret_versions.rs", "crypto/secrets.rs"], "aws_sdk_secretsmanager");
}

#[test]
fn only_the_sdk_module_configures_access_to_aws() {
    only(&["runtime/sdk.rs"], "SdkConfig::builder");
    only(&["runtime/sdk.rs"], "aws_smithy_http_client");
}

#[test]
fn only_fetch_calls_other_servers() {
    only(&["fetch/"], "reqwest");
    only(&["identity_provider/"], "oauth2::");
}

#[test]
fn only_the_text_module_uses_the_unicode_standard() {
    for word in ["icu_normalizer", "icu_properties", "idna::"] {
        only(&["core/text.rs"], word);
    }
}

#[test]
fn only_http_and_the_runtime_name_lambda() {
    only(&["http/", "runtime/"], "lambda_http");
    only(&["runtime/", "telemetry/"], "lambda_runtime"); // telemetry names a target of its lines
}

#[test]
fn only_config_reads_the_environment_and_only_core_reads_time_and_randomness() {
    only(&["config/"], "std::env");
    only(&["core/clock.rs"], "Timestamp::now");
    only(&["core/entropy.rs"], "getrandom");
    for word in ["SystemTime", "Instant::now"] {
        assert!(files(Path::new(SHARED)).iter().all(|path| !code(path).contains(word)), "{word}");
    }
}

#[test]
fn the_store_does_not_depend_on_http() {
    for path in files(&Path::new(SHARED).join("store")) {
        assert!(
            !code(&path).contains("crate::http") && !code(&path).contains("Refusal"),
            "{}",
            path.display()
        );
    }
}

#[test]
fn only_telemetry_logs() {
    for word in ["info!", "warn!", "error!", "debug!", "trace!"] {
        for path in files(Path::new(SHARED)).into_iter().chain(files(Path::new(FUNCTIONS))) {
            assert!(
                path.starts_with(Path::new(SHARED).join("telemetry"))
                    || !code(&path).contains(word),
                "{} logs by {word}",
                path.display()
            );
        }
    }
}

/// Release builds contain nothing below `info`, so a line of ours there would never be written.
#[test]
fn every_line_is_in_a_release_build() {
    for path in files(&Path::new(SHARED).join("telemetry")) {
        for word in ["debug!", "debug_span!", "trace!", "trace_span!"] {
            assert!(!code(&path).contains(word), "{} logs by {word}", path.display());
        }
    }
}

#[test]
fn secrets_are_exposed_only_in_listed_files() {
    let mut places: Vec<_> = files(Path::new(SHARED))
        .into_iter()
        .chain(files(Path::new(FUNCTIONS)))
        .filter(|path| code(path).contains(".expose()"))
        .map(|path| {
            path.components()
                .rev()
                .take(2)
                .map(|part| part.as_os_str().to_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        })
        .map(|mut parts| {
            parts.reverse();
            parts.join("/")
        })
        .collect();
    places.sort();
    assert_eq!(
        places,
        [
            "authn/introspection.rs",
            "authn/subject_token.rs",
            "authorizer/mod.rs",
            "core/secret.rs",
            "crypto/password.rs",
            "downloads/mod.rs",
            "grant/agent_secret.rs",
            "grant/authorization_code.rs",
            "grant/authorization_parameters.rs",
            "grant/client.rs",
            "grant/client_assertion.rs",
            "grant/consent.rs",
            "grant/device_code.rs",
            "grant/federation.rs",
            "grant/id_jag.rs",
            "grant/leaked.rs",
            "grant/password.rs",
            "grant/password_change.rs",
            "grant/presented_client.rs",
            "grant/refresh.rs",
            "grant/revoke.rs",
            "grant/session.rs",
            "grant/sign_in.rs",
            "grant/trust_dry_run.rs",
            "grant/usage_plan.rs",
            "http/request.rs",
            "http/response.rs",
            "identity_provider/mod.rs",
            "portal/form.rs",
            "portal/snippets.rs",
            "portal/submission.rs",
            "portal/view.rs",
            "resource/key_import.rs",
            "src/device.rs",
            "src/introspect.rs",
            "src/signin.rs",
            "token/exchange.rs",
            "token/mod.rs",
        ]
    );
}

#[test]
fn policy_effects_are_written_in_one_file() {
    only(&["authorizer/iam_policy.rs"], "Effect");
    for path in files(Path::new(SHARED)) {
        assert!(
            !code(&path).contains("IamPolicy"),
            "{}: its default effect is Allow",
            path.display()
        );
    }
}

#[test]
fn every_error_code_is_documented() {
    let manual =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/errors.md")).unwrap();
    let refusals = Refusal::ALL.iter().map(|refusal| refusal.public());
    let store = Fault::Store { operation: "read a record", source: "away".into() };
    let answers: Vec<_> = refusals.chain([Fault::Entropy.public(), store.public()]).collect();
    let codes: BTreeSet<_> = answers.iter().map(|answer| answer.code).collect();
    assert!(codes.len() >= 22, "{codes:?}");
    for answer in answers {
        let row = format!("| {} | `{}` |", answer.status.as_u16(), answer.code);
        assert!(manual.contains(&row), "{row} is not in docs/errors.md");
    }
}

#[test]
fn every_cause_is_explained_to_operators() {
    let manual =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/errors.md")).unwrap();
    let listed: Vec<_> = manual
        .split("## Causes")
        .nth(1)
        .unwrap()
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(str::to_owned)
        .collect();
    let rows: Vec<_> = Refusal::ALL
        .iter()
        .map(|cause| {
            format!("| `{}` | `{}` | {} |", cause.name(), cause.public().code, cause.meaning())
        })
        .collect();
    assert_eq!(listed, rows, "docs/errors.md lists every cause");
}

#[test]
#[ignore = "after all other tests, as .ci/run does"]
fn some_test_meets_every_refusal_and_explains_it() {
    // Parts of the report of an import, which is not refused as a whole.
    let in_reports = [
        "ImportDigestUnusable",
        "ImportFormUnknown",
        "ImportLastFourMalformed",
        "ImportedElsewhere",
    ];
    let mut not_met = causes_not_met();
    not_met.retain(|cause| !in_reports.contains(cause));
    assert_eq!(not_met, BTreeSet::new());
}

#[test]
fn every_main_function_only_wires() {
    for entry in fs::read_dir(Path::new(FUNCTIONS).join("bin")).unwrap() {
        let main = entry.unwrap().path();
        let lines = fs::read_to_string(&main)
            .unwrap()
            .lines()
            .filter(|line| !line.trim().is_empty())
            .count();
        assert!(lines <= 10, "{} has {lines} lines", main.display());
    }
}

/// Jitter entropy would delay every start of a function by 60 ms: docs/decisions/0012.
#[test]
fn every_build_disables_jitter_entropy() {
    let config =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../.cargo/config.toml")).unwrap();
    let config: toml::Value = toml::from_str(&config).unwrap();
    assert_eq!(config["env"]["AWS_LC_SYS_NO_JITTER_ENTROPY"].as_str(), Some("1"));
    // The setting with which this test itself was built.
    #[expect(clippy::disallowed_methods, reason = "Cargo's own setting, as it reaches a program")]
    let here = std::env::var("AWS_LC_SYS_NO_JITTER_ENTROPY");
    assert_eq!(here.as_deref(), Ok("1"));
}

/// Returns the folders of the repository that contain a file with this name, as Dependabot names
/// them.
fn folders_with(name: &str, root: &Path, folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        let is_built = ["target", "node_modules"].contains(&file.as_str());
        if path.is_dir() && !path.is_symlink() && !file.starts_with('.') && !is_built {
            found.extend(folders_with(name, root, &path));
        } else if file == name {
            found.insert(format!("/{}", folder.strip_prefix(root).unwrap().display()));
        }
    }
    found
}

#[test]
fn dependabot_updates_every_list_of_dependencies() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).canonicalize().unwrap();
    let text = fs::read_to_string(root.join(".github/dependabot.yml")).unwrap();
    let entry = Regex::new(r"package-ecosystem: (\S+)\n +directory: (\S+)").unwrap();
    let updated: BTreeSet<_> = entry
        .captures_iter(&text)
        .map(|found| (found[1].to_owned(), found[2].to_owned()))
        .collect();
    let files =
        [("cargo", "Cargo.lock"), ("npm", "package-lock.json"), ("pip", "requirements.txt")];
    let mut expected = BTreeSet::from([("github-actions".to_owned(), "/".to_owned())]);
    for (ecosystem, name) in files {
        let folders = folders_with(name, &root, &root);
        assert!(!folders.is_empty(), "no folder has {name}: this test checks nothing");
        expected.extend(folders.into_iter().map(|folder| (ecosystem.to_owned(), folder)));
    }
    assert_eq!(updated, expected);
}
