//! One-time codes for tools on a person's machine (RFC 8252 §7.3, RFC 7636): the browser carries a code to a loopback address, never a
//! token, and only the tool that asked has the verifier which makes the code worth anything.
//!
//! Redemption:
//! 1. The code's form and checksum. No I/O for junk.
//! 2. One consistent read: client, address and verifier must be those of the code. A wrong one spends nothing.
//! 3. One conditional write redeems it, once. Whoever comes later with the same code has it from somewhere: what the first one got ends
//!    (RFC 6749 §4.1.2).
//! 4. The gate, the person's organization, and a family for the tool.

use super::{Tokens, family};
use crate::{
    config::is_sound_url,
    context::Context,
    core::{
        clock::{LEEWAY_S, after},
        error::{Error, Refusal},
        id,
        scope::Scopes,
        secret::Secret,
    },
    credential::{AuthorizationCode, Minted},
    crypto::Digest,
    store::{
        authorization_code::{AuthorizationCodeRecord, Redemption},
        sign_in::Loopback,
    },
    telemetry,
};

/// How long a redeemed code is known again, in seconds.
const REMEMBERED_S: i64 = 24 * 3600;
/// The longest address that is redirected to.
const LONGEST_URI: usize = 1000;

/// Who is sent where, with what.
#[derive(Debug)]
pub struct Redirect<'a> {
    pub loopback: &'a Loopback,
    pub user_id: &'a str,
    pub scopes: Scopes,
}

/// What a tool presents.
#[derive(Debug)]
pub struct CodeRedemption<'a> {
    pub code: &'a Secret,
    pub client_id: &'a str,
    pub redirect_uri: &'a str,
    pub verifier: &'a Secret,
    /// The caller's network address.
    pub address: &'a str,
}

/// A new code.
///
/// # Errors
/// A failure of ours.
pub async fn issue(context: &Context, redirect: Redirect<'_>) -> Result<Secret, Error> {
    let now = context.clock.now();
    let id = id::mint(now, &context.entropy)?;
    let minted =
        Minted::new::<id::AuthorizationCode>(&context.config.brand, &id, &context.entropy)?;
    let valid_until = after(now, context.config.lifetimes.authorization_code.as_secs());
    let record = AuthorizationCodeRecord {
        id,
        digest: minted.digest,
        client_id: redirect.loopback.client_id.clone(),
        redirect_uri: redirect.loopback.redirect_uri.clone(),
        challenge: redirect.loopback.challenge,
        user_id: redirect.user_id.to_owned(),
        scopes: redirect.scopes,
        valid_until_ms: valid_until.as_millisecond(),
        family: None,
        expires_at: valid_until.as_second() + REMEMBERED_S + LEEWAY_S,
    };
    context.store.put_code(&record).await?;
    Ok(minted.secret)
}

/// Tokens for a code.
///
/// # Errors
/// `invalid_grant`, whatever is wrong with it; [`Refusal::UserForbidden`]; a failure of ours.
pub async fn redeem(context: &Context, redemption: &CodeRedemption<'_>) -> Result<Tokens, Error> {
    let code = AuthorizationCode::parse(&context.config.brand, redemption.code.expose())
        .ok_or(Refusal::CodeWrong)?;
    let now = context.clock.now();
    let record = context.store.code(&code).await?.ok_or(Refusal::CodeWrong)?;
    if record.client_id != redemption.client_id || record.redirect_uri != redemption.redirect_uri {
        return Err(Refusal::CodeWrong.into());
    }
    let is_verified = is_verifier(redemption.verifier)
        && record.challenge.matches(&Digest::of(redemption.verifier.expose().as_bytes()));
    if !is_verified {
        return Err(Refusal::CodeVerifierWrong.into());
    }
    let id = family::new_id(context, now)?;
    match context.store.redeem(&record.id, &id, now.as_millisecond()).await? {
        Redemption::Redeemed => {
            let whose = (id, record.user_id.as_str(), redemption.client_id);
            family::begin_for_person(context, whose, &record.scopes, redemption.address, now).await
        }
        Redemption::Replayed(family) => {
            telemetry::code_replayed(&family);
            // Whoever came first may not have got as far as the family yet.
            let until_s = after(now, context.config.lifetimes.refresh_absolute.as_secs())
                .as_second()
                + LEEWAY_S;
            context.store.revoke_before_creation(&family, now.as_millisecond(), until_s).await?;
            Err(Refusal::CodeReplayed.into())
        }
        Redemption::Inactive => Err(Refusal::CodeWrong.into()),
    }
}

/// RFC 7636 §4.1: 43 to 128 unreserved characters.
fn is_verifier(verifier: &Secret) -> bool {
    let text = verifier.expose().as_bytes();
    (43..=128).contains(&text.len())
        && text.iter().all(|byte| crate::core::path::is_unreserved(*byte))
}

/// Is `text` an address at which a tool on the same machine may wait (RFC 8252 §7.3): `http`, a loopback address as a literal, a port and a
/// path? Not `localhost`, which a resolver may send elsewhere; and no query, which could send the code on, or be taken for it.
pub fn is_loopback(text: &str) -> bool {
    let uri: Option<::http::Uri> = text.parse().ok();
    let is_at_loopback = |uri: ::http::Uri| {
        let host = uri.host().is_some_and(|host| matches!(host, "127.0.0.1" | "[::1]"));
        host && uri.scheme_str() == Some("http") && uri.port_u16().is_some_and(|port| port > 0)
    };
    let is_printable =
        text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\\"<>?".contains(&byte));
    text.len() <= LONGEST_URI
        && is_printable
        && is_sound_url(text)
        && uri.is_some_and(is_at_loopback)
}

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn a_literal_loopback_address_with_a_port_is_one() {
        for good in
            ["http://127.0.0.1:9876/callback", "http://[::1]:1/", "http://127.0.0.1:65535/a/b"]
        {
            assert!(is_loopback(good), "{good}");
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
            assert!(!is_loopback(bad), "{bad}");
        }
    }
}
