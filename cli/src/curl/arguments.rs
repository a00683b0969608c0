//! What the arguments of curl make it send, as far as a credential and a signature depend on it.

use std::{ffi::OsString, fs};

use postern_client::reqwest::Url;

use crate::failure::Failure;

/// The short options of curl that have a value.
const SHORT_WITH_VALUE: &str = "AbcCdDeEFhHKmoPQrtTuUwxXyYz";
/// Options whose value is a URL that gets no credential of ours.
const OTHER_URLS: [&str; 8] = [
    "--doh-url",
    "--preproxy",
    "--proxy",
    "--proxy1.0",
    "--referer",
    "--socks4",
    "--socks5",
    "--socks5-hostname",
];
/// Options after which curl sends something else than is read here.
const NOT_SIGNED: [&str; 14] = [
    "--config",
    "--data-urlencode",
    "--form",
    "--form-string",
    "--get",
    "--location",
    "--location-trusted",
    "--next",
    "--path-as-is",
    "--request-target",
    "--upload-file",
    "--url-query",
    "--variable",
    "--expand-data",
];

/// The part of the arguments that matters here.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct CurlArguments {
    urls: Vec<String>,
    method: Option<String>,
    is_head: bool,
    data: Vec<Data>,
    /// An option that a signature cannot be made for.
    unsigned: Option<String>,
}

/// A part of the body.
#[derive(Debug, PartialEq, Eq)]
struct Data {
    value: String,
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

/// The request that curl sends.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CurlRequest {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) body: Vec<u8>,
}

impl CurlArguments {
    pub(super) fn parse(arguments: &[OsString]) -> Result<Self, Failure> {
        let mut parsed = Self::default();
        let mut arguments = arguments.iter().map(|argument| argument.to_string_lossy());
        while let Some(argument) = arguments.next() {
            if let Some(option) = argument.strip_prefix("--") {
                if has_known_value(option) {
                    parsed.take(&argument, &arguments.next().unwrap_or_default());
                } else {
                    parsed.take(&argument, "");
                }
            } else if let Some(letters) = argument.strip_prefix('-').filter(|text| !text.is_empty())
            {
                let Some(at) = letters.find(|letter| SHORT_WITH_VALUE.contains(letter)) else {
                    letters.chars().for_each(|letter| parsed.take(long_name(letter), ""));
                    continue;
                };
                letters[..at].chars().for_each(|letter| parsed.take(long_name(letter), ""));
                let (option, attached) = letters[at..].split_at(1);
                let name = option.chars().next().map_or("", long_name);
                match attached {
                    "" => parsed.take(name, &arguments.next().unwrap_or_default()),
                    value => parsed.take(name, value),
                }
            } else if is_url(&argument) {
                parsed.urls.push(argument.into_owned());
            }
        }
        Ok(parsed)
    }

    fn take(&mut self, option: &str, value: &str) {
        let data = |kind| Data { value: value.to_owned(), kind };
        match option {
            "--url" => self.urls.push(value.to_owned()),
            "--request" => self.method = Some(value.to_owned()),
            "--head" => self.is_head = true,
            "--data" | "--data-ascii" => self.data.push(data(DataKind::Text)),
            "--data-raw" => self.data.push(data(DataKind::Raw)),
            "--data-binary" => self.data.push(data(DataKind::Binary)),
            "--json" => self.data.push(data(DataKind::Json)),
            _ if NOT_SIGNED.contains(&option) => self.unsigned = Some(option.to_owned()),
            _ => {}
        }
    }

