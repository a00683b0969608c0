//! The documentation against the code and the template: what a page says about costs, parameters,
//! samples and attacks is what they are.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use postern::config::Config;
use regex::Regex;
use serde_json::{Value, json};
use tests::page::{Page, code_spans, repository_path, rows};

pub(crate) fn template(path: &str) -> Value {
    let yaml = std::fs::read_to_string(repository_path(path)).unwrap();
    local::template::parse_yaml(&yaml).unwrap()
}

/// Returns the names of a part of the template, such as its parameters.
fn names(part: &Value) -> BTreeSet<String> {
    part.as_object().unwrap().keys().cloned().collect()
}

fn count(template: &Value, kind: &str) -> usize {
    let resources = template["Resources"].as_object().unwrap().values();
    resources.filter(|resource| resource["Type"] == kind).count()
}

/// Returns an amount in cents.
#[track_caller]
fn cents(text: &str) -> usize {
    let digits = text.replace(['*', '.', ','], "");
    digits.trim().parse().unwrap_or_else(|_| panic!("{text:?} is no amount"))
}

#[test]
fn every_page_names_the_idle_cost_of_what_the_template_creates() {
    let costs = Page::read("docs/costs.md");
    let prices = rows(&costs.section("## In US dollars"));
    let price = |unit: &str| {
        let row = prices.iter().find(|cells| cells[1] == unit).unwrap_or_else(|| panic!("{unit}"));
        assert_eq!(row[2], row[3], "{unit}: the idle cost is the same in both regions");
        cents(&row[2])
    };
    let created = template("template.yaml");
    let idle = count(&created, "AWS::SecretsManager::Secret") * price("secret and month")
        + count(&created, "AWS::CloudWatch::Alarm") * price("alarm and month");

    let amount = Regex::new(r"(\d+\.\d\d) USD a month").unwrap();
    let mut pages = BTreeSet::new();
    for page in Page::all() {
        for found in amount.captures_iter(&page.text) {
            assert_eq!(cents(&found[1]), idle, "{}: {}", page.path, &found[0]);
            pages.insert(page.path.clone());
        }
    }
    let expected = ["README.md", "docs/costs.md", "docs/deploying.md"];
    assert_eq!(pages, expected.map(str::to_owned).into());

    let (_, examples) = costs.text.split_once("Examples, in us-east-1 and per month:").unwrap();
    let mut examples = rows(examples);
    let sum = examples.pop().unwrap();
    assert_eq!(examples.last().unwrap()[..], ["idle costs", "", "1.90"].map(str::to_owned));
    let parts: usize = examples.iter().map(|cells| cents(&cells[2])).sum();
    assert_eq!(cents(&sum[2]), parts, "the sum of the examples");
}

/// Tables and code blocks have the width that they need.
#[test]
fn prose_is_wrapped_at_100_columns() {
    let mut pages = Page::all();
    pages.extend(["ARCHITECTURE.md", "SECURITY.md"].map(Page::read));
    for page in pages {
        let mut is_code = false;
        for line in page.text.lines().map(str::trim_start) {
            is_code ^= line.starts_with("```");
            let is_prose = !is_code && !line.starts_with('|');
            assert!(!is_prose || line.chars().count() <= 100, "{}: {line}", page.path);
        }
    }
}

#[test]
fn the_front_page_has_the_rust_version_and_the_costs_of_the_other_files() {
    let readme = Page::read("README.md").text;
    let readme = readme.split_whitespace().collect::<Vec<_>>().join(" ");
    let cargo = std::fs::read_to_string(repository_path("Cargo.toml")).unwrap();
    let (_, version) = cargo.split_once("rust-version = \"").unwrap();
    let version = version.split('"').next().unwrap();
    assert!(readme.contains(&format!("Rust {version} ")), "{version}");
    let costs = rows(&Page::read("docs/costs.md").text);
    let of_a_decision = costs.iter().find(|cells| cells[0] == "**sum**").unwrap();
    for amount in &of_a_decision[1..] {
        let amount = format!("{} USD", amount.replace('*', ""));
        assert!(readme.contains(&amount), "{amount}");
    }
}

#[test]
fn the_front_page_compares_alternatives_and_links_costs_and_limits() {
    let readme = Page::read("README.md");
    let alternatives = rows(&readme.section("## Should you use it?"));
    assert!(!alternatives.is_empty());
    for cells in alternatives {
        assert!(cells.len() == 3 && cells.iter().all(|cell| !cell.is_empty()), "{cells:?}");
    }
    let orientation = readme.text.split("\n## ").next().unwrap();
    for target in ["docs/costs.md", "docs/limits.md"] {
        assert!(orientation.contains(&format!("]({target}")), "{target}");
    }
}

