//! A model of refresh: every interleaving of concurrent callers, and random histories against a few
//! plain rules.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use jiff::Timestamp;
use postern::{
    config::Lifetimes,
    core::{
        audience::Audience,
        clock::Clock,
        epoch::Epoch,
        id::{self, AttemptId},
        scope::Scopes,
    },
    credential::RefreshToken,
    crypto::{Digest, mac::MacKeyId, thumbprint::KeyThumbprint},
    store::{
        StoreHealth,
        family::FamilyRecord,
        rotation::{PresentedToken, Rotation, RotationRequest},
    },
};
use proptest::prelude::*;
use tests::World;

const GRACE_MS: i64 = 10_000;
const RETRIES_MS: i64 = 60_000;
/// How many execution environments there are.
const ENVIRONMENTS: usize = 2;
const IDLE_MS: i64 = 7 * 86_400_000;
const ABSOLUTE_MS: i64 = 90 * 86_400_000;

/// The addresses of callers, and the network of each. Two are of one network.
const ADDRESSES: [(&str, u8); 5] = [
    ("192.0.2.1", 0),
    ("2001:db8:1:2:a::1", 1),
    ("2001:db8:1:2:b::1", 1),
    ("2001:db8:1:3:a::1", 2),
    ("198.51.100.7", 3),
];

fn time(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap()
}

/// How many keys callers can have.
const KEYS: u8 = 2;

fn thumbprint(key: u8) -> KeyThumbprint {
    BASE64URL.encode(Digest::of(&[key]).bytes()).try_into().unwrap()
}

/// Creates a family in the store, which can be bound to a key; returns its first token.
async fn begin(world: &World, key: Option<u8>, now_ms: i64) -> RefreshToken {
    let family = id::mint(world.now(), &world.app.context.entropy).unwrap();
    let record = FamilyRecord {
        audience: Audience::Issuer,
        jkt: key.map(thumbprint),
        consent: None,
        is_confidential: false,
        id: family,
        generation: 1,
        kid: Some(world.app.context.keyring.current_refresh_kid().unwrap().clone()),
        kid_before: None,
        rotated_at: time(now_ms),
        rotated_from: ADDRESSES[0].0.into(),
        used_from: None,
        attempt: "begin".into(),
        client_id: id::mint::<id::Agent>(world.now(), &world.app.context.entropy).unwrap().into(),
        user_id: None,
        listing: None,
        org_id: id::mint(world.now(), &world.app.context.entropy).unwrap(),
        scopes: Scopes::all(),
        epoch: Epoch::default(),
        idle_expires_at: time(now_ms + IDLE_MS),
        absolute_expires_at: time(now_ms + ABSOLUTE_MS),
        revoked_at: None,
        expires_at: FamilyRecord::item_expires_at(time(now_ms + ABSOLUTE_MS)),
    };
    world.app.context.store.create_family(&record).await.unwrap();
    RefreshToken::first(family, record.kid.unwrap())
}

/// Returns the name of the MAC key that signs after `rotations`.
fn mac_key(rotations: usize) -> MacKeyId {
    format!("k{}", rotations % 10).try_into().unwrap()
}

/// What a caller sees, besides a fault.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Outcome {
    Rotated,
    State(PresentedToken),
}

/// Reads the family and classifies the token.
async fn read(world: &World, request: &RotationRequest<'_>) -> PresentedToken {
    let family = world.app.context.store.family(&request.token.family).await.unwrap();
    request.classify(family.as_ref(), &Lifetimes::default())
}

/// Rotates a family whose token was current when it was read.
async fn write(world: &World, request: &RotationRequest<'_>) -> Outcome {
    let store = &world.app.context.store;
    match store.rotate_family(request, &Lifetimes::default()).await.unwrap() {
        Rotation::Rotated => Outcome::Rotated,
        Rotation::Changed { state, .. } => Outcome::State(state),
    }
}

async fn present(world: &World, request: &RotationRequest<'_>) -> Outcome {
    let state = read(world, request).await;
    if state == PresentedToken::Current {
        write(world, request).await
    } else {
        Outcome::State(state)
    }
}

