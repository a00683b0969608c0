//! Client ids that are URLs (OAuth Client ID Metadata Document, draft 00, §3).

use serde::{Deserialize, Serialize};

use super::{
    network::Destinations,
    url::{self, is_host_name, is_this_machine},
};

/// The longest URL, in bytes. Access tokens contain it.
const LONGEST: usize = 500;

/// The URL of a client's metadata document, which is also the client's id.
///
/// It is compared byte by byte, so a URL that could be written in another way is not one: a host in
/// upper case, the default port, dot segments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClientUrl {
    text: String,
    host: String,
}

impl ClientUrl {
    /// Parses an `https` URL of a named host; also an `http` URL of this machine, if `destinations`
    /// allow it. Addresses are not accepted in place of names.
    pub fn parse(text: &str, destinations: Destinations) -> Option<Self> {
        let (origin, path) = url::split_origin(text);
        let (scheme, authority) = origin.split_once("://")?;
        let default_port = match scheme {
            "https" => 443,
            "http" => 80,
            _ => return None,
        };
        let (host, port) = url::split_port(authority);
        let is_host = if is_this_machine(host) {
            destinations == Destinations::PublicAndLoopback
        } else {
            scheme == "https" && is_host_name(host)
        };
        let is_valid = text.len() <= LONGEST
            && is_host
            && port.is_none_or(|port| is_port(port, default_port))
            && is_path(path);
        is_valid.then(|| Self { text: text.to_owned(), host: host.to_owned() })
    }

    /// Returns the URL as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the host, without the port.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the URL without its query.
    pub fn without_query(&self) -> &str {
        self.text.split('?').next().unwrap_or_default()
    }

    /// Reports whether `destinations` allow it.
    pub fn is_among(&self, destinations: Destinations) -> bool {
        match destinations {
            Destinations::PublicAndLoopback => true,
            Destinations::Public => !self.is_on_this_machine(),
        }
    }

    /// Reports whether the host is this machine.
    pub fn is_on_this_machine(&self) -> bool {
        is_this_machine(&self.host)
    }
}

/// Parses a URL that was stored. Whether it is connected to is decided again when it is.
impl TryFrom<String> for ClientUrl {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text, Destinations::PublicAndLoopback).ok_or("expected the URL of a document")
    }
}

impl From<ClientUrl> for String {
    fn from(url: ClientUrl) -> Self {
        url.text
    }
}

/// Reports whether `text` can be a host of [`ClientUrl`].
pub fn is_host(text: &str) -> bool {
    is_this_machine(text) || is_host_name(text)
}

fn is_port(text: &str, default: u16) -> bool {
    url::port(text).is_some_and(|port| port != default)
}

fn is_path(text: &str) -> bool {
    let path = text.split('?').next().unwrap_or_default();
    let is_dots = |segment: &str| {
        let plain = segment.to_ascii_lowercase().replace("%2e", ".");
        plain == "." || plain == ".."
    };
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/?:=&+%[]".contains(&b);
    let is_escape = |rest: &str| {
        let digits = rest.as_bytes();
        digits.len() >= 2 && digits[..2].iter().all(u8::is_ascii_hexdigit)
    };
    path.starts_with('/')
        && !path.split('/').any(is_dots)
        && text.bytes().all(is_plain)
        && text.split('%').skip(1).all(is_escape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_urls_of_named_hosts_are_client_ids() {
        for (good, host) in [
            ("https://app.example.com/client.json", "app.example.com"),
            ("https://app.example.com/", "app.example.com"),
            ("https://app.example.com:8443/a/b", "app.example.com"),
            ("https://app.example.com/client?v=1", "app.example.com"),
            ("https://app.example.com/a%20b", "app.example.com"),
            ("https://xn--bcher-kva.example/c", "xn--bcher-kva.example"),
        ] {
            let url = ClientUrl::parse(good, Destinations::Public).expect(good);
            assert_eq!((url.as_str(), url.host()), (good, host));
        }
        let long = format!("https://app.example.com/{}", "a".repeat(500));
        for bad in [
            "",
            "app",
            "https://app.example.com",
            "https://app.example.com?v=1",
            "https://app.example.com#/client",
            "https:///client.json",
            "http://app.example.com/client.json",
            "HTTPS://app.example.com/client.json",
            "ftp://app.example.com/client.json",
            "https://APP.example.com/client.json",
            "https://app.example.com./client.json",
            "https://.example.com/client.json",
            "https://app..com/client.json",
            "https://-app.example.com/client.json",
            "https://app_1.example.com/client.json",
            "https://app.example.com:443/client.json",
            "https://app.example.com:0/client.json",
            "https://app.example.com:08443/client.json",
            "https://app.example.com:/client.json",
            "https://app.example.com:99999/client.json",
            "https://user@app.example.com/client.json",
            "https://user:secret@app.example.com/client.json",
            "https://app.example.com/client.json#fragment",
            "https://app.example.com/a/../client.json",
            "https://app.example.com/./client.json",
            "https://app.example.com/a/%2E%2e/client.json",
            "https://app.example.com/a/.%2e",
            "https://app.example.com/a%2",
            "https://app.example.com/a%zz",
            "https://app.example.com/a b",
            "https://app.example.com/a\\b",
            "https://app.example.com\\@evil.example/a",
            "https://app.example.com/\u{e4}",
            "https://localhost/client.json",
            "https://intranet/client.json",
            "https://127.0.0.1/client.json",
            "https://127.1/client.json",
            "https://2130706433/client.json",
            "https://0x7f.0x1/client.json",
            "https://169.254.169.254/latest/meta-data",
            "https://93.184.216.34/client.json",
            "https://[::1]/client.json",
            "https://[fd00:ec2::254]/latest",
            "https://[::ffff:127.0.0.1]/client.json",
            "http://127.0.0.1:9000/client.json",
            &long,
        ] {
            assert_eq!(ClientUrl::parse(bad, Destinations::Public), None, "{bad}");
        }
    }

    #[test]
    fn only_a_deployment_on_this_machine_has_clients_on_it() {
        for (text, is_one) in [
            ("http://127.0.0.1:9000/client.json", true),
            ("http://localhost:9000/client.json", true),
            ("http://[::1]:9000/client.json", true),
            ("https://localhost:9000/client.json", true),
            ("http://[::1]/client.json", true),
            ("https://app.example.com/client.json", true),
            ("http://127.0.0.1:80/client.json", false),
            ("http://127.0.0.2:9000/client.json", false),
            ("http://[::2]:9000/client.json", false),
            ("http://app.example.com/client.json", false),
            ("http://127.0.0.1.example.com/client.json", false),
            ("https://10.0.0.1/client.json", false),
        ] {
            let url = ClientUrl::parse(text, Destinations::PublicAndLoopback);
            assert_eq!(url.is_some(), is_one, "{text}");
        }
    }
}
