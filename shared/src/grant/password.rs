//! Signing in with a password.
//!
//! 1. Count the attempt before checking it, for the address and then for the account, each with one
//!    conditional write, so that concurrent attempts do not exceed the limit. An address that has
//!    reached its limit no longer counts against accounts.
//! 2. Read the account consistently. Whether it exists changes neither the counters nor the next
//!    step.
//! 3. Hash and compare the password, with a dummy hash if there is no account.
//! 4. If the password is right, refund the attempt: only failures count.

use serde_json::{Map, Value};

use super::{session::AuthenticatedUser, throttle};
use crate::{
    context::Context,
    core::{
        email::Email,
        error::{Error, Refusal},
        id::OrganizationId,
        network::Network,
        secret::Secret,
        subject::Subject,
        text,
    },
    crypto::password::PasswordHash,
    store::counter::Counter,
    token::external,
};

/// The length of a password in characters (NIST SP 800-63B §5.1.1.2 requires at least 8, and to
/// allow at least 64).
const SHORTEST: usize = 8;
const LONGEST: usize = 256;

/// A sign-in attempt.
#[derive(Debug)]
pub struct Login<'a> {
    /// The account's email address.
    pub email: &'a Email,
    /// The user's organization. Users of an organization that somebody other than the operator
    /// created have to name it.
    pub organization: Option<&'a OrganizationId>,
    /// The presented password.
    pub password: Secret,
    /// The caller's network address, as the gateway saw it.
    pub address: &'a str,
}

/// Checks that `password` is acceptable for an account.
///
/// # Errors
/// [`Refusal::PasswordMalformed`]
pub fn validate_password(password: &Secret, email: &Email) -> Result<(), Refusal> {
    let text = text::password(password.expose()).ok_or(Refusal::PasswordMalformed)?;
    let is_blank = text.trim().is_empty();
    let is_long_enough = !is_blank && (SHORTEST..=LONGEST).contains(&text.chars().count());
    let is_address = Email::try_from(text).is_ok_and(|typed| typed == *email);
    if is_long_enough && !is_address { Ok(()) } else { Err(Refusal::PasswordMalformed) }
}

/// Returns the user whose password this is.
///
/// # Errors
/// [`Refusal::LoginWrong`] for an unknown account or a wrong password; [`Refusal::FailuresTooMany`]
/// with the time to wait; a fault.
pub async fn verify(context: &Context, login: Login<'_>) -> Result<AuthenticatedUser, Error> {
    let now = context.clock.now();
    let limits = &context.config.throttle;
    let network = Network::of(login.address);
    let counters = [
        Counter { what: "login_address", whom: network.as_str(), limit: limits.login_per_address },
        Counter {
            what: "login_account",
            whom: login.email.as_str(),
            limit: limits.login_per_account,
        },
    ];
    throttle::limited(context, &counters, now, check(context, login)).await
}

/// Returns the metadata of a user with a password. Whoever enrolled the user entered the address.
pub fn metadata(email: &Email) -> Map<String, Value> {
    Map::from_iter([(external::EMAIL_UNVERIFIED.to_owned(), email.as_str().into())])
}

async fn check(
    context: &Context,
    Login { email, organization, password, .. }: Login<'_>,
) -> Result<AuthenticatedUser, Error> {
    let is_possible = text::password(password.expose())
        .is_some_and(|password| password.chars().count() <= LONGEST);
    let record = context.store.login_record(email, organization).await?;
    let (user, hash) = record
        .filter(|_| is_possible)
        .map(|record| ((record.user_id, record.role, record.epoch), record.password))
        .unzip();
    let is_theirs = PasswordHash::verify(hash.flatten(), password).await?;
    let (user_id, role, epoch) = user.filter(|_| is_theirs).ok_or(Refusal::LoginWrong)?;
    Ok(AuthenticatedUser {
        user_id: Subject::User(user_id),
        role,
        password_epoch: Some(epoch),
        metadata: metadata(email),
    })
}