fn request<'a>(
    token: &'a RefreshToken,
    (address, key): (&'a str, Option<&'a KeyThumbprint>),
    successor_kid: &'a MacKeyId,
    attempt: &'a AttemptId,
    store_health: &'a StoreHealth,
    now_ms: i64,
) -> RotationRequest<'a> {
    let now = time(now_ms);
    let client = None;
    RotationRequest { token, address, key, successor_kid, client, attempt, now, store_health }
}

/// Collects every order in which the calls of `callers` can reach the store; each caller's own
/// calls stay in order.
fn orders(left: &mut Vec<usize>, order: &mut Vec<usize>, all: &mut Vec<Vec<usize>>) {
    if left.iter().all(|count| *count == 0) {
        all.push(order.clone());
    }
    for caller in 0..left.len() {
        if left[caller] > 0 {
            left[caller] -= 1;
            order.push(caller);
            orders(left, order, all);
            order.pop();
            left[caller] += 1;
        }
    }
}

/// Two and three concurrent callers, each with a read and then a write. One of them, it does not
/// matter which, may lose the response to its write and repeat it.
#[tokio::test]
async fn every_interleaving_of_concurrent_callers_rotates_once_and_detects_no_reuse() {
    let world = World::new().await;
    let now_ms = world.now().as_millisecond();
    let mut schedules = 0;
    for callers in 2..=3 {
        for repeats in [None, Some(0)] {
            let mut calls: Vec<_> =
                (0..callers).map(|caller| 2 + usize::from(repeats == Some(caller))).collect();
            let mut all = Vec::new();
            orders(&mut calls, &mut Vec::new(), &mut all);
            for order in all {
                schedules += 1;
                follow_order(&world, callers, &order, now_ms).await;
            }
        }
    }
    assert_eq!(schedules, 6 + 10 + 90 + 210);
}

async fn follow_order(world: &World, callers: usize, order: &[usize], now_ms: i64) {
    let token = begin(world, None, now_ms).await;
    let health = StoreHealth::new(&Clock::from_fn(move || time(now_ms)));
    let attempts: Vec<AttemptId> =
        (0..callers).map(|caller| format!("attempt of {caller}").as_str().into()).collect();
    let mut states = vec![None; callers];
    let mut rotated = BTreeSet::new();
    for caller in order {
        // Each has another MAC key, as while a new one begins to sign.
        let (caller_and_key, kid) = ((ADDRESSES[0].0, None), mac_key(*caller));
        let request = request(&token, caller_and_key, &kid, &attempts[*caller], &health, now_ms);
        let outcome = match states[*caller] {
            None => {
                let state = read(world, &request).await;
                states[*caller] = Some(state);
                Outcome::State(state)
            }
            Some(PresentedToken::Current) => write(world, &request).await,
            Some(_) => continue, // decided by the read
        };
        match outcome {
            Outcome::Rotated => drop(rotated.insert(*caller)),
            Outcome::State(PresentedToken::Current | PresentedToken::Repeated) => {}
            Outcome::State(other) => panic!("{other:?} in {order:?}"),
        }
    }
    assert_eq!(rotated.len(), 1, "{order:?}");
    let family = world.app.context.store.family(&token.family).await.unwrap().unwrap();
    assert_eq!((family.generation, family.kid), (2, rotated.first().map(|first| mac_key(*first))));
}

