//! One-time codes for clients of users (RFC 6749 §4.1, RFC 7636, RFC 8252 §7.3).
//!
//! The browser carries a code, never a token, to the client. The code is worthless without the
//! verifier, which only the client has.
//!
//! Redemption:
//! 1. Check the code's form and checksum, without I/O.
//! 2. Read the code consistently. Client, redirect URI, verifier and key must match, and a client
//!    with keys authenticates; otherwise, the code is not consumed.
//! 3. Check the allowed users and the user's organization, and make the tokens.
//! 4. Redeem the code and create a family for the tool, in one transaction: a failure of ours
//!    leaves a code that can be redeemed.
//!
//! A second redemption means that the code leaked, so the tokens of the first one are revoked (RFC
//! 6749 §4.1.2). The exception is a tool that repeats its request because the store failed: as long
//! as the tokens have not been used, it gets them again.

use super::{
    Tokens, client,
    client_assertion::ClientAssertion,
    family::{self, GrantBasis, NewUserFamily},
    not_a_code,
    presenter::Presenter,
};
use crate::{
    config::ConfiguredAudience,
    context::Context,
    core::{
        audience::Audience,
        clock::{LEEWAY, after},
        epoch::Epoch,
        error::{Error, Fault, Refusal},
        event::CodeReplayedData,
        id::{self, ClientId, ConsentId, FamilyId},
        scope::Scopes,
        secret::Secret,
        subject::Subject,
    },
    credential::{Minted, ParsedAuthorizationCode},
    crypto::{Digest, thumbprint::KeyThumbprint},
    store::{authorization_code::AuthorizationCodeRecord, redemption::Redemption},
    telemetry,
};
use jiff::{SignedDuration, Timestamp};

/// How long a redeemed code is kept to detect replays.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(24);

/// What a code is issued for.
#[derive(Debug)]
pub struct NewAuthorizationCode<'a> {
    /// The client.
    pub client_id: &'a ClientId,
    /// Where the code is sent.
    pub redirect_uri: &'a str,
    /// Whether the authorization request left the redirect URI out.
    pub is_redirect_uri_implied: bool,
    /// The PKCE challenge, by S256.
    pub challenge: Digest,
    /// The key that the code is bound to, if the client named one.
    pub jkt: Option<KeyThumbprint>,
    /// The user.
    pub user_id: &'a Subject,
    /// The API that the tokens are for.
    pub audience: Audience,
    /// The scopes that the client gets.
    pub scopes: Scopes,
    /// The consent that it is based on, unless the client is a tool that the user signs in to.
    pub consent: Option<ConsentId>,
    /// Whether the client must authenticate to redeem it.
    pub is_confidential: bool,
    /// The user's current epoch.
    pub epoch: Epoch,
}

/// The token request of a tool (RFC 6749 §4.1.3, RFC 7636 §4.5).
#[derive(Debug)]
pub struct AccessTokenRequest<'a> {
    /// The authorization code.
    pub code: &'a Secret,
    /// The client's id.
    pub client_id: &'a ClientId,
    /// What the client authenticates with, if it does.
    pub assertion: Option<&'a ClientAssertion>,
    /// The redirect URI, which is required if the authorization request contained it.
    pub redirect_uri: Option<&'a str>,
    /// The PKCE code verifier.
    pub verifier: &'a Secret,
    /// The API that the request names, if it does.
    pub audience: Option<ConfiguredAudience<'a>>,
    /// The caller, to whom the tokens are bound.
    pub presenter: &'a Presenter<'a>,
}

/// Stores and returns a new code.
///
/// # Errors
/// A fault.
pub async fn issue(context: &Context, new: NewAuthorizationCode<'_>) -> Result<Secret, Error> {
    let now = context.clock.now();
    let id = id::mint(now, &context.entropy)?;
    let minted =
        Minted::new::<id::AuthorizationCode>(&context.config.brand, &id, &context.entropy)?;
    let valid_until = after(now, context.config.lifetimes.authorization_code);
    let record = AuthorizationCodeRecord {
        id,
        digest: minted.digest,
        client_id: new.client_id.clone(),
        redirect_uri: new.redirect_uri.to_owned(),
        is_redirect_uri_implied: new.is_redirect_uri_implied,
        challenge: new.challenge,
        jkt: new.jkt,
        user_id: new.user_id.clone(),
        audience: new.audience,
        scopes: new.scopes,
        consent: new.consent,
        is_confidential: new.is_confidential,
        epoch: Some(new.epoch),
        valid_until,
        family: None,
        expires_at: after(valid_until, REMEMBERED + LEEWAY),
    };
    context.store.put_code(&record).await?;
    Ok(minted.secret)
}