#[test]
fn the_table_of_parameters_is_that_of_the_template() {
    let parameters = template("template.yaml")["Parameters"].clone();
    let mut documented = BTreeMap::new();
    for cells in rows(&Page::read("docs/deploying.md").section("## 3. Build and deploy")) {
        let defaults = cells[1].split(", ").map(str::to_owned);
        documented.extend(code_spans(&cells[0]).into_iter().zip(defaults));
    }
    assert_eq!(documented.keys().cloned().collect::<BTreeSet<_>>(), names(&parameters));
    for (name, shown) in documented {
        let default = &parameters[&name]["Default"];
        let default = match default.as_str() {
            None if default.is_null() => String::new(),
            None if default == 0 => "0: none".to_owned(),
            None => default.to_string(),
            Some("") => "none".to_owned(),
            Some(text) => text.to_owned(),
        };
        assert_eq!(shown.replace('`', ""), default, "{name}");
    }
}

/// The parameters and outputs that pages mention, in prose and in commands.
#[test]
fn parameters_and_outputs_that_pages_mention_exist() {
    let paths = [
        "template.yaml",
        "examples/events/template.yaml",
        "examples/http-api/template.yaml",
        "examples/mcp-rest-api/template.yaml",
        "examples/rest-api/template.yaml",
        "examples/rest-api-plans/template.yaml",
    ];
    let templates = paths.map(template);
    let of = |part: &str| -> BTreeSet<String> {
        templates.iter().flat_map(|template| names(&template[part])).collect()
    };
    let (parameters, outputs) = (of("Parameters"), of("Outputs"));
    let overrides = Regex::new(
        r#"--parameter-overrides ((?:[A-Za-z0-9]+=\S*\s?)+)|parameter_overrides = "([^"]*)""#,
    )
    .unwrap();
    let deployed = Regex::new(r"Deploy with `([A-Za-z0-9]+)=").unwrap();
    let output = Regex::new(r"\b[Oo]utputs? `?([A-Z][A-Za-z]+)`?").unwrap();
    let mut found = (0, 0);
    for page in Page::all() {
        let given = overrides.captures_iter(&page.text).flat_map(|found| {
            let list = found.get(1).or(found.get(2)).unwrap().as_str();
            list.split_whitespace().map(|pair| pair.split('=').next().unwrap()).collect::<Vec<_>>()
        });
        let deployed = deployed.captures_iter(&page.text);
        for name in given.chain(deployed.map(|found| found.get(1).unwrap().as_str())) {
            assert!(parameters.contains(name), "{}: the parameter {name}", page.path);
            found.0 += 1;
        }
        for name in output.captures_iter(&page.text) {
            assert!(outputs.contains(&name[1]), "{}: the output {}", page.path, &name[1]);
            found.1 += 1;
        }
    }
    assert!(found.0 > 0 && found.1 > 0, "{found:?}");
}

/// Every way to attach the authorizer disables the cache and lets API Gateway invoke the function.
#[test]
fn every_sample_attaches_the_authorizer_without_a_cache() {
    let page = Page::read("docs/protect-your-api.md");
    let block = |heading: &str, language: &str| {
        let section = Page { path: page.path.clone(), text: page.section(heading) };
        section.blocks_of(language).remove(0)
    };
    for example in ["http-api", "rest-api"] {
        assert!(page.section("## SAM").contains(&format!("examples/{example}/template.yaml")));
    }

    let cdk = block("## CDK", "typescript");
    let authorizers = cdk.matches("Authorizer(").count();
    assert_eq!((authorizers, cdk.matches("resultsCacheTtl: Duration.seconds(0)").count()), (2, 2));
    assert!(cdk.contains("sameEnvironment: true"), "without it, there is no permission");

    let serverless =
        local::template::parse_yaml(&block("## Serverless Framework", "yaml")).unwrap();
    let http = &serverless["provider"]["httpApi"]["authorizers"]["postern"];
    assert_eq!(
        (
            &http["type"],
            &http["payloadVersion"],
            &http["enableSimpleResponses"],
            &http["resultTtlInSeconds"]
        ),
        (&json!("request"), &json!("2.0"), &json!(true), &json!(0))
    );
    let events = serverless["functions"]["orders"]["events"].as_array().unwrap();
    assert_eq!(events[0]["httpApi"]["authorizer"]["name"], "postern");
    let rest = &events[1]["http"]["authorizer"];
    assert_eq!((&rest["type"], &rest["resultTtlInSeconds"]), (&json!("request"), &json!(0)));
    assert_eq!(http["functionArn"], rest["arn"]);

    let console = page.section("## Console");
    for kind in ["**HTTP API**", "**REST API**"] {
        let steps = console.split(kind).nth(1).unwrap().split("\n\n").next().unwrap();
        let words = steps.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains("disable *Auth"), "{kind}");
    }
}

