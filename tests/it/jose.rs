//! JWT verification against the test vectors of Wycheproof (JWS and JWK).

use postern::crypto::{
    jws::JwsAlgorithm,
    jwt::{HeaderRequirements, IssuedBy, signed_payload},
    key_set::KeySet,
    verifying_key::VerifyingKey,
};
use serde_json::{Map, Value};
use wycheproof_ng_kdf_jose::json_web::TestName;

/// Returns each test of a file, with the verification keys of its group and whether they are shared
/// secrets.
fn tests(name: TestName) -> Vec<(u64, Value, String, bool)> {
    let file: Value = serde_json::from_str(name.json_data()).unwrap();
    let groups = file["testGroups"].as_array().unwrap();
    let of_group = |group: &Value| {
        let keys = group.get("public").unwrap_or(&group["private"]).clone();
        let tests = group["tests"].as_array().unwrap().clone();
        tests.into_iter().map(move |test| {
            let jws = test["jws"].as_str().unwrap().to_owned();
            (test["tcId"].as_u64().unwrap(), keys.clone(), jws, test["result"] == "valid")
        })
    };
    groups.iter().flat_map(of_group).collect()
}

fn key_set(keys: &Value) -> Option<KeySet> {
    let set =
        if keys.get("keys").is_some() { keys.clone() } else { serde_json::json!({"keys": [keys]}) };
    let has_secrets = set["keys"].as_array().unwrap().iter().any(|key| key["kty"] == "oct");
    let json = set.to_string();
    let algorithm = set["keys"][0]["alg"]
        .as_str()
        .and_then(JwsAlgorithm::from_name)
        .unwrap_or(JwsAlgorithm::HS256);
    if has_secrets {
        KeySet::parse_secrets(json.as_bytes(), algorithm).ok()
    } else {
        KeySet::parse(&json).ok()
    }
}

fn accepts(keys: &Value, jws: &str) -> bool {
    let expected = HeaderRequirements { types: &["jwt"], issued_by: IssuedBy::Other };
    key_set(keys).is_some_and(|keys| signed_payload(jws, &keys, expected).is_ok())
}

#[test]
fn every_wycheproof_key_is_accepted_or_refused_as_expected() {
    let tests = tests(TestName::JsonWebKey);
    assert_eq!(tests.len(), 26);
    for (id, keys, jws, expected) in tests {
        assert_eq!(accepts(&keys, &jws), expected, "test {id}");
    }
}

/// Our deviations from the vectors, with the reasons.
const DIFFERENT: [(u64, &str); 8] = [
    (346, "the key says PS256 and the token PS384: a key has one algorithm"),
    (347, "ES521 is not an algorithm, and ES512 is not supported"),
    (350, "as 346"),
    (351, "as 347"),
    (367, "identical to the valid test 357"),
    (370, "identical to the valid test 357"),
    (372, "a character outside base64url in the header: parsers disagree about what was signed"),
    (373, "the same in the payload"),
];

#[test]
fn every_wycheproof_signature_is_judged_as_expected_with_listed_exceptions() {
    let tests = tests(TestName::JsonWebSignature);
    assert_eq!(tests.len(), 401);
    let different: Vec<_> = tests
        .iter()
        .filter(|(_, keys, jws, expected)| accepts(keys, jws) != *expected)
        .map(|(id, ..)| *id)
        .collect();
    assert_eq!(different, DIFFERENT.map(|(id, _)| id));
}

fn object(json: &str) -> Map<String, Value> {
    serde_json::from_str(json).unwrap()
}

