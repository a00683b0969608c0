//! The forms of Postern's secrets: `{brand}_{kind}_…{check}`.
//!
//! The prefix shows people and secret scanners what a string is, and the id identifies its record.
//! With the CRC-32 at the end, a typing error or a made-up string is refused before any read of the
//! store. The checksum proves nothing: the digest of the whole text authenticates.

pub mod imported;
mod mistake;
pub mod opaque;
mod presented_kind;
pub mod refresh_token;
mod session;

pub use mistake::{WRAPPING, mistake, wrong_form};
pub use opaque::{
    AgentSecret, CredentialKind, Minted, OperatorKey, ParsedApiKey, ParsedAuthorizationCode,
    ParsedCliToken, ParsedDeviceCode, ParsedInvitation, RunnerToken, ServiceKey, SignInState,
};
pub use presented_kind::PresentedKind;
pub use refresh_token::RefreshToken;
pub use session::{SESSION_COOKIE, SessionToken};

/// A regular expression that finds every secret of every deployment, for secret scanners. A match
/// is a secret only if its checksum is valid.
pub const PATTERN: &str = concat!(
    r"\b[a-z]{2,8}_(?:",
    r"(?:op|ak|as|ct|rn|sk|ac|dc|iv|st)_[0-7][0-9a-hjkmnp-tv-z]{25}[0-9A-Za-z]{38}",
    r"|rt_[0-9A-Za-z]{2}[0-7][0-9a-hjkmnp-tv-z]{25}[0-9A-Za-z]{56}",
    r")\b"
);

/// The length of the code between brand and body, in characters.
const CODE_LEN: usize = 2;
/// The length of a checksum, in characters.
const CHECK_LEN: usize = 6;

/// The prefix of a deployment's secrets: 2 to 8 letters from a to z.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub struct TokenPrefix(String);

impl Default for TokenPrefix {
    fn default() -> Self {
        Self("pst".into())
    }
}

impl TryFrom<String> for TokenPrefix {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
            .ok_or_else(|| format!("brand is {text:?}; it must be 2 to 8 letters from a to z"))
    }
}

impl TokenPrefix {
    /// Parses a brand; `None` if `text` is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let sound =
            (2..=8).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_lowercase());
        sound.then(|| Self(text.to_owned()))
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Returns the text between `{brand}_{code}_` and the checksum, if the checksum is valid.
fn body<'a>(brand: &TokenPrefix, code: &str, text: &'a str) -> Option<&'a str> {
    let (covered, check) = text
        .is_ascii()
        .then(|| text.split_at_checked(text.len().checked_sub(CHECK_LEN)?))
        .flatten()?;
    let body = covered
        .strip_prefix(brand.as_str())?
        .strip_prefix('_')?
        .strip_prefix(code)?
        .strip_prefix('_')?;
    (check == checksum(covered)).then_some(body)
}

/// Returns every part of `text` that has the prefix, the length and the checksum of a secret,
/// whatever is around it.
pub fn find_all<'a>(brand: &TokenPrefix, text: &'a str) -> impl Iterator<Item = &'a str> {
    let beginning = format!("{}_", brand.as_str());
    let starts: Vec<usize> = text.match_indices(&beginning).map(|(start, _)| start).collect();
    starts.into_iter().filter_map(move |start| {
        let rest = &text[start..];
        let code = rest.get(beginning.len()..beginning.len() + CODE_LEN)?;
        let body_len =
            if code == refresh_token::CODE { refresh_token::BODY_LEN } else { opaque::BODY_LEN };
        let found = rest.get(..beginning.len() + code.len() + 1 + body_len + CHECK_LEN)?;
        let (covered, check) = found.split_at_checked(found.len() - CHECK_LEN)?;
        (found.is_ascii() && check == checksum(covered)).then_some(found)
    })
}

/// Returns `{brand}_{code}_{body}{check}`.
fn compose(brand: &TokenPrefix, code: &str, body: &str) -> String {
    let mut text = format!("{}_{code}_{body}", brand.as_str());
    text.push_str(&checksum(&text));
    text
}

fn checksum(covered: &str) -> String {
    base62_fixed(u128::from(crc32fast::hash(covered.as_bytes())), CHECK_LEN)
}

/// Returns `number` in base62, padded with zeros to `length`.
fn base62_fixed(number: u128, length: usize) -> String {
    format!("{:0>length$}", base62::encode(number))
}

/// Parses a number in base62; `None` if this is not the canonical form of this length.
fn base62_canonical(text: &str) -> Option<u128> {
    let number = base62::decode(text).ok()?;
    (base62_fixed(number, text.len()) == text).then_some(number)
}
