//! `rotate_signing_key`: the four steps of a rotation by Secrets Manager, and what an operator
//! does.

use postern::{
    core::{clock::whole_seconds, principal::Role},
    crypto::{
        key_list::{self, KeyState, ListedKey},
        secret_versions::{SecretArns, SecretVersions},
        secrets::Secrets,
    },
};
use serde_json::{Value, json};
use tests::{SecretsFault, SecretsManager, World};

const SIGNING: &str = "arn:signing";
const VERIFICATION: &str = "arn:verification";
const PUBLIC: &str = "arn:public";
/// The id of the version that a rotation prepares.
const VERSION: &str = "9f2c8a7e-0b7d-4a53-8f8e-3f2f4f1f3a10";
const STEPS: [&str; 4] = ["createSecret", "setSecret", "testSecret", "finishSecret"];

/// The function, and the secrets that it rotates.
struct Bed {
    world: World,
    secrets: SecretsManager,
}

impl Bed {
    async fn new() -> Self {
        Self::of(World::new().await)
    }

    fn of(world: World) -> Self {
        let secrets = SecretsManager::default();
        let mut signing = world.secrets.clone();
        signing.refs.insert("github".into(), json!("a client's secret"));
        signing.refs.insert("partner".into(), json!("a shared secret of the partner's"));
        secrets.write(SIGNING, &signing);
        secrets.write(VERIFICATION, &signing.verification(&["partner"]));
        secrets.write(PUBLIC, &signing.publication());
        let arns = SecretArns {
            signing: SIGNING.into(),
            verification: VERIFICATION.into(),
            public: PUBLIC.into(),
        };
        let sdk = world.engine.sdk(Some(secrets.http_client()));
        let world = world.with_secret_versions(SecretVersions::new(&sdk, arns));
        Self { world, secrets }
    }

    async fn send(&self, event: Value) -> Result<Value, String> {
        let answer = functions::rotate_signing_key::handle(&self.world.app, event).await;
        answer.map_err(|error| error.to_string())
    }

    async fn step_of(&self, version: &str, step: &str) -> Result<Value, String> {
        let event = json!({
            "Step": step, "SecretId": SIGNING, "ClientRequestToken": version,
            "RotationToken": "ignored",
        });
        self.send(event).await
    }

    async fn step(&self, step: &str) -> Result<Value, String> {
        self.step_of(VERSION, step).await
    }

    async fn rotate(&self) {
        self.rotate_to(VERSION).await.unwrap();
    }

    async fn rotate_to(&self, version: &str) -> Result<(), String> {
        for step in STEPS {
            self.step_of(version, step).await?;
        }
        Ok(())
    }

    /// Rotates as Secrets Manager does, which tries a version again while it is pending.
    async fn rotate_as_scheduled(&self) {
        for _ in 0..3 {
            if self.rotate_to(&self.secrets.begin_rotation(SIGNING)).await.is_ok() {
                return;
            }
        }
        panic!("no rotation succeeds any more");
    }

    async fn drop_key(&self, kid: &str) -> Result<Value, String> {
        self.send(json!({"action": "drop", "kid": kid})).await
    }

    /// Returns the kid of the signing key that was made first.
    fn first_kid(&self) -> String {
        self.world.secrets.signing_keys[0].kid.clone()
    }

    /// Asserts that the copies are those of the secret, and that none of them has the key.
    #[track_caller]
    fn assert_without(&self, kid: &str) {
        let [signing, verification, public] = self.all();
        let json = |secrets: &Secrets| serde_json::to_value(secrets).unwrap();
        assert_eq!(json(&verification), json(&signing.verification(&["partner"])));
        assert_eq!(json(&public), json(&signing.publication()));
        assert!(!json(&signing).to_string().contains(kid), "{kid} is back");
    }

    fn all(&self) -> [Secrets; 3] {
        [SIGNING, VERIFICATION, PUBLIC].map(|secret| self.secrets.current(secret))
    }

    fn json(&self) -> [Value; 3] {
        self.all().map(|secrets| serde_json::to_value(secrets).unwrap())
    }

    /// Returns the deployment with the secret that is in force, or its copy for verification.
    fn functions(&self, secret: &str) -> World {
        self.world.with_secrets(self.secrets.current(secret))
    }

