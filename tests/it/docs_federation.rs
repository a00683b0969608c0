//! The recipes of `docs/federation.md`: each rule grants to a token of exactly the documented form,
//! and to none in which a claim differs that the rule matches.

use jsonwebtoken::{Algorithm, Header};
use postern::{config::Config, crypto::sign};
use serde_json::{Value, json};
use tests::{Answer, ClientKey, CurlCommand, Issuer, ProofKey, World, page::Page, variables};

const PAGE: &str = "docs/federation.md";
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// The agent of the page.
const AGENT: &str = "agt_01h455vb4pex5vsknk084sn02q";

/// A recipe: its rule, and the claims of a token that meets it.
struct Recipe {
    toml: String,
    claims: Value,
}

/// Returns the recipes of the page: each block with a rule after which the claims of a token
/// follow.
fn recipes() -> Vec<Recipe> {
    let page = Page::read(PAGE);
    let mut blocks = page.blocks();
    blocks.retain(|(language, _)| language == "toml" || language == "json");
    let pairs = blocks.windows(2).filter_map(|pair| {
        let [(toml_language, toml), (json_language, claims)] = pair else { return None };
        if toml_language != "toml" || json_language != "json" {
            return None;
        }
        let claims: Value = serde_json::from_str(claims).ok()?;
        claims.get("aud")?;
        Some(Recipe { toml: toml.clone(), claims })
    });
    pairs.collect()
}

/// A deployment with the rule of a recipe, whose issuer publishes these keys.
async fn world(recipe: &Recipe, issuer: &Issuer) -> World {
    let world = World::new().await;
    let agent = world.agent(&["deploy:write"]).await;
    let lines = recipe.toml.lines().filter(|line| !line.starts_with("jwks_url"));
    let mut toml = lines.collect::<Vec<_>>().join("\n").replace(AGENT, &agent.id);
    toml.push_str(&format!("\njwks_url = \"{}/jwks\"\n", issuer.url));
    world.reconfigured(&toml)
}

/// Signs a token with these claims, as ClientKey does, without what the page does not show.
fn sign(key: &ClientKey, world: &World, claims: &Value) -> String {
    let mut claims = claims.clone();
    for name in ["iss", "jti"] {
        if claims.get(name).is_none() {
            claims[name] = Value::Null;
        }
    }
    key.assertion(world, "", claims)
}

async fn exchange(world: &World, token: &str) -> Answer {
    let form = [("grant_type", JWT_BEARER), ("assertion", token)];
    world.call("POST", "/v1/auth/token").form(&form).send().await
}

/// Returns the key set with which an issuer publishes `jwk`.
fn key_set(jwk: &Value, recipe: &Recipe) -> Value {
    let mut jwk = jwk.clone();
    let is_bundle = recipe.toml.contains("spiffe://");
    jwk["use"] = if is_bundle { "jwt-svid" } else { "sig" }.into();
    json!({"keys": [jwk]})
}

#[tokio::test]
async fn every_recipe_accepts_its_token_and_no_other() {
    let recipes = recipes();
    assert_eq!(recipes.len(), 8, "a kind of issuer has no recipe");
    let key = ClientKey::generate("k", sign::Algorithm::RS256);
    for recipe in recipes {
        let issuer = Issuer::start().await;
        issuer.publish(key_set(&key.jwk, &recipe));
        let world = world(&recipe, &issuer).await;
        let answer = exchange(&world, &sign(&key, &world, &recipe.claims)).await;
        assert_eq!(answer.status, 200, "{}: {}", recipe.toml, answer.text);
        assert_eq!(answer.member("scope"), "deploy:write");

        let config = &world.app.context.config;
        for (path, _) in config.trust[0].clauses.iter() {
            let pointer: String = path
                .members()
                .iter()
                .map(|name| format!("/{}", name.replace('~', "~0").replace('/', "~1")))
                .collect();
            for other in [json!("other"), Value::Null, json!(["other"]), json!("")] {
                let mut claims = recipe.claims.clone();
                *claims.pointer_mut(&pointer).unwrap() = other.clone();
                claims["jti"] = format!("{pointer}{other}").into();
                let answer = exchange(&world, &sign(&key, &world, &claims)).await;
                assert_eq!(answer.status, 400, "{pointer} = {other}: {}", answer.text);
            }
        }
    }
}

