//! Reading JSON: strictly what callers and tokens send, leniently what other servers respond.

pub mod lenient;
pub mod unique;

/// Returns `json` without a byte order mark, which some editors and servers write, and which
/// parsers may ignore (RFC 8259 §8.1).
pub fn without_bom(json: &[u8]) -> &[u8] {
    json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json)
}
