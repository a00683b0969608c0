//! The request that curl sends, which a signature covers.

use std::fs;

use postern_client::reqwest::Url;

use super::{
    arguments::{Argument, is_one_of},
    destination::urls,
};
use crate::failure::Failure;

/// Options after which curl can send another request than the one that is read here, or send it
/// twice.
const NOT_SIGNED: [&str; 11] = [
    "--data-urlencode",
    "--form",
    "--form-string",
    "--get",
    "--location",
    "--path-as-is",
    "--request-target",
    "--retry",
    "--upload-file",
    "--url-query",
    "--variable",
];
/// Options that are read here, but not if they are abbreviated.
const READ: [&str; 5] = ["--data-ascii", "--data-binary", "--data-raw", "--head", "--json"];

/// The request that curl sends.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CurlRequest {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) body: Vec<u8>,
}

/// A part of the body.
struct Data<'a> {
    value: &'a str,
    kind: DataKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DataKind {
    /// A file is sent without its line breaks.
    Text,
    /// Nothing is a file.
    Raw,
    Binary,
    Json,
}

impl CurlRequest {
    /// Returns the request that curl sends, if that is certain.
    pub(super) fn read(arguments: &[Argument]) -> Result<Self, Failure> {
        let (mut method, mut is_head, mut data) = (None, false, Vec::new());
        for argument in arguments {
            let Argument::Option { name, value } = argument else { continue };
            match name.as_str() {
                "--request" => method = Some(value.clone()),
                "--head" => is_head = true,
                name => match DataKind::of(name) {
                    Some(kind) => data.push(Data { value, kind }),
                    None if is_one_of(name, &NOT_SIGNED) || is_one_of(name, &READ) => {
                        let why = format!("with {name}, curl may send another one. Leave it out");
                        return Err(not_signed(&why));
                    }
                    None => {}
                },
            }
        }
        let usual = match data.as_slice() {
            _ if is_head => "HEAD",
            [] => "GET",
            [_, ..] => "POST",
        };
        let method = method.unwrap_or_else(|| usual.to_owned());
        Ok(Self { method, target: target(only_url(arguments)?)?, body: body(&data)? })
    }
}

impl DataKind {
    fn of(option: &str) -> Option<Self> {
        match option {
            "--data" | "--data-ascii" => Some(Self::Text),
            "--data-raw" => Some(Self::Raw),
            "--data-binary" => Some(Self::Binary),
            "--json" => Some(Self::Json),
            _ => None,
        }
    }
}

impl Data<'_> {
    fn bytes(&self) -> Result<Vec<u8>, Failure> {
        let file = self.value.strip_prefix('@').filter(|_| self.kind != DataKind::Raw);
        let Some(file) = file else { return Ok(self.value.as_bytes().to_vec()) };
        if file == "-" {
            return Err(not_signed("standard input can be read once. Write the body to a file"));
        }
        let bytes = fs::read(file)
            .map_err(|error| Failure::failed(format!("{file} cannot be read: {error}.")))?;
        Ok(match self.kind {
            DataKind::Text => {
                bytes.into_iter().filter(|byte| !matches!(byte, b'\r' | b'\n' | 0)).collect()
            }
            DataKind::Raw | DataKind::Binary | DataKind::Json => bytes,
        })
    }
}

fn body(data: &[Data<'_>]) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    for (at, part) in data.iter().enumerate() {
        if at > 0 && part.kind != DataKind::Json {
            body.push(b'&');
        }
        body.extend(part.bytes()?);
    }
    Ok(body)
}

/// Returns the URL, if there is one that begins as URLs do. Other arguments can be the values of
/// options.
fn only_url(arguments: &[Argument]) -> Result<&str, Failure> {
    let is_url = |text: &&str| {
        let lower = text.to_ascii_lowercase();
        lower.starts_with("http:") || lower.starts_with("https:")
    };
    let urls: Vec<_> = urls(arguments).filter(is_url).collect();
    match urls.as_slice() {
        [url] => Ok(url),
        _ => Err(not_signed("it needs one URL, which begins with https:// or http://")),
    }
}

/// Returns the path and query that curl sends, which must be exactly those of the argument.
fn target(url: &str) -> Result<String, Failure> {
    let parsed = Url::parse(url).map_err(|_| not_signed(&format!("{url} is not a valid URL")))?;
    let query = parsed.query().map(|query| format!("?{query}")).unwrap_or_default();
    let target = format!("{}{query}", parsed.path());
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    let at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let written = rest[at..].split('#').next().unwrap_or_default();
    let is_same = written == target || (written.is_empty() && target == "/");
    if !is_same || written.contains(['{', '}', '[', ']']) {
        return Err(not_signed(&format!(
            "curl may send another path than that of {url}. Write it without dot segments, \
             brackets, spaces and other characters that need an escape"
        )));
    }
    Ok(target)
}

fn not_signed(why: &str) -> Failure {
    Failure::usage(format!("This request cannot be signed: {why}."))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::{super::arguments::parse, *};

    fn request(arguments: &[&str]) -> Result<CurlRequest, String> {
        let arguments: Vec<_> = arguments.iter().map(OsString::from).collect();
        CurlRequest::read(&parse(&arguments)).map_err(|failure| failure.message)
    }

    fn expected(method: &str, target: &str, body: &str) -> Result<CurlRequest, String> {
        Ok(CurlRequest { method: method.into(), target: target.into(), body: body.into() })
    }

    #[test]
    fn what_curl_sends_is_read_from_every_form_of_option() {
        let url = "https://api.example.com/a?b=c#d";
        for (arguments, method, body) in [
            (&[url][..], "GET", ""),
            (&["-s", url], "GET", ""),
            (&["-I", url], "HEAD", ""),
            (&["-X", "DELETE", url], "DELETE", ""),
            (&["-sSXPUT", url, "-d", "x"], "PUT", "x"),
            (&["-d", "a=1", "--data-raw", "@b", "--url", url], "POST", "a=1&@b"),
            (&["--json", "{}", url, "-H", "https://not.example"], "POST", "{}"),
            (&["-x", "http://proxy.example", "--referer", "https://other.example", url], "GET", ""),
            (&["--max-time", "5", url], "GET", ""),
        ] {
            assert_eq!(request(arguments), expected(method, "/a?b=c", body), "{arguments:?}");
        }
        assert_eq!(request(&["https://api.example.com"]), expected("GET", "/", ""));
    }

    #[test]
    fn files_are_read_as_curl_sends_them() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("body");
        fs::write(&file, "a\r\nb\n").unwrap();
        let value = format!("@{}", file.display());
        let url = "https://api.example.com/";
        assert_eq!(request(&[url, "-d", &value]), expected("POST", "/", "ab"));
        assert_eq!(request(&[url, "--data-binary", &value]), expected("POST", "/", "a\r\nb\n"));
    }

    #[test]
    fn what_curl_may_send_otherwise_is_not_signed() {
        let url = "https://api.example.com/a";
        for arguments in [
            &["-F", "a=b", url][..],
            &["-G", "-d", "a", url],
            &["-L", url],
            &["-T", "file", url],
            &["--data-url", "a", url],
            &["--retry", "3", url],
            &["--data-bin", "@file", url],
            &["--reques", "PUT", url],
            &["-d", "@-", url],
            &[url, url],
            &["api.example.com/a"],
            &["https://api.example.com/a/../b"],
            &["https://api.example.com/{a,b}"],
            &["https://api.example.com/a b"],
        ] {
            let refused = request(arguments).unwrap_err();
            assert!(refused.starts_with("This request cannot be signed: "), "{arguments:?}");
        }
    }
}
