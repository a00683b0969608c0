//! The device flow (RFC 8628): a tool without a browser shows a short code, a user enters it in a
//! browser where they are signed in, and the tool, which has polled meanwhile, gets tokens for the
//! user.
//!
//! A user code has 8 letters from an alphabet of 20, about 34 bits, and is worthless without the
//! device code. Attempts are counted per user and per address before the code is looked up (§5.1);
//! malformed user codes are not looked up at all.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::{
    Tokens,
    authorization_code::replayed,
    family::{self, GrantBasis, NewUserFamily},
    not_a_code,
    presenter::Presenter,
    throttle,
};
use crate::{
    config::{Client, ConfiguredAudience},
    context::Context,
    core::{
        clock::{LEEWAY, after},
        error::{Error, Fault, Refusal},
        id::{self, AttemptId, ClientId, FamilyId, created_at},
        network::Network,
        principal::{Principal, Role},
        redirect_uri::RedirectUri,
        scope::Scopes,
        secret::{self, Secret},
        text,
    },
    credential::{Minted, ParsedDeviceCode},
    store::{
        counter::Counter,
        device_code::{CreateDeviceCode, DecideDevice, DeviceCodeRecord, DeviceStatus, PollPace},
        redemption::Redemption,
    },
};

/// Letters that are not mistaken for one another and do not form words (RFC 8628 §6.1).
const ALPHABET: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
const USER_CODE_LEN: usize = 8;
/// How long a tool waits between polls (§3.2).
const INTERVAL: SignedDuration = SignedDuration::from_secs(5);
/// How many user codes to try. The probability that two in a row are taken is about 1 in 10^18.
const TRIES: usize = 3;
/// How many users can use up their guesses from one address, because an office may share one.
const PERSONS_AT_AN_ADDRESS: i64 = 4;
/// Separates the MACs of user codes from all other MACs of the same key.
const PURPOSE: &str = "user_code";

/// The device authorization response of §3.2.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct DeviceAuthorization {
    /// The code with which the tool polls.
    #[serde(serialize_with = "secret::shown_once")]
    device_code: Secret,
    /// The code that the user enters.
    user_code: String,
    /// The page on which the user enters it.
    verification_uri: String,
    /// The same page, with the code.
    verification_uri_complete: String,
    /// How long the codes are valid, in seconds.
    expires_in: i64,
    /// How long to wait between polls, in seconds.
    interval: i64,
}

/// Starts the flow for a client, which may request `scopes` of `audience`. `address` is the
/// client's.
///
/// # Errors
/// [`Refusal::ClientWithoutDeviceFlow`], [`Refusal::ScopeNotGranted`],
/// [`Refusal::RequestsTooMany`], or a [`Fault`].
pub async fn start(
    context: &Context,
    client: &Client,
    scopes: Option<Scopes>,
    audience: ConfiguredAudience<'_>,
    address: &str,
) -> Result<DeviceAuthorization, Error> {
    if is_web_app(client) {
        return Err(Refusal::ClientWithoutDeviceFlow.into());
    }
    let scopes = scopes.map(|scopes| scopes.without("offline_access").0);
    let scopes = scopes.filter(|scopes| !scopes.is_empty());
    if let Some(requested) = &scopes {
        audience.check_scopes(requested)?; // a user could only deny it
    }
    let now = context.clock.now();
    let limit = context.config.throttle.devices_per_address;
    let network = Network::of(address);
    let counter = Counter { what: "device_start_address", whom: network.as_str(), limit };
    throttle::count_request(context, counter, now).await?;
    let id = id::mint(now, &context.entropy)?;
    let minted = Minted::new::<id::DeviceCode>(&context.config.brand, &id, &context.entropy)?;
    let lifetime = context.config.lifetimes.device_code;
    let valid_until = after(now, lifetime);
    let record = DeviceCodeRecord {
        id,
        digest: minted.digest,
        client_id: client.id.clone(),
        audience: audience.audience(),
        scopes,
        address: address.to_owned(),
        status: DeviceStatus::Pending,
        interval: INTERVAL,
        next_poll_at: now,
        valid_until,
        user_id: None,
        granted: None,
        epoch: None,
        family: None,
        expires_at: DeviceCodeRecord::item_expires_at(valid_until),
    };
    let user_code = put(context, &record).await?;
    let verification_uri = format!("{}/device", context.config.deployment.public_url);
    Ok(DeviceAuthorization {
        device_code: minted.secret,
        verification_uri_complete: format!("{verification_uri}?user_code={user_code}"),
        user_code,
        verification_uri,
        expires_in: lifetime.as_secs(),
        interval: INTERVAL.as_secs(),
    })
}

