//! Signing in with a password.
//!
//! 1. The attempt is counted before it is judged, for the address and then for the account, each in one conditional write: a thousand
//!    attempts at once are no more than the limit. An address that is out of attempts no longer counts against accounts.
//! 2. One consistent read. Whether there is such an account makes no difference: neither to the counters nor to what follows.
//! 3. The password is hashed and compared, with the hash of nobody where there is no account.
//! 4. Where it was right, the attempt is taken back: only failures count.

use serde_json::Map;

use super::{
    session::Person,
    throttle::{count, network, refund},
};
use crate::{
    context::Context,
    core::{
        email::Email,
        error::{Error, Refusal},
        secret::Secret,
    },
    crypto::password::PasswordHash,
    store::counter::Counter,
};

/// The length of a password in characters (NIST SP 800-63B §5.1.1.2 asks for 8 at the least, and to allow 64 and more).
const SHORTEST: usize = 8;
const LONGEST: usize = 256;

/// Who signs in, from where.
#[derive(Debug)]
pub struct Login<'a> {
    pub email: &'a Email,
    pub password: Secret,
    /// As the gateway saw it.
    pub address: &'a str,
}

/// Is `password` one that an account may have?
///
/// # Errors
/// [`Refusal::PasswordMalformed`]
pub fn suitable(password: &Secret, email: &Email) -> Result<(), Refusal> {
    let text = password.expose();
    let is_long_enough = (SHORTEST..=LONGEST).contains(&text.chars().count());
    if is_long_enough && !text.eq_ignore_ascii_case(email.as_str()) {
        Ok(())
    } else {
        Err(Refusal::PasswordMalformed)
    }
}

/// The person whose password this is.
///
/// # Errors
/// [`Refusal::LoginWrong`], whatever is wrong; [`Refusal::FailuresTooMany`] with the time to wait; a failure of ours.
pub async fn prove(context: &Context, login: Login<'_>) -> Result<Person, Error> {
    let now = context.clock.now();
    let throttle = &context.config.throttle;
    let network = network(login.address);
    let counters = [
        Counter { what: "login_address", whom: &network, limit: throttle.login_per_address },
        Counter {
            what: "login_account",
            whom: login.email.as_str(),
            limit: throttle.login_per_account,
        },
    ];
    for counter in counters {
        count(context, counter, now).await?;
    }
    let is_possible = login.password.expose().chars().count() <= LONGEST;
    let record = context.store.login(login.email).await?.filter(|_| is_possible);
    let (whose, hash) =
        record.map(|record| ((record.user_id, record.role), record.password)).unzip();
    let is_theirs = PasswordHash::admits(hash, login.password).await?;
    let (user_id, role) = whose.filter(|_| is_theirs).ok_or(Refusal::LoginWrong)?;
    refund(context, &counters, now).await;
    let metadata = Map::from_iter([("email".into(), login.email.as_str().into())]);
    Ok(Person { user_id: user_id.to_string(), role, metadata })
}
