//! Which API key of API Gateway counts the requests of a caller.
//!
//! API Gateway limits the requests of each key of a usage plan, at no cost for us: no read and no
//! write. A plan has a pool of keys. Which one a caller gets depends only on the caller's
//! organization and on the pool, so all callers of an organization share one, and no number of
//! credentials gets an organization more. Two organizations can share one too.

use std::{collections::BTreeMap, fmt};

use crate::{
    config::{Config, UsagePlan},
    core::{error::Fault, plan::PlanName, principal::Principal, secret::Secret},
    crypto::{Digest, secrets::Secrets},
};

/// The most keys of a plan: the key is chosen in each request.
const MOST_KEYS: usize = 500;
/// The length of a key, as API Gateway limits it.
const KEY_LENGTHS: std::ops::RangeInclusive<usize> = 20..=128;

/// The API keys of the usage plans.
#[derive(Debug, Default)]
pub struct UsageKeys {
    pools: BTreeMap<PlanName, Vec<Secret>>,
}

impl UsageKeys {
    /// Reads the keys of every `[[plan]]`.
    ///
    /// # Errors
    /// [`Fault::Setting`] if they are missing or not valid.
    pub fn new(config: &Config, secrets: &Secrets) -> Result<Self, Fault> {
        let pool = |plan: &UsagePlan| {
            let keys = secrets.named_list(&plan.secret_ref).and_then(checked);
            keys.map(|keys| (plan.name.clone(), keys))
                .map_err(|problem| config.unusable_secret_ref(&plan.secret_ref, &problem))
        };
        Ok(Self { pools: config.plans.iter().map(pool).collect::<Result<_, _>>()? })
    }

    /// Returns the key that counts the requests of `caller`; `None` without a plan.
    pub fn of_caller(&self, config: &Config, caller: &Principal) -> Option<&Secret> {
        let plan = config.plan(caller.inherited.plan.as_ref(), caller.org_id.as_ref())?;
        let keys = self.pools.get(&plan.name)?;
        // If a key is added or removed, only the callers move who get that one.
        match &caller.org_id {
            Some(organization) => keys.iter().max_by_key(|key| weight(key, organization)),
            None => keys.iter().max_by_key(|key| weight(key, &caller.user_id)),
        }
    }

    /// Returns the plan with the key `text`.
    pub fn plan_of(&self, text: &str) -> Option<&PlanName> {
        let has_it = |keys: &Vec<Secret>| keys.iter().any(|key| key.expose() == text);
        self.pools.iter().find(|(_, keys)| has_it(keys)).map(|(name, _)| name)
    }
}

/// Returns how much `key` is preferred for `caller` (rendezvous hashing).
fn weight(key: &Secret, caller: &impl fmt::Display) -> [u8; 32] {
    *Digest::of(format!("{caller}\n{}", key.expose()).as_bytes()).bytes()
}

fn checked(keys: Vec<Secret>) -> Result<Vec<Secret>, String> {
    let is_key = |key: &Secret| {
        let text = key.expose();
        KEY_LENGTHS.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
    };
    if !(1..=MOST_KEYS).contains(&keys.len()) {
        return Err(format!("must list 1 to {MOST_KEYS} API keys"));
    }
    if keys.iter().all(is_key) {
        Ok(keys)
    } else {
        Err("contains a value that is no API key of API Gateway, which has 20 to 128 characters"
            .into())
    }
}
