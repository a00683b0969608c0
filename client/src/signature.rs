//! Signed requests: proof that whoever sends a credential made this request, now.

use std::{ops::RangeInclusive, time::UNIX_EPOCH};

use aws_lc_rs::{
    digest::{SHA256, digest},
    hmac,
};
use data_encoding::HEXLOWER;
use http::{HeaderMap, HeaderName, HeaderValue};
use reqwest::Url;
use secrecy::{ExposeSecret as _, SecretString};

use crate::{AccessToken, Context, Error, ErrorCode, Result};

const NONCE_LENGTHS: RangeInclusive<usize> = 16..=128;

/// The headers of a signed request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Signature {
    /// `X-Cli-Signature`.
    pub signature: String,
    /// `X-Cli-Timestamp`.
    pub timestamp: String,
    /// `X-Cli-Nonce`.
    pub nonce: String,
    /// `X-Cli-Content-Sha256`, for APIs behind an authorizer that does not see the body.
    pub content_sha256: String,
}

/// Signs a request: HMAC-SHA256 with the token as key, over
/// `timestamp:nonce:METHOD:target:hash of the body`.
///
/// `target` is the path and query as they are sent, `timestamp_ms` the time in milliseconds since
/// 1970, and `nonce` 16 to 128 letters, digits, hyphens and underscores that are used once.
///
/// # Errors
/// [`ErrorCode::InvalidRequest`] if no server would accept what is signed.
pub fn sign_request(
    token: &SecretString,
    method: &str,
    target: &str,
    body: &[u8],
    timestamp_ms: u64,
    nonce: &str,
) -> Result<Signature> {
    check(token, method, target, nonce)?;
    let method = method.to_ascii_uppercase();
    let content_sha256 = HEXLOWER.encode(digest(&SHA256, body).as_ref());
    let timestamp = timestamp_ms.to_string();
    let signed = format!("{timestamp}:{nonce}:{method}:{target}:{content_sha256}");
    let key = hmac::Key::new(hmac::HMAC_SHA256, token.expose_secret().as_bytes());
    let signature = HEXLOWER.encode(hmac::sign(&key, signed.as_bytes()).as_ref());
    Ok(Signature { signature, timestamp, nonce: nonce.to_owned(), content_sha256 })
}

/// Checks that each part can be told from the others, and can be sent.
fn check(token: &SecretString, method: &str, target: &str, nonce: &str) -> Result<()> {
    let is_method = !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_alphabetic());
    let is_target = target.starts_with('/')
        && target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    let is_nonce = NONCE_LENGTHS.contains(&nonce.len())
        && nonce.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    let message = if token.expose_secret().is_empty() {
        "The token is empty. Sign with the token that the request presents."
    } else if !is_method {
        "The method is not valid. Use letters, such as POST."
    } else if !is_target {
        "The target is not valid. Use the path and the query as they are sent, such as \
         /orders?limit=2."
    } else if !is_nonce {
        "The nonce is not valid. Use 16 to 128 letters, digits, - and _."
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorCode::InvalidRequest, message))
}

/// Signs a request that is sent now, as [`sign_request`] does.
///
/// # Errors
/// As [`sign_request`], and [`ErrorCode::StorageFailed`] if the operating system gives no random
/// bytes.
pub fn sign_request_now(
    context: &Context,
    token: &SecretString,
    method: &str,
    target: &str,
    body: &[u8],
) -> Result<Signature> {
    let now = context.now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    sign_request(token, method, target, body, now_ms, &context.random_text()?)
}

impl Signature {
    /// Returns the names and values of the headers.
    pub fn headers(&self) -> [(&'static str, &str); 4] {
        [
            ("x-cli-signature", &self.signature),
            ("x-cli-timestamp", &self.timestamp),
            ("x-cli-nonce", &self.nonce),
            ("x-cli-content-sha256", &self.content_sha256),
        ]
    }

    /// Sets the headers.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidRequest`] if the nonce has characters that a header cannot have.
    pub fn set_headers(&self, headers: &mut HeaderMap) -> Result<()> {
        for (name, value) in self.headers() {
            let value = HeaderValue::from_str(value).map_err(|_| {
                let message = "The nonce is not valid. Use 16 to 128 letters, digits, - and _.";
                Error::new(ErrorCode::InvalidRequest, message)
            })?;
            headers.insert(HeaderName::from_static(name), value);
        }
        Ok(())
    }
}

/// Signs a request that is about to be sent.
pub(crate) fn sign(
    context: &Context,
    token: &AccessToken,
    request: &mut reqwest::Request,
) -> Result<()> {
    let body = match request.body() {
        None => &[][..],
        Some(body) => body.as_bytes().ok_or_else(|| {
            let message = "A body that is a stream cannot be signed. Read it first.";
            Error::new(ErrorCode::InvalidRequest, message)
        })?,
    };
    let target = target(request.url());
    let method = request.method().as_str();
    let signature = sign_request_now(context, &token.value, method, &target, body)?;
    signature.set_headers(request.headers_mut())
}

/// Returns the path and query of a URL, as they are sent.
fn target(url: &Url) -> String {
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    format!("{}{query}", url.path())
}
