//! A model of refresh: every interleaving of concurrent callers, and random histories against a few
//! plain rules.

use jiff::Timestamp;
use postern::{
    config::Lifetimes,
    core::{
        id::{self, AttemptId},
        scope::Scopes,
    },
    credential::RefreshToken,
    store::family::{FamilyRecord, Rotation, RotationRequest},
};
use proptest::prelude::*;
use tests::World;

const GRACE_MS: i64 = 10_000;
const IDLE_MS: i64 = 7 * 86_400_000;
const ABSOLUTE_MS: i64 = 90 * 86_400_000;

fn time(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap()
}

/// Creates a family in the store; returns its first token.
async fn begin(world: &World, now_ms: i64) -> RefreshToken {
    let family = id::mint(world.now(), &world.app.context.entropy).unwrap();
    let record = FamilyRecord {
        id: family,
        generation: 1,
        rotated_at: time(now_ms),
        rotated_from: "a".into(),
        attempt: "begin".into(),
        client_id: id::mint::<id::Agent>(world.now(), &world.app.context.entropy).unwrap().into(),
        user_id: None,
        listing: None,
        org_id: id::mint(world.now(), &world.app.context.entropy).unwrap(),
        scopes: Scopes::all(),
        idle_expires_at: time(now_ms + IDLE_MS),
        absolute_expires_at: time(now_ms + ABSOLUTE_MS),
        revoked_at: None,
        expires_at: FamilyRecord::item_expires_at(time(now_ms + ABSOLUTE_MS)),
    };
    world.app.context.store.create_family(&record).await.unwrap();
    RefreshToken::first(family, &world.app.context.keyring).unwrap()
}

async fn present(
    world: &World,
    token: &RefreshToken,
    address: &str,
    attempt: &AttemptId,
    now_ms: i64,
) -> Rotation {
    let presentation = RotationRequest { token, address, client: None, attempt, now: time(now_ms) };
    world.app.context.store.rotate_family(&presentation, &Lifetimes::default()).await.unwrap()
}

/// Collects every order in which the writes of `callers` can reach the store; each caller's own
/// writes stay in order.
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

/// Two, three and four concurrent callers; each of them in turn loses its first response and
/// retries the write.
#[tokio::test]
async fn every_interleaving_of_concurrent_callers_rotates_once_and_detects_no_reuse() {
    let world = World::new().await;
    let now_ms = world.now().as_millisecond();
    let mut schedules = 0;
    for callers in 2..=4 {
        for repeats in std::iter::once(None).chain((0..callers).map(Some)) {
            let mut writes: Vec<_> =
                (0..callers).map(|caller| 1 + usize::from(repeats == Some(caller))).collect();
            let mut all = Vec::new();
            orders(&mut writes, &mut Vec::new(), &mut all);
            for order in all {
                schedules += 1;
                let token = begin(&world, now_ms).await;
                for caller in order {
                    let outcome = present(
                        &world,
                        &token,
                        "a",
                        &format!("attempt of {caller}").as_str().into(),
                        now_ms,
                    )
                    .await;
                    let (Rotation::Rotated(family) | Rotation::Repeated(family)) = outcome else {
                        panic!("{outcome:?}")
                    };
                    assert_eq!(family.generation, 2);
                }
            }
        }
    }
    assert_eq!(schedules, 2 + 2 * 3 + 6 + 3 * 12 + 24 + 4 * 60);
}

/// An action on a family.
#[derive(Clone, Debug)]
enum Step {
    /// Presents the token that is `age` generations old, from one of two addresses.
    Present {
        age: u64,
        elsewhere: bool,
    },
    Pass {
        ms: i64,
    },
    Revoke,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u64..4, any::<bool>()).prop_map(|(age, elsewhere)| Step::Present { age, elsewhere }),
        3 => prop_oneof![Just(1), Just(GRACE_MS - 1), Just(GRACE_MS), Just(GRACE_MS + 1), Just(IDLE_MS - 1), Just(IDLE_MS), 0..20_000i64]
            .prop_map(|ms| Step::Pass { ms }),
        1 => Just(Step::Revoke),
    ]
}

/// The rules of refresh, written as plainly as possible.
#[derive(Debug)]
struct Model {
    generation: u64,
    rotated_at_ms: i64,
    elsewhere: bool,
    idle_end_ms: i64,
    absolute_end_ms: i64,
    has_ended: bool,
}

#[derive(Debug, PartialEq)]
enum Expected {
    Rotated,
    Repeated,
    Elsewhere,
    Reused,
    Gone,
}

impl Model {
    fn present(&mut self, presented: u64, elsewhere: bool, now_ms: i64) -> Expected {
        let is_over = now_ms >= self.idle_end_ms || now_ms >= self.absolute_end_ms;
        if self.has_ended {
            return Expected::Gone;
        }
        if presented == self.generation {
            if is_over {
                return Expected::Gone;
            }
            self.generation += 1;
            self.rotated_at_ms = now_ms;
            self.elsewhere = elsewhere;
            self.idle_end_ms = now_ms + IDLE_MS;
            return Expected::Rotated;
        }
        let is_parent = presented + 1 == self.generation;
        if is_parent && now_ms - self.rotated_at_ms <= GRACE_MS {
            return if is_over {
                Expected::Gone
            } else if elsewhere == self.elsewhere {
                Expected::Repeated
            } else {
                Expected::Elsewhere
            };
        }
        self.has_ended = true;
        Expected::Reused
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_histories_match_the_model(histories in prop::collection::vec(prop::collection::vec(step(), 1..24), 1..6)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = World::new().await;
            for history in histories {
                follow(&world, &history).await;
            }
        });
    }
}

async fn follow(world: &World, history: &[Step]) {
    let mut now_ms = world.now().as_millisecond();
    let mut tokens = vec![begin(world, now_ms).await];
    let mut model = Model {
        generation: 1,
        rotated_at_ms: now_ms,
        elsewhere: false,
        idle_end_ms: now_ms + IDLE_MS,
        absolute_end_ms: now_ms + ABSOLUTE_MS,
        has_ended: false,
    };
    for (at, step) in history.iter().enumerate() {
        match step {
            Step::Pass { ms } => now_ms += ms,
            Step::Revoke => {
                world
                    .app
                    .context
                    .store
                    .revoke_family(&tokens[0].family, time(now_ms))
                    .await
                    .unwrap();
                model.has_ended = true;
            }
            Step::Present { age, elsewhere } => {
                let Some(index) = tokens.len().checked_sub(1 + usize::try_from(*age).unwrap())
                else {
                    continue;
                };
                let token = tokens[index].clone();
                let expected = model.present(token.generation, *elsewhere, now_ms);
                let address = if *elsewhere { "b" } else { "a" };
                let outcome = present(
                    world,
                    &token,
                    address,
                    &format!("attempt {at}").as_str().into(),
                    now_ms,
                )
                .await;
                let outcome = match outcome {
                    Rotation::Rotated(_) => {
                        tokens.push(token.successor());
                        Expected::Rotated
                    }
                    Rotation::Repeated(family) => {
                        assert_eq!(family.generation, token.generation + 1);
                        Expected::Repeated
                    }
                    Rotation::AddressMismatch => Expected::Elsewhere,
                    Rotation::Reuse => {
                        world
                            .app
                            .context
                            .store
                            .revoke_family(&token.family, time(now_ms))
                            .await
                            .unwrap();
                        Expected::Reused
                    }
                    Rotation::Inactive => Expected::Gone,
                    Rotation::ClientMismatch => panic!("no client was named"),
                };
                assert_eq!(outcome, expected, "step {at} of {history:?}");
            }
        }
    }
}
