//! `postern trust lint` and `postern trust try`.

use std::{fs, path::Path};

use local::{settings::ConfigSource, trust};
use serde_json::{Value, json};
use tests::{Issuer, World, with_other_last_char};

const ORGANIZATION: &str = "org_01h455vb4pex5vsknk084sn02q";

fn rule(name: &str, issuer: &str, clauses: &str) -> String {
    format!(
        "[[trust]]\nname = \"{name}\"\nissuer = \"{issuer}\"\naudience = \"postern\"\n\
         match = {{ {clauses} }}\nscopes = [\"deploy:write\"]\norganization = \"{ORGANIZATION}\"\n\
         subject_prefix = \"ci|\"\n"
    )
}

/// Returns what `trust lint` prints about a file with this text, or its error.
fn lint(toml: &str) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("postern.toml");
    fs::write(&file, toml).unwrap();
    let name = |text: String| text.replace(&Path::new(&file).display().to_string(), "FILE");
    trust::lint(&ConfigSource::File(file.clone()))
        .map(name)
        .map_err(|error| name(error.to_string()))
}

#[test]
fn lint_lists_everything_that_is_wrong() {
    assert_eq!(lint("brand = \"pst\"").unwrap(), "FILE: there is no [[trust]]\n");
    let good = rule("a", "https://ci.example", "sub = \"job\"");
    assert_eq!(lint(&good).unwrap(), "FILE: the rule is good\n");
    let second = rule("b", "https://ci.example", "sub = \"other\"");
    assert_eq!(lint(&[good.clone(), second].concat()).unwrap(), "FILE: all 2 rules are good\n");
    let wide = rule("c", "https://ci.example", "sub = [\"job\", \"x\"]");
    let wide = wide.replace("deploy:write", "*");
    let unsafe_rule = rule("d", "https://gitlab.com", "sub = \"*\"");
    let error = lint(&[good.clone(), wide, unsafe_rule].concat()).unwrap_err();
    let lines: Vec<_> = error.lines().collect();
    assert_eq!(lines.len(), 4, "{error}");
    assert!(lines[0].starts_with("FILE: [[trust]] \"c\": a token can meet \"a\" too"), "{error}");
    assert!(
        lines[1].starts_with("FILE: [[trust]] \"d\": the issuer \"https://gitlab.com\" needs kind")
    );
    assert!(
        lines[2].starts_with("FILE: [[trust]] \"d\": sub = \"*\" matches every value"),
        "{error}"
    );
    assert!(lines[3].starts_with("FILE: [[trust]] \"d\": strangers could match"), "{error}");
    // The rest of the file must be valid too.
    let error = lint(&format!("brand = \"UPPER\"\n{good}")).unwrap_err();
    assert!(error.starts_with("FILE: ") && error.contains("brand"), "{error}");
    let error = lint(&format!("{good}lifetime = \"5m\"\n")).unwrap_err();
    assert!(error.starts_with("FILE: TOML parse error at line 9"), "{error}");
    let error = lint(&[good.clone(), good].concat()).unwrap_err();
    assert!(error.contains("the name is used twice"), "{error}");
}

/// Returns a deployment with two rules about an issuer, the second one in audit mode.
async fn world(issuer: &Issuer) -> World {
    let first = rule("deploy", &issuer.url, "sub = \"job\", ref = \"refs/heads/*\"");
    let second = rule("audited", &issuer.url, "sub = \"job\"") + "mode = \"audit\"\n";
    World::configured(&[first, second].concat()).await
}

fn claims(world: &World, changes: Value) -> Value {
    let now = world.now().as_second();
    let mut claims = json!({
        "sub": "job", "aud": "postern", "exp": now + 300, "jti": "1", "ref": "refs/heads/main",
    });
    claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    claims
}

#[tokio::test]
async fn try_says_clause_by_clause_what_a_token_meets_and_spends_nothing() {
    let issuer = Issuer::start().await;
    let world = world(&issuer).await;
    let token = issuer.token(claims(&world, json!({})));
    world.wire.take();
    for _ in 0..2 {
        let (page, is_granted) = trust::try_token(&world.app, &token).await.unwrap();
        let expected = format!(
            "The token\n  issuer     {}\n  subject    job\n  audience   postern\n  id         1\n  \
             expires    2026-01-01T00:05:00Z\n  signature  valid\n\n\
             The rule deploy (enforced)\n  yes aud = postern\n  yes ref = refs/heads/*\n  \
             yes sub = job\n\n\
             The rule audited (audit only)\n  yes aud = postern\n  yes sub = job\n\n\
             The rule deploy decides. It grants deploy:write to ci|job in {ORGANIZATION},\n\
             for the routes of the deployment, for at most 300 seconds\n",
            issuer.url
        );
        assert_eq!((page, is_granted), (expected, true));
    }
    assert_eq!(world.wire.names(), Vec::<String>::new());
    let form =
        [("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", &token)];
    world.call("POST", "/v1/auth/token").form(&form).send().await.expect(200);
}

