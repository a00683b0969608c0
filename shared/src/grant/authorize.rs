//! The authorization endpoint (RFC 6749 §3.1, RFC 7636, RFC 8707, RFC 9207): what a client asks a
//! user for, and the user's consent.
//!
//! 1. Client and redirect URI are checked first. Their errors are shown to the user, and never
//!    redirected: otherwise anyone could redirect users of ours to any address (RFC 9700 §4.11.2).
//! 2. Everything else is returned to the client, with `state` and `iss`.
//! 3. The user is asked, unless they have allowed the same to a client that is reached by `https`.
//!    A program on the user's machine is asked about every time, because another program could pose
//!    as it (RFC 8252 §8.6).
//! 4. What the user allows is stored as a consent, and a code is issued for it. When the consent
//!    ends, all codes and tokens that it gave end.

use super::{
    authorization_code::{self, NewAuthorizationCode},
    client,
    target::GrantTarget,
};
use crate::{
    config::Client,
    context::Context,
    core::{
        error::{Error, Refusal},
        id::{self, ClientId, FamilyId},
        principal::{Principal, Role},
        redirect_uri::RedirectUri,
        scope::Scopes,
        secret::Secret,
    },
    crypto::{Digest, thumbprint::KeyThumbprint},
    store::{RecordUpdate, consent::ConsentRecord},
};

/// The maximum length of `state`, in bytes.
const LONGEST_STATE: usize = 1000;
/// The most families of one consent. With another one, the oldest ends.
const MOST_FAMILIES: usize = 50;
/// How often to write a consent that others change at the same time.
const TRIES: usize = 5;

/// The parameters of an authorization request, as they were sent. Empty ones count as missing (RFC
/// 6749 §3.1).
#[derive(Clone, Debug, Default)]
pub struct AuthorizationParameters {
    /// `client_id`.
    pub client_id: Option<String>,
    /// `redirect_uri`.
    pub redirect_uri: Option<String>,
    /// `response_type`.
    pub response_type: Option<String>,
    /// `response_mode`.
    pub response_mode: Option<String>,
    /// `scope`.
    pub scope: Option<String>,
    /// `state`.
    pub state: Option<String>,
    /// `code_challenge`.
    pub code_challenge: Option<String>,
    /// `code_challenge_method`.
    pub code_challenge_method: Option<String>,
    /// `dpop_jkt` (RFC 9449 §10).
    pub dpop_jkt: Option<String>,
    /// `prompt`.
    pub prompt: Option<String>,
    /// `resource`, which can be sent several times.
    pub resources: Vec<String>,
    /// Whether `request` or `request_uri` was sent (RFC 9101).
    pub has_request_object: bool,
    /// The name of a parameter that was sent more than once.
    pub repeated: Option<String>,
}

/// The client of a request, and where its user is redirected. Both are valid.
#[derive(Clone, Debug)]
pub struct AuthorizationClient<'c> {
    /// The client.
    pub client: Client,
    /// Where the user is redirected.
    pub redirect_uri: RedirectUri,
    state: Option<String>,
    issuer: &'c str,
}

/// A valid request.
#[derive(Clone, Debug)]
pub struct AuthorizationRequest<'c> {
    /// Where the answer goes.
    pub to: AuthorizationClient<'c>,
    /// The API that tokens are requested for.
    pub target: GrantTarget<'c>,
    /// What the user must do.
    pub prompt: Prompt,
    scopes: Option<Scopes>,
    challenge: Digest,
    jkt: Option<KeyThumbprint>,
}

/// What the user must do, as `prompt` says (OpenID Connect Core §3.1.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Prompt {
    /// What is necessary.
    #[default]
    Necessary,
    /// Nothing: if something is necessary, that is an error.
    None,
    /// Give consent.
    Consent,
    /// Sign in again.
    Login,
}

