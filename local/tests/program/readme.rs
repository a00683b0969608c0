//! The README's tour works as printed: its commands are run in one shell, and their output is
//! compared.

use std::process::Command;

use regex::Regex;

use super::started::RunningProgram;

const README: &str = include_str!("../../../README.md");

/// The fenced code blocks of a language in a section.
fn blocks(kind: &str) -> Vec<String> {
    let (_, tour) = README.split_once("## The tour").expect("a tour");
    let tour = tour.split("\n## ").next().unwrap();
    let opening = format!("```{kind}\n");
    tour.split(&opening)
        .skip(1)
        .map(|rest| rest.split("\n```").next().unwrap().to_owned())
        .collect()
}

#[test]
fn every_command_of_the_readme_works_as_printed() {
    let data = tempfile::tempdir().unwrap();
    let program = RunningProgram::serve(data.path());
    let (commands, outputs) = (blocks("sh"), blocks("console"));
    assert!(
        commands.len() >= 8 && commands.len() == outputs.len() + 1,
        "{} commands, {} outputs",
        commands.len(),
        outputs.len()
    );

    // The first block sets URL and KEY from the program's output.
    let mut script = commands[0]
        .replace("http://127.0.0.1:9000", &program.text("url"))
        .replace("pst_ak_…", &program.text("api_key"));
    for command in &commands[1..] {
        script.push_str(&format!("\necho; echo '#####'\n{command}\n"));
    }
    let output = Command::new("bash").args(["-euo", "pipefail", "-c", &script]).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let printed: Vec<_> = printed.split("#####\n").skip(1).map(str::trim).collect();
    assert_eq!(
        printed.len(),
        outputs.len(),
        "{printed:?} {}",
        String::from_utf8_lossy(&output.stderr)
    );
    for ((command, printed), expected) in commands[1..].iter().zip(printed).zip(outputs) {
        let pattern = regex::escape(expected.trim()).replace('…', "[^\"]*");
        assert!(
            Regex::new(&format!("^{pattern}$")).unwrap().is_match(printed),
            "{command}\nprinted\n{printed}\nnot\n{expected}"
        );
    }
}