/// What the kinds refuse, whatever a rule says.
#[tokio::test]
async fn tokens_that_others_cause_or_that_are_of_people_are_refused() {
    let key = ClientKey::generate("k", sign::Algorithm::RS256);
    for (kind, changes) in [
        ("github", json!({"event_name": "pull_request_target"})),
        ("github", json!({"event_name": "pull_request"})),
        ("github", json!({"event_name": "workflow_run"})),
        ("github", json!({"event_name": "issue_comment"})),
        ("github", json!({"event_name": null})),
        ("gitlab", json!({"pipeline_source": "merge_request_event"})),
        ("gitlab", json!({"pipeline_source": "external_pull_request_event"})),
        ("gitlab", json!({"pipeline_source": "parent_pipeline"})),
        ("gitlab", json!({"pipeline_source": null})),
        ("kubernetes", json!({"kubernetes.io": null})),
        ("kubernetes", json!({"kubernetes.io": {"namespace": "prod"}})),
        ("google", json!({"hd": "example.com"})),
        ("azure", json!({"scp": "user_impersonation"})),
        ("aws", json!({"aud": ["https://auth.example.com", "https://other.example.com"]})),
    ] {
        let is_of_kind = |recipe: &Recipe| recipe.toml.contains(&format!("kind = \"{kind}\""));
        let recipe = recipes().into_iter().find(is_of_kind).unwrap();
        let issuer = Issuer::start().await;
        issuer.publish(key_set(&key.jwk, &recipe));
        let world = world(&recipe, &issuer).await;
        let mut claims = recipe.claims.clone();
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let answer = exchange(&world, &sign(&key, &world, &claims)).await;
        answer.expect_error(400, "invalid_grant");
    }
}

#[tokio::test]
async fn the_older_form_of_a_github_subject_is_accepted_by_rules_that_match_ids() {
    let key = ClientKey::generate("k", sign::Algorithm::RS256);
    let recipe = recipes().swap_remove(0);
    let issuer = Issuer::start().await;
    issuer.publish(key_set(&key.jwk, &recipe));
    let world = world(&recipe, &issuer).await;
    let mut claims = recipe.claims.clone();
    claims["sub"] = "repo:octo-org/site:environment:production".into();
    exchange(&world, &sign(&key, &world, &claims)).await.expect(200);
    // A fork, and a repository that has taken over the name, have other ids.
    claims["jti"] = "another".into();
    claims["repository_id"] = "999".into();
    exchange(&world, &sign(&key, &world, &claims)).await.expect_error(400, "invalid_grant");
}

#[tokio::test]
async fn aws_signs_with_either_of_two_algorithms_and_no_other() {
    let find = |recipe: &Recipe| recipe.toml.contains("kind = \"aws\"");
    let recipe = recipes().into_iter().find(find).unwrap();
    let issuer = Issuer::start().await;
    let es384 = ProofKey::generate_es384();
    let mut jwk = es384.header()["jwk"].clone();
    jwk["kid"] = "k".into();
    issuer.publish(key_set(&jwk, &recipe));
    let world_384 = world(&recipe, &issuer).await;
    let token = es384.sign(&json!({"alg": "ES384", "kid": "k", "typ": "JWT"}), &recipe.claims);
    exchange(&world_384, &token).await.expect(200);

    let es256 = ClientKey::generate("k", sign::Algorithm::ES256);
    issuer.publish(key_set(&es256.jwk, &recipe));
    let world_256 = world(&recipe, &issuer).await;
    let token = sign(&es256, &world_256, &recipe.claims);
    let fetches = issuer.fetches();
    exchange(&world_256, &token).await.expect_error(400, "invalid_grant");
    assert_eq!(issuer.fetches(), fetches);
}

#[tokio::test]
async fn the_commands_of_the_page_work() {
    let key = ClientKey::generate("k", sign::Algorithm::RS256);
    let page = Page::read(PAGE);
    let blocks = page.blocks_of("sh");
    let commands: Vec<_> = blocks.iter().flat_map(|block| CurlCommand::find(block)).collect();
    assert_eq!(commands.len(), 2);
    let recipe = Recipe {
        toml: page.blocks_of("toml").swap_remove(0),
        claims: recipes().swap_remove(0).claims,
    };
    let issuer = Issuer::start().await;
    issuer.publish(key_set(&key.jwk, &recipe));
    let world = world(&recipe, &issuer).await;
    for (at, command) in commands.iter().enumerate() {
        let mut claims = recipe.claims.clone();
        claims["jti"] = format!("{at}").into();
        let token = sign(&key, &world, &claims);
        let answer = command.send(&world, &[("$TOKEN", &token)]).await.expect(200);
        let printed: Value = serde_json::from_str(&page.blocks_of("json")[at]).unwrap();
        let mut shown = answer.body.clone();
        shown["access_token"] = "ey…".into();
        assert_eq!(shown, printed);
    }
}

#[test]
fn every_rule_of_the_page_is_accepted_by_the_start() {
    for toml in Page::read(PAGE).blocks_of("toml") {
        Config::from_settings(&variables(&[]), &toml)
            .unwrap_or_else(|fault| panic!("{toml}: {fault}"));
    }
    let header = Header::new(Algorithm::RS256);
    assert_eq!(header.typ.as_deref(), Some("JWT"), "recipes are tested with this type");
}