/// Reports whether a client is only reached on servers. Nobody else can be it, because codes are
/// sent there; in the device flow, anybody could.
fn is_web_app(client: &Client) -> bool {
    let uris = &client.redirect_uris;
    !uris.is_empty() && !uris.iter().any(RedirectUri::is_on_this_machine)
}

async fn put(context: &Context, record: &DeviceCodeRecord) -> Result<String, Error> {
    for _ in 0..TRIES {
        let letters = context.entropy.random_string(ALPHABET, USER_CODE_LEN)?;
        let tag = context.keyring.sign_for(PURPOSE, &letters)?;
        let now = context.clock.now();
        let created = context.store.create_device_code(record, &tag, now).await?;
        if created == CreateDeviceCode::Created {
            let (first, second) = letters.split_at(USER_CODE_LEN / 2);
            return Ok(format!("{first}-{second}"));
        }
    }
    let source = "every user code was taken".into();
    Err(Fault::Store { operation: "put a user code", source }.into())
}

/// Returns the letters of a user code as typed, in any case and with any separators (§6.1).
fn read(text: &str) -> Option<String> {
    let letters: String = text::without_compatibility_characters(text)
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|letter| letter.to_ascii_uppercase())
        .collect();
    let is_user_code =
        letters.len() == USER_CODE_LEN && letters.bytes().all(|letter| ALPHABET.contains(&letter));
    is_user_code.then_some(letters)
}

/// Returns the device with the user code `text`, if it is pending, for `person` to approve or deny,
/// or if `person` has decided about it.
///
/// # Errors
/// [`Refusal::UserCodeWrong`], [`Refusal::FailuresTooMany`], or a [`Fault`].
pub async fn device(
    context: &Context,
    person: &Principal,
    text: &str,
    address: &str,
) -> Result<DeviceCodeRecord, Error> {
    let letters = read(text).ok_or(Refusal::UserCodeWrong)?;
    let now = context.clock.now();
    let network = Network::of(address);
    let limit = context.config.throttle.device_code_guesses;
    // Count the user first: a user who has no guesses left does not use up those of others at the
    // same address.
    let user_id = person.user_id.to_string();
    let counters = [
        Counter { what: "device_person", whom: &user_id, limit },
        Counter {
            what: "device_address",
            whom: network.as_str(),
            limit: limit * PERSONS_AT_AN_ADDRESS,
        },
    ];
    throttle::limited(context, &counters, now, look_up(context, person, &letters, now)).await
}

async fn look_up(
    context: &Context,
    person: &Principal,
    letters: &str,
    now: Timestamp,
) -> Result<DeviceCodeRecord, Error> {
    let since = after(now, -(context.config.lifetimes.device_code + LEEWAY));
    for tag in context.keyring.tags_for(PURPOSE, letters, since) {
        let device = context.store.device_code_of(&tag).await?;
        if let Some(device) = device.filter(|device| device.is_shown_to(&person.user_id, now)) {
            return Ok(device);
        }
    }
    Err(Refusal::UserCodeWrong.into())
}

/// Returns the scopes that a device would get from `person`: those it requested. If it requested
/// none, it gets the scopes of a plain user, as far as the person has them: an administrator does
/// not expect to give everything to a tool that did not ask for it.
///
/// # Errors
/// [`Refusal::ScopeEscalation`] if it requests more than the user has.
pub fn grantable_scopes(
    context: &Context,
    device: &DeviceCodeRecord,
    person: &Principal,
) -> Result<Scopes, Error> {
    let audience = ConfiguredAudience::stored(&context.config, &device.audience)?;
    let scopes = match (audience, &device.scopes) {
        (ConfiguredAudience::Issuer, Some(requested)) => requested.clone(),
        (ConfiguredAudience::Issuer, None) => {
            context.config.role_scopes(Role::User).covered_by(&person.scopes)
        }
        (ConfiguredAudience::Resource(_), requested) => {
            audience.grant(&person.scopes, requested.as_ref())?
        }
    };
    person.check_can_delegate(&scopes, &Default::default())?;
    Ok(scopes)
}

