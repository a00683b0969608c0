//! Consents: what users have allowed clients, and the codes that are issued for it.
//!
//! 1. The user is asked, unless they have allowed the same to the client at the same host. A
//!    program on the user's machine is asked about every time, because another program could pose
//!    as it (RFC 8252 §8.6).
//! 2. The form of the page repeats what the page showed: a client that is called otherwise or is
//!    reached elsewhere meanwhile is shown again, and scopes that were not shown are not granted.
//! 3. What the user allows is stored as a consent, and a code is issued for it. When the consent
//!    ends, all codes and tokens that it gave end.

use super::{
    authorization_code::{self, NewAuthorizationCode},
    authorization_parameters::Prompt,
    authorize::{AuthorizationRequest, RedirectTarget},
};
use crate::{
    context::Context,
    core::{
        audience::Audience,
        error::{Error, Fault, Refusal},
        event::{
            ConsentEndedData, ConsentGivenData, Event, EventContents, EventData, EventSubject,
        },
        id::{self, ClientId, ConsentId, FamilyId},
        principal::Principal,
        scope::Scopes,
        secret::Secret,
    },
    http::Form,
    store::consent::{ConsentRecord, ConsentWrite, RememberedConsent},
};

/// The most families of one consent. The next code ends the oldest of more.
const MOST_FAMILIES: usize = 50;
/// The most hosts of a client for which a consent is remembered.
const MOST_HOSTS: usize = 10;
/// How often to write a consent that others change at the same time.
const TRIES: usize = 5;

/// The fields of the form that repeat what its page showed.
pub(super) const SHOWN_CLIENT: &str = "shown_client";
const SHOWN_REDIRECT_URI: &str = "shown_redirect_uri";
/// The field of a form that repeats the scopes that its page showed.
pub const SHOWN_SCOPE: &str = "shown_scope";

/// What comes of a request.
#[derive(Debug)]
pub enum Authorization {
    /// The user has allowed it before: the URL to redirect to, with a code.
    Granted(String),
    /// The user has to allow these scopes.
    ConsentRequired(Scopes),
}

/// What the page showed, about which the user decides.
#[derive(Debug)]
pub struct ShownRequest {
    client_name: String,
    redirect_uri: String,
    scopes: Scopes,
}

impl ShownRequest {
    /// Returns what a page shows that asks for `scopes`.
    pub fn new(to: &RedirectTarget<'_>, scopes: Scopes) -> Self {
        Self {
            client_name: to.client.name.clone(),
            redirect_uri: to.redirect_uri.as_str().to_owned(),
            scopes,
        }
    }

    /// Returns what the page of a form showed, if its client is still called so and reached there.
    pub fn from_form(fields: &Form, to: &RedirectTarget<'_>) -> Option<Self> {
        let field = |name| fields.get(name).map(Secret::expose);
        let scopes = Scopes::parse(field(SHOWN_SCOPE)?).ok()?;
        let is_current = field(SHOWN_CLIENT)? == to.client.name
            && field(SHOWN_REDIRECT_URI)? == to.redirect_uri.as_str();
        is_current.then(|| Self::new(to, scopes))
    }