/// What comes of a request.
#[derive(Debug)]
pub enum Authorization {
    /// The user has allowed it before: the URL to redirect to, with a code.
    Granted(String),
    /// The user has to allow these scopes.
    ConsentRequired(Scopes),
}

impl<'c> AuthorizationClient<'c> {
    /// Returns the client of a request, and where its user is redirected. `address` is the
    /// caller's.
    ///
    /// # Errors
    /// [`Refusal::AuthorizationClientDenied`], [`Refusal::AuthorizationClientUnknown`],
    /// [`Refusal::RedirectUriUnknown`], and those of [`client::find`], which the user sees.
    pub async fn find(
        context: &'c Context,
        sent: &AuthorizationParameters,
        address: &str,
    ) -> Result<Self, Error> {
        let config = &context.config;
        let id = sent.client_id.as_deref().ok_or(Refusal::AuthorizationClientUnknown)?;
        let id = ClientId::from(id);
        if config.is_denied(&id) {
            return Err(Refusal::AuthorizationClientDenied.into());
        }
        let client = client::find(context, &id, address).await?;
        let client = client.ok_or(Refusal::AuthorizationClientUnknown)?;
        let redirect_uri = match (&sent.redirect_uri, client.redirect_uris.as_slice()) {
            (Some(text), registered) => RedirectUri::try_from(text.clone())
                .ok()
                .filter(|uri| registered.iter().any(|known| known.allows(uri)))
                .ok_or(Refusal::RedirectUriUnknown)?,
            (None, [only]) => only.clone(),
            (None, _) => return Err(Refusal::RedirectUriUnknown.into()),
        };
        let is_valid = |state: &&String| state.len() <= LONGEST_STATE;
        Ok(Self {
            client,
            redirect_uri,
            state: sent.state.as_ref().filter(is_valid).cloned(),
            issuer: &config.deployment.issuer,
        })
    }

    /// Returns the URL that takes an answer to the client, with `state` and `iss` (RFC 9207).
    fn answer(&self, parameters: &[(&str, &str)]) -> String {
        let mut parameters = parameters.to_vec();
        if let Some(state) = &self.state {
            parameters.push(("state", state));
        }
        parameters.push(("iss", self.issuer));
        self.redirect_uri.with_parameters(&parameters)
    }

    /// Returns the URL that takes an error to the client (RFC 6749 §4.1.2.1).
    pub fn error(&self, error: &Error) -> String {
        let public = error.public();
        self.answer(&[("error", public.code), ("error_description", error.description())])
    }
}

impl<'c> AuthorizationRequest<'c> {
    /// Checks the rest of a request.
    ///
    /// # Errors
    /// Those of RFC 6749 §4.1.2.1 and RFC 8707 §2, which the client receives.
    pub fn parse(
        context: &'c Context,
        to: AuthorizationClient<'c>,
        sent: &AuthorizationParameters,
    ) -> Result<Self, Error> {
        if let Some(name) = &sent.repeated {
            let detail = format!("The parameter '{name}' was sent more than once: send it once.");
            return Err(Error::with_detail(Refusal::DuplicateParameter, detail));
        }
        if sent.has_request_object {
            return Err(Refusal::RequestObjectUnsupported.into());
        }
        match sent.response_type.as_deref() {
            Some("code") => {}
            Some(_) => return Err(Refusal::ResponseTypeUnsupported.into()),
            None => return Err(missing("response_type", "code")),
        }
        if sent.response_mode.as_deref().is_some_and(|mode| mode != "query") {
            let detail = "The response_mode is not supported: use query, or none.";
            return Err(Error::with_detail(Refusal::RequestMalformed, detail.into()));
        }
        if sent.state.as_ref().is_some_and(|state| state.len() > LONGEST_STATE) {
            let detail =
                format!("The parameter 'state' is too long: use at most {LONGEST_STATE} bytes.");
            return Err(Error::with_detail(Refusal::RequestMalformed, detail));
        }
        let challenge = challenge(sent)?;
        let jkt = sent.dpop_jkt.clone().map(KeyThumbprint::try_from).transpose();
        let jkt = jkt.map_err(|_| Refusal::DpopThumbprintMalformed)?;
        let resources: Vec<_> = sent.resources.iter().map(String::as_str).collect();
        Ok(Self {
            target: GrantTarget::requested(&context.config, &resources)?,
            prompt: prompt(sent.prompt.as_deref())?,
            scopes: sent.scope.as_deref().map(Scopes::parse).transpose()?,
            challenge,
            jkt,
            to,
        })
    }

