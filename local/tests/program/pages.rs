//! The examples of the documents work as printed: their commands are run in one shell, and their
//! output is compared.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use regex::Regex;

use super::started::RunningProgram;

const README: &str = include_str!("../../../README.md");
const USING_THE_API: &str = include_str!("../../../docs/using-the-api.md");

/// The fenced code blocks of a language.
fn blocks(page: &str, kind: &str) -> Vec<String> {
    let opening = format!("```{kind}\n");
    page.split(&opening)
        .skip(1)
        .map(|rest| rest.split("\n```").next().unwrap().to_owned())
        .collect()
}

/// Runs the commands of a page in a shell, and compares what each block prints. The first block
/// sets `URL` and `KEY`.
fn run(page: &str, shell: &[&str], least: usize) {
    let data = tempfile::tempdir().unwrap();
    let program = RunningProgram::serve(data.path());
    let (commands, outputs) = (blocks(page, "sh"), blocks(page, "console"));
    assert!(
        commands.len() >= least && commands.len() == outputs.len() + 1,
        "{} commands, {} outputs",
        commands.len(),
        outputs.len()
    );

    let mut script = commands[0]
        .replace("http://127.0.0.1:9000", &program.text("url"))
        .replace("pst_ak_…", &program.text("api_key"));
    for command in &commands[1..] {
        script.push_str(&format!("\necho; echo '#####'\n{command}\n"));
    }
    let output = Command::new(shell[0]).args(&shell[1..]).args(["-c", &script]).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let printed = String::from_utf8(output.stdout).unwrap();
    let printed: Vec<_> = printed.split("#####\n").skip(1).map(str::trim).collect();
    assert_eq!(printed.len(), outputs.len(), "{printed:?} {errors}");
    for ((command, printed), expected) in commands[1..].iter().zip(printed).zip(outputs) {
        let pattern = regex::escape(expected.trim()).replace('…', "[^\"]*");
        assert!(
            Regex::new(&format!("^{pattern}$")).unwrap().is_match(printed),
            "{command}\nprinted\n{printed}\nnot\n{expected}"
        );
    }
}

#[test]
fn every_command_of_the_readme_works_as_printed() {
    let (_, tour) = README.split_once("## The tour").expect("a tour");
    run(tour.split("\n## ").next().unwrap(), &["bash", "-euo", "pipefail"], 8);
}

#[test]
fn every_command_of_the_page_about_the_api_works_as_printed() {
    run(USING_THE_API, &["sh", "-eu"], 7);
}

/// The options that pages give the program exist, and their values are valid.
#[test]
fn the_program_accepts_the_options_that_pages_give_it() {
    let command = Regex::new(r"(?:cargo run -p local --|\./postern-local) ([^`#>\n]+)").unwrap();
    let mut found = 0;
    for file in pages() {
        for given in command.captures_iter(&std::fs::read_to_string(&file).unwrap()) {
            // After the options are parsed, `--help` ends the program.
            let arguments = given[1].split_whitespace().chain(["--help"]);
            let output = Command::new(super::PROGRAM).args(arguments).output().unwrap();
            assert!(output.status.success(), "{}: {}", file.display(), &given[0]);
            found += 1;
        }
    }
    assert!(found >= 10, "{found} commands");
}

/// Returns the pages for newcomers and contributors, and those of `docs`.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let docs = std::fs::read_dir(root.join("docs")).unwrap().map(|file| file.unwrap().path());
    let docs = docs.filter(|file| file.extension().is_some_and(|kind| kind == "md"));
    docs.chain(["README.md", "CONTRIBUTING.md"].map(|name| root.join(name))).collect()
}