    fn states(&self) -> Vec<KeyState> {
        let listed = key_list::list(&self.secrets.current(SIGNING), self.world.now());
        listed.into_iter().map(|ListedKey { state, .. }| state).collect()
    }
}

#[tokio::test]
async fn four_steps_replace_the_keys_in_all_three_secrets() {
    let bed = Bed::new().await;
    let before = bed.all();
    assert_eq!(bed.step("createSecret").await, Ok(Value::Null));
    assert_eq!(bed.json(), before.map(|secrets| serde_json::to_value(secrets).unwrap()));
    bed.rotate().await;
    let [signing, verification, public] = bed.all();
    assert_eq!(bed.states(), [KeyState::Signing, KeyState::Waiting].repeat(4));
    let json = |secrets: &Secrets| serde_json::to_value(secrets).unwrap();
    assert_eq!(json(&verification), json(&signing.verification(&["partner"])));
    assert_eq!(json(&public), json(&signing.publication()));
    assert_eq!(signing.refs.len(), 2, "what else the secret contains is kept");
}

#[tokio::test]
async fn each_step_can_be_repeated() {
    let bed = Bed::new().await;
    for step in STEPS {
        bed.step(step).await.unwrap();
        let once = bed.json();
        bed.world.advance_s(1);
        bed.step(step).await.unwrap();
        assert_eq!(bed.json(), once, "{step}");
    }
    let done = bed.json();
    bed.rotate().await;
    assert_eq!(bed.json(), done, "a whole rotation, repeated");
}

/// Callers exchange, refresh and verify before, between and after the steps.
#[tokio::test]
async fn no_token_is_refused_while_keys_are_rotated() {
    let bed = Bed::new().await;
    let agent = bed.world.agent(&["data:read"]).await;
    let session = bed.world.sign_in("github|7", Role::User).await;
    let mut tokens = bed.world.exchange(&agent).await;
    let day_s = 24 * 3600;
    for wait_s in [0, 301, day_s - 301, 2 * day_s, 5 * day_s] {
        for step in STEPS {
            bed.step_of(&format!("{VERSION}-{wait_s}"), step).await.unwrap();
            let (signs, verifies) = (bed.functions(SIGNING), bed.functions(VERIFICATION));
            let answer = signs.refresh(&tokens.refresh).send().await.expect(200);
            tokens.refresh = answer.member("refresh_token");
            let fresh = signs.exchange(&agent).await;
            for access in [&answer.member("access_token"), &fresh.access] {
                assert_eq!(verifies.whoami(access).await, 200, "{wait_s} {step}");
            }
            let whoami = verifies.call("GET", "/v1/auth/whoami");
            whoami.header("X-Postern-Session", &session).send().await.expect(200);
            bed.world.advance_s(20);
        }
        bed.world.advance_s(wait_s);
    }
    assert!(bed.secrets.current(SIGNING).refresh_keys.len() >= 3);
}

/// Any call to Secrets Manager can fail, executed or not. The repetition of the step ends as if it
/// had not, and until then every token works.
#[tokio::test]
async fn a_failure_at_any_call_leaves_a_step_that_can_be_repeated() {
    let mut failures = 0;
    for fault in [SecretsFault::NotExecuted, SecretsFault::ResponseLost] {
        for at in 0..40 {
            let bed = Bed::new().await;
            let agent = bed.world.agent(&["data:read"]).await;
            let tokens = bed.world.exchange(&agent).await;
            bed.secrets.fail_after(at, fault);
            for step in STEPS {
                while let Err(code) = bed.step(step).await {
                    assert!(code.starts_with("internal_error: "), "{code}");
                    let access = bed.functions(SIGNING).exchange(&agent).await.access;
                    assert_eq!(bed.functions(VERIFICATION).whoami(&access).await, 200);
                    bed.secrets.recover();
                    failures += 1;
                }
            }
            bed.secrets.recover();
            let [signing, verification, public] = bed.json();
            assert_eq!(bed.states(), [KeyState::Signing, KeyState::Waiting].repeat(4));
            assert_eq!(signing["session_keys"], verification["session_keys"]);
            assert_eq!(verification["signing_keys"], public["signing_keys"]);
            bed.functions(SIGNING).refresh(&tokens.refresh).send().await.expect(200);
        }
    }
    assert!(failures > 20, "{failures}");
}

