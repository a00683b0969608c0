//! The URI that a request was sent to, in a normal form: what a proof of possession names (RFC 9449
//! §4.3).

use http::Uri;
use percent_encoding::percent_decode_str;

/// An `http` or `https` URI without query and fragment, normalized by RFC 3986 §6.2.2 and §6.2.3:
/// scheme and host are in lower case, the default port is left out, and the path is decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestUri {
    origin: String,
    path: String,
}

impl RequestUri {
    /// Parses a URI.
    pub fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let (scheme, default_port) = match uri.scheme_str()?.to_ascii_lowercase().as_str() {
            "https" => ("https", 443),
            "http" => ("http", 80),
            _ => return None,
        };
        let authority = uri.authority()?;
        let host = authority.host().to_ascii_lowercase();
        let port = match authority.as_str().strip_prefix(authority.host())? {
            "" | ":" => None,
            port => Some(port.strip_prefix(':')?.parse::<u16>().ok()?),
        };
        let origin = match port.filter(|port| *port != default_port) {
            None => format!("{scheme}://{host}"),
            Some(port) => format!("{scheme}://{host}:{port}"),
        };
        if has_escaped_separator(uri.path()) {
            return None;
        }
        let path = percent_decode_str(uri.path()).decode_utf8().ok()?;
        let path = if path.is_empty() { "/".to_owned() } else { path.into_owned() };
        Some(Self { origin, path })
    }

    /// Returns the URI of `path`, which is decoded, on the same host.
    pub fn with_path(self, path: &str) -> Self {
        Self { path: path.to_owned(), ..self }
    }

    /// Returns the URI of `path`, which is decoded, below this one. A gateway may have left the
    /// path of this one in it.
    pub fn below(self, path: &str) -> Self {
        let base = self.path.trim_end_matches('/');
        let is_there = path.strip_prefix(base).is_some_and(|rest| rest.starts_with('/'));
        let path = if is_there { path.to_owned() } else { format!("{base}{path}") };
        Self { path, ..self }
    }
}

/// Reports whether decoding would make a separator of what is part of a segment. No request with
/// such a path is answered.
fn has_escaped_separator(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    path.contains("%2f") || path.contains("%5c")
}

#[cfg(test)]
mod tests {
    use super::RequestUri;

    #[test]
    fn spellings_of_one_uri_are_equal() {
        let uri = RequestUri::parse("https://api.example.com/a/b%20c").unwrap();
        for same in [
            "https://api.example.com/a/b%20c?query=1",
            "HTTPS://API.EXAMPLE.COM:443/a/b%20c",
            "https://api.example.com:/a/%62%20c",
        ] {
            assert_eq!(RequestUri::parse(same).as_ref(), Some(&uri), "{same}");
        }
        let root = RequestUri::parse("http://127.0.0.1:80");
        assert_eq!(root, RequestUri::parse("http://127.0.0.1/"));
    }

    #[test]
    fn other_uris_are_not() {
        let uri = RequestUri::parse("https://api.example.com/a/b").unwrap();
        for other in [
            "http://api.example.com/a/b",
            "https://api.example.com:8443/a/b",
            "https://api.example.com.evil.example/a/b",
            "https://api.example.com/a/B",
            "https://api.example.com/a/b/",
            "https://api.example.com/a/./b",
            "https://api.example.com//a/b",
        ] {
            assert_ne!(RequestUri::parse(other).as_ref(), Some(&uri), "{other}");
        }
    }

    #[test]
    fn what_is_no_uri_of_a_request_is_none() {
        for bad in [
            "",
            "/a/b",
            "api.example.com/a/b",
            "//api.example.com/a/b",
            "ftp://api.example.com/a/b",
            "wss://api.example.com/",
            "https://user@api.example.com/a/b",
            "https://api.example.com:99999/a/b",
            "https://api.example.com:x/a/b",
            "https://api.example.com/a b",
            "https://api.example.com/%ff",
            "https://api.example.com/a%2Fb",
            "https://api.example.com/a%5cb",
            " https://api.example.com/a/b",
            "https://api.example.com/a/b ",
        ] {
            assert_eq!(RequestUri::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_path_of_the_issuer_is_added_once() {
        let base = || RequestUri::parse("https://auth.example.com/tenant").unwrap();
        let expected = RequestUri::parse("https://auth.example.com/tenant/v1/auth/token").unwrap();
        assert_eq!(base().below("/v1/auth/token"), expected);
        assert_eq!(base().below("/tenant/v1/auth/token"), expected);
        assert_ne!(base().below("/tenants/v1/auth/token"), expected);
    }
}
