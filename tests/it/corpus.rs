//! Sign-ins and tokens of ten issuers. The files in `tests/corpus` are written from the public
//! documentation of each issuer. Each file says who signs in, whether a verified address admits
//! them, when their tokens are renewed, and whether an access token passes as a bearer token.

use serde_json::Value;
use tests::{Answer, Issuer, IssuerForm, World, browser::COOKIE, capture};

/// A deployment at which users of the issuer sign in, if `allow` admits them.
async fn signing_in(issuer: &Issuer, allow: &str) -> World {
    World::configured(&format!(
        "[[signin]]\ntype = \"oidc\"\nname = \"corpus\"\nissuer = \"{}\"\nclient_id = \"postern\"\nallow = [\"{allow}\"]",
        issuer.url
    ))
    .await
}

async fn whoami(world: &World, session: &str) -> Answer {
    let call = world.call("GET", "/v1/auth/whoami").header("X-Postern-Session", session);
    call.send().await.expect(200)
}

fn expected(form: &IssuerForm) -> &Value {
    form.member("expected")
}

#[tokio::test]
async fn a_user_of_every_issuer_signs_in() {
    for form in IssuerForm::all() {
        let issuer = Issuer::imitating(form.clone()).await;
        let world = signing_in(&issuer, "*").await;
        let answer = world.sign_in_at(&issuer, "ada").await;
        assert_eq!(answer.status, 303, "{}: {}", form.name, answer.text);
        let me = whoami(&world, &answer.cookie(COOKIE)).await;
        assert_eq!(me.body["user_id"], expected(&form)["user"], "{}", form.name);
        assert_eq!(me.body["metadata"]["name"], expected(&form)["name"], "{}", form.name);
    }
}

#[tokio::test]
async fn an_address_admits_only_where_the_issuer_says_that_it_is_verified() {
    for form in IssuerForm::all() {
        let issuer = Issuer::imitating(form.clone()).await;
        let world = signing_in(&issuer, "@example.com").await;
        let answer = world.sign_in_at(&issuer, "ada").await;
        match expected(&form)["verified_address"].as_str().unwrap() {
            "accepted" => assert_eq!(answer.status, 303, "{}: {}", form.name, answer.text),
            cause => {
                assert_eq!(answer.status, 403, "{}: {}", form.name, answer.text);
                assert!(capture::logged(&[cause]), "{}", form.name);
            }
        }
        let elsewhere = signing_in(&issuer, "@elsewhere.example").await;
        assert_eq!(elsewhere.sign_in_at(&issuer, "ada").await.status, 403, "{}", form.name);
    }
}

#[tokio::test]
async fn the_tokens_of_every_issuer_are_renewed_when_they_are_due_and_again() {
    for form in IssuerForm::all() {
        let issuer = Issuer::imitating(form.clone()).await;
        let world = signing_in(&issuer, "*").await;
        let session = world.sign_in_at(&issuer, "ada").await.expect(303).cookie(COOKIE);
        let Some(due_s) = expected(&form)["renews_after_s"].as_i64() else {
            world.advance_s(86_400);
            whoami(&world, &session).await;
            assert_eq!(issuer.renewals(), 0, "{}", form.name);
            continue;
        };
        for renewals in 1..4 {
            world.advance_s(due_s - 1);
            whoami(&world, &session).await;
            assert_eq!(issuer.renewals(), renewals - 1, "{}", form.name);
            world.advance_s(1);
            whoami(&world, &session).await;
            assert_eq!(issuer.renewals(), renewals, "{}", form.name);
        }
    }
}

#[tokio::test]
async fn an_access_token_of_every_issuer_passes_or_the_log_says_why_not() {
    for form in IssuerForm::all() {
        let issuer = Issuer::imitating(form.clone()).await;
        let provider = |audience: &str| {
            format!(
                "[[provider]]\ntype = \"oidc\"\nissuer = \"{}\"\naudience = \"{audience}\"",
                issuer.url
            )
        };
        let audience = expected(&form)["audience"].as_str().unwrap();
        let world = World::configured(&provider(audience)).await;
        let token = issuer.imitated_bearer();
        let answer = world.call("GET", "/v1/auth/whoami").bearer(&token).send().await;
        match expected(&form)["bearer"].as_str().unwrap() {
            "accepted" => {
                let named = expected(&form).get("bearer_user");
                let user = named.unwrap_or(&expected(&form)["user"]);
                assert_eq!((answer.status, &answer.body["user_id"]), (200, user), "{}", form.name);
            }
            cause => {
                answer.expect_error(401, "invalid_token");
                assert!(capture::logged(&[cause]), "{}", form.name);
            }
        }
        let other = world.reconfigured(&provider("another-api"));
        let answer = other.call("GET", "/v1/auth/whoami").bearer(&token).send().await;
        assert_eq!(answer.status, 401, "{}", form.name);
    }
}

#[tokio::test]
async fn an_id_token_of_no_issuer_passes_as_an_access_token() {
    for form in IssuerForm::all() {
        let issuer = Issuer::imitating(form.clone()).await;
        let world = World::configured(&format!(
            "[[provider]]\ntype = \"oidc\"\nissuer = \"{}\"\naudience = \"postern\"",
            issuer.url
        ))
        .await;
        let token = issuer.imitated_id_token();
        let answer = world.call("GET", "/v1/auth/whoami").bearer(&token).send().await;
        assert_eq!(answer.status, 401, "{}", form.name);
    }
    assert!(capture::logged(&["IdTokenNotAccepted"]));
}

#[test]
fn every_form_says_where_its_documentation_is_and_what_must_come_of_it() {
    let forms = IssuerForm::all();
    assert!(forms.len() >= 13, "{}", forms.len());
    for form in forms {
        assert!(form.member("documentation").as_str().unwrap().starts_with("https://"));
        for name in ["user", "verified_address", "audience", "bearer"] {
            assert!(expected(&form)[name].is_string(), "{}: {name}", form.name);
        }
    }
}