#[tokio::test]
async fn steps_out_of_order_are_refused_and_change_nothing() {
    let bed = Bed::new().await;
    let before = bed.json();
    for step in ["setSecret", "testSecret", "finishSecret"] {
        let refused = bed.step(step).await.unwrap_err();
        assert!(refused.contains("createSecret comes first"), "{step}: {refused}");
    }
    bed.step("createSecret").await.unwrap();
    for step in ["testSecret", "finishSecret"] {
        let refused = bed.step(step).await.unwrap_err();
        assert!(refused.contains("setSecret comes first"), "{step}: {refused}");
    }
    assert_eq!(bed.json(), before);
}

#[tokio::test]
async fn a_rotation_that_took_too_long_is_withdrawn_and_ends_no_key() {
    let bed = Bed::new().await;
    let before = bed.json();
    bed.step("createSecret").await.unwrap();
    bed.step("setSecret").await.unwrap();
    bed.world.advance_s(24 * 3600 + 1);
    let refused = bed.step("finishSecret").await.unwrap_err();
    assert!(refused.contains("took too long"), "{refused}");
    assert_eq!(bed.json(), before, "nothing is announced any more");
    for step in STEPS {
        let refused = bed.step(step).await.unwrap_err();
        assert!(refused.contains("is not pending"), "{step}: {refused}");
    }
    bed.world.advance_s(30 * 24 * 3600);
    let agent = bed.world.agent(&["data:read"]).await;
    let access = bed.functions(SIGNING).exchange(&agent).await.access;
    assert_eq!(bed.functions(VERIFICATION).whoami(&access).await, 200);
    bed.rotate_to(&bed.secrets.begin_rotation(SIGNING)).await.unwrap();
}

#[tokio::test]
async fn a_secret_that_was_changed_meanwhile_is_not_overwritten() {
    let bed = Bed::new().await;
    bed.step("createSecret").await.unwrap();
    bed.step("setSecret").await.unwrap();
    let mut edited: Secrets = bed.secrets.current(SIGNING);
    edited.refs.insert("another".into(), json!("secret"));
    bed.secrets.write(SIGNING, &edited);
    let refused = bed.step("finishSecret").await.unwrap_err();
    assert!(refused.contains("was changed"), "{refused}");
    assert!(bed.secrets.current(SIGNING).refs.contains_key("another"));
    bed.rotate_as_scheduled().await;
    assert!(bed.secrets.current(SIGNING).refs.contains_key("another"));
}

/// The service takes its own label from no version, and tries a version that has it again.
#[tokio::test]
async fn an_edit_by_hand_does_not_end_the_schedule() {
    let bed = Bed::new().await;
    let version = bed.secrets.begin_rotation(SIGNING);
    bed.rotate_to(&version).await.unwrap();
    let mut edited: Secrets = bed.secrets.current(SIGNING);
    edited.refs.insert("another".into(), json!("secret"));
    bed.secrets.write(SIGNING, &edited);
    assert_eq!(bed.secrets.begin_rotation(SIGNING), version, "the service tries it again");
    bed.world.advance_s(90 * 24 * 3600);
    bed.rotate_as_scheduled().await;
    assert!(bed.secrets.current(SIGNING).refs.contains_key("another"));
    let waiting = bed.states().into_iter().filter(|state| *state == KeyState::Waiting);
    assert_eq!(waiting.count(), 4);
}

#[tokio::test]
async fn a_version_that_is_not_pending_does_not_come_into_force() {
    let bed = Bed::new().await;
    for step in ["createSecret", "setSecret", "testSecret"] {
        bed.step(step).await.unwrap();
    }
    bed.secrets.remove_label(SIGNING, "AWSPENDING");
    let before = bed.json();
    for step in STEPS {
        let refused = bed.step(step).await.unwrap_err();
        assert!(refused.contains("is not pending"), "{step}: {refused}");
    }
    assert_eq!(bed.json(), before);
}

#[tokio::test]
async fn a_version_that_was_in_force_does_not_come_back() {
    let bed = Bed::new().await;
    bed.rotate().await;
    bed.world.advance_s(2 * 24 * 3600);
    bed.rotate_as_scheduled().await;
    let before = bed.json();
    for step in STEPS {
        let refused = bed.step(step).await.unwrap_err();
        assert!(refused.contains("is not pending"), "{step}: {refused}");
    }
    assert_eq!(bed.json(), before);
}

