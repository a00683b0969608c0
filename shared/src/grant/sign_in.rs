//! Signing in at an issuer: the authorization code flow with PKCE (RFC 6749 §4.1, RFC 7636, OpenID Connect Core §3.1), from both ends.
//!
//! Start: `state` names a new record and proves it; the record holds what the issuer's answer is verified with, sealed, and the digest of
//! a cookie that ties it to this browser. The browser goes to the issuer with the `state`, the `nonce` and the challenge.
//!
//! Callback:
//! 1. `state` and cookie take the record, in one write: whoever comes with another browser, or twice, finds none.
//! 2. The code is exchanged with the verifier, which no browser has seen; the ID token must be for us and for this sign-in.
//! 3. Whom the configuration allows, and the gate admits, gets a session; or, where a tool on the person's machine has asked, a one-time code
//!    that is good for that tool alone.

use super::{
    authorization_code::{self, Redirect},
    session::{self, Person, Visit},
};
use crate::{
    app::App,
    clock::after,
    credential::{BASE62, Minted, Secret, SignInState},
    crypto::Digest,
    error::{Error, Refusal},
    id,
    scope::Scopes,
    store::sign_in::{Loopback, SignInRecord},
    upstream::{Arrival, Proof, Upstream},
};

/// How long a person may take at the issuer, in seconds.
pub const LIFE_S: i64 = 600;
/// Characters of a verifier: 256 bits and more (RFC 7636 §7.1); of the cookie and the nonce.
const VERIFIER_LEN: usize = 64;
const BROWSER_LEN: usize = 32;

/// A sign-in that has begun.
#[derive(Debug)]
pub struct Begun {
    /// Where the browser goes.
    pub location: String,
    /// The cookie by which it is known again.
    pub browser: Secret,
}

/// What the browser brings back.
#[derive(Debug)]
pub struct Returned {
    pub state: String,
    pub code: Option<String>,
    /// What the issuer says where there is no code (RFC 6749 §4.1.2.1).
    pub error: Option<String>,
    /// Who has answered (RFC 9207).
    pub issuer: Option<String>,
    /// Whose address it came back to, where several providers have one each.
    pub provider: Option<String>,
    pub browser: Option<Secret>,
}

/// How a sign-in ends.
#[derive(Debug)]
pub enum SignedIn {
    /// With a session, on this page of ours.
    Session { value: Secret, next: String },
    /// With a code for a tool on the person's machine, at this address.
    Loopback(String),
}

/// Begins a sign-in at `upstream`. `browser` is the cookie of one that was begun before: two at once, in two windows, are both good.
///
/// # Errors
/// An issuer that cannot be asked, or a failure of ours.
pub async fn begin(
    app: &App,
    upstream: &Upstream,
    next: &str,
    loopback: Option<Loopback>,
    browser: Option<Secret>,
) -> Result<Begun, Error> {
    let now = app.clock.now();
    let id = id::mint(now, &app.entropy)?;
    let state = Minted::new::<id::SignIn>(&app.config.brand, &id, &app.entropy)?;
    let browser = match browser.filter(|known| known.expose().len() == BROWSER_LEN) {
        Some(browser) => browser,
        None => Secret::new(app.entropy.letters(BASE62, BROWSER_LEN)?),
    };
    let proof = Proof {
        nonce: app.entropy.letters(BASE62, BROWSER_LEN)?,
        verifier: app.entropy.letters(BASE62, VERIFIER_LEN)?,
    };
    let json = serde_json::to_string(&proof).map_err(|error| crate::Fault::Corrupt(error.to_string()))?;
    let location = upstream.authorization(app, &state.secret, &proof).await?;
    let record = SignInRecord {
        id,
        digest: state.digest,
        browser: Digest::of(browser.expose().as_bytes()),
        signin: upstream.name().to_owned(),
        sealed: app.keyring.seal(&id.to_string(), &json, &app.entropy)?,
        next: next.to_owned(),
        loopback,
        expires_at: after(now, LIFE_S).as_second(),
    };
    app.store.begin_sign_in(&record).await?;
    Ok(Begun { location, browser })
}

