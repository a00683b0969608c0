//! `curl` commands of the documentation, as calls to a world.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{Answer, World};

/// A `curl` command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CurlCommand {
    /// The method.
    pub method: String,
    /// The URL, as it is printed.
    pub url: String,
    headers: Vec<(String, String)>,
    /// Name and password of HTTP Basic.
    user: Option<String>,
    parameters: Vec<String>,
}

impl CurlCommand {
    /// Returns the `curl` commands of a shell block, in order. Commands that are part of a pipe or
    /// of a substitution are found too.
    pub fn find(block: &str) -> Vec<Self> {
        let joined = block.replace("\\\n", " ");
        let words: Vec<Vec<String>> = joined.lines().map(words).collect();
        let commands = words.iter().flat_map(|line| {
            let starts =
                (0..line.len()).filter(|at| matches!(line[*at].as_str(), "curl" | "$(curl"));
            starts.map(|at| &line[at + 1..])
        });
        commands.map(Self::parse).collect()
    }

    fn parse(words: &[String]) -> Self {
        let mut command = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().expect("an option has a value").clone();
            match word.as_str() {
                "-s" => {}
                "-o" | "-w" => drop(value()),
                "-X" => command.method = value(),
                "-d" => command.parameters.push(value()),
                "-u" => command.user = Some(value()),
                "-H" => {
                    let header = value();
                    let (name, value) = header.split_once(": ").expect("a name and a value");
                    command.headers.push((name.to_owned(), value.to_owned()));
                }
                "|" | "#" => break,
                option if option.starts_with('-') => panic!("curl {option} is not understood"),
                url => command.url = url.to_owned(),
            }
        }
        if command.method.is_empty() {
            command.method = if command.parameters.is_empty() { "GET" } else { "POST" }.to_owned();
        }
        command
    }

    /// Returns the path and query.
    pub fn target(&self) -> String {
        let rest = self.url.split_once("://").map_or(self.url.as_str(), |(_, rest)| rest);
        rest.find('/').map_or_else(|| "/".to_owned(), |at| rest[at..].to_owned())
    }

    /// Sends the request. Each of `values` replaces a placeholder, such as `$KEY` or `pst_rt_…`.
    pub async fn send(&self, world: &World, values: &[(&str, &str)]) -> Answer {
        let fill = |text: &str| {
            let text = values
                .iter()
                .fold(text.to_owned(), |text, (name, value)| text.replace(name, value));
            assert!(!text.contains('…') && !text.contains('$'), "nothing replaces {text:?}");
            text
        };
        let mut call = world.call(&self.method, &fill(&self.target()));
        let has_type =
            self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        for (name, value) in &self.headers {
            call = call.header(name, fill(value));
        }
        if let Some(user) = &self.user {
            let basic = format!("Basic {}", STANDARD.encode(fill(user)));
            call = call.header("Authorization", basic);
        }
        if !self.parameters.is_empty() {
            if !has_type {
                call = call.header("Content-Type", "application/x-www-form-urlencoded");
            }
            call = call.raw(fill(&self.parameters.join("&")));
        }
        call.send().await
    }
}

/// Splits a line into words as a shell does. Variables stay as they are.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            ('\'' | '"', None) => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (end, Some(open)) if end == open => quote = None,
            ('\\', Some('"')) if letters.peek().is_some_and(|next| "\"\\$".contains(*next)) => {
                word.get_or_insert_default().extend(letters.next());
            }
            (space, None) if space.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}