    /// Returns the scopes that `user` would grant. A client that requests none for our own routes
    /// gets those of a plain user.
    fn scopes(&self, context: &Context, user: &Principal) -> Result<Scopes, Error> {
        match (self.target, &self.scopes) {
            (GrantTarget::Issuer, None) => {
                let plain = context.config.role_scopes(Role::User);
                Ok(plain.covered_by(&user.scopes))
            }
            (target, requested) => target.grant(&user.scopes, requested.as_ref()),
        }
    }

    fn consent_key(&self, user: &Principal) -> String {
        ConsentRecord::key(&user.user_id, &self.to.client.id, self.target.uri())
    }

    /// Issues a code if the user has allowed the same before.
    ///
    /// # Errors
    /// [`Refusal::ConsentRequired`] for a request that asks for no interaction,
    /// [`Refusal::ScopeNotGranted`]; a fault.
    pub async fn authorize(
        &self,
        context: &Context,
        user: &Principal,
    ) -> Result<Authorization, Error> {
        let scopes = self.scopes(context, user)?;
        let is_asked = self.prompt != Prompt::None;
        if self.prompt == Prompt::Consent || self.to.redirect_uri.is_on_this_machine() {
            return if is_asked {
                Ok(Authorization::ConsentRequired(scopes))
            } else {
                Err(Refusal::ConsentRequired.into())
            };
        }
        let consent = context.store.consent(&self.consent_key(user)).await?;
        match consent.filter(|consent| consent.scopes.allows_all(&scopes)) {
            Some(consent) => {
                Ok(Authorization::Granted(self.code(context, user, consent, scopes).await?))
            }
            None if is_asked => Ok(Authorization::ConsentRequired(scopes)),
            None => Err(Refusal::ConsentRequired.into()),
        }
    }

    /// Stores the consent of `user`, and returns the URL that takes a code to the client.
    ///
    /// # Errors
    /// [`Refusal::ScopeNotGranted`]; a fault.
    pub async fn allow(&self, context: &Context, user: &Principal) -> Result<String, Error> {
        let scopes = self.scopes(context, user)?;
        let pk = self.consent_key(user);
        for _ in 0..TRIES {
            let before = context.store.consent(&pk).await?;
            let consent = self.consent(context, user, before.as_ref(), &scopes)?;
            if context.store.put_consent(&consent, before.as_ref()).await? == RecordUpdate::Updated
            {
                return self.code(context, user, consent, scopes).await;
            }
        }
        Err(Refusal::RecordChanged.into())
    }

    /// Returns a consent with what `before` allowed and with `scopes`.
    fn consent(
        &self,
        context: &Context,
        user: &Principal,
        before: Option<&ConsentRecord>,
        scopes: &Scopes,
    ) -> Result<ConsentRecord, Error> {
        let now = context.clock.now();
        Ok(ConsentRecord {
            pk: self.consent_key(user),
            id: match before {
                Some(before) => before.id,
                None => id::mint(now, &context.entropy)?,
            },
            listing: ConsentRecord::listing(&user.user_id),
            user_id: user.user_id.clone(),
            client_id: self.to.client.id.clone(),
            client_name: self.to.client.name.clone(),
            resource: self.target.uri().cloned(),
            scopes: before.map_or_else(|| scopes.clone(), |before| before.scopes.union(scopes)),
            given_at: now,
            revision: before.map_or(0, |before| before.revision + 1),
            families: before.map(|before| before.families.clone()).unwrap_or_default(),
        })
    }

