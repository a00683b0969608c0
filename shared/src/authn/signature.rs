//! Signed requests: the caller proves that it has the key, and that no one changed or repeated the
//! request.
//!
//! `X-Cli-Signature` is the lowercase hexadecimal HMAC-SHA256, with the presented token as the key,
//! of `timestamp:nonce:METHOD:target:hash`. The target is the path and query as the client sent
//! them; the hash is the SHA-256 of the body. Only the target can contain a colon, and the parts
//! before and after it have fixed forms, so no part can be taken for another.
//!
//! 1. Check the form of all headers and the time window, without I/O.
//! 2. The provider looks up the key.
//! 3. Verify the MAC.
//! 4. Only then consume the nonce, with one conditional write: a forged request consumes nothing.

use jiff::Timestamp;

use crate::{
    context::Context,
    core::{
        error::{Error, Refusal},
        id::AttemptId,
        subject::CredentialId,
    },
    crypto::{
        Digest,
        mac::{self, Tag},
    },
    http::CredentialSource,
    store::nonce::{self, Nonce},
};

pub(crate) const SIGNATURE: &str = "x-cli-signature";
pub(super) const TIMESTAMP: &str = "x-cli-timestamp";
const NONCE: &str = "x-cli-nonce";
/// All headers of a signed request.
pub(super) const SIGNATURE_HEADERS: [&str; 4] = [SIGNATURE, TIMESTAMP, NONCE, CONTENT_SHA256];
/// The digest of the body, for callers who verify a request without its body.
pub(crate) const CONTENT_SHA256: &str = "x-cli-content-sha256";

/// A well-formed signature with an acceptable timestamp, not yet verified.
#[derive(Debug)]
pub(super) struct Signature {
    tag: Tag,
    timestamp: Timestamp,
    nonce: String,
    /// The text that was signed.
    text: String,
}

impl Signature {
    /// Parses the headers. Returns `None` if the request has none of them.
    ///
    /// # Errors
    /// [`Refusal::SignatureMalformed`], [`Refusal::SignatureStale`]
    pub(super) fn from_headers(
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
        let timestamp = milliseconds(timestamp).ok_or(Refusal::SignatureMalformed)?;
        let target =
            source.target().filter(|_| is_nonce(nonce)).ok_or(Refusal::SignatureMalformed)?;
        let hash = content(source)?;
        if now.duration_since(timestamp).abs() > context.config.lifetimes.signature_window {
            return Err(Refusal::SignatureStale);
        }
        let text =
            format!("{}:{nonce}:{}:{target}:{hash}", timestamp.as_millisecond(), source.method());
        Ok(Some(Self { tag, timestamp, nonce: nonce.to_owned(), text }))
    }

    /// Verifies the signature with `token`, the credential `credential_id`, and consumes the nonce.
    ///
    /// # Errors
    /// [`Refusal::SignatureWrong`], [`Refusal::NonceReplayed`], or a failure of the store.
    pub(super) async fn verify(
        &self,
        context: &Context,
        token: &str,
        credential_id: &CredentialId,
        now: Timestamp,
    ) -> Result<(), Error> {
        if !mac::verifies_under(token.as_bytes(), self.text.as_bytes(), &self.tag) {
            return Err(Refusal::SignatureWrong.into());
        }
        let attempt = AttemptId::mint(&context.entropy)?;
        let window = context.config.lifetimes.signature_window;
        let expires_at = nonce::kept_until(self.timestamp.max(now), window);
        match context
            .store
            .consume_nonce(credential_id, &self.nonce, &attempt, now, expires_at)
            .await?
        {
            Nonce::Fresh => Ok(()),
            Nonce::Replayed => Err(Refusal::NonceReplayed.into()),
        }
    }
}

/// Verifies the signature of a request, if it has one. Some keys require one.
///
/// # Errors
/// As [`Signature::verify`], and [`Refusal::SignatureMissing`].
pub(super) async fn verify_required(
    context: &Context,
    signature: Option<&Signature>,
    is_required: bool,
    token: &str,
    credential_id: &CredentialId,
    now: Timestamp,
) -> Result<(), Error> {
    match signature {
        Some(signature) => signature.verify(context, token, credential_id, now).await,
        None if is_required => Err(Refusal::SignatureMissing.into()),
        None => Ok(()),
    }
}

/// Refuses a signature that the provider did not verify. Only our own keys sign requests; a client
/// that signs with another credential believes the request protected, so it must not be accepted.
///
/// # Errors
/// [`Refusal::SignatureNotSupported`]
pub(super) fn reject_unverified(source: &dyn CredentialSource) -> Result<(), Refusal> {
    let is_signed = [SIGNATURE, TIMESTAMP, NONCE].iter().any(|name| source.header(name).is_some());
    if is_signed { Err(Refusal::SignatureNotSupported) } else { Ok(()) }
}

/// Returns the hash of the body. Without the body, this is the signed claim of the client, for the
/// API behind us to compare; no claim means an empty body.
fn content(source: &dyn CredentialSource) -> Result<String, Refusal> {
    let claimed = source
        .header(CONTENT_SHA256)
        .map(|hex| Digest::from_hex(hex).ok_or(Refusal::SignatureMalformed))
        .transpose()?;
    match (source.body_digest(), claimed) {
        (Some(actual), Some(claimed)) if !actual.matches(&claimed) => Err(Refusal::SignatureWrong),
        (Some(actual), _) => Ok(actual.to_hex()),
        (None, Some(claimed)) => Ok(claimed.to_hex()),
        (None, None) => Ok(Digest::of(b"").to_hex()),
    }
}

/// Parses Unix milliseconds in canonical form.
fn milliseconds(text: &str) -> Option<Timestamp> {
    let is_canonical = |ms: &i64| (0..1 << 53).contains(ms) && ms.to_string() == text;
    let ms = text.parse().ok().filter(is_canonical)?;
    // A time after the calendar's end is as stale as its end.
    Some(Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX))
}

fn is_nonce(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (16..=128).contains(&text.len()) && text.bytes().all(letter)
}
