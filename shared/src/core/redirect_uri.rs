//! Redirect URIs of clients (RFC 6749 §3.1.2, RFC 8252 §7, RFC 9700 §4.1).

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::core::{text, url};

/// The longest redirect URI, in bytes.
pub(super) const LONGEST: usize = 1000;

/// A redirect URI that a client has registered: `https`, or `http` at a loopback address or
/// `localhost`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RedirectUri(String);

impl RedirectUri {
    /// Returns the URI as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reports whether a client that registered this URI can be redirected to `presented`: the same
    /// text, except for the port of a loopback address or of `localhost` (RFC 8252 §7.3), which the
    /// client does not know in advance.
    pub fn allows(&self, presented: &Self) -> bool {
        self == presented || (self.is_http() && self.without_port() == presented.without_port())
    }

    /// Reports whether its scheme is `http`, which only a host of this machine can have.
    fn is_http(&self) -> bool {
        self.0.starts_with("http://")
    }

    /// Reports whether it leads to the machine of the browser, where any program can listen.
    pub fn is_on_this_machine(&self) -> bool {
        self.is_http() || url::leads_to_this_machine(self.host())
    }

    /// Returns scheme, host and port.
    fn origin(&self) -> &str {
        url::split_origin(&self.0).0
    }

    /// Returns what a Content Security Policy calls the origin. It has no form for an IPv6 address
    /// (CSP 3 §2.3.1), so the scheme stands for one.
    pub fn policy_source(&self) -> &str {
        match self.origin() {
            origin if !origin.contains('[') => origin,
            _ if self.is_http() => "http:",
            _ => "https:",
        }
    }

    /// Returns the host, for people.
    pub fn host(&self) -> &str {
        let host = url::split_port(self.origin()).0;
        host.split_once("//").map_or("", |(_, host)| host)
    }

    fn without_port(&self) -> String {
        let (origin, rest) = url::split_origin(&self.0);
        format!("{}{rest}", url::split_port(origin).0)
    }

    /// Returns the URI with `parameters` added to its query.
    pub fn with_parameters(&self, parameters: &[(&str, &str)]) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(parameters);
        let separator = if self.0.contains('?') { '&' } else { '?' };
        format!("{}{separator}{}", self.0, query.finish())
    }
}

impl TryFrom<String> for RedirectUri {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const EXPECTED: &str = "expected an https URL, or an http URL of a loopback address or localhost, with its host in lower case and without a fragment";
        let is_plain =
            text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\\"<>#@;,'*".contains(&byte));
        let is_valid = is_plain && text.len() <= LONGEST && text.parse::<::http::Uri>().is_ok();
        if is_valid && has_known_place(&text) { Ok(Self(text)) } else { Err(EXPECTED) }
    }
}

/// Reports whether the host and port of a URI are those that every browser reads in it, and its
/// scheme is one that the host can have.
fn has_known_place(text: &str) -> bool {
    let (origin, path) = url::split_origin(text);
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let (host, port) = url::split_port(authority);
    let is_host = match scheme {
        "https" => is_host(host),
        "http" => url::is_this_machine(host),
        _ => false,
    };
    is_host && path.starts_with('/') && port.is_none_or(|port| url::port(port).is_some())
}

/// Reports whether a host is a name that can be resolved, or an address as it is usually written.
/// Browsers read many other texts as addresses, such as `2130706433` and `0x7f.1` as `127.0.0.1`.
fn is_host(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(text) => text
            .parse::<Ipv6Addr>()
            .is_ok_and(|address| address.to_ipv4_mapped().is_none() && address.to_string() == text),
        None => {
            let is_name = url::is_name(host) && text::domain(host).is_some();
            is_name || host.parse::<Ipv4Addr>().is_ok()
        }
    }
}

impl From<RedirectUri> for String {
    fn from(uri: RedirectUri) -> Self {
        uri.0
    }
}

#[cfg(test)]
mod tests {
    use super::RedirectUri;

    fn uri(text: &str) -> RedirectUri {
        RedirectUri::try_from(text.to_owned()).unwrap()
    }