    /// Returns the fields that the form repeats.
    pub fn fields(&self) -> [(&'static str, String); 3] {
        [
            (SHOWN_CLIENT, self.client_name.clone()),
            (SHOWN_REDIRECT_URI, self.redirect_uri.clone()),
            (SHOWN_SCOPE, self.scopes.to_string()),
        ]
    }
}

/// Issues a code if `user` has allowed the same before.
///
/// # Errors
/// [`Refusal::ConsentRequired`] for a request that asks for no interaction,
/// [`Refusal::ScopeNotGranted`]; a fault.
pub async fn authorize(
    context: &Context,
    request: &AuthorizationRequest<'_>,
    user: &Principal,
) -> Result<Authorization, Error> {
    let scopes = request.scopes(context, user)?;
    let uri = &request.to.redirect_uri;
    let consent = if request.prompt == Prompt::Consent || uri.is_on_this_machine() {
        None
    } else {
        stored(context, request, user).await?
    };
    match consent.filter(|consent| consent.allows_at(uri.host(), &scopes)) {
        Some(consent) => {
            Ok(Authorization::Granted(code(context, request, user, consent, scopes).await?))
        }
        None if request.prompt == Prompt::None => Err(Refusal::ConsentRequired.into()),
        None => Ok(Authorization::ConsentRequired(scopes)),
    }
}

/// Stores the consent of `user` to what was shown, as far as the client can still have it, and
/// returns the URL that takes a code to the client.
///
/// # Errors
/// [`Refusal::ScopeNotGranted`]; a fault.
pub async fn allow(
    context: &Context,
    request: &AuthorizationRequest<'_>,
    user: &Principal,
    shown: &ShownRequest,
) -> Result<String, Error> {
    let scopes = shown.scopes.intersection(&request.scopes(context, user)?);
    if scopes.is_empty() {
        return Err(Refusal::ScopeNotGranted.into());
    }
    let RedirectTarget { client, redirect_uri, .. } = request.to;
    let allowed = AllowedClient {
        id: &client.id,
        name: &client.name,
        audience: request.audience.audience(),
        host: (!redirect_uri.is_on_this_machine()).then(|| redirect_uri.host()),
    };
    let consent = store(context, user, &allowed, &scopes).await?;
    code(context, request, user, consent, scopes).await
}

/// What a user allows something.
#[derive(Debug)]
pub(super) struct AllowedClient<'a> {
    /// The client's id.
    pub(super) id: &'a ClientId,
    /// Its name, as the user saw it.
    pub(super) name: &'a str,
    /// The API.
    pub(super) audience: Audience,
    /// The host for which it is remembered, so that the user is not asked again.
    pub(super) host: Option<&'a str>,
}

/// Stores that `user` has allowed `scopes` to a client, besides what was allowed before.
///
/// # Errors
/// [`Refusal::RecordChanged`]; a fault.
pub(super) async fn store(
    context: &Context,
    user: &Principal,
    to: &AllowedClient<'_>,
    scopes: &Scopes,
) -> Result<ConsentRecord, Error> {
    for _ in 0..TRIES {
        let before = context.store.consent(&user.user_id, to.id, &to.audience).await?;
        let consent = consent(context, to, user, before.as_ref(), scopes)?;
        let given = ConsentGivenData {
            client_id: consent.client_id.clone(),
            scopes: consent.scopes.clone(),
            resource: resource(&consent),
        };
        let event = event(context, user, &consent, given)?;
        match context.store.put_consent(&consent, before.as_ref(), Some(&event)).await? {
            ConsentWrite::Written => return Ok(consent),
            ConsentWrite::Changed => {}
        }
    }
    Err(Refusal::RecordChanged.into())
}

/// Ends a consent of `user`, with every code and token that it gave, and the tokens that the client
/// got for the same API in the device flow: whoever disconnects an app does not expect to find it
/// connected on another page.
///
/// The families are revoked first: after a failure, the consent still names them, and ending it can
/// be repeated.
///
/// # Errors
/// `not_found`, `conflict`, or a fault.
pub(crate) async fn end(context: &Context, user: &Principal, id: &ConsentId) -> Result<(), Error> {
    let listed = context.store.consents_of(&user.user_id).await?;
    let listed = listed.into_iter().find(|consent| consent.id == *id);
    let ConsentRecord { client_id, audience, .. } = listed.ok_or(Refusal::RecordUnknown)?;
    let (store, now) = (&context.store, context.clock.now());
    let others = store.families_without_consent(&user.user_id, &client_id, &audience, now).await?;
    let others: Vec<_> = others.into_iter().map(|family| family.id).collect();
    revoke(context, &others).await?;
    for _ in 0..TRIES {
        let consent = context.store.consent(&user.user_id, &client_id, &audience).await?;
        let consent = consent.filter(|consent| consent.id == *id).ok_or(Refusal::RecordUnknown)?;
        revoke(context, &consent.families).await?;
        let ended =
            ConsentEndedData { client_id: consent.client_id.clone(), resource: resource(&consent) };
        let event = event(context, user, &consent, ended)?;
        match context.store.delete_consent(&consent, &event).await? {
            ConsentWrite::Written => return Ok(()),
            ConsentWrite::Changed => {}
        }
    }
    Err(Refusal::RecordChanged.into())
}

fn resource(consent: &ConsentRecord) -> Option<String> {
    consent.audience.resource().map(|resource| resource.as_str().to_owned())
}

