//! Text that people type: what looks the same is the same, and what cannot be seen is refused.

use postern::core::principal::Role;
use serde_json::{Value, json};
use tests::{Answer, Issuer, World};

/// A password and an address as one system composes them, and as another decomposes them.
const COMPOSED: [&str; 2] = ["jos\u{e9}@example.com", "caf\u{e9} \u{d55c}\u{ad6d} battery"];
const DECOMPOSED: [&str; 2] = [
    "jose\u{301}@example.com",
    "cafe\u{301} \u{1112}\u{1161}\u{11ab}\u{1100}\u{116e}\u{11a8} battery",
];

#[tokio::test]
async fn a_password_and_an_address_work_however_they_were_typed() {
    for (enrolled, typed) in [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)] {
        let world = World::new().await;
        world.create_user(enrolled[0], enrolled[1], Role::User).await;
        let answer = world.log_in(typed[0], typed[1]).await.expect(200);
        assert_eq!(answer.body["user"]["email"], COMPOSED[0]);
        world.sign_in_with_password(typed[0], typed[1]).await;
        let spaced = typed[1].replace(' ', "\u{a0}");
        world.log_in(typed[0], &spaced).await.expect(200);
        world.log_in("JOS\u{c9}@EXAMPLE.COM", typed[1]).await.expect(200);
        for wrong in [&typed[1][..3], &typed[1].to_uppercase(), &format!("{} ", typed[1])] {
            world.log_in(typed[0], wrong).await.expect_error(401, "invalid_credentials");
        }
    }
}

#[tokio::test]
async fn a_password_with_characters_that_no_one_sees_is_not_taken_and_never_right() {
    let world = World::new().await;
    world.create_user("ada@example.com", "correct horse", Role::User).await;
    for password in [
        "correct\u{200b} horse",
        "\u{feff}correct horse",
        "correct horse\u{ad}",
        "correct\thorse",
        "correct horse\n",
        "correct \u{202e}horse",
        "correct horse\u{0}",
    ] {
        let body = json!({"email": "eve@example.com", "password": password});
        world.post("/v1/users", body).send().await.expect_error(400, "invalid_request");
        world.log_in("ada@example.com", password).await.expect_error(401, "invalid_credentials");
    }
}

#[tokio::test]
async fn a_password_is_not_the_address_however_it_is_written() {
    let world = World::new().await;
    for password in
        ["jos\u{e9}@example.com", "JOSE\u{301}@Example.Com", "jos\u{e9}\u{ff20}example.com"]
    {
        let body = json!({"email": COMPOSED[0], "password": password});
        world.post("/v1/users", body).send().await.expect_error(400, "invalid_request");
    }
}

#[tokio::test]
async fn addresses_that_look_the_same_are_one_user() {
    let world = World::new().await;
    world.create_user("jos\u{e9}@b\u{fc}cher.example", "correct horse", Role::User).await;
    for (email, status) in [
        ("jose\u{301}@b\u{fc}cher.example", 409),
        ("jos\u{e9}@bu\u{308}cher.example", 409),
        ("jos\u{e9}@xn--bcher-kva.example", 409),
        ("JOS\u{c9}@B\u{dc}CHER.EXAMPLE", 409),
        ("\u{ff4a}os\u{e9}\u{ff20}b\u{fc}cher\u{3002}example", 409),
        (" jos\u{e9}@b\u{fc}cher.example\u{a0}", 409),
        ("jos\u{200b}\u{e9}@b\u{fc}cher.example", 400),
        ("\u{feff}jos\u{e9}@b\u{fc}cher.example", 400),
        ("jos\u{e9}\u{200d}@b\u{fc}cher.example", 400),
        ("\u{202e}jos\u{e9}@b\u{fc}cher.example", 400),
        ("jos\u{e9}@b\u{fc}cher..example", 400),
        ("jose@b\u{fc}cher.example", 201),
        ("jos\u{e9}@bucher.example", 201),
    ] {
        let body = json!({"email": email, "password": "correct horse"});
        assert_eq!(world.post("/v1/users", body).send().await.status, status, "{email:?}");
    }
}

#[tokio::test]
async fn a_domain_that_may_sign_in_is_the_same_however_it_is_written() {
    for domain in ["b\u{fc}cher.example", "XN--BCHER-KVA.example", "B\u{fc}cher.Example"] {
        for (email, status) in [
            ("ada@b\u{fc}cher.example", 303),
            ("ada@xn--bcher-kva.example", 303),
            ("ada@BU\u{308}CHER.example", 303),
            ("ada@bucher.example", 403),
            ("ada@b\u{fc}cher.example.evil", 403),
        ] {
            let issuer = Issuer::start().await;
            let toml = format!(
                "[[signin]]\ntype = \"oidc\"\nname = \"huudis\"\nissuer = \"{}\"\nclient_id = \"postern\"\nallow = [\"@{domain}\"]",
                issuer.url
            );
            let world = World::configured(&toml).await;
            issuer.override_claims(json!({"email": email, "email_verified": true}));
            let answer = world.sign_in_at(&issuer, "ada").await;
            assert_eq!(answer.status, status, "{domain} {email}");
        }
    }
}