/// Returns the scopes that a device gets from `person`, who approved a page that showed `shown`:
/// those that it would still get.
///
/// # Errors
/// [`Refusal::ScopeNotGranted`] if none is left, and those of [`grantable_scopes`].
pub fn approved_scopes(
    context: &Context,
    device: &DeviceCodeRecord,
    person: &Principal,
    shown: &Scopes,
) -> Result<Scopes, Error> {
    let grantable = grantable_scopes(context, device, person)?;
    let scopes = shown.intersection(&grantable);
    if scopes.is_empty() { Err(Refusal::ScopeNotGranted.into()) } else { Ok(scopes) }
}

/// What a user's decision about a device has given it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceAccess {
    /// It has access, or gets it with its next poll.
    Granted,
    /// It never had access.
    Denied,
    /// It was approved, and that has ended: the user disconnected it, or signed out everywhere.
    Ended,
}

/// Returns what the decision of `person` about `device` has given it: at most one round trip.
///
/// # Errors
/// [`Refusal::UserCodeWrong`] if nobody has decided about it; a [`Fault`].
pub async fn access(
    context: &Context,
    device: &DeviceCodeRecord,
    person: &Principal,
) -> Result<DeviceAccess, Error> {
    let epoch = person.inherited.epoch;
    let is_granted = match (device.status, &device.family) {
        (DeviceStatus::Pending, _) => return Err(Refusal::UserCodeWrong.into()),
        (DeviceStatus::Denied, _) => return Ok(DeviceAccess::Denied),
        (DeviceStatus::Approved, _) | (DeviceStatus::Redeemed, None) => device.epoch == epoch,
        (DeviceStatus::Redeemed, Some(family)) => {
            let (_, family) = context.store.member_and_family(&person.user_id, family).await?;
            let now = context.clock.now();
            family.is_some_and(|family| Some(family.epoch) == epoch && family.is_alive(now))
        }
    };
    Ok(if is_granted { DeviceAccess::Granted } else { DeviceAccess::Ended })
}

/// Stores a user's decision about a pending device, and returns what it has given the device:
/// something else than the user asked for if they decided otherwise at the same moment.
///
/// # Errors
/// [`Refusal::UserCodeWrong`] if another user approved or denied the device, or it has expired; a
/// [`Fault`].
pub async fn decide(
    context: &Context,
    device: &DeviceCodeRecord,
    person: &Principal,
    granted: Option<&Scopes>,
) -> Result<DeviceAccess, Error> {
    let now = context.clock.now();
    let epoch = person.require_epoch()?;
    let (id, user_id) = (&device.id, &person.user_id);
    match context.store.decide_device(id, user_id, granted, epoch, now).await? {
        DecideDevice::Recorded if granted.is_some() => Ok(DeviceAccess::Granted),
        DecideDevice::Recorded => Ok(DeviceAccess::Denied),
        DecideDevice::TooLate(stored) => {
            let theirs = stored.filter(|device| {
                device.status != DeviceStatus::Pending && device.is_shown_to(user_id, now)
            });
            access(context, &*theirs.ok_or(Refusal::UserCodeWrong)?, person).await
        }
    }
}

