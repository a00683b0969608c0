//! The examples of docs/cli.md, run in a shell, and the commands that all pages name.

use std::path::Path;

use tests::page::Page;
use tokio::process::Command;

use crate::deployment::{Deployment, Machine, PROGRAM};

const PAGE: &str = "docs/cli.md";

/// Returns text without the widths of columns.
fn without_widths(text: &str) -> String {
    let lines = text
        .trim()
        .lines()
        .map(|line| line.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" "));
    lines.collect::<Vec<_>>().join("\n")
}

/// Reports whether a text is as printed: `…` stands for any text of a line.
fn fits(printed: &str, text: &str) -> bool {
    let parts: Vec<_> = printed.split('…').collect();
    let mut rest = text;
    for (at, part) in parts.iter().enumerate() {
        let Some(found) = rest.find(part) else { return false };
        let is_line = !rest[..found].contains('\n');
        if (at == 0 && found > 0) || !is_line {
            return false;
        }
        rest = &rest[found + part.len()..];
    }
    rest.is_empty() || (parts.last() == Some(&"") && !rest.contains('\n'))
}

#[tokio::test]
async fn every_example_works_as_printed() {
    let deployment = Deployment::start().await;
    deployment.world.advance_s(1); // the newest key is not that of the organization
    let page = Page::read(PAGE);
    let (commands, outputs) = (page.blocks_of("sh"), page.blocks_of("console"));
    assert!(outputs.len() >= 6 && commands.len() == outputs.len() + 1, "{}", commands.len());
    let mut script = commands[0]
        .replace("http://127.0.0.1:9000", &deployment.machine.url)
        .replace("pst_ak_…", &deployment.world.api_key);
    for command in &commands[1..] {
        script.push_str(&format!("\necho '#####'\n{command}\n"));
    }
    let folder = Path::new(PROGRAM).parent().unwrap().display().to_string();
    let mut command = Command::new("bash");
    command.args(["-euo", "pipefail", "-c", &script]).env_clear();
    command.envs(deployment.machine.environment());
    command.env("PATH", format!("{folder}:/usr/local/bin:/usr/bin:/bin"));
    let outcome = deployment.machine.outcome(command, "").await;
    assert_eq!(outcome.exit_code, 0, "{outcome:?}");
    let printed: Vec<_> = outcome.stdout.split("#####\n").skip(1).map(without_widths).collect();
    assert_eq!(printed.len(), outputs.len(), "{outcome:?}");
    for ((command, printed), expected) in commands[1..].iter().zip(printed).zip(outputs) {
        let expected = without_widths(&expected);
        assert!(fits(&expected, &printed), "{command}\nprinted\n{printed}\nnot\n{expected}");
    }
}

/// After the options are parsed, `--help` ends the program.
#[tokio::test]
async fn the_program_has_the_commands_that_its_page_names() {
    let machine = Machine::new("http://127.0.0.1:1".into());
    let mut count = 0;
    for line in Page::read(PAGE).text.lines() {
        for part in line.split('`').filter_map(|part| part.strip_prefix("postern ")) {
            let is_name = |word: &&str| {
                let is_letter = |c: char| c.is_ascii_lowercase() || c == '-';
                !word.starts_with('-') && word.chars().all(is_letter)
            };
            let words: Vec<_> = part.split(' ').take_while(is_name).collect();
            let is_passed_on = matches!(words.first(), Some(&("config" | "trust" | "help")));
            let arguments = if is_passed_on {
                vec!["help", words[0]]
            } else {
                [&words[..], &["--help"]].concat()
            };
            let outcome = machine.run(&arguments).await;
            assert_eq!(outcome.exit_code, 0, "{line} {outcome:?}");
            count += 1;
        }
    }
    assert!(count >= 15, "{count} commands");
}

#[tokio::test]
async fn the_page_names_every_command() {
    let machine = Machine::new("http://127.0.0.1:1".into());
    let help = machine.run(&["--help"]).await.result();
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let text = Page::read(PAGE).text;
    let names = commands.lines().take_while(|line| !line.is_empty());
    let names: Vec<_> =
        names.filter(|line| line.starts_with("  ") && !line.starts_with("   ")).collect();
    assert!(names.len() >= 15, "{names:?}");
    for name in names.iter().map(|line| line.split_whitespace().next().unwrap()) {
        let is_named =
            text.contains(&format!("postern {name}")) || text.contains(&format!("`{name}`"));
        assert!(is_named, "{name}");
    }
}

#[test]
fn an_ellipsis_stands_for_text_of_one_line() {
    for (printed, text, is_same) in [
        ("a", "a", true),
        ("a…", "abc", true),
        ("a…c", "abc", true),
        ("…c", "abc", true),
        ("a…c", "a\nc", false),
        ("a…", "a\nb", false),
        ("b", "ab", false),
        ("a", "ab", false),
    ] {
        assert_eq!(fits(printed, text), is_same, "{printed:?} {text:?}");
    }
}