    async fn code(
        &self,
        context: &Context,
        user: &Principal,
        consent: ConsentRecord,
        scopes: Scopes,
    ) -> Result<String, Error> {
        let id = consent.id;
        end_oldest(context, consent).await?;
        let new = NewAuthorizationCode {
            client_id: &self.to.client.id,
            redirect_uri: self.to.redirect_uri.as_str(),
            challenge: self.challenge,
            jkt: self.jkt.clone(),
            user_id: &user.user_id,
            resource: self.target.uri(),
            scopes,
            consent: Some(id),
            is_confidential: self.to.client.keys.is_some(),
            epoch: user.inherited.epoch.ok_or(Refusal::UserRequired)?,
        };
        let code: Secret = authorization_code::issue(context, new).await?;
        Ok(self.to.answer(&[("code", code.expose())]))
    }
}

/// Ends the oldest families of a consent that has too many. Another request may do the same.
async fn end_oldest(context: &Context, consent: ConsentRecord) -> Result<(), Error> {
    let Some(excess) = (consent.families.len() + 1).checked_sub(MOST_FAMILIES) else {
        return Ok(());
    };
    let (oldest, kept) = consent.families.split_at(excess.min(consent.families.len()));
    revoke(context, oldest).await?;
    let families = kept.to_vec();
    let smaller = ConsentRecord { families, revision: consent.revision + 1, ..consent.clone() };
    context.store.put_consent(&smaller, Some(&consent)).await?;
    Ok(())
}

/// Revokes families of a consent.
///
/// # Errors
/// A fault.
pub(crate) async fn revoke(context: &Context, families: &[FamilyId]) -> Result<(), Error> {
    let now = context.clock.now();
    for family in families {
        context.store.revoke_family(family, now).await?;
    }
    Ok(())
}

/// Returns the PKCE challenge. Without one, or with the method `plain`, whoever sees the code could
/// redeem it (RFC 9700 §2.1.1).
fn challenge(sent: &AuthorizationParameters) -> Result<Digest, Error> {
    let expected = "the SHA-256 of the code_verifier in base64url, 43 characters (RFC 7636)";
    let challenge =
        sent.code_challenge.as_deref().ok_or_else(|| missing("code_challenge", expected))?;
    match sent.code_challenge_method.as_deref() {
        Some("S256") => {}
        // RFC 7636 §4.3: a request without a method means `plain`.
        Some(_) | None => return Err(Refusal::ChallengeMethodUnknown.into()),
    }
    Ok(Digest::from_base64url(challenge).ok_or(Refusal::CodeChallengeMalformed)?)
}

fn prompt(sent: Option<&str>) -> Result<Prompt, Error> {
    let values: Vec<_> = sent.unwrap_or_default().split(' ').filter(|v| !v.is_empty()).collect();
    match values.as_slice() {
        [] => Ok(Prompt::Necessary),
        ["none"] => Ok(Prompt::None),
        values
            if values
                .iter()
                .any(|value| !matches!(*value, "login" | "consent" | "select_account")) =>
        {
            let detail = "The prompt is not supported: use none by itself, or login and consent.";
            Err(Error::with_detail(Refusal::RequestMalformed, detail.into()))
        }
        // Whoever signs in again is asked about a consent that is missing.
        values if values.contains(&"login") => Ok(Prompt::Login),
        values if values.contains(&"consent") => Ok(Prompt::Consent),
        _ => Ok(Prompt::Login),
    }
}

fn missing(name: &str, what: &str) -> Error {
    let detail = format!("The parameter '{name}' is missing: send {what}.");
    Error::with_detail(Refusal::ParameterMissing, detail)
}
