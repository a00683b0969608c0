//! Signed requests: the caller of a key proves that it holds it, and that nobody changed or repeated the request.
//!
//! `X-Cli-Signature` is the lowercase hexadecimal HMAC-SHA256, with the presented token as the key, of
//! `timestamp:nonce:METHOD:target:hash`. The target is what the client sent, path and query; the hash is the SHA-256 of the body. No
//! part but the target can hold a colon, and those before and behind it have fixed forms: the parts cannot shift.
//!
//! 1. The form of all headers, and the window: no I/O.
//! 2. The provider looks up the key.
//! 3. The code.
//! 4. Only then the nonce is spent, by one conditional write: a forged request spends nothing.

use jiff::Timestamp;

use crate::{
    context::Context,
    core::{
        clock::LEEWAY_S,
        entropy::BASE62,
        error::{Error, Refusal},
    },
    crypto::{
        Digest,
        mac::{self, Tag},
    },
    http::CredentialSource,
    store::nonce::Nonce,
};

pub(crate) const SIGNATURE: &str = "x-cli-signature";
const TIMESTAMP: &str = "x-cli-timestamp";
const NONCE: &str = "x-cli-nonce";
/// All headers of a signed request.
pub(super) const HEADERS: [&str; 4] = [SIGNATURE, TIMESTAMP, NONCE, CONTENT];
/// The digest of the body, for where the body is not at hand.
pub(crate) const CONTENT: &str = "x-cli-content-sha256";

/// How long a nonce is kept behind the later of its request's two times, in seconds.
const fn nonce_life_s(window_s: i64) -> i64 {
    2 * window_s + LEEWAY_S
}
// A timestamp passes until the window behind it is over, by a clock that may go wrong by the leeway. An attacker who could outlive
// the nonce would repeat the request in between.
const _: () = assert!(nonce_life_s(1) > 1 + LEEWAY_S && nonce_life_s(3600) > 3600 + LEEWAY_S);

/// A signature whose form and time are right; nothing is known about its truth.
#[derive(Debug)]
pub(super) struct Signature {
    tag: Tag,
    timestamp_ms: i64,
    nonce: String,
    /// What was signed.
    text: String,
}

impl Signature {
    /// Reads the headers; `None` where there are none of them.
    ///
    /// # Errors
    /// [`Refusal::SignatureMalformed`], [`Refusal::SignatureStale`]
    pub(super) fn read(
        context: &Context,
        source: &dyn CredentialSource,
        now: Timestamp,
    ) -> Result<Option<Self>, Refusal> {
        let headers = [SIGNATURE, TIMESTAMP, NONCE].map(|name| source.header(name));
        let [Some(signature), Some(timestamp), Some(nonce)] = headers else {
            let is_unsigned = headers.iter().all(Option::is_none);
            return if is_unsigned { Ok(None) } else { Err(Refusal::SignatureMalformed) };
        };
        let tag = *Digest::from_hex(signature).ok_or(Refusal::SignatureMalformed)?.bytes();
        let timestamp_ms = milliseconds(timestamp).ok_or(Refusal::SignatureMalformed)?;
        let target =
            source.target().filter(|_| is_nonce(nonce)).ok_or(Refusal::SignatureMalformed)?;
        let hash = content(source)?;
        if (now.as_millisecond() - timestamp_ms).abs()
            > context.config.lifetimes.signature_window.as_secs() * 1000
        {
            return Err(Refusal::SignatureStale);
        }
        let text = format!("{timestamp_ms}:{nonce}:{}:{target}:{hash}", source.method());
        Ok(Some(Self { tag, timestamp_ms, nonce: nonce.to_owned(), text }))
    }

    /// Settles whether the holder of `token`, which is the credential `credential_id`, signed this request now.
    ///
    /// # Errors
    /// [`Refusal::SignatureWrong`], [`Refusal::NonceReplayed`], or a store that does not answer.
    pub(super) async fn verify(
        &self,
        context: &Context,
        token: &str,
        credential_id: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        if !mac::verifies_under(token.as_bytes(), self.text.as_bytes(), &self.tag) {
            return Err(Refusal::SignatureWrong.into());
        }
        let attempt = context.entropy.letters(BASE62, 16)?;
        let latest_s = self.timestamp_ms.max(now.as_millisecond()) / 1000 + 1;
        let expires_at_s =
            latest_s + nonce_life_s(context.config.lifetimes.signature_window.as_secs());
        match context
            .store
            .consume_nonce(credential_id, &self.nonce, &attempt, now.as_second(), expires_at_s)
            .await?
        {
            Nonce::Fresh => Ok(()),
            Nonce::Replayed => Err(Refusal::NonceReplayed.into()),
        }
    }
}

/// Settles the signature of a request that presents a key: one that is there must hold, and some keys demand one.
///
/// # Errors
/// As [`Signature::verify`], and [`Refusal::SignatureMissing`].
pub(super) async fn verify_required(
    context: &Context,
    signature: Option<&Signature>,
    is_required: bool,
    token: &str,
    credential_id: &str,
    now: Timestamp,
) -> Result<(), Error> {
    match signature {
        Some(signature) => signature.verify(context, token, credential_id, now).await,
        None if is_required => Err(Refusal::SignatureMissing.into()),
        None => Ok(()),
    }
}

/// Refuses a signature that the provider did not read: nothing but our own keys signs. Whoever signs with something else believes
/// the request protected, and it must not pass as if it were.
///
/// # Errors
/// [`Refusal::SignatureNotSupported`]
pub(super) fn reject_unverified(source: &dyn CredentialSource) -> Result<(), Refusal> {
    let is_signed = [SIGNATURE, TIMESTAMP, NONCE].iter().any(|name| source.header(name).is_some());
    if is_signed { Err(Refusal::SignatureNotSupported) } else { Ok(()) }
}

/// The hash of the body. Where the body is not at hand the client's word is signed and handed on, for whoever has the body to
/// compare; no word means an empty body.
fn content(source: &dyn CredentialSource) -> Result<String, Refusal> {
    let claimed = source
        .header(CONTENT)
        .map(|hex| Digest::from_hex(hex).ok_or(Refusal::SignatureMalformed))
        .transpose()?;
    match (source.body_digest(), claimed) {
        (Some(actual), Some(claimed)) if !actual.matches(&claimed) => Err(Refusal::SignatureWrong),
        (Some(actual), _) => Ok(actual.to_hex()),
        (None, Some(claimed)) => Ok(claimed.to_hex()),
        (None, None) => Ok(Digest::of(b"").to_hex()),
    }
}

/// Unix milliseconds, in the one way to write them.
fn milliseconds(text: &str) -> Option<i64> {
    text.parse::<i64>().ok().filter(|ms| *ms >= 0 && *ms < 1 << 53 && ms.to_string() == text)
}

fn is_nonce(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (16..=128).contains(&text.len()) && text.bytes().all(letter)
}