    #[test]
    fn only_https_and_this_machine_are_redirect_uris() {
        for good in [
            "https://app.example.com/callback",
            "https://app.example.com:8443/callback?tenant=a",
            "http://127.0.0.1/callback",
            "http://127.0.0.1:9876/",
            "http://[::1]:1/x",
            "http://localhost/callback",
            "https://192.0.2.1/callback",
            "https://[2001:db8::1]:8443/callback",
            "https://intranet/callback",
            "https://xn--bcher-kva.example/callback",
        ] {
            assert!(RedirectUri::try_from(good.to_owned()).is_ok(), "{good}");
        }
        let long = format!("https://app.example.com/{}", "a".repeat(1000));
        for bad in [
            "",
            "/callback",
            "https://app.example.com",
            "http://app.example.com/callback",
            "http://127.0.0.2/callback",
            "http://127.0.0.1.example.com/callback",
            "http://localhost.example.com/callback",
            "http://0.0.0.0/callback",
            "http://127.1/callback",
            "http://127.0.0.1:0/callback",
            "http://127.0.0.1:/callback",
            "https://user@app.example.com/callback",
            "https://app.example.com@evil.example/callback",
            "https://app.example.com/callback#fragment",
            "https://app.example.com/call back",
            "https://app.example.com/\u{e4}",
            "https://app.example.com/;x",
            "HTTPS://app.example.com/callback",
            "myapp://callback/x",
            "javascript:alert(1)//x/y",
            "data:text/html,x//y/",
            "https:///callback",
            // Browsers read these as 127.0.0.1.
            "https://2130706433/callback",
            "https://0x7f.1/callback",
            "https://0x7f000001/callback",
            "https://127.1/callback",
            "https://0177.0.0.1/callback",
            "https://[::ffff:127.0.0.1]/callback",
            // They write these otherwise than they are written here, or cannot open them.
            "https://APP.example.com/callback",
            "https://app.example.com./callback",
            "https://[2001:DB8::1]/callback",
            "https://[2001:db8:0::1]/callback",
            "https://%61pp.example.com/callback",
            "https://a_b.example/callback",
            "https://a..example/callback",
            "https://xn--a/callback",
            "https://256.1.1.1/callback",
            "https://1.1.1.1.1/callback",
            "https://[]/callback",
            "https://[v1.a]/callback",
            "https://[::1]a/callback",
            "https://[fe80::1%25eth0]/callback",
            "https://app.example.com:65536/callback",
            "https://app.example.com:08443/callback",
            "https://app.example.com:+1/callback",
            "https://app.example.com:1:2/callback",
            "https://app.example.com?x=/a/b",
            &long,
        ] {
            assert!(RedirectUri::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_the_port_on_this_machine_is_free() {
        for (registered, presented, is_allowed) in [
            ("https://a.example/cb", "https://a.example/cb", true),
            ("https://a.example/cb", "https://a.example:443/cb", false),
            ("https://a.example/cb", "https://a.example/cb/", false),
            ("https://a.example/cb", "https://a.example/cb?x=1", false),
            ("https://a.example/cb", "https://a.example/cbx", false),
            ("http://127.0.0.1/cb", "http://127.0.0.1:9876/cb", true),
            ("http://127.0.0.1:1/cb", "http://127.0.0.1:2/cb", true),
            ("http://127.0.0.1:1/cb", "http://127.0.0.1/cb", true),
            ("http://[::1]/cb", "http://[::1]:9876/cb", true),
            ("http://localhost/cb", "http://localhost:3118/cb", true),
            ("http://localhost/cb", "http://127.0.0.1:3118/cb", false),
            ("http://127.0.0.1/cb", "http://[::1]/cb", false),
            ("http://127.0.0.1/cb", "http://localhost/cb", false),
            ("http://127.0.0.1/cb", "http://127.0.0.1:9876/cb2", false),
            ("http://127.0.0.1/cb?a=1", "http://127.0.0.1:9876/cb", false),
            ("http://127.0.0.1/cb", "https://127.0.0.1/cb", false),
        ] {
            assert_eq!(uri(registered).allows(&uri(presented)), is_allowed, "{presented}");
        }
    }

    #[test]
    fn a_policy_has_a_source_for_every_uri() {
        for (text, source) in [
            ("https://a.example:8443/cb?x=/y", "https://a.example:8443"),
            ("http://127.0.0.1:9876/cb", "http://127.0.0.1:9876"),
            ("http://[::1]:9876/cb", "http:"),
            ("https://[2001:db8::1]/cb", "https:"),
        ] {
            assert_eq!(uri(text).policy_source(), source);
        }
    }

    #[test]
    fn origin_and_host_are_those_of_the_uri() {
        for (text, origin, host) in [
            ("https://a.example/cb?x=/y", "https://a.example", "a.example"),
            ("https://a.example:8443/cb", "https://a.example:8443", "a.example"),
            ("http://[::1]:1/cb", "http://[::1]:1", "[::1]"),
            ("http://[::1]/cb", "http://[::1]", "[::1]"),
            ("http://localhost/cb", "http://localhost", "localhost"),
        ] {
            assert_eq!((uri(text).origin(), uri(text).host()), (origin, host));
        }
    }

    #[test]
    fn the_machine_of_the_browser_is_known_by_every_name() {
        for on_this_machine in [
            "http://127.0.0.1/cb",
            "https://localhost/cb",
            "https://localhost:8443/cb",
            "https://app.localhost/cb",
            "https://127.0.0.1/cb",
            "https://127.1.2.3/cb",
            "https://[::1]/cb",
            "https://0.0.0.0/cb",
            "https://[::]:8443/cb",
        ] {
            assert!(uri(on_this_machine).is_on_this_machine(), "{on_this_machine}");
        }
        for elsewhere in
            ["https://a.example/cb", "https://localhost.example/cb", "https://192.0.2.1/cb"]
        {
            assert!(!uri(elsewhere).is_on_this_machine(), "{elsewhere}");
        }
    }

    #[test]
    fn parameters_are_added_to_the_query() {
        let code = [("code", "a b"), ("state", "x&y")];
        assert_eq!(
            uri("https://a.example/").with_parameters(&code),
            "https://a.example/?code=a+b&state=x%26y"
        );
        assert_eq!(
            uri("https://a.example/?t=1").with_parameters(&code[..1]),
            "https://a.example/?t=1&code=a+b"
        );
    }
}