/// Answers a poll of a device (§3.4, §3.5). `audience` is the API that the poll names, if it does.
///
/// # Errors
/// `authorization_pending`, `slow_down`, `access_denied`, `expired_token`, `invalid_grant`; a
/// [`Fault`].
pub async fn poll(
    context: &Context,
    code: &Secret,
    client_id: &ClientId,
    audience: Option<ConfiguredAudience<'_>>,
    presenter: &Presenter<'_>,
) -> Result<Tokens, Error> {
    let code = ParsedDeviceCode::parse(&context.config.brand, code.expose())
        .ok_or_else(|| not_a_device_code(context, code))?;
    let now = context.clock.now();
    let stored = context.store.device_code(&code).await?;
    let device =
        stored.filter(|device| device.client_id == *client_id).ok_or(Refusal::DeviceCodeUnknown)?;
    let requested = audience;
    let audience = ConfiguredAudience::stored(&context.config, &device.audience)?;
    audience.check(requested)?;
    match (device.status, &device.family) {
        (DeviceStatus::Redeemed, Some(family)) => {
            redeem_again(context, family, presenter, now).await
        }
        (DeviceStatus::Redeemed, None) => {
            Err(Fault::Corrupt("a redeemed device without a family".into()).into())
        }
        (DeviceStatus::Approved | DeviceStatus::Denied | DeviceStatus::Pending, _)
            if device.valid_until <= now
                || !context.keyring.accepts_issued_at(created_at(&device.id)) =>
        {
            Err(Refusal::DeviceCodeExpired.into())
        }
        (DeviceStatus::Denied, _) => Err(Refusal::DeviceDenied.into()),
        (DeviceStatus::Pending, _) => {
            let poll = AttemptId::mint(&context.entropy)?;
            match context.store.pace_device(&device, &poll, now).await? {
                PollPace::OnTime => Err(Refusal::DeviceCodePending.into()),
                PollPace::TooEarly => Err(Refusal::DevicePollTooEarly.into()),
            }
        }
        (DeviceStatus::Approved, _) => {
            redeem(context, &code, &device, audience, presenter, now).await
        }
    }
}

/// Returns the refusal of a text that is no device code.
fn not_a_device_code(context: &Context, text: &Secret) -> Error {
    if read(text.expose()).is_some() {
        let detail = "The device_code is the user code, which the user enters: send the device_code of the same response.";
        return Error::with_detail(Refusal::DeviceCodeUnknown, detail.into());
    }
    not_a_code(context, Refusal::DeviceCodeUnknown, "device_code", text.expose())
}

/// Redeems an approved device code: everything that can fail, then one transaction.
async fn redeem(
    context: &Context,
    code: &ParsedDeviceCode,
    device: &DeviceCodeRecord,
    audience: ConfiguredAudience<'_>,
    presenter: &Presenter<'_>,
    now: Timestamp,
) -> Result<Tokens, Error> {
    let approved = device.user_id.as_ref().zip(device.granted.as_ref());
    let (user_id, scopes) =
        approved.ok_or_else(|| Fault::Corrupt("an approved device without a user".into()))?;
    let (client_id, basis) = (&device.client_id, GrantBasis::Approval(device.epoch));
    let consent = None;
    let new = NewUserFamily { user_id, client_id, audience, scopes, consent, basis, presenter };
    let family = family::prepare_for_user(context, new, now).await?;
    match context.store.redeem_device(&device.id, &family.record, now).await? {
        Redemption::Redeemed => Ok(family.tokens),
        Redemption::NotRedeemed => {
            let device = context.store.device_code(code).await?;
            let redeemed_for = device.and_then(|device| device.family);
            if redeemed_for == Some(family.record.id) {
                Ok(family.tokens) // our own redemption, repeated after a lost response
            } else {
                Err(Refusal::DeviceCodeUnknown.into()) // another poll was first, or it expired
            }
        }
    }
}

/// Answers a poll with a code that was already redeemed, for `id`. The device gets its tokens again
/// if the first answer may have been lost. Somebody else has the code if the tokens are in use, or
/// if the poll comes from elsewhere, or without their key: that revokes them.
async fn redeem_again(
    context: &Context,
    id: &FamilyId,
    presenter: &Presenter<'_>,
    now: Timestamp,
) -> Result<Tokens, Error> {
    let family = context.store.family(id).await?.ok_or(Refusal::DeviceCodeUnknown)?;
    let is_same_caller = match &family.jkt {
        Some(key) => Some(key) == presenter.key(),
        None => Network::of(&family.rotated_from) == Network::of(presenter.address),
    };
    if !is_same_caller || family.generation > 1 {
        return Err(replayed(context, id, now).await);
    }
    let tokens = family::first_tokens_again(context, &family, presenter, now).await?;
    Ok(tokens.ok_or(Refusal::DeviceCodeUnknown)?)
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn a_user_code_is_read_as_people_type_it() {
        for text in ["BCDF-GHJK", "bcdfghjk", " bcdf ghjk ", "b-c-d-f.g/h j k"] {
            assert_eq!(read(text).as_deref(), Some("BCDFGHJK"), "{text}");
        }
        for text in ["", "BCDF", "BCDF-GHJ", "BCDF-GHJKL", "ABCD-EFGH", "1234-5678", "BCDF-GHJÉ"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
