//! Signed requests, compared with values that `openssl dgst -sha256 -hmac` made.

use postern_client::sign_request;

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
    assert_eq!(
        signed.signature,
        "5d1937ae9ae15b4481210fc75fbc659ba2dd606eea9353d77692710a8685f448"
    );
    assert_eq!(
        signed.content_sha256,
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    );
}

#[test]
fn a_nonce_that_no_header_can_have_is_refused() {
    let signed = sign_request(&"key".into(), "GET", "/", b"", 0, "a\nb");
    let outcome = crate::error(signed.set_headers(&mut http::HeaderMap::new()));
    assert_eq!(outcome.0, "invalid_request");
}