/// Terraform itself is not at hand in the tests: its blocks are read by their indentation.
#[test]
fn the_terraform_sample_refers_only_to_what_it_declares() {
    let page = Page::read("docs/protect-your-api.md");
    let sample = page.blocks_of("hcl").remove(0);
    assert_eq!(sample.matches(['{', '[', '(']).count(), sample.matches(['}', ']', ')']).count());
    let block = Regex::new(r#"(?m)^(resource|variable) "([^"]+)"(?: "([^"]+)")? \{"#).unwrap();
    let mut declared = BTreeSet::new();
    for found in block.captures_iter(&sample) {
        declared.insert(match found.get(3) {
            Some(name) => format!("{}.{}", &found[2], name.as_str()),
            None => format!("var.{}", &found[2]),
        });
    }
    // The API itself, its integration and resource are the reader's own.
    let of_the_reader = |name: &str| name.ends_with(".orders");
    let reference = Regex::new(r"\b((?:aws_\w+|var)\.\w+)").unwrap();
    for found in reference.captures_iter(&sample) {
        assert!(declared.contains(&found[1]) || of_the_reader(&found[1]), "{}", &found[1]);
    }
    let outputs = names(&template("template.yaml")["Outputs"]);
    for name in declared.iter().filter_map(|name| name.strip_prefix("var.")) {
        let output = name.split('_').map(|word| word[..1].to_uppercase() + &word[1..]);
        assert!(outputs.contains(&output.collect::<String>()), "{name} is an output of the stack");
    }
    let of_kind = |kind: &str| declared.iter().filter(|name| name.starts_with(kind)).count();
    let authorizers =
        of_kind("aws_apigatewayv2_authorizer.") + of_kind("aws_api_gateway_authorizer.");
    assert_eq!((authorizers, of_kind("aws_lambda_permission.")), (2, 2));
    let uncached = Regex::new(r"authorizer_result_ttl_in_seconds +=\s*0\b").unwrap();
    assert_eq!(uncached.find_iter(&sample).count(), authorizers);
}

/// Each fenced block is in a language that a test reads, or is text.
#[test]
fn every_block_is_well_formed() {
    let variables = tests::variables(&[]);
    for page in Page::all() {
        for (language, text) in page.blocks() {
            let at = format!("{}:\n{text}", page.path);
            match language.as_str() {
                "" | "sh" => assert_parsed_by_bash(&text, &at),
                "json" => drop(serde_json::from_str::<Value>(&text).expect(&at)),
                "yaml" => drop(local::template::parse_yaml(&text).expect(&at)),
                "toml" => {
                    let digest = text.replace("\"…\"", &format!("\"{}\"", "0".repeat(64)));
                    drop(Config::from_settings(&variables, &digest).expect(&at));
                }
                // Others are read by other tests, or by the compiler.
                "console" | "hcl" | "mermaid" | "rust" | "rust,ignore" | "text" | "typescript" => {}
                other => panic!("{other} is no known language: {at}"),
            }
        }
    }
}

#[track_caller]
fn assert_parsed_by_bash(text: &str, at: &str) {
    let output = Command::new("bash").args(["-n", "-c", text]).output().unwrap();
    assert!(output.status.success(), "{at}{}", String::from_utf8_lossy(&output.stderr));
}

/// Each row of the threat model names the files that hold it, and tests that show it.
#[test]
fn every_row_of_the_threat_model_names_files_and_tests_that_exist() {
    let page = Page::read("docs/threat-model.md");
    let rows = page.rows();
    assert!(!rows.is_empty());
    for cells in rows {
        let [attacker, _, files, tests] = cells.as_slice() else {
            panic!("a row has an attacker, what stops the attack, files and tests: {cells:?}");
        };
        let (files, tests) = (code_spans(files), code_spans(tests));
        assert!(!files.is_empty() && !tests.is_empty(), "{attacker}: name files and tests");
        for file in files {
            let places = [format!("shared/src/{file}"), file.clone()];
            let exists = places.iter().any(|place| repository_path(place).is_file());
            assert!(exists, "{attacker}: there is no file {file}");
        }
        for test in tests {
            assert!(is_test(&test), "{attacker}: there is no test {test}");
        }
    }
}

/// Reports whether a test exists: `module::function` of `tests/it`, `path/of/file.rs::function`, or
/// a command of `e2e/run`.
fn is_test(test: &str) -> bool {
    let read = |path: &str| std::fs::read_to_string(repository_path(path)).unwrap_or_default();
    if let Some(command) = test.strip_prefix("e2e/run ") {
        return read("e2e/run").contains(&format!("\n{command})\n"));
    }
    let Some((file, name)) = test.split_once("::") else { return false };
    let path = if file.ends_with(".rs") { file.to_owned() } else { format!("tests/it/{file}.rs") };
    // An attribute of a test is on the line before, or above another attribute.
    let definition =
        Regex::new(&format!(r"#\[(tokio::)?test[^\]]*\]\n(#\[[^\n]*\n)*(async )?fn {name}\("))
            .unwrap();
    definition.is_match(&read(&path))
}

/// What pages tell people to install and to run is what the checks install, and what exists.
#[test]
fn the_tools_and_recipes_of_pages_are_those_of_the_repository() {
    let read = |path: &str| std::fs::read_to_string(repository_path(path)).unwrap();
    let (tools, recipes) = (read(".ci/tools.sh"), read("justfile"));
    let pinned = Regex::new(r"[a-z][a-z-]*==[0-9.]+").unwrap();
    let recipe = Regex::new(r"(?m)(?:`|^)just ([a-z][a-z0-9-]*)").unwrap();
    let mut found = (0, 0);
    for page in Page::all() {
        for version in pinned.find_iter(&page.text) {
            assert!(tools.contains(version.as_str()), "{}: {}", page.path, version.as_str());
            found.0 += 1;
        }
        for name in recipe.captures_iter(&page.text) {
            let defined = [":", " *arguments:"].map(|end| format!("\n{}{end}\n", &name[1]));
            let exists = defined.iter().any(|line| recipes.contains(line));
            assert!(exists, "{}: just {}", page.path, &name[1]);
            found.1 += 1;
        }
    }
    assert!(found.0 > 0 && found.1 > 0, "{found:?}");
}

/// Merges that keep the lines of both sides can leave an entry twice.
#[test]
fn the_changelog_says_who_is_affected_and_has_no_line_twice() {
    let changelog = Page::read("CHANGELOG.md");
    let mut seen = BTreeSet::new();
    for line in changelog.text.lines().filter(|line| line.len() > 40) {
        assert!(seen.insert(line), "CHANGELOG.md has this line twice: {line}");
    }
    let security = changelog.section("### Security");
    let affected = Regex::new(r"\b[Aa]ffect(s|ed)\b").unwrap();
    for entry in security.split("\n- ").skip(1) {
        let (_, rest) = entry.split_once(['.', ':']).unwrap();
        assert!(affected.is_match(rest), "say what was wrong, then who is affected: {entry}");
    }
}

/// These commands, or these options of them, exist only on Linux.
#[test]
fn examples_work_on_every_system() {
    let only_on_linux = Regex::new(
        r"(\| *|\$\()(sha256sum|base64 -w|readlink -f|date -d)|%3N|%N\)|sed -i |grep -P|xargs -r",
    )
    .unwrap();
    for page in Page::all() {
        for line in page.text.lines() {
            assert!(!only_on_linux.is_match(line), "{}: {line}", page.path);
        }
    }
}

/// A relative link of a document names a file that exists, and a heading of it.
#[test]
fn links_between_documents_lead_somewhere() {
    let link = Regex::new(r"\]\(([^)#: ]*)(#[^)]*)?\)").unwrap();
    for page in Page::all() {
        let file = repository_path(&page.path);
        for found in link.captures_iter(&page.text) {
            let target = match &found[1] {
                "" => file.clone(),
                path => file.parent().unwrap().join(path),
            };
            assert!(target.exists(), "{}: {}", page.path, &found[0]);
            let Some(anchor) = found.get(2) else { continue };
            let text = std::fs::read_to_string(&target).unwrap();
            let headings = text.lines().filter(|line| line.starts_with('#'));
            let is_there = headings.map(anchor_of).any(|known| known == anchor.as_str()[1..]);
            assert!(is_there, "{}: {}", page.path, &found[0]);
        }
    }
}

/// Returns the anchor that a heading gets on code hosting sites.
fn anchor_of(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}