/// Secrets Manager tests a new schedule with a version that has the value in force.
#[tokio::test]
async fn the_test_of_a_new_schedule_passes() {
    let bed = Bed::new().await;
    bed.secrets.prepare_test(SIGNING, VERSION);
    let before = bed.json();
    bed.step("testSecret").await.unwrap();
    assert_eq!(bed.json(), before);
}

#[tokio::test]
async fn events_for_others_are_refused() {
    let bed = Bed::new().await;
    let event = |step: &str, secret: &str| json!({"Step": step, "SecretId": secret, "ClientRequestToken": VERSION});
    for (event, expected) in [
        (event("createSecret", VERIFICATION), "SecretId is not"),
        (event("deleteSecret", SIGNING), "is not one of a rotation"),
        (json!({"Step": "createSecret"}), "is not one of a rotation"),
        (json!({}), "neither a step of a rotation nor an action"),
        (json!({"action": "rotate"}), "neither a step of a rotation nor an action"),
        (json!({"action": "drop", "key": "ab"}), "neither a step of a rotation nor an action"),
        (json!({"action": "drop"}), "Send kid, not_before, or both"),
        (json!({"action": "drop", "kid": "unknown"}), "There is no key with this kid"),
        (json!({"action": "drop", "not_before": "soon"}), "not_before is not a time"),
        (json!({"action": "drop", "not_before": "2099-01-01T00:00:00Z"}), "in the future"),
    ] {
        let before = bed.json();
        let refused = bed.send(event.clone()).await.unwrap_err();
        assert!(
            refused.starts_with("invalid_request: ") && refused.contains(expected),
            "{refused}"
        );
        assert_eq!(bed.json(), before, "{event}");
    }
    let elsewhere = World::new().await;
    let answer = functions::rotate_signing_key::handle(&elsewhere.app, json!({"action": "list"}));
    assert!(answer.await.unwrap_err().to_string().contains("use `postern-local keys`"));
}

#[tokio::test]
async fn an_operator_drops_a_leaked_key_everywhere() {
    let bed = Bed::new().await;
    let agent = bed.world.agent(&["data:read"]).await;
    let stolen = bed.world.exchange(&agent).await.access;
    let kid = bed.world.secrets.signing_keys[0].kid.clone();
    let answer = bed.send(json!({"action": "drop", "kid": kid})).await.unwrap();
    assert!(!answer.to_string().contains(&kid), "{answer}");
    for secret in [SIGNING, VERIFICATION] {
        assert_eq!(bed.functions(secret).whoami(&stolen).await, 401);
    }
    let access = bed.functions(SIGNING).exchange(&agent).await.access;
    assert_eq!(bed.functions(VERIFICATION).whoami(&access).await, 200);
    assert!(bed.json().iter().all(|secrets| !secrets.to_string().contains(&kid)));
    assert!(tests::capture::logged(&["keys_changed", "dropped"]));
}

/// A rotation that had begun must not bring the key back.
#[tokio::test]
async fn a_rotation_that_began_before_a_key_was_dropped_is_refused() {
    let bed = Bed::new().await;
    bed.step("createSecret").await.unwrap();
    bed.step("setSecret").await.unwrap();
    for kid in [bed.first_kid(), format!("refresh/{}", bed.world.secrets.refresh_keys[0].kid)] {
        bed.drop_key(&kid).await.unwrap();
        let after = bed.json();
        for step in STEPS {
            let refused = bed.step(step).await.unwrap_err();
            assert!(refused.contains("is not pending"), "{step}: {refused}");
        }
        assert_eq!(bed.json(), after);
    }
    bed.rotate_to(&bed.secrets.begin_rotation(SIGNING)).await.unwrap();
}

/// The label of the finished rotation stays on its version, which a drop replaces.
#[tokio::test]
async fn a_drop_does_not_end_the_schedule() {
    let bed = Bed::new().await;
    let version = bed.secrets.begin_rotation(SIGNING);
    bed.rotate_to(&version).await.unwrap();
    assert_eq!(bed.secrets.labels(SIGNING, &version), ["AWSCURRENT", "AWSPENDING"]);
    bed.drop_key(&bed.first_kid()).await.unwrap();
    assert_eq!(bed.secrets.labels(SIGNING, &version), ["AWSPREVIOUS"]);
    bed.world.advance_s(90 * 24 * 3600);
    bed.rotate_to(&bed.secrets.begin_rotation(SIGNING)).await.unwrap();
    bed.assert_without(&bed.first_kid());
}