    /// Returns the protocols that curl can use: `http` only if this machine is all it is used for.
    pub(super) fn protocols(&self) -> Result<&'static str, Failure> {
        let plain: Vec<_> =
            self.urls.iter().filter(|url| url.to_ascii_lowercase().starts_with("http:")).collect();
        if let Some(url) = plain.iter().find(|url| !is_of_this_machine(url)) {
            return Err(Failure::usage(format!(
                "The token is not sent to {url}, because everybody on the way can read it. Use \
                 https; http is only for this machine."
            )));
        }
        Ok(if plain.is_empty() { "=https" } else { "=http,https" })
    }

    /// Returns the request that curl sends, if that is certain.
    pub(super) fn request(&self) -> Result<CurlRequest, Failure> {
        if let Some(option) = &self.unsigned {
            return Err(not_signed(&format!("{option} changes what curl sends")));
        }
        let [url] = self.urls.as_slice() else {
            return Err(not_signed("it needs one URL, which begins with https:// or http://"));
        };
        let usual = if self.is_head {
            "HEAD"
        } else if self.data.is_empty() {
            "GET"
        } else {
            "POST"
        };
        let method = self.method.clone().unwrap_or_else(|| usual.to_owned());
        Ok(CurlRequest { method, target: target(url)?, body: self.body()? })
    }

    fn body(&self) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        for (at, data) in self.data.iter().enumerate() {
            if at > 0 && data.kind != DataKind::Json {
                body.push(b'&');
            }
            body.extend(data.bytes()?);
        }
        Ok(body)
    }
}

impl Data {
    fn bytes(&self) -> Result<Vec<u8>, Failure> {
        let file = self.value.strip_prefix('@').filter(|_| self.kind != DataKind::Raw);
        let Some(file) = file else { return Ok(self.value.clone().into_bytes()) };
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

fn is_url(argument: &str) -> bool {
    let lower = argument.to_ascii_lowercase();
    lower.starts_with("http://") || lower.starts_with("https://")
}

fn is_of_this_machine(url: &str) -> bool {
    let host = Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned));
    matches!(host.as_deref(), Some("127.0.0.1" | "[::1]" | "localhost"))
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

/// Reports whether a long option has a value that is read here, or that could be taken for a URL.
fn has_known_value(option: &str) -> bool {
    let read = ["url", "request", "data", "data-ascii", "data-raw", "data-binary", "json"];
    let other = OTHER_URLS.iter().filter_map(|name| name.strip_prefix("--"));
    read.into_iter().chain(other).any(|name| name == option)
}

fn long_name(letter: char) -> &'static str {
    match letter {
        'X' => "--request",
        'I' => "--head",
        'd' => "--data",
        'F' => "--form",
        'G' => "--get",
        'K' => "--config",
        'L' => "--location",
        'T' => "--upload-file",
        ':' => "--next",
        _ => "",
    }
}

fn not_signed(why: &str) -> Failure {
    Failure::usage(format!("This request cannot be signed: {why}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> CurlArguments {
        let arguments: Vec<_> = arguments.iter().map(OsString::from).collect();
        CurlArguments::parse(&arguments).unwrap()
    }

    fn request(arguments: &[&str]) -> Result<CurlRequest, String> {
        parse(arguments).request().map_err(|failure| failure.message)
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
            &["-K", "file", url],
            &["--data-urlencode", "a", url],
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

    #[test]
    fn a_token_goes_over_http_only_to_this_machine() {
        for (arguments, protocols) in [
            (&["https://api.example.com/"][..], Some("=https")),
            (&["api.example.com/"], Some("=https")),
            (&["-x", "http://proxy.example", "https://api.example.com/"], Some("=https")),
            (&["http://127.0.0.1:9000/"], Some("=http,https")),
            (&["http://localhost/"], Some("=http,https")),
            (&["http://[::1]:80/"], Some("=http,https")),
            (&["http://api.example.com/"], None),
            (&["-s", "HTTP://api.example.com/"], None),
            (&["--url", "http://api.example.com/"], None),
            (&["http://127.0.0.1/", "http://api.example.com/"], None),
            (&["http://127.0.0.1.example.com/"], None),
            (&["http://127.0.0.1@api.example.com/"], None),
        ] {
            assert_eq!(parse(arguments).protocols().ok(), protocols, "{arguments:?}");
        }
    }
}