/// Ends a sign-in. `is_expected` says which sign-ins may come back this way.
///
/// # Errors
/// [`Refusal::SignInGone`], [`Refusal::SignInDenied`], [`Refusal::SignInRefused`], [`Refusal::SignInNotAllowed`],
/// [`Refusal::UserForbidden`]; an issuer or a store that does not answer.
pub async fn finish(
    app: &App,
    returned: Returned,
    visit: Visit<'_>,
    is_expected: impl Fn(&Upstream) -> bool,
) -> Result<SignedIn, Error> {
    let record = take(app, &returned).await?;
    let is_met = |upstream: &&Upstream| is_expected(upstream) && upstream.is_met_at(app, returned.provider.as_deref());
    let upstream = app.upstream(&record.signin).filter(is_met).ok_or(Refusal::SignInGone)?;
    let code = match (returned.code, returned.error) {
        (Some(code), None) => code,
        (_, Some(_)) => return denied(record.loopback),
        (None, None) => return Err(Refusal::SignInRefused.into()),
    };
    let proof = app.keyring.open(&record.id.to_string(), &record.sealed);
    let proof: Option<Proof> = proof.and_then(|json| serde_json::from_str(&json).ok());
    let proof = proof.ok_or(Refusal::SignInGone)?; // its key was taken out of the secret meanwhile
    let arrival = upstream.arrival(app, code, returned.issuer.as_deref(), proof).await?;
    let (person, tokens) = admit(app, upstream, arrival)?;
    match record.loopback {
        None => {
            let from = tokens.map(|tokens| (upstream.name(), tokens));
            let value = session::begin(app, person, visit, from).await?;
            Ok(SignedIn::Session { value, next: record.next })
        }
        Some(loopback) => Ok(SignedIn::Loopback(hand_over(app, &person, &loopback).await?)),
    }
}

async fn take(app: &App, returned: &Returned) -> Result<SignInRecord, Error> {
    let state = SignInState::parse(&app.config.brand, &returned.state).ok_or(Refusal::SignInGone)?;
    let browser = returned.browser.as_ref().ok_or(Refusal::SignInGone)?;
    let browser = Digest::of(browser.expose().as_bytes());
    let taken = app.store.take_sign_in(&state, &browser, app.clock.now().as_second()).await?;
    Ok(taken.ok_or(Refusal::SignInGone)?)
}

/// The issuer has sent the person back without a code.
fn denied(loopback: Option<Loopback>) -> Result<SignedIn, Error> {
    match loopback {
        None => Err(Refusal::SignInDenied.into()),
        Some(loopback) => Ok(SignedIn::Loopback(loopback.answer(&[("error", "access_denied")]))),
    }
}

/// Whom the configuration allows, as what.
fn admit(
    app: &App,
    upstream: &Upstream,
    arrival: Arrival,
) -> Result<(Person, Option<crate::upstream::Tokens>), Refusal> {
    let signin = app.config.signin(upstream.name()).ok_or(Refusal::SignInGone)?;
    let admission = signin.admission();
    if !admission.admits(&arrival.user_id, &arrival.verified) {
        return Err(Refusal::SignInNotAllowed);
    }
    app.config.gate.admit(&arrival.user_id, None)?;
    let person = Person { user_id: arrival.user_id, role: admission.role, metadata: arrival.metadata };
    Ok((person, arrival.tokens))
}

/// A one-time code for the tool that has asked; where the browser brings it.
async fn hand_over(app: &App, person: &Person, loopback: &Loopback) -> Result<String, Error> {
    let held = person.role.scopes();
    let scopes = match &loopback.scope {
        None => held,
        Some(asked) => {
            let asked = Scopes::parse(asked)?.without("offline_access").0;
            if !held.cover_all(&asked) {
                return Ok(loopback.answer(&[("error", "invalid_scope")]));
            }
            if asked.is_empty() { held } else { asked }
        }
    };
    if app.store.organization_of(&person.user_id).await?.is_none() {
        session::own_organization(app, &person.user_id).await?;
    }
    let redirect = Redirect { loopback, user_id: &person.user_id, scopes };
    let code = authorization_code::issue(app, redirect).await?;
    Ok(loopback.answer(&[("code", code.expose())]))
}

impl Loopback {
    /// The address at which the tool waits, with `parameters` and its own `state`.
    pub fn answer(&self, parameters: &[(&str, &str)]) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(parameters);
        if let Some(state) = &self.state {
            query.append_pair("state", state);
        }
        format!("{}?{}", self.redirect_uri, query.finish())
    }
}
