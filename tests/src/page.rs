//! Pages of the documentation, as tests compare them with the code.

use std::path::{Path, PathBuf};

/// A Markdown page of the repository.
#[derive(Clone, Debug)]
pub struct Page {
    /// Its path from the root of the repository.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// Returns the path of a file of the repository.
pub fn repository_path(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

impl Page {
    /// Reads a page.
    pub fn read(path: &str) -> Self {
        let text = std::fs::read_to_string(repository_path(path))
            .unwrap_or_else(|error| panic!("{path}: {error}"));
        Self { path: path.to_owned(), text }
    }

    /// Reads the README and every page of `docs`, except for the decisions.
    pub fn all() -> Vec<Self> {
        let entries = std::fs::read_dir(repository_path("docs")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut paths: Vec<_> =
            names.filter(|name| name.ends_with(".md")).map(|name| format!("docs/{name}")).collect();
        paths.extend(["CONTRIBUTING.md".to_owned(), "README.md".to_owned()]);
        paths.sort();
        paths.iter().map(|path| Self::read(path)).collect()
    }

    /// Returns the text below a heading, up to the next heading of the same or a higher level.
    #[track_caller]
    pub fn section(&self, heading: &str) -> String {
        let level = heading.split(' ').next().unwrap().len();
        let mut lines = self.text.lines().skip_while(|line| *line != heading);
        assert!(lines.next().is_some(), "{} has no {heading:?}", self.path);
        let mut is_code = false;
        let is_in = |line: &&str| {
            is_code ^= line.trim_start().starts_with("```");
            let marks = line.len() - line.trim_start_matches('#').len();
            is_code || marks == 0 || marks > level || !line[marks..].starts_with(' ')
        };
        lines.take_while(is_in).map(|line| format!("{line}\n")).collect()
    }

    /// Returns the fenced blocks: the language, or nothing, and the text.
    pub fn blocks(&self) -> Vec<(String, String)> {
        let mut blocks = Vec::new();
        let mut open: Option<(String, String)> = None;
        for line in self.text.lines() {
            open = match (line.trim_start().strip_prefix("```"), open) {
                (Some(language), None) => Some((language.to_owned(), String::new())),
                (Some(_), Some(block)) => {
                    blocks.push(block);
                    None
                }
                (None, Some((language, text))) => Some((language, format!("{text}{line}\n"))),
                (None, None) => None,
            };
        }
        blocks
    }

    /// Returns the fenced blocks of a language.
    pub fn blocks_of(&self, language: &str) -> Vec<String> {
        let blocks = self.blocks().into_iter();
        blocks.filter(|(kind, _)| kind == language).map(|(_, text)| text).collect()
    }

    /// Returns the rows of all tables, without their headers.
    pub fn rows(&self) -> Vec<Vec<String>> {
        rows(&self.text)
    }
}

/// Returns the rows of all tables of a text, without their headers.
pub fn rows(text: &str) -> Vec<Vec<String>> {
    let lines: Vec<_> = text.lines().collect();
    let is_rule = |line: &str| line.starts_with("|--");
    let is_row = |at: &usize| {
        let next_is_rule = lines.get(at + 1).is_some_and(|next| is_rule(next));
        lines[*at].starts_with('|') && !is_rule(lines[*at]) && !next_is_rule
    };
    let cells = |line: &str| -> Vec<String> {
        let inner = line.trim_matches('|').replace("\\|", "\u{1}");
        inner.split('|').map(|cell| cell.trim().replace('\u{1}', "|")).collect()
    };
    (0..lines.len()).filter(is_row).map(|at| cells(lines[at])).collect()
}

/// Returns the parts of a text that are in backticks.
pub fn code_spans(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}