#[tokio::test]
async fn a_drop_at_any_call_of_a_rotation_is_not_undone() {
    let mut drops = 0;
    for (done, step) in STEPS.into_iter().enumerate() {
        for at in 0.. {
            let bed = Bed::new().await;
            let (kid, version) = (bed.first_kid(), bed.secrets.begin_rotation(SIGNING));
            for step in &STEPS[..done] {
                bed.step_of(&version, step).await.unwrap();
            }
            let rotation = bed.step_of(&version, step);
            let Some((_, dropped)) = bed.secrets.during(at, rotation, bed.drop_key(&kid)).await
            else {
                break;
            };
            dropped.unwrap();
            drops += 1;
            bed.rotate_as_scheduled().await;
            bed.assert_without(&kid);
        }
    }
    assert!(drops > 25, "{drops}");
}

/// The key waits, so the rotation that goes on has it, too.
#[tokio::test]
async fn a_step_at_any_call_of_a_drop_does_not_undo_it() {
    let mut drops = 0;
    for (done, step) in STEPS.into_iter().enumerate() {
        for at in 0.. {
            let bed = Bed::new().await;
            bed.rotate().await;
            let kid = bed.secrets.current(SIGNING).signing_keys[1].kid.clone();
            let version = bed.secrets.begin_rotation(SIGNING);
            for step in &STEPS[..done] {
                bed.step_of(&version, step).await.unwrap();
            }
            let (dropping, rotation) = (bed.drop_key(&kid), bed.step_of(&version, step));
            let Some((dropped, _)) = bed.secrets.during(at, dropping, rotation).await else {
                break;
            };
            dropped.unwrap();
            bed.assert_without(&kid);
            drops += 1;
            bed.rotate_as_scheduled().await;
            bed.assert_without(&kid);
        }
    }
    assert!(drops > 50, "{drops}");
}

/// Any call can fail, executed or not, and a rotation can begin before the drop is repeated.
#[tokio::test]
async fn a_failure_at_any_call_leaves_a_drop_that_can_be_repeated() {
    let mut failures = 0;
    for fault in [SecretsFault::NotExecuted, SecretsFault::ResponseLost] {
        for at in 0..30 {
            let bed = Bed::new().await;
            bed.secrets.begin_rotation(SIGNING);
            let event = json!({"action": "drop", "kid": bed.first_kid(), "not_before": "now"});
            let mut ended = None;
            bed.secrets.fail_after(at, fault);
            while let Err(code) = bed.send(event.clone()).await {
                if code.contains("There is no key with this kid") {
                    break; // it was complete before the rotation
                }
                assert!(code.starts_with("internal_error: "), "{code}");
                bed.secrets.recover();
                failures += 1;
                let copy = bed.secrets.current(VERIFICATION).not_before;
                let _ = bed.rotate_to(&bed.secrets.begin_rotation(SIGNING)).await;
                ended = bed.secrets.current(VERIFICATION).not_before;
                assert!(ended >= copy, "what has ended stays ended");
                bed.world.advance_s(7);
            }
            bed.secrets.recover();
            bed.assert_without(&bed.first_kid());
            assert!(bed.secrets.current(SIGNING).not_before >= ended);
            bed.rotate_as_scheduled().await;
            bed.assert_without(&bed.first_kid());
        }
    }
    assert!(failures > 20, "{failures}");
}

#[tokio::test]
async fn a_drop_that_is_complete_can_be_repeated() {
    let bed = Bed::new().await;
    let first = bed.drop_key(&bed.first_kid()).await.unwrap();
    let after = bed.json();
    assert_eq!(bed.drop_key(&bed.first_kid()).await.unwrap(), first);
    assert_eq!(bed.json(), after);
    bed.rotate_as_scheduled().await;
    let refused = bed.drop_key(&bed.first_kid()).await.unwrap_err();
    assert!(refused.contains("There is no key with this kid"), "{refused}");
}

