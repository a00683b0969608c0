//! The forms of secrets: prefix, id, checksum, and one pattern for secret scanners.

use std::collections::HashSet;

use postern::{
    core::{
        entropy::{BASE62, Entropy},
        id,
    },
    credential::{Minted, PATTERN, RefreshToken, TokenPrefix, opaque::ParsedSecret},
};
use proptest::prelude::*;
use regex::Regex;
use tests::World;

fn brand() -> TokenPrefix {
    TokenPrefix::parse("pst").unwrap()
}

fn minted() -> String {
    let entropy = Entropy::system();
    let id = id::mint::<id::ApiKey>(jiff::Timestamp::UNIX_EPOCH, &entropy).unwrap();
    Minted::new(&brand(), &id, &entropy).unwrap().secret.expose().to_owned()
}

fn parse(text: &str) -> Option<ParsedSecret<id::ApiKey>> {
    ParsedSecret::parse(&brand(), text)
}

#[test]
fn a_secret_has_the_documented_form() {
    let key = minted();
    let form =
        Regex::new("^pst_ak_[0-7][0-9a-hjkmnp-tv-z]{25}[0-9A-Za-z]{32}[0-9A-Za-z]{6}$").unwrap();
    assert!(form.is_match(&key), "{key}");
    assert_eq!(parse(&key).unwrap().id.to_string(), format!("key_{}", &key[7..33]));
}

#[test]
fn the_checksum_is_the_crc_32_of_everything_before_it_in_base62() {
    // Built by hand with another CRC-32 and another base62, so that the form cannot change
    // unnoticed.
    let key = "pst_ak_01h455vb4pex5vsknk084sn02qSampleSampleSampleSampleSample014AOya0";
    assert_eq!(parse(key).unwrap().id.to_string(), "key_01h455vb4pex5vsknk084sn02q");
    assert!(parse(&key.replace("Sample01", "Sample02")).is_none());
}

#[test]
fn every_kind_of_secret_is_distinguished_from_every_other() {
    let entropy = Entropy::system();
    let now = jiff::Timestamp::UNIX_EPOCH;
    let brand = brand();
    let key =
        Minted::new::<id::ApiKey>(&brand, &id::mint(now, &entropy).unwrap(), &entropy).unwrap();
    let agent =
        Minted::new::<id::Agent>(&brand, &id::mint(now, &entropy).unwrap(), &entropy).unwrap();
    let runner =
        Minted::new::<id::Runner>(&brand, &id::mint(now, &entropy).unwrap(), &entropy).unwrap();
    let operator =
        Minted::new::<id::Operator>(&brand, &id::mint(now, &entropy).unwrap(), &entropy).unwrap();
    let reads = |text: &str| {
        [
            ParsedSecret::<id::ApiKey>::parse(&brand, text).is_some(),
            ParsedSecret::<id::Agent>::parse(&brand, text).is_some(),
            ParsedSecret::<id::Runner>::parse(&brand, text).is_some(),
            ParsedSecret::<id::Operator>::parse(&brand, text).is_some(),
        ]
    };
    assert_eq!(reads(key.secret.expose()), [true, false, false, false]);
    assert_eq!(reads(agent.secret.expose()), [false, true, false, false]);
    assert_eq!(reads(runner.secret.expose()), [false, false, true, false]);
    assert_eq!(reads(operator.secret.expose()), [false, false, false, true]);
    // Changing the letters of the kind does not yield another kind of secret: the checksum covers
    // them.
    assert!(parse(&agent.secret.expose().replace("_as_", "_ak_")).is_none());
    assert!(
        ParsedSecret::<id::ApiKey>::parse(&TokenPrefix::parse("cat").unwrap(), key.secret.expose())
            .is_none()
    );
}

#[test]
fn no_altered_missing_or_extra_character_passes() {
    let key = minted();
    for at in 0..key.len() {
        for letter in ['0', 'A', 'z', '_', ' '] {
            let mut changed: Vec<char> = key.chars().collect();
            changed[at] = letter;
            let changed: String = changed.into_iter().collect();
            assert!(changed == key || parse(&changed).is_none(), "{changed}");
        }
        assert!(parse(&format!("{}{}", &key[..at], &key[at + 1..])).is_none());
        assert!(parse(&format!("{}x{}", &key[..at], &key[at..])).is_none());
    }
    assert!(parse(&key.to_uppercase()).is_none() && parse(&format!("{key}\n")).is_none());
}

#[test]
fn secrets_use_all_characters_equally() {
    let entropy = Entropy::system();
    let mut counts = [0_u32; 62];
    for letter in entropy.random_string(BASE62, 62_000).unwrap().bytes() {
        counts[BASE62.iter().position(|known| *known == letter).unwrap()] += 1;
    }
    // 1000 expected with a standard deviation of 31: eight of them cannot be chance.
    assert!(counts.iter().all(|count| (750..=1250).contains(count)), "{counts:?}");
    let many: HashSet<_> = (0..1000).map(|_| minted()).collect();
    assert_eq!(many.len(), 1000);
}

#[tokio::test]
async fn one_pattern_finds_every_secret_and_nothing_else() {
    let world = World::new().await;
    let agent = world.agent(&["read"]).await;
    let tokens = world.exchange(&agent).await;
    let (_, runner) = world.runner().await;
    let pattern = Regex::new(PATTERN).unwrap();
    for secret in [&world.api_key, &world.operator_key, &agent.secret, &runner, &tokens.refresh] {
        let found: Vec<_> = pattern
            .find_iter(&format!("KEY=\"{secret}\" # {secret}."))
            .map(|found| found.as_str().to_owned())
            .collect();
        assert_eq!(found, [secret.clone(), secret.clone()]);
    }
    for harmless in
        [&agent.id, &world.org_id, &format!("pst_ak_{}", &agent.id[4..]), "pst_ak_", &tokens.access]
    {
        assert!(!pattern.is_match(harmless), "{harmless}");
    }
    let manual =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/credentials.md"))
            .unwrap();
    assert!(manual.contains(PATTERN));
}

#[test]
fn a_million_random_strings_do_not_parse_as_secrets() {
    let entropy = Entropy::system();
    let text = entropy.random_string(BASE62, 64_000).unwrap();
    let hits = (0..1_000_000).filter(|at| {
        let at = at % (text.len() - 64);
        parse(&text[at..at + 64]).is_some()
    });
    assert_eq!(hits.count(), 0);
}

#[tokio::test]
async fn a_refresh_token_is_derived_from_key_family_and_generation() {
    let world = World::new().await;
    let (brand, keyring) = (&world.app.context.config.brand, &world.app.context.keyring);
    let kid = keyring.current_refresh_kid().unwrap();
    let family = id::mint(world.now(), &world.app.context.entropy).unwrap();
    let first = RefreshToken::first(family, kid.clone());
    let text = first.encode(brand, keyring).unwrap().expose().to_owned();
    assert_eq!(text.len(), "pst_rt_".len() + 2 + 26 + 6 + 44 + 6);
    assert_eq!(RefreshToken::parse(brand, keyring, &text).unwrap(), first);
    assert_eq!(first.encode(brand, keyring).unwrap().expose(), text);
    assert_ne!(first.successor(kid.clone()).encode(brand, keyring).unwrap().expose(), text);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_input_makes_a_parser_panic(text in "\\PC*", prefix in "(pst_(ak|rt|as)_)?") {
        let text = format!("{prefix}{text}");
        prop_assert!(parse(&text).is_none());
        prop_assert!(ParsedSecret::<id::Agent>::parse(&brand(), &text).is_none());
    }
}