#[tokio::test]
async fn try_says_why_a_token_is_refused() {
    let issuer = Issuer::start().await;
    let world = world(&issuer).await;
    let now = world.now().as_second();
    let token = |changes: Value| issuer.token(claims(&world, changes));
    let forged = with_other_last_char(&token(json!({}))[..100]);
    for (token, parts) in [
        (
            token(json!({"ref": "refs/tags/v1"})),
            vec!["no  ref = refs/heads/*, but the token has refs/tags/v1", "it meets no rule"],
        ),
        (token(json!({"ref": ["a"]})), vec!["but the token has [\"a\"], which is no single value"]),
        (
            token(json!({"ref": null})),
            vec!["no  ref = refs/heads/*, but the token does not have it"],
        ),
        (token(json!({"ref": "a\u{1b}[2J"})), vec!["but the token has a\\u{1b}[2J"]),
        (token(json!({"aud": "other"})), vec!["no  aud = postern", "(TrustAudienceWrong)"]),
        (token(json!({"exp": now - 60})), vec!["2025-12-31T23:59:00Z", "(TrustTokenExpired)"]),
        (
            token(json!({"iss": "https://other.example"})),
            vec!["(TrustIssuerUnknown)", "The rules are about: http://127.0.0.1:"],
        ),
    ] {
        let (page, is_granted) = trust::try_token(&world.app, &token).await.unwrap();
        let parts: Vec<_> = parts
            .into_iter()
            .map(|part| {
                part.replace("it meets no rule", "the token meets no rule that is enforced")
            })
            .collect();
        assert!(!is_granted && parts.iter().all(|part| page.contains(part)), "{page}");
    }
    let bearer = format!("Bearer {}", token(json!({})));
    let of_github = json!({"count": 1, "value": token(json!({}))}).to_string();
    for (text, remedy) in [
        (forged.as_str(), "give the token that the workload would send"),
        ("", "give the token"),
        ("x", "give the token"),
        ("a.b.c", "give the token"),
        (&bearer, "send the token without the word Bearer"),
        (&of_github, "it is the JSON of an issuer: send only the token in it"),
    ] {
        let error = trust::try_token(&world.app, text).await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("this is not a JWT: {remedy}")), "{error}");
    }
    let stranger = Issuer::start().await;
    let mut claims = claims(&world, json!({}));
    claims["iss"] = issuer.url.clone().into();
    let (page, is_granted) = trust::try_token(&world.app, &stranger.token(claims)).await.unwrap();
    assert!(!is_granted && page.contains("(TrustTokenForged)"), "{page}");
}

#[tokio::test]
async fn try_verifies_and_decides_about_an_expired_token_as_before_it_expired() {
    let issuer = Issuer::start().await;
    let world = world(&issuer).await;
    let now = world.now().as_second();
    let expired = |changes: Value| {
        let mut claims = claims(&world, changes);
        claims["iat"] = (now - 900).into();
        claims["exp"] = (now - 600).into();
        claims
    };
    let token = issuer.token(expired(json!({})));
    let (page, is_granted) = trust::try_token(&world.app, &token).await.unwrap();
    assert!(!is_granted && page.contains("  signature  valid\n"), "{page}");
    let end = format!(
        "\nRefused now: the token has expired (TrustTokenExpired)\nBefore it expired:\nThe rule \
         deploy decides. It grants deploy:write to ci|job in {ORGANIZATION},\nfor the routes of the \
         deployment, for at most 300 seconds\n"
    );
    assert!(page.ends_with(&end), "{page}");
    let unmet = issuer.token(expired(json!({"ref": "refs/tags/v1"})));
    let (page, is_granted) = trust::try_token(&world.app, &unmet).await.unwrap();
    let end = "Before it expired:\nRefused: the token meets no rule that is enforced\n";
    assert!(!is_granted && page.ends_with(end), "{page}");
    let stranger = Issuer::start().await;
    let mut forged = expired(json!({}));
    forged["iss"] = issuer.url.clone().into();
    let (page, is_granted) = trust::try_token(&world.app, &stranger.token(forged)).await.unwrap();
    assert!(!is_granted && page.contains("(TrustTokenForged)"), "{page}");
    assert!(!page.contains("decides"), "{page}");
    let early = issuer.token(claims(&world, json!({"nbf": now + 60})));
    let (page, is_granted) = trust::try_token(&world.app, &early).await.unwrap();
    assert!(!is_granted && page.contains("(TrustTokenExpired)"), "{page}");
}

#[tokio::test]
async fn try_refuses_every_subject_that_an_exchange_refuses() {
    let issuer = Issuer::start().await;
    let of = |prefix: &str| {
        let gate = "[gate]\ndenied_users = [\"ci|denied\"]\n";
        rule("deploy", &issuer.url, "job_id = 7").replace("ci|", prefix)
            + if prefix.is_empty() { "" } else { gate }
    };
    for (prefix, sub, cause) in [
        ("ci|", json!("a\nb"), "(TrustSubjectInvalid)"),
        ("ci|", json!(""), "(TrustSubjectInvalid)"),
        ("ci|", json!("s".repeat(256)), "(TrustSubjectInvalid)"),
        ("ci|", json!(7), "(TrustSubjectInvalid)"),
        ("ci|", json!(["a"]), "(TrustSubjectInvalid)"),
        ("ci|", Value::Null, "(TrustSubjectInvalid)"),
        ("", json!("github|7"), "(TrustSubjectInvalid)"),
        ("", json!("usr_01h455vb4pex5vsknk084sn02q"), "(TrustSubjectInvalid)"),
        ("ci|", json!("denied"), "(UserForbidden)"),
    ] {
        let world = World::configured(&of(prefix)).await;
        let token = issuer.token(claims(&world, json!({"sub": sub, "job_id": 7})));
        let (page, is_granted) = trust::try_token(&world.app, &token).await.unwrap();
        assert!(!is_granted && page.contains("The rule deploy decides.\nRefused: "), "{page}");
        assert!(page.contains(cause), "{page}");
        let form =
            [("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", &token)];
        let answer = world.call("POST", "/v1/auth/token").form(&form).send().await;
        assert!(matches!(answer.status, 400 | 403), "{sub}: {}", answer.text);
    }
}