#[tokio::test]
async fn a_rotation_waits_for_a_drop_that_has_begun() {
    let bed = Bed::new().await;
    bed.secrets.fail_after(6, SecretsFault::NotExecuted);
    bed.drop_key(&bed.first_kid()).await.unwrap_err();
    bed.secrets.recover();
    let before = bed.json();
    let version = bed.secrets.begin_rotation(SIGNING);
    for step in STEPS {
        let refused = bed.step_of(&version, step).await.unwrap_err();
        assert!(refused.contains("a drop has begun and was not completed"), "{step}: {refused}");
    }
    assert_eq!(bed.json(), before);
    bed.drop_key(&bed.first_kid()).await.unwrap();
    bed.rotate_as_scheduled().await;
    bed.assert_without(&bed.first_kid());
}

/// It is published before its secret is in force.
#[tokio::test]
async fn a_key_that_is_only_announced_can_be_dropped() {
    let bed = Bed::new().await;
    let version = bed.secrets.begin_rotation(SIGNING);
    bed.step_of(&version, "createSecret").await.unwrap();
    bed.step_of(&version, "setSecret").await.unwrap();
    let kid = bed.secrets.current(PUBLIC).signing_keys[1].kid.clone();
    bed.drop_key(&kid).await.unwrap();
    bed.assert_without(&kid);
    let refused = bed.step_of(&version, "finishSecret").await.unwrap_err();
    assert!(refused.contains("is not pending"), "{refused}");
    bed.rotate_as_scheduled().await;
    bed.assert_without(&kid);
}

#[tokio::test]
async fn a_drop_of_an_announced_key_sets_not_before_too() {
    let bed = Bed::new().await;
    let version = bed.secrets.begin_rotation(SIGNING);
    bed.step_of(&version, "createSecret").await.unwrap();
    bed.step_of(&version, "setSecret").await.unwrap();
    let kid = bed.secrets.current(PUBLIC).signing_keys[1].kid.clone();
    let early = json!({"action": "drop", "kid": kid, "not_before": "soon"});
    let refused = bed.send(early).await.unwrap_err();
    assert!(refused.contains("not_before is not a time"), "{refused}");
    let event = json!({"action": "drop", "kid": kid, "not_before": "now"});
    let answer = bed.send(event).await.unwrap();
    let ended = answer["not_before"].as_str().unwrap().parse().ok();
    for secret in [SIGNING, VERIFICATION] {
        assert_eq!(bed.secrets.current(secret).not_before, ended);
    }
    bed.assert_without(&kid);
}

#[tokio::test]
async fn a_failed_drop_of_an_announced_key_can_be_repeated() {
    let mut failures = 0;
    for fault in [SecretsFault::NotExecuted, SecretsFault::ResponseLost] {
        for at in 0..30 {
            let bed = Bed::new().await;
            let version = bed.secrets.begin_rotation(SIGNING);
            bed.step_of(&version, "createSecret").await.unwrap();
            bed.step_of(&version, "setSecret").await.unwrap();
            let kid = bed.secrets.current(PUBLIC).signing_keys[1].kid.clone();
            bed.secrets.fail_after(at, fault);
            let dropped = bed.drop_key(&kid).await;
            bed.secrets.recover();
            if let Err(code) = dropped {
                assert!(code.starts_with("internal_error: "), "{code}");
                failures += 1;
                match bed.drop_key(&kid).await {
                    Ok(_) => {}
                    // It had been completed.
                    Err(code) => assert!(code.contains("There is no key with this kid"), "{code}"),
                }
            }
            bed.assert_without(&kid);
            bed.rotate_as_scheduled().await;
            bed.assert_without(&kid);
        }
    }
    assert!(failures > 15, "{failures}");
}

/// Each call has a timeout of three seconds, and what it does can be a second one.
#[tokio::test]
async fn the_timeout_of_the_function_is_enough_for_its_calls() {
    let template =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../template.yaml"));
    let template = local::template::parse_yaml(&template.unwrap()).unwrap();
    let timeout = template["Resources"]["RotateSigningKey"]["Properties"]["Timeout"].as_u64();
    let bed = Bed::new().await;
    let mut most = 0;
    for event in STEPS {
        let before = bed.secrets.calls();
        bed.step(event).await.unwrap();
        most = most.max(bed.secrets.calls() - before);
    }
    let before = bed.secrets.calls();
    bed.drop_key(&bed.first_kid()).await.unwrap();
    most = most.max(bed.secrets.calls() - before);
    assert!((10..=20).contains(&most), "{most}");
    assert_eq!(timeout, Some(60));
}