/// Creates one of everything that people name.
async fn create(world: &World, kind: &str, name: &str) -> Answer {
    match kind {
        "/v1/auth/cli-tokens" => {
            let session = world.sign_in("ada", Role::User).await;
            let body = json!({"name": name, "scopes": ["scans:read"], "all_repositories": true});
            let call = world.call("POST", kind).header("X-Postern-Session", session);
            call.json(body).send().await
        }
        "/v1/organizations" => {
            let call = world.call("POST", kind).bearer(&world.operator_key);
            call.json(json!({"name": name})).send().await
        }
        "/v1/runners" => world.post(kind, json!({"name": name})).send().await,
        _ => world.post(kind, json!({"name": name, "scopes": ["data:read"]})).send().await,
    }
}

const NAMED: [&str; 6] = [
    "/v1/keys",
    "/v1/agents",
    "/v1/services",
    "/v1/runners",
    "/v1/organizations",
    "/v1/auth/cli-tokens",
];

#[tokio::test]
async fn a_name_is_kept_in_its_normal_form_and_invisible_ones_are_refused() {
    let world = World::new().await;
    for kind in NAMED {
        for (typed, expected) in [
            ("deploy", Some("deploy")),
            ("  Jose\u{301}\u{a0} \u{3000}laptop ", Some("Jos\u{e9} laptop")),
            ("🤖 ½ · ❤\u{fe0f}", Some("🤖 ½ · ❤\u{fe0f}")),
            ("", None),
            (" \u{a0}\u{2003}", None),
            ("\u{200b}", None),
            ("\u{2800}", None),
            ("\u{3164}", None),
            ("a\u{200b}b", None),
            ("\u{202e}yolped", None),
            ("a\u{2066}b\u{2069}", None),
            ("a\u{feff}", None),
            ("a\u{ad}b", None),
            ("a\nb", None),
            ("a\u{e000}", None),
        ] {
            let answer = create(&world, kind, typed).await;
            match expected {
                Some(name) => assert_eq!(answer.expect(201).body["name"], name, "{kind}"),
                None => drop(answer.expect_error(400, "invalid_request")),
            }
        }
        create(&world, kind, &"e\u{301}".repeat(100)).await.expect(201);
        create(&world, kind, &"e\u{301}".repeat(101)).await.expect_error(400, "invalid_request");
    }
}

#[tokio::test]
async fn labels_and_repositories_are_visible() {
    let world = World::new().await;
    let labels = |labels: Value| world.post("/v1/runners", json!({"name": "r", "labels": labels}));
    let made = labels(json!([" linux ", "cafe\u{301}"])).send().await.expect(201);
    assert_eq!(made.body["labels"], json!(["linux", "caf\u{e9}"]));
    for label in ["", " ", "\u{200b}", "\u{202e}xunil", "a\u{feff}"] {
        labels(json!([label])).send().await.expect_error(400, "invalid_request");
        let resources = json!({"repositories": [format!("acme/{label}\u{200b}")]});
        let body = json!({"name": "k", "scopes": ["data:read"], "resources": resources});
        world.post("/v1/keys", body).send().await.expect_error(400, "invalid_request");
    }
}

#[tokio::test]
async fn a_date_is_one_of_rfc_3339_and_the_answer_names_its_member() {
    let world = World::new().await;
    let session = world.sign_in("ada", Role::User).await;
    let key = |expires_at: &Value| {
        world.post(
            "/v1/keys",
            json!({"name": "k", "scopes": ["data:read"], "expires_at": expires_at}),
        )
    };
    let cli_token = |expires_at: &Value| {
        let body = json!({"name": "t", "scopes": ["scans:read"], "all_repositories": true, "expires_at": expires_at});
        world.call("POST", "/v1/auth/cli-tokens").header("X-Postern-Session", &session).json(body)
    };
    for (sent, shown) in [
        (json!("9999-12-31T23:59:59Z"), json!("9999-12-31T23:59:59Z")),
        (json!("2027-01-31T12:00:00+02:00"), json!("2027-01-31T10:00:00Z")),
        (json!("2027-01-31t12:00:00.75z"), json!("2027-01-31T12:00:00Z")),
        (Value::Null, Value::Null),
    ] {
        for made in [key(&sent).send().await, cli_token(&sent).send().await] {
            let made = made.expect(201);
            assert_eq!(made.body["expires_at"], shown, "{sent}");
        }
    }
    let listed = world.get("/v1/keys").send().await.expect(200).text;
    assert!(listed.contains("\"9999-12-31T23:59:59Z\""), "{listed}");
    for sent in [
        json!("2027-01-31T12:00:00+25:00"),
        json!("2027-01-31T12:00:00+02"),
        json!("2027-01-31T12:00:00+01:00[Europe/Paris]"),
        json!("2027-01-31 12:00:00Z"),
        json!("2027-01-31T12:00:00"),
        json!("2027-02-30T12:00:00Z"),
        json!("2027-01-31"),
        json!("10000-01-01T00:00:00Z"),
        json!("9999-12-31T23:59:60-00:01"),
        json!("soon"),
        json!(""),
        json!(1_801_396_800),
        json!({}),
    ] {
        for answer in [key(&sent).send().await, cli_token(&sent).send().await] {
            let answer = answer.expect_error(400, "invalid_request");
            assert_eq!(
                answer.member("error_description"),
                "The member 'expires_at' of the body must be a date and time of RFC 3339, such as 2027-01-31T12:00:00Z.",
                "{sent}"
            );
        }
    }
}