/// An action on a family.
#[derive(Clone, Debug)]
enum Step {
    /// Presents the token that is `age` generations old, from one of [`ADDRESSES`] and with a key,
    /// to an execution environment. Its clock is ahead by `ahead_ms` now.
    Present {
        age: u64,
        address: usize,
        key: Option<u8>,
        environment: usize,
        ahead_ms: i64,
        is_forged: bool,
    },
    /// Another MAC key begins to sign.
    RotateKey,
    Pass {
        ms: i64,
    },
    Revoke,
    /// A call of an execution environment to the store fails.
    StoreFails {
        environment: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let ahead_ms = prop_oneof![4 => Just(0), 1 => -40_000..40_000i64];
    let key = prop::option::of(0..KEYS);
    let is_forged = prop::bool::weighted(0.1);
    let present = (0u64..4, 0..ADDRESSES.len(), key, 0..ENVIRONMENTS, ahead_ms, is_forged);
    let present = present.prop_map(|(age, address, key, environment, ahead_ms, is_forged)| {
        Step::Present { age, address, key, environment, ahead_ms, is_forged }
    });
    let pass = prop_oneof![
        Just(1),
        Just(GRACE_MS - 1),
        Just(GRACE_MS),
        Just(GRACE_MS + 1),
        Just(GRACE_MS + RETRIES_MS),
        Just(IDLE_MS - 1),
        Just(IDLE_MS),
        0..20_000i64
    ];
    prop_oneof![
        8 => present,
        3 => pass.prop_map(|ms| Step::Pass { ms }),
        1 => Just(Step::Revoke),
        2 => Just(Step::RotateKey),
        1 => (0..ENVIRONMENTS).prop_map(|environment| Step::StoreFails { environment }),
    ]
}

/// The rules of refresh, written as plainly as possible.
#[derive(Debug)]
struct Model {
    /// The key that the family is bound to.
    key: Option<u8>,
    generation: u64,
    rotated_at_ms: i64,
    network: u8,
    network_before: Option<u8>,
    /// For each execution environment, the seconds in which the store responded to it, and when a
    /// call last failed.
    responses_s: [BTreeSet<i64>; ENVIRONMENTS],
    /// For each execution environment, its last rotation in each second.
    rotations_ms: [BTreeMap<i64, i64>; ENVIRONMENTS],
    last_failure_ms: [Option<i64>; ENVIRONMENTS],
    idle_end_ms: i64,
    absolute_end_ms: i64,
    has_ended: bool,
}

impl Model {
    fn present(
        &mut self,
        presented: u64,
        (network, key): (u8, Option<u8>),
        is_forged: bool,
        environment: usize,
        now_ms: i64,
    ) -> Outcome {
        let has_key = self.key.is_none() || self.key == key;
        self.responses_s[environment].insert(now_ms.div_euclid(1000));
        let is_over = now_ms >= self.idle_end_ms || now_ms >= self.absolute_end_ms;
        if self.has_ended {
            return Outcome::State(PresentedToken::Inactive);
        }
        // Of older tokens, nobody remembers the key.
        if is_forged && presented + 1 >= self.generation {
            return Outcome::State(PresentedToken::Forged);
        }
        if presented == self.generation {
            if is_over {
                return Outcome::State(PresentedToken::Inactive);
            }
            if !has_key {
                return Outcome::State(PresentedToken::KeyMismatch);
            }
            self.generation += 1;
            self.rotated_at_ms = now_ms;
            self.rotations_ms[environment].insert(now_ms.div_euclid(1000), now_ms);
            self.network_before = Some(std::mem::replace(&mut self.network, network));
            self.idle_end_ms = now_ms + IDLE_MS;
            return Outcome::Rotated;
        }
        let has_failed =
            self.last_failure_ms[environment].is_some_and(|at| at >= self.rotated_at_ms);
        let (first_s, last_s) =
            (self.rotated_at_ms.div_euclid(1000), (self.rotated_at_ms + GRACE_MS).div_euclid(1000));
        let has_responded =
            self.responses_s[environment].range(first_s + 1..).next().is_some_and(|s| *s < last_s);
        let has_rotated = self.rotations_ms[environment]
            .get(&first_s)
            .is_some_and(|rotated_at_ms| *rotated_at_ms >= self.rotated_at_ms);
        let has_worked = has_responded || has_rotated;
        let window_ms = if has_worked && !has_failed { GRACE_MS } else { GRACE_MS + RETRIES_MS };
        let elapsed_ms = now_ms - self.rotated_at_ms;
        let is_timely = -GRACE_MS <= elapsed_ms && elapsed_ms <= window_ms;
        let is_parent = presented + 1 == self.generation;
        let state = match () {
            () if !is_parent || !is_timely => PresentedToken::Reuse,
            () if is_over => PresentedToken::Inactive,
            () if !has_key => PresentedToken::Reuse,
            () if self.key.is_some() => PresentedToken::Repeated,
            () if network == self.network => PresentedToken::Repeated,
            () if Some(network) == self.network_before => PresentedToken::Reuse,
            () => PresentedToken::AddressMismatch,
        };
        self.has_ended |= state == PresentedToken::Reuse;
        Outcome::State(state)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_histories_match_the_model(histories in prop::collection::vec((prop::option::of(0..KEYS), prop::collection::vec(step(), 1..24)), 1..6)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = World::new().await;
            for (key, history) in histories {
                follow(&world, key, &history).await;
            }
        });
    }
}

