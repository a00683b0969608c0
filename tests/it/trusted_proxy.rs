//! A trusted proxy in front of the API, which names the caller's address.

use postern::{core::principal::Role, crypto::Digest};
use serde_json::json;
use tests::{Answer, Setup, World, browser::COOKIE};

const SECRET: &str = "a secret that CloudFront adds";
const NEXT: &str = "the secret that will replace it";
const SECRET_HEADER: &str = "X-Postern-Proxy-Secret";
const CLOUDFRONT: &str = "CloudFront-Viewer-Address";
const PROXY: [u8; 4] = [198, 51, 100, 1];

async fn world(more: &[(&'static str, &str)]) -> World {
    let digests = [SECRET, NEXT].map(|secret| Digest::of(secret.as_bytes()).to_hex()).join(",");
    let mut variables = vec![("POSTERN_PROXY_SECRET_SHA256", digests)];
    variables.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
    let toml = "[throttle]\nlogin_per_address = 1\nlogin_per_account = 1000".to_owned();
    World::with(Setup { toml: Some(toml), variables, ..Setup::default() }).await
}

/// A failed login. The second from one address is throttled.
async fn attempt(world: &World, headers: &[(&str, &str)]) -> Answer {
    let body = json!({"email": "nobody@example.com", "password": "wrong password"});
    let call = world.call("POST", "/v1/auth/login").from(PROXY).json(body);
    headers.iter().fold(call, |call, (name, value)| call.header(name, value)).send().await
}

#[tokio::test]
async fn throttles_count_the_callers_that_the_proxy_names() {
    let world = world(&[]).await;
    for (at, (secret, address)) in [
        (SECRET, "203.0.113.1:46532"),
        (SECRET, "203.0.113.2:46532"),
        (NEXT, "203.0.113.3:1"),
        (SECRET, "2001:db8:0:1:0:0:0:1:46532"),
        (SECRET, "2001:db8:0:2::1:443"),
    ]
    .into_iter()
    .enumerate()
    {
        let headers = [(SECRET_HEADER, secret), (CLOUDFRONT, address)];
        attempt(&world, &headers).await.expect_error(401, "invalid_credentials");
        attempt(&world, &headers).await.expect_error(429, "too_many_requests");
        // Another port, or another address of the same network, is the same caller.
        let same = [
            "203.0.113.1:9",
            "203.0.113.2:9",
            "203.0.113.3:9",
            "2001:db8:0:1::9:9",
            "2001:db8:0:2:ffff::9:9",
        ][at];
        let headers = [(SECRET_HEADER, secret), (CLOUDFRONT, same)];
        attempt(&world, &headers).await.expect_error(429, "too_many_requests");
    }
}

#[tokio::test]
async fn without_the_secret_or_an_address_only_the_gateways_address_counts() {
    for headers in [
        &[(CLOUDFRONT, "203.0.113.1:1")][..],
        &[(SECRET_HEADER, "wrong"), (CLOUDFRONT, "203.0.113.1:1")],
        &[(SECRET_HEADER, ""), (CLOUDFRONT, "203.0.113.1:1")],
        &[(SECRET_HEADER, "\u{e9}"), (CLOUDFRONT, "203.0.113.1:1")],
        &[(SECRET_HEADER, SECRET)],
        &[(SECRET_HEADER, SECRET), (CLOUDFRONT, "nowhere")],
        &[(SECRET_HEADER, SECRET), (CLOUDFRONT, "203.0.113.1:1, 203.0.113.2:1")],
        &[(SECRET_HEADER, SECRET), ("X-Forwarded-For", "203.0.113.1")],
        &[("X-Forwarded-For", "203.0.113.1")],
    ] {
        let world = world(&[]).await;
        attempt(&world, &[]).await.expect_error(401, "invalid_credentials");
        attempt(&world, headers).await.expect_error(429, "too_many_requests");
    }
    // A deployment without a proxy trusts nobody.
    let toml = "[throttle]\nlogin_per_address = 1\nlogin_per_account = 1000";
    let world = World::configured(toml).await;
    attempt(&world, &[]).await.expect_error(401, "invalid_credentials");
    let headers = [(SECRET_HEADER, SECRET), (CLOUDFRONT, "203.0.113.1:1")];
    attempt(&world, &headers).await.expect_error(429, "too_many_requests");
}

#[tokio::test]
async fn another_header_contains_an_address_with_or_without_a_port() {
    let world = world(&[("POSTERN_PROXY_ADDRESS_HEADER", "X-Real-IP")]).await;
    for address in [
        "203.0.113.1",
        "203.0.113.2:80",
        "2001:db8:0:1::443",
        "[2001:db8:0:2::1]:443",
        "[2001:db8:0:3::1]",
    ] {
        let headers = [(SECRET_HEADER, SECRET), ("X-Real-IP", address)];
        attempt(&world, &headers).await.expect_error(401, "invalid_credentials");
        attempt(&world, &headers).await.expect_error(429, "too_many_requests");
    }
    let cloudfront = [(SECRET_HEADER, SECRET), (CLOUDFRONT, "203.0.113.9:1")];
    attempt(&world, &cloudfront).await.expect_error(401, "invalid_credentials");
    attempt(&world, &[]).await.expect_error(429, "too_many_requests");
}

#[tokio::test]
async fn the_binding_of_a_refresh_token_is_the_address_that_the_proxy_names() {
    let world = world(&[]).await;
    let tokens = world.exchange(&world.agent(&["read"]).await).await;
    let refresh = |token: &str, address: &str| {
        let call = world.refresh(token).from(PROXY).header(SECRET_HEADER, SECRET);
        call.header(CLOUDFRONT, format!("{address}:46532")).send()
    };
    let second = refresh(&tokens.refresh, "203.0.113.1").await.expect(200).member("refresh_token");
    let third = refresh(&second, "203.0.113.1").await.expect(200).member("refresh_token");
    // The same caller can repeat it, and another caller behind the same proxy cannot.
    assert_eq!(refresh(&second, "203.0.113.1").await.expect(200).member("refresh_token"), third);
    refresh(&second, "203.0.113.99").await.expect_error(400, "invalid_grant");
}

#[tokio::test]
async fn a_session_shows_the_address_that_the_proxy_names() {
    let world = world(&[]).await;
    world.create_user("ada@example.com", "correct horse battery", Role::User).await;
    let form = [("email", "ada@example.com"), ("password", "correct horse battery")];
    let call = world.call("POST", "/login").from(PROXY).header(SECRET_HEADER, SECRET);
    let answer = call.header(CLOUDFRONT, "203.0.113.1:46532").form(&form).send().await.expect(303);
    let cookie = format!("{COOKIE}={}", answer.cookie(COOKIE));
    let page = world.call("GET", "/sessions").header("Cookie", cookie).send().await.expect(200);
    assert!(page.text.contains("from 203.0.113.1<"), "{}", page.text);
}