fn event(
    context: &Context,
    user: &Principal,
    consent: &ConsentRecord,
    data: impl Into<EventData>,
) -> Result<Event, Fault> {
    context.event(EventContents {
        organization: user.org_id,
        subject: EventSubject::record(&consent.id, Some(&consent.client_name)),
        actor: user.into(),
        data: data.into(),
    })
}

/// Returns what `user` has allowed the client at the API of `request`.
async fn stored(
    context: &Context,
    request: &AuthorizationRequest<'_>,
    user: &Principal,
) -> Result<Option<ConsentRecord>, Fault> {
    let audience = request.audience.audience();
    context.store.consent(&user.user_id, &request.to.client.id, &audience).await
}

/// Returns a consent with what `before` allowed and with `scopes`.
fn consent(
    context: &Context,
    to: &AllowedClient<'_>,
    user: &Principal,
    before: Option<&ConsentRecord>,
    scopes: &Scopes,
) -> Result<ConsentRecord, Error> {
    let now = context.clock.now();
    Ok(ConsentRecord {
        pk: ConsentRecord::key(&user.user_id, to.id, &to.audience),
        id: match before {
            Some(before) => before.id,
            None => id::mint(now, &context.entropy)?,
        },
        listing: ConsentRecord::listing(&user.user_id),
        user_id: user.user_id.clone(),
        client_id: to.id.clone(),
        client_name: to.name.to_owned(),
        audience: to.audience.clone(),
        scopes: before.map_or_else(|| scopes.clone(), |before| before.scopes.union(scopes)),
        remembered: remembered(to.host, before, scopes),
        given_at: now,
        revision: before.map_or(0, |before| before.revision + 1),
        families: before.map(|before| before.families.clone()).unwrap_or_default(),
    })
}

/// Returns what is remembered after the user has allowed `scopes` to the client at its host.
fn remembered(
    host: Option<&str>,
    before: Option<&ConsentRecord>,
    scopes: &Scopes,
) -> Vec<RememberedConsent> {
    let mut all = before.map(|before| before.remembered.clone()).unwrap_or_default();
    let Some(host) = host else { return all };
    let here = all.iter().position(|known| known.host == host).map(|at| all.remove(at));
    let scopes = here.map_or_else(|| scopes.clone(), |known| known.scopes.union(scopes));
    all.insert(0, RememberedConsent { host: host.to_owned(), scopes });
    all.truncate(MOST_HOSTS);
    all
}

/// Issues a code for a consent, and returns the URL that takes it to the client.
async fn code(
    context: &Context,
    request: &AuthorizationRequest<'_>,
    user: &Principal,
    consent: ConsentRecord,
    scopes: Scopes,
) -> Result<String, Error> {
    let id = consent.id;
    end_oldest(context, consent).await?;
    let to = request.to;
    let new = NewAuthorizationCode {
        client_id: &to.client.id,
        redirect_uri: to.redirect_uri.as_str(),
        is_redirect_uri_implied: to.is_implied,
        challenge: request.challenge,
        jkt: request.jkt.clone(),
        user_id: &user.user_id,
        audience: request.audience.audience(),
        scopes,
        consent: Some(id),
        is_confidential: to.client.keys.is_some(),
        epoch: user.inherited.epoch.ok_or(Refusal::UserRequired)?,
    };
    let code: Secret = authorization_code::issue(context, new).await?;
    Ok(to.answer(&[("code", code.expose())]))
}

/// Ends the oldest families of a consent that has too many. A code that nobody redeems adds none,
/// so it ends none.
async fn end_oldest(context: &Context, consent: ConsentRecord) -> Result<(), Error> {
    let excess = consent.families.len().saturating_sub(MOST_FAMILIES);
    if excess == 0 {
        return Ok(());
    }
    let (oldest, kept) = consent.families.split_at(excess);
    revoke(context, oldest).await?;
    let families = kept.to_vec();
    let smaller = ConsentRecord { families, revision: consent.revision + 1, ..consent.clone() };
    match context.store.put_consent(&smaller, Some(&consent), None).await? {
        // Whoever changed it has ended them, or the next code does.
        ConsentWrite::Written | ConsentWrite::Changed => Ok(()),
    }
}

async fn revoke(context: &Context, families: &[FamilyId]) -> Result<(), Error> {
    let now = context.clock.now();
    for family in families {
        context.store.revoke_family(family, now).await?;
    }
    Ok(())
}
