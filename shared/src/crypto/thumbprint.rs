//! Thumbprints of public keys (RFC 7638), by which a token names the key that it is bound to.

use std::{collections::BTreeMap, fmt};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Digest;

/// The SHA-256 thumbprint of a public key, as 43 characters of base64url. It is public.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyThumbprint(String);

impl KeyThumbprint {
    /// Returns the thumbprint of a JSON Web Key: the digest of the members that make it up, in
    /// alphabetical order and without spaces (RFC 7638 §3). `None` if one of them is missing, or is
    /// not in its only base64url form, because then one key would have several thumbprints.
    pub fn of(jwk: &Map<String, Value>) -> Option<Self> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        let (names, numbers): (&[&str], &[&str]) = match text("kty")? {
            "EC" => (&["crv", "kty"], &["x", "y"]),
            "OKP" => (&["crv", "kty"], &["x"]),
            "RSA" => (&["kty"], &["e", "n"]),
            _ => return None,
        };
        if !numbers.iter().all(|name| text(name).is_some_and(|text| BASE64URL.decode(text).is_ok()))
        {
            return None;
        }
        let members = names.iter().chain(numbers).map(|name| Some((*name, text(name)?)));
        let members: BTreeMap<_, _> = members.collect::<Option<_>>()?;
        let json = serde_json::to_vec(&members).ok()?;
        Some(Self(BASE64URL.encode(Digest::of(&json).bytes())))
    }

    /// Returns the thumbprint as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for KeyThumbprint {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match Digest::from_base64url(&text) {
            Some(_) => Ok(Self(text)),
            None => Err("a thumbprint is a SHA-256 digest in base64url, 43 characters"),
        }
    }
}

impl From<KeyThumbprint> for String {
    fn from(thumbprint: KeyThumbprint) -> Self {
        thumbprint.0
    }
}

impl fmt::Debug for KeyThumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for KeyThumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(jwk: Value) -> Option<String> {
        KeyThumbprint::of(jwk.as_object().unwrap()).map(Into::into)
    }

    #[test]
    fn thumbprints_are_those_of_the_specifications() {
        // RFC 7638 §3.1, RFC 8037 appendix A.3, RFC 9449 §6.1
        let rsa = json!({"kty": "RSA", "e": "AQAB", "alg": "RS256", "kid": "2011-04-29",
            "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"});
        assert_eq!(of(rsa).unwrap(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
        let ed25519 = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
        assert_eq!(of(ed25519).unwrap(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        let ec = json!({"kty": "EC", "crv": "P-256", "use": "sig",
            "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
            "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA"});
        assert_eq!(of(ec).unwrap(), "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I");
    }

    #[test]
    fn a_key_in_another_spelling_has_none() {
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        for bad in [format!("{x}="), x.replace('_', "/"), format!("{}p", &x[..42]), "\"".into()] {
            assert_eq!(of(json!({"kty": "OKP", "crv": "Ed25519", "x": bad})), None, "{bad}");
        }
        assert_eq!(of(json!({"kty": "OKP", "crv": "Ed25519"})), None);
        assert_eq!(of(json!({"kty": "oct", "k": "AAAA"})), None);
        assert_eq!(of(json!({})), None);
    }
}