/// Redeems a code for tokens.
///
/// # Errors
/// `invalid_grant` for a wrong code, client, redirect URI or verifier; [`Refusal::UserForbidden`];
/// a fault.
pub async fn redeem(
    context: &Context,
    redemption: &AccessTokenRequest<'_>,
) -> Result<Tokens, Error> {
    let code = ParsedAuthorizationCode::parse(&context.config.brand, redemption.code.expose())
        .ok_or_else(|| not_a_code(context, Refusal::CodeWrong, "code", redemption.code.expose()))?;
    let now = context.clock.now();
    let record = context.store.code(&code).await?.ok_or(Refusal::CodeWrong)?;
    if record.client_id == *redemption.client_id {
        let AccessTokenRequest { client_id, assertion, presenter, .. } = *redemption;
        let is_confidential = record.is_confidential;
        client::authenticate(context, client_id, assertion, is_confidential, presenter.address)
            .await?;
        if redemption.redirect_uri.is_none() && !record.is_redirect_uri_implied {
            let detail =
                "The parameter 'redirect_uri' is missing: send that of the authorization request.";
            return Err(Error::with_detail(Refusal::ParameterMissing, detail.into()));
        }
    }
    match (check(&record, redemption), &record.family) {
        (Ok(()), None) if record.valid_until <= now || is_before_not_before(context, &record) => {
            return Err(Refusal::CodeWrong.into());
        }
        (Ok(()), None) => {}
        (Ok(()), Some(family)) => {
            return redeem_again(context, family, redemption.presenter, now).await;
        }
        (Err(refusal), None) => return Err(refusal.into()),
        (Err(_), Some(family)) => return Err(replayed(context, family, now).await),
    }
    let audience = ConfiguredAudience::stored(&context.config, &record.audience)?;
    audience.check(redemption.audience)?;
    let new = NewUserFamily {
        user_id: &record.user_id,
        client_id: redemption.client_id,
        audience,
        consent: record.consent,
        scopes: &record.scopes,
        basis: GrantBasis::Approval(record.epoch),
        presenter: redemption.presenter,
    };
    let mut family = family::prepare_for_user(context, new, now).await?;
    family.record.is_confidential = record.is_confidential;
    match context.store.redeem_code(&record, &family.record, now).await? {
        Redemption::Redeemed => Ok(family.tokens),
        Redemption::NotRedeemed => {
            let record = context.store.code(&code).await?;
            match record.and_then(|record| record.family) {
                None => Err(Refusal::CodeWrong.into()), // it expired, or its consent has ended
                // Our own redemption, repeated after a lost response.
                Some(ours) if ours == family.record.id => Ok(family.tokens),
                Some(other) => Err(replayed(context, &other, now).await),
            }
        }
    }
}

/// Reports whether the code was issued before `not_before` of the deployment's secret.
fn is_before_not_before(context: &Context, record: &AuthorizationCodeRecord) -> bool {
    !context.keyring.accepts_issued_at(id::created_at(&record.id))
}

/// Checks that the code was issued to this client, and that it has the verifier and the key.
fn check(
    record: &AuthorizationCodeRecord,
    redemption: &AccessTokenRequest<'_>,
) -> Result<(), Refusal> {
    let is_redirect_uri = redemption.redirect_uri.is_none_or(|uri| uri == record.redirect_uri);
    if record.client_id != *redemption.client_id || !is_redirect_uri {
        return Err(Refusal::CodeWrong);
    }
    if record.jkt.is_some() && record.jkt.as_ref() != redemption.presenter.key() {
        return Err(Refusal::CodeKeyMismatch);
    }
    let is_verified = is_verifier(redemption.verifier)
        && record.challenge.matches(&Digest::of(redemption.verifier.expose().as_bytes()));
    if is_verified { Ok(()) } else { Err(Refusal::CodeVerifierWrong) }
}

/// Redeems a code that was already redeemed, for `id`.
async fn redeem_again(
    context: &Context,
    id: &FamilyId,
    presenter: &Presenter<'_>,
    now: Timestamp,
) -> Result<Tokens, Error> {
    if let Some(family) = context.store.family(id).await?
        && let Some(tokens) = family::first_tokens_again(context, &family, presenter, now).await?
    {
        return Ok(tokens);
    }
    Err(replayed(context, id, now).await)
}

/// Revokes what a code was redeemed for, because it was presented again.
pub(super) async fn replayed(context: &Context, family: &FamilyId, now: Timestamp) -> Error {
    telemetry::code_replayed(family);
    match end_replayed(context, family, now).await {
        Ok(()) => Refusal::CodeReplayed.into(),
        Err(fault) => fault.into(),
    }
}

async fn end_replayed(context: &Context, id: &FamilyId, now: Timestamp) -> Result<(), Fault> {
    let Some(family) = context.store.family(id).await? else { return Ok(()) };
    if family.revoked_at.is_some() {
        return Ok(());
    }
    let replayed =
        CodeReplayedData { client_id: family.client_id.clone(), user_id: family.user_id.clone() };
    let event = family::event(context, &family, replayed)?;
    context.store.revoke_family_because(id, &event, now).await.map(drop)
}

/// Reports whether the verifier is 43 to 128 unreserved characters (RFC 7636 §4.1).
fn is_verifier(verifier: &Secret) -> bool {
    let text = verifier.expose().as_bytes();
    (43..=128).contains(&text.len())
        && text.iter().all(|byte| crate::core::path::is_unreserved(*byte))
}
