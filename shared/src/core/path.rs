//! Paths with exactly one interpretation.
//!
//! Gateways, proxies and backends disagree about dot segments, repeated slashes, backslashes and
//! unnecessary escapes. A path that two of them interpret differently could bypass a rule, so such
//! paths are refused everywhere, before anything is matched. Unusual characters are no reason to
//! refuse a path.
//!
//! A REST API and a function URL pass a path on as the client sent it. An HTTP API decodes its
//! escapes first, so that the original form is unknown.

use percent_encoding::percent_decode_str;

/// Reports whether `path`, as a client sent it, has exactly one interpretation.
///
/// It starts with `/` and contains only `/` and characters of RFC 3986 `pchar`. It has no empty or
/// dot segments (one trailing `/` is allowed), and no escape of an unreserved character, a slash, a
/// backslash or a control character. It contains no `;`, after which some servers see parameters,
/// and no `*`, which is a wildcard in IAM.
pub fn is_canonical(path: &str) -> bool {
    has_one_interpretation(path, |segment| {
        // Servers disagree about escapes that are not UTF-8: some read `%C0%AE` as a dot.
        is_encoded_segment(segment.as_bytes())
            && percent_decode_str(segment)
                .decode_utf8()
                .is_ok_and(|decoded| !has_ambiguous_escape(&decoded))
    })
}

/// Reports whether `path`, whose escapes an HTTP API may have decoded, has exactly one
/// interpretation.
///
/// Any character is allowed except those at which backends cut or split a path once more: control
/// characters, a backslash, `?`, `#` and `;`. If a backend decoded the path a second time, it would
/// also have to find nothing else in it, so the escapes that [`is_canonical`] refuses are refused
/// here too.
pub fn is_canonical_when_decoded(path: &str) -> bool {
    has_one_interpretation(path, is_decoded_segment)
}

/// Reports whether the path starts with `/`, and has no segment that is empty or that a backend
/// could read as empty or as a dot segment. One trailing `/` is allowed.
fn has_one_interpretation(path: &str, is_sound: impl Fn(&str) -> bool) -> bool {
    let Some(rest) = path.strip_prefix('/') else { return false };
    let mut segments = rest.split('/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        let is_trailing_slash = segment.is_empty() && is_last;
        // Some servers remove dots and spaces at the end of a segment: `.. ` becomes `..`.
        let is_blank = trimmed(&decoded(segment)).is_empty();
        if (is_blank && !is_trailing_slash) || !is_sound(segment) {
            return false;
        }
    }
    true
}

/// Returns the path as the most lenient backends compare it: without escapes, in lower case, and
/// without spaces and dots at the ends of its segments. Two paths that some server takes for the
/// same resource are equal in this form.
pub fn folded(path: &str) -> String {
    let segments = path.split('/').map(|segment| fold_case(trimmed(&decoded(segment))));
    segments.collect::<Vec<_>>().join("/")
}

fn decoded(segment: &str) -> String {
    percent_decode_str(segment).decode_utf8_lossy().into_owned()
}

/// Removes what servers strip from a segment. A `+` is read as a space by some.
fn trimmed(segment: &str) -> &str {
    let is_space = |c: char| c.is_whitespace() || c == '+';
    segment.trim_start_matches(is_space).trim_end_matches(|c: char| is_space(c) || c == '.')
}

/// Maps characters that are equal in upper or lower case to the same one: also `K` (the Kelvin
/// sign) to `k`, and the Turkish `İ` and `ı` to `i`.
fn fold_case(text: &str) -> String {
    const DOT_ABOVE: char = '\u{307}';
    text.to_uppercase().to_lowercase().replace(DOT_ABOVE, "")
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

fn is_encoded_segment(mut bytes: &[u8]) -> bool {
    loop {
        bytes = match bytes {
            [] => return true,
            [b'%', high, low, rest @ ..] => match escaped(*high, *low) {
                Some(byte) if is_ambiguous_escape(byte) => return false,
                Some(_) => rest,
                None => return false,
            },
            [byte, rest @ ..] if is_unreserved(*byte) || b"!$&'()+,=:@".contains(byte) => rest,
            _ => return false,
        }
    }
}

fn is_decoded_segment(segment: &str) -> bool {
    let is_cut = |c: char| {
        c.is_control() || matches!(c, '\\' | '?' | '#' | ';' | char::REPLACEMENT_CHARACTER)
    };
    !segment.contains(is_cut) && !has_ambiguous_escape(segment)
}

/// Reports whether a decoded segment contains what a second decoding would turn into something
/// else: `%252e` becomes `%2e`, and then a dot.
fn has_ambiguous_escape(decoded: &str) -> bool {
    decoded.as_bytes().windows(3).any(|bytes| match bytes {
        [b'%', high, low] => escaped(*high, *low).is_some_and(is_ambiguous_escape),
        _ => false,
    })
}

/// Reports whether an escape of `byte` is unnecessary, or hides a separator.
fn is_ambiguous_escape(byte: u8) -> bool {
    is_unreserved(byte) || byte.is_ascii_control() || matches!(byte, b'/' | b'\\')
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
    use super::{folded, is_canonical, is_canonical_when_decoded, safe_redirect};

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
        for path in ["/", "/v1/keys", "/v1/keys/", "/a.b/c..d/~e", "/caf%C3%A9", "/a:b@c", "/a%20b"]
        {
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
            "/%20",
            "/a/..%20/b",
            "/a/.../b",
            "/a/+/b",
            "/a/%252e%252e/b",
            "/a/%C0%AE%C0%AE/b",
            "/caf%E9",
        ];
        for path in odd {
            assert!(!is_canonical(path), "{path}");
        }
    }

    #[test]
    fn a_decoded_path_can_contain_unusual_characters() {
        let usual = [
            "/",
            "/v1/keys",
            "/v1/keys/",
            "/a b",
            "/café",
            "/100%",
            "/a+b",
            "/a*b",
            "/{id}",
            "/a\"b",
            "/[x]",
            "/a|b^c`",
            "/a%20b",
            "/caf%C3%A9",
            "/a%b",
            "/日本",
        ];
        for path in usual {
            assert!(is_canonical_when_decoded(path), "{path}");
        }
    }

    #[test]
    fn a_decoded_path_with_two_readings_is_refused() {
        let odd = [
            "",
            "v1",
            "//",
            "/a//b",
            "/./a",
            "/a/..",
            "/a/.. /b",
            "/a/ /b",
            "/a/.../b",
            "/a\\b",
            "/a?b",
            "/a#b",
            "/a;b",
            "/a\tb",
            "/a\u{85}b",
            "/a\u{fffd}",
            "/a/%2e%2e/b",
            "/%61dmin",
            "/a%2Fb",
            "/a%5cb",
            "/a%00",
        ];
        for path in odd {
            assert!(!is_canonical_when_decoded(path), "{path}");
        }
    }

    #[test]
    fn other_spellings_of_a_path_are_equal_when_folded() {
        for other in [
            "/Admin/x",
            "/ADMIN/X",
            "/admin./x",
            "/admin%20/x",
            "/admin /x",
            "/%20admin/x",
            "/admin.. /x",
            "/admin+/x",
            "/adm%C4%B1n/x",
            "/adm\u{130}n/x",
            "/admin\u{a0}/x",
        ] {
            assert_eq!(folded(other), "/admin/x", "{other}");
        }
        assert_eq!(folded("/to\u{212a}en/\u{17f}"), "/token/s");
        for another in ["/admins/x", "/adm/in/x", "/admin/x/", "/.admin/x"] {
            assert_ne!(folded(another), "/admin/x", "{another}");
        }
    }
}