#[tokio::test]
async fn an_operator_ends_everything_that_was_issued_before() {
    let bed = Bed::new().await;
    let agent = bed.world.agent(&["data:read"]).await;
    let old = bed.world.exchange(&agent).await;
    let now = whole_seconds(bed.world.now());
    bed.world.advance_ms(500);
    let answer = bed.send(json!({"action": "drop", "not_before": "now"})).await.unwrap();
    assert!(answer["not_before"].as_str().unwrap() > now.to_string().as_str(), "{answer}");
    bed.world.advance_s(1);
    for secret in [SIGNING, VERIFICATION] {
        assert_eq!(bed.functions(secret).whoami(&old.access).await, 401);
    }
    let access = bed.functions(SIGNING).exchange(&agent).await.access;
    assert_eq!(bed.functions(VERIFICATION).whoami(&access).await, 200);
}

/// An earlier time would make valid again what has ended.
#[tokio::test]
async fn what_has_ended_stays_ended() {
    let bed = Bed::new().await;
    let agent = bed.world.agent(&["data:read"]).await;
    let old = bed.world.exchange(&agent).await;
    bed.world.advance_s(60);
    let answer = bed.send(json!({"action": "drop", "not_before": "now"})).await.unwrap();
    let ended = answer["not_before"].as_str().unwrap().to_owned();
    bed.world.advance_s(60);
    let before = bed.json();
    let kid = bed.world.secrets.signing_keys[0].kid.clone();
    for event in [
        json!({"action": "drop", "not_before": "2020-01-01T00:00:00Z"}),
        json!({"action": "drop", "not_before": "2020-01-01T00:00:00Z", "kid": kid}),
    ] {
        let refused = bed.send(event).await.unwrap_err();
        assert_eq!(
            refused,
            format!(
                "invalid_request: not_before is {ended} already, and an earlier time would make valid again what it has ended: use a later time, or now."
            )
        );
        assert_eq!(bed.json(), before);
    }
    bed.send(json!({"action": "drop", "not_before": ended})).await.unwrap();
    bed.rotate().await;
    for secret in [SIGNING, VERIFICATION] {
        assert_eq!(bed.secrets.current(secret).not_before, ended.parse().ok());
        assert_eq!(bed.functions(secret).whoami(&old.access).await, 401);
    }
    bed.functions(SIGNING).refresh(&old.refresh).send().await.expect(400);
}

/// The clock that wrote it can be ahead of ours.
#[tokio::test]
async fn not_before_now_keeps_a_later_time() {
    let bed = Bed::new().await;
    let later = bed.send(json!({"action": "drop", "not_before": "now"})).await.unwrap();
    bed.world.advance_s(-30);
    let answer = bed.send(json!({"action": "drop", "not_before": "now"})).await.unwrap();
    assert_eq!(answer["not_before"], later["not_before"]);
}

#[tokio::test]
async fn a_rotation_that_began_before_not_before_is_refused() {
    let bed = Bed::new().await;
    bed.step("createSecret").await.unwrap();
    bed.step("setSecret").await.unwrap();
    bed.send(json!({"action": "drop", "not_before": "now"})).await.unwrap();
    let after = bed.json();
    for step in STEPS {
        let refused = bed.step(step).await.unwrap_err();
        assert!(refused.contains("is not pending"), "{step}: {refused}");
        assert_eq!(bed.json(), after);
    }
}

#[tokio::test]
async fn the_list_names_keys_and_shows_none() {
    let bed = Bed::new().await;
    let answer = bed.send(json!({"action": "list"})).await.unwrap();
    let key = &bed.world.secrets.signing_keys[0];
    assert_eq!(
        answer["keys"][0],
        json!({
            "kind": "signing ES256", "kid": key.kid, "state": "signs",
            "publish_at": null, "sign_from": null, "verify_until": null,
        })
    );
    assert_eq!(
        (answer["keys"].as_array().unwrap().len(), &answer["not_before"]),
        (4, &Value::Null)
    );
    let text = answer.to_string();
    assert!(!text.contains(key.private_key.as_ref().unwrap()));
    assert!(bed.world.secrets.refresh_keys.iter().all(|key| !text.contains(&key.key)));
}
