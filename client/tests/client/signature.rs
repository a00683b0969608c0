//! Signed requests: values that `openssl dgst -sha256 -hmac` made, and those of all languages.

use postern_client::{Signature, sign_request};
use serde_json::Value;

use crate::error;

const VECTORS: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../clients/conformance/signatures.json");

#[test]
fn signatures_are_those_of_openssl() {
    let signed = sign_request(
        &"pst_ak_example".into(),
        "POST",
        "/v1/runners",
        br#"{"name": "build-2"}"#,
        1_767_225_600_000,
        "0123456789abcdef",
    );
    let signed = signed.unwrap();
    assert_eq!(
        signed.signature,
        "3fb5663b85250bdc2897d4b2804bb2975c324c0e2c9f5c5828d01ba56e26825e"
    );
    assert_eq!(
        signed.content_sha256,
        "2bbea3ca99b3fa21679cfda80f8e7af339bb5f53cae5e6bb8374c971abbe43d9"
    );
    assert_eq!((&*signed.timestamp, &*signed.nonce), ("1767225600000", "0123456789abcdef"));

    let signed = sign_request(
        &"eyJ.é.x".into(),
        "GET",
        "/prod/v1/runners?limit=2&cursor=a%20b",
        b"",
        1_767_225_600_001,
        "A_-456789abcdefghi",
    );
    let signed = signed.unwrap();
    assert_eq!(
        signed.signature,
        "5d1937ae9ae15b4481210fc75fbc659ba2dd606eea9353d77692710a8685f448"
    );
    assert_eq!(
        signed.content_sha256,
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    );
}

/// Signs the request of a vector, if its time can be one.
fn sign(vector: &Value) -> Option<postern_client::Result<Signature>> {
    let text = |name: &str| vector[name].as_str().unwrap_or_default();
    let body = match vector["body_hex"].as_str() {
        Some(hex) => data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap(),
        None => text("body").as_bytes().to_vec(),
    };
    let (token, timestamp_ms) = (text("token").into(), vector["timestamp_ms"].as_u64()?);
    let (method, target, nonce) = (text("method"), text("target"), text("nonce"));
    Some(sign_request(&token, method, target, &body, timestamp_ms, nonce))
}

fn vectors(kind: &str) -> Vec<Value> {
    let document: Value = serde_json::from_slice(&std::fs::read(VECTORS).unwrap()).unwrap();
    document[kind].as_array().unwrap().clone()
}

#[test]
fn signatures_are_those_of_the_other_languages() {
    for vector in vectors("signed") {
        let signed = sign(&vector).unwrap().unwrap();
        let mut headers = http::HeaderMap::new();
        signed.set_headers(&mut headers).unwrap();
        for (name, value) in vector["headers"].as_object().unwrap() {
            assert_eq!(headers[name.as_str()], value.as_str().unwrap(), "{}", vector["name"]);
        }
    }
}

#[test]
fn what_no_server_accepts_is_not_signed() {
    let refused = vectors("refused");
    // A time before 1970 has no value here.
    let outcomes: Vec<_> = refused.iter().filter_map(sign).collect();
    assert_eq!(outcomes.len(), refused.len() - 1);
    for outcome in outcomes {
        assert_eq!(error(outcome).0, "invalid_request");
    }
}
