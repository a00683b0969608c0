//! Paths with exactly one interpretation.
//!
//! Gateways, proxies and backends disagree about dot segments, repeated slashes, backslashes and
//! unnecessary escapes. A path that two of them interpret differently could bypass a rule, so such
//! paths are refused everywhere, before anything is matched.

/// Reports whether `path` has exactly one interpretation.
///
/// It starts with `/` and contains only `/` and characters of RFC 3986 `pchar`. It has no empty or
/// dot segments (one trailing `/` is allowed), and no escape of an unreserved character, a slash, a
/// backslash or a control character. It contains no `;`, after which some servers see parameters,
/// and no `*`, which is a wildcard in IAM.
pub fn is_canonical(path: &str) -> bool {
    let Some(rest) = path.strip_prefix('/') else { return false };
    let mut segments = rest.split('/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        if (segment.is_empty() && !last)
            || matches!(segment, "." | "..")
            || !is_canonical_segment(segment.as_bytes())
        {
            return false;
        }
    }
    true
}

/// Returns `next` if it is a path on this host, otherwise `/`. A sign-in link must not redirect to
/// another site afterwards (RFC 9700 §4.11.1).
pub fn safe_redirect(next: Option<&str>) -> String {
    let is_ours = |next: &&str| {
        let (path, query) = next.split_once('?').unwrap_or((next, ""));
        is_canonical(path)
            && query.bytes().all(|byte| is_unreserved(byte) || b"&=%+:".contains(&byte))
    };
    next.filter(is_ours).unwrap_or("/").to_owned()
}

fn is_canonical_segment(mut bytes: &[u8]) -> bool {
    loop {
        bytes = match bytes {
            [] => return true,
            [b'%', high, low, rest @ ..] => match escaped(*high, *low) {
                Some(byte)
                    if is_unreserved(byte)
                        || byte.is_ascii_control()
                        || matches!(byte, b'/' | b'\\') =>
                {
                    return false;
                }
                Some(_) => rest,
                None => return false,
            },
            [byte, rest @ ..] if is_unreserved(*byte) || b"!$&'()+,=:@".contains(byte) => rest,
            _ => return false,
        }
    }
}

fn escaped(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(high)? * 16 + digit(low)?)
}

/// Reports whether `byte` is an unreserved character (RFC 3986 §2.3).
pub fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::{is_canonical, safe_redirect};

    #[test]
    fn a_page_is_on_this_host() {
        for ours in ["/", "/keys", "/device?user_code=BCDF-GHJK", "/keys?cursor=key_1&limit=2"] {
            assert_eq!(safe_redirect(Some(ours)), ours);
        }
        let elsewhere = [
            "",
            "keys",
            "//evil.example",
            "https://evil.example",
            "/\\evil.example",
            "/%5cevil",
            "/a?b=//c",
            "/a#b",
            "/\n/a",
            "/\t//a",
        ];
        for elsewhere in elsewhere {
            assert_eq!(safe_redirect(Some(elsewhere)), "/", "{elsewhere}");
        }
        assert_eq!(safe_redirect(None), "/");
    }

    #[test]
    fn ordinary_paths_are_plain() {
        for path in ["/", "/v1/keys", "/v1/keys/", "/a.b/c..d/~e", "/caf%C3%A9", "/a:b@c", "/%20"] {
            assert!(is_canonical(path), "{path}");
        }
    }

    #[test]
    fn paths_with_two_readings_are_not() {
        let odd = [
            "",
            "v1",
            "*",
            "//",
            "/a//b",
            "/./a",
            "/a/..",
            "/a/../b",
            "/a/%2e%2e/b",
            "/a/%2E/b",
            "/a\\b",
            "/a%5cb",
            "/a%2fb",
            "/a%2Fb",
            "/%61dmin",
            "/a%00",
            "/a%7f",
            "/a\u{7f}",
            "/a b",
            "/a\tb",
            "/%",
            "/%4",
            "/%zz",
            "/é",
            "/a?b",
            "/a#b",
            "/{id}",
            "/a;b=c",
            "/a/*",
        ];
        for path in odd {
            assert!(!is_canonical(path), "{path}");
        }
    }
}