#[test]
fn a_key_that_is_private_weak_or_for_another_use_is_rejected() {
    use postern::crypto::verifying_key::InvalidKey;
    let ed = r#""kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo""#;
    for (more, expected) in [
        ("", None),
        (r#","use":"sig""#, None),
        (r#","key_ops":["verify"]"#, None),
        (r#","alg":"EdDSA""#, None),
        (r#","alg":"Ed25519""#, None),
        (r#","use":"enc""#, Some(InvalidKey::WrongUse)),
        (r#","use":7"#, Some(InvalidKey::WrongUse)),
        (r#","use":"""#, Some(InvalidKey::WrongUse)),
        (r#","use":null,"key_ops":null,"alg":null,"kid":null,"d":null"#, None),
        (r#","key_ops":["sign"]"#, Some(InvalidKey::WrongUse)),
        (r#","key_ops":["verify","verify"]"#, Some(InvalidKey::WrongUse)),
        (r#","key_ops":"verify""#, Some(InvalidKey::Malformed)),
        (r#","alg":"ES256""#, Some(InvalidKey::Unsupported)),
        (r#","alg":"none""#, Some(InvalidKey::Unsupported)),
        (r#","alg":"HS256""#, Some(InvalidKey::Unsupported)),
        (r#","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A""#, Some(InvalidKey::Private)),
        (r#","kid":"a b""#, None),
        (r#","kid":"""#, None),
        (r#","kid":5"#, Some(InvalidKey::Malformed)),
    ] {
        assert_eq!(
            VerifyingKey::from_jwk(&object(&format!("{{{ed}{more}}}"))).err(),
            expected,
            "{more}"
        );
    }
    let ec = r#""kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4""#;
    for (y, expected) in [
        ("4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM", None),
        ("4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyI", Some(InvalidKey::Malformed)),
    ] {
        let key = VerifyingKey::from_jwk(&object(&format!(r#"{{{ec},"y":"{y}"}}"#)));
        assert_eq!(key.err(), expected, "{y}");
    }
    for (algorithm, length) in
        [(JwsAlgorithm::HS256, 32), (JwsAlgorithm::HS384, 48), (JwsAlgorithm::HS512, 64)]
    {
        assert_eq!(
            VerifyingKey::from_secret(algorithm, &vec![7; length - 1]).err(),
            Some(InvalidKey::Weak)
        );
        assert!(VerifyingKey::from_secret(algorithm, &vec![7; length]).is_ok());
        assert_eq!(VerifyingKey::from_secret(algorithm, b"").err(), Some(InvalidKey::Weak));
    }
    assert_eq!(
        VerifyingKey::from_secret(JwsAlgorithm::ES256, &[7; 64]).err(),
        Some(InvalidKey::Unsupported)
    );
}

#[test]
fn keys_with_a_duplicate_kid_are_ignored_and_the_others_still_work() {
    let key =
        |kid: &str, x: &str| format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"{kid}","x":"{x}"}}"#);
    let (first, second) = (
        "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        "PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw",
    );
    let set = |keys: &[String]| KeySet::parse(&format!(r#"{{"keys":[{}]}}"#, keys.join(",")));
    assert_eq!(set(&[key("a", first), key("b", second)]).unwrap().len(), 2);
    assert_eq!(set(&[key("a", first), key("a", second), key("b", second)]).unwrap().len(), 1);
    let odd = r#"{"kty":"EC","crv":"secp256k1","kid":"c","x":"","y":""}"#.to_owned();
    assert_eq!(set(&[odd, key("b", second)]).unwrap().len(), 1);
    let secret =
        r#"{"kty":"oct","alg":"HS256","kid":"s","k":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"}"#.to_owned();
    assert_eq!(set(&[secret.clone(), key("b", second)]).unwrap().len(), 1);
    assert!(
        KeySet::parse_secrets(
            format!(r#"{{"keys":[{secret},{}]}}"#, key("b", second)).as_bytes(),
            JwsAlgorithm::HS256
        )
        .is_err()
    );
    for malformed in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[],"keys":[]}"#, "null"] {
        assert!(KeySet::parse(malformed).is_err(), "{malformed}");
    }
    assert!(set(&vec![key("a", first); 101]).is_err());
}
