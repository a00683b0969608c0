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
        for step in STEPS {
            self.step(step).await.unwrap();
        }
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
async fn a_rotation_that_took_too_long_is_refused_and_ends_no_key() {
    let bed = Bed::new().await;
    bed.step("createSecret").await.unwrap();
    bed.step("setSecret").await.unwrap();
    let before = bed.json();
    bed.world.advance_s(24 * 3600 + 1);
    for step in ["setSecret", "testSecret", "finishSecret"] {
        let refused = bed.step(step).await.unwrap_err();
        assert!(refused.contains("took too long"), "{step}: {refused}");
    }
    assert_eq!(bed.json(), before);
    bed.world.advance_s(30 * 24 * 3600);
    let agent = bed.world.agent(&["data:read"]).await;
    let access = bed.functions(SIGNING).exchange(&agent).await.access;
    assert_eq!(bed.functions(VERIFICATION).whoami(&access).await, 200);
    for step in STEPS {
        bed.step_of(&VERSION.replace('9', "8"), step).await.unwrap();
    }
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
    for kid in [
        bed.world.secrets.signing_keys[0].kid.clone(),
        format!("refresh/{}", bed.world.secrets.refresh_keys[0].kid),
    ] {
        bed.send(json!({"action": "drop", "kid": kid})).await.unwrap();
        let after = bed.json();
        for step in ["setSecret", "testSecret", "finishSecret"] {
            let refused = bed.step(step).await.unwrap_err();
            assert!(refused.contains("the rotation stops"), "{step}: {refused}");
        }
        assert_eq!(bed.json(), after);
    }
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
    for step in ["setSecret", "testSecret", "finishSecret"] {
        let refused = bed.step(step).await.unwrap_err();
        assert!(refused.contains("was changed while"), "{step}: {refused}");
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
