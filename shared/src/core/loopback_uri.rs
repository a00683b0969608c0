//! The redirect URIs of tools on the machine of their user (RFC 8252 §7.3).

use super::{redirect_uri::LONGEST, url};

/// Reports whether `text` is a valid redirect URI for a tool on the same machine (RFC 8252 §7.3):
/// `http`, a literal loopback address, a port and a path.
///
/// `localhost` is refused because a resolver may map it to another host, and a query because it
/// could forward the code or be mistaken for it.
pub fn is_loopback_uri(text: &str) -> bool {
    let uri: Option<::http::Uri> = text.parse().ok();
    let is_at_loopback = |uri: ::http::Uri| {
        uri.host().is_some_and(url::is_loopback_address)
            && uri.scheme_str() == Some("http")
            && uri.port_u16().is_some_and(|port| port > 0)
    };
    let is_printable =
        text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\\"<>?".contains(&byte));
    text.len() <= LONGEST
        && is_printable
        && url::is_https_or_local(text)
        && uri.is_some_and(is_at_loopback)
}

#[cfg(test)]
mod tests {
    use super::is_loopback_uri;

    #[test]
    fn a_literal_loopback_address_with_a_port_is_one() {
        for good in
            ["http://127.0.0.1:9876/callback", "http://[::1]:1/", "http://127.0.0.1:65535/a/b"]
        {
            assert!(is_loopback_uri(good), "{good}");
        }
    }

    #[test]
    fn nothing_else_is() {
        let long = format!("http://127.0.0.1:1/{}", "a".repeat(1000));
        for bad in [
            "",
            "/callback",
            "http://127.0.0.1/callback",
            "http://127.0.0.1:0/",
            "http://127.0.0.1:/",
            "http://127.0.0.1:65536/",
            "http://localhost:9876/callback",
            "http://127.0.0.1.evil:9876/",
            "http://127.0.0.1.evil.example:9876/",
            "http://127.0.0.1@evil.example:9876/",
            "http://evil.example@127.0.0.1:9876/",
            "http://user:pass@127.0.0.1:9876/",
            "http://127.1:9876/",
            "http://127.0.0.2:9876/",
            "http://2130706433:9876/",
            "http://0x7f.0.0.1:9876/",
            "http://0.0.0.0:9876/",
            "http://[::]:9876/",
            "http://[::ffff:127.0.0.1]:9876/",
            "https://127.0.0.1:9876/",
            "HTTPS://127.0.0.1:9876/",
            "ftp://127.0.0.1:9876/",
            "javascript:alert(1)//127.0.0.1:1/",
            "myapp://127.0.0.1:9876/",
            "http://127.0.0.1:9876/#fragment",
            "http://127.0.0.1:9876/redirect?to=https://evil.example/",
            "http://127.0.0.1:9876/callback?code=evil",
            "http://127.0.0.1:9876\\@evil.example/",
            "http://127.0.0.1:9876/a b",
            "http://127.0.0.1:9876/\n",
            "//127.0.0.1:9876/",
            &long,
        ] {
            assert!(!is_loopback_uri(bad), "{bad}");
        }
    }
}