async fn follow(world: &World, key: Option<u8>, history: &[Step]) {
    let store = &world.app.context.store;
    let mut now_ms = world.now().as_millisecond();
    let mut tokens = vec![begin(world, key, now_ms).await];
    let mut mac_keys = 0;
    let clock_ms = Arc::new(AtomicI64::new(0));
    let read_ms = Arc::clone(&clock_ms);
    let clock = Clock::from_fn(move || time(read_ms.load(Ordering::Relaxed)));
    let environments = [(); ENVIRONMENTS].map(|()| StoreHealth::new(&clock));
    let mut model = Model {
        key,
        generation: 1,
        rotated_at_ms: now_ms,
        network: ADDRESSES[0].1,
        network_before: None,
        responses_s: Default::default(),
        rotations_ms: Default::default(),
        last_failure_ms: [None; ENVIRONMENTS],
        idle_end_ms: now_ms + IDLE_MS,
        absolute_end_ms: now_ms + ABSOLUTE_MS,
        has_ended: false,
    };
    for (at, step) in history.iter().enumerate() {
        match step {
            Step::Pass { ms } => now_ms += ms,
            Step::RotateKey => mac_keys += 1,
            Step::StoreFails { environment } => {
                model.last_failure_ms[*environment] = Some(now_ms);
                clock_ms.store(now_ms, Ordering::Relaxed);
                environments[*environment].record_failure();
            }
            Step::Revoke => {
                store.revoke_family(&tokens[0].family, time(now_ms)).await.unwrap();
                model.has_ended = true;
            }
            Step::Present { age, address, key, environment, ahead_ms, is_forged } => {
                let Some(index) = tokens.len().checked_sub(1 + usize::try_from(*age).unwrap())
                else {
                    continue;
                };
                let mut token = tokens[index].clone();
                if *is_forged {
                    token.kid = "zz".to_owned().try_into().unwrap();
                }
                let (address, network) = ADDRESSES[*address];
                let now_ms = now_ms + ahead_ms;
                let caller = (network, *key);
                let expected =
                    model.present(token.generation, caller, *is_forged, *environment, now_ms);
                let kid = mac_key(mac_keys);
                let proved = key.map(thumbprint);
                let attempt = AttemptId::from(format!("attempt {at}").as_str());
                let store_health = &environments[*environment];
                clock_ms.store(now_ms, Ordering::Relaxed);
                store_health.record_response();
                let caller = (address, proved.as_ref());
                let request = request(&token, caller, &kid, &attempt, store_health, now_ms);
                let outcome = present(world, &request).await;
                assert_eq!(outcome, expected, "step {at} of {history:?}");
                match outcome {
                    Outcome::Rotated => tokens.push(token.successor(kid)),
                    Outcome::State(PresentedToken::Repeated) => {
                        let family = store.family(&token.family).await.unwrap().unwrap();
                        assert_eq!(family.kid.as_ref(), Some(&tokens[index + 1].kid));
                    }
                    Outcome::State(PresentedToken::Reuse) => {
                        store.revoke_family(&token.family, time(now_ms)).await.unwrap();
                    }
                    Outcome::State(_) => {}
                }
            }
        }
    }
}
