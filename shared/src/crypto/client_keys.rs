//! The public keys with which a client signs its assertions (RFC 7523 §2.2): a set of them, or the
//! URL of one, as `jwks` and `jwks_uri` of RFC 7591 §2.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{key_set::KeySet, verifying_key::VerifyingKey};
use crate::core::{client_url::ClientUrl, network::Destinations};

/// The most keys in a set that a client registers.
const MOST_KEYS: usize = 5;
/// The members of a public key that are stored (RFC 7518 §6, RFC 8037 §2). All others mean nothing
/// here.
const MEMBERS: [&str; 9] = ["kty", "crv", "x", "y", "n", "e", "kid", "alg", "use"];

/// The keys of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientKeys {
    /// A set of public keys.
    Jwks(ClientKeySet),
    /// The URL of such a set.
    JwksUri(ClientUrl),
}

/// A set of public keys, which is stored as JSON. One that cannot be read is no set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClientKeySet {
    jwks: Value,
    keys: KeySet,
}

impl ClientKeySet {
    /// Returns the keys.
    pub fn keys(&self) -> &KeySet {
        &self.keys
    }
}

impl PartialEq for ClientKeySet {
    fn eq(&self, other: &Self) -> bool {
        self.jwks == other.jwks
    }
}

impl Eq for ClientKeySet {}

impl TryFrom<String> for ClientKeySet {
    type Error = String;

    fn try_from(json: String) -> Result<Self, Self::Error> {
        let keys = parse_fetched(&json)?;
        let jwks = serde_json::from_str(&json).map_err(|_| "it is not JSON".to_owned())?;
        Ok(Self { jwks, keys })
    }
}

impl From<ClientKeySet> for String {
    fn from(set: ClientKeySet) -> Self {
        set.jwks.to_string()
    }
}

impl ClientKeys {
    /// Checks a set of 1 to 5 public keys, of which each signs with one algorithm and can be told
    /// from the others.
    ///
    /// # Errors
    /// A sentence that names the key, and quotes nothing.
    pub fn from_jwks(jwks: &Value) -> Result<Self, String> {
        let given = jwks.get("keys").and_then(Value::as_array);
        let given = given.filter(|given| (1..=MOST_KEYS).contains(&given.len()));
        let given = given.ok_or_else(|| {
            format!("jwks is not valid: send an object whose member keys lists 1 to {MOST_KEYS} public keys.")
        })?;
        let mut keys: Vec<VerifyingKey> = Vec::new();
        let mut stored = Vec::new();
        for (at, jwk) in given.iter().enumerate() {
            let refused = |why: &str| format!("jwks.keys[{at}] is not valid: {why}.");
            let jwk = jwk.as_object().ok_or_else(|| refused("it is not an object"))?;
            let key =
                VerifyingKey::from_jwk(jwk).map_err(|invalid| refused(&invalid.to_string()))?;
            if given.len() > 1 && (key.kid.is_none() || keys.iter().any(|one| one.kid == key.kid)) {
                return Err(refused("of several keys, each needs a kid of its own"));
            }
            keys.push(key);
            let public = jwk.iter().filter(|(name, _)| MEMBERS.contains(&name.as_str()));
            let public: Map<_, _> = public.map(|(name, one)| (name.clone(), one.clone())).collect();
            stored.push(Value::Object(public));
        }
        ClientKeySet::try_from(json!({"keys": stored}).to_string()).map(Self::Jwks)
    }

    /// Checks the URL of a set of keys: `https`, of a named host. Also `http` of this machine, if
    /// `destinations` allow it.
    ///
    /// # Errors
    /// A sentence.
    pub fn from_uri(text: &str, destinations: Destinations) -> Result<Self, String> {
        match ClientUrl::parse(text, destinations) {
            Some(url) => Ok(Self::JwksUri(url)),
            None => Err("jwks_uri is not valid: send an https URL with the name of a host in lower case and a path, at most 500 bytes.".into()),
        }
    }

    /// Returns the set as JSON, unless it is at a URL.
    pub fn jwks(&self) -> Option<&Value> {
        match self {
            Self::Jwks(set) => Some(&set.jwks),
            Self::JwksUri(_) => None,
        }
    }

    /// Returns the URL of the set, if it is at one.
    pub fn uri(&self) -> Option<&str> {
        match self {
            Self::Jwks(_) => None,
            Self::JwksUri(url) => Some(url.as_str()),
        }
    }
}

/// Parses the set of keys at the URL of a client. Keys that cannot verify signatures are left out.
///
/// # Errors
/// A sentence, also if no key is left.
pub fn parse_fetched(json: &str) -> Result<KeySet, String> {
    let keys =
        KeySet::parse(json).map_err(|invalid| format!("its key set cannot be read: {invalid}"))?;
    if keys.is_empty() { Err("it has no valid key".into()) } else { Ok(keys) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

    fn okp(changes: &Value) -> Value {
        let mut jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": X});
        for (name, value) in changes.as_object().unwrap() {
            jwk[name] = value.clone();
        }
        jwk
    }

    fn set(keys: &[Value]) -> Result<ClientKeys, String> {
        ClientKeys::from_jwks(&json!({"keys": keys}))
    }

    #[test]
    fn only_what_a_public_key_consists_of_is_kept() {
        let keys = set(&[okp(&json!({"kid": "a", "x5u": "https://evil.example/", "exp": 1}))]);
        let kept = json!({"keys": [okp(&json!({"kid": "a"}))]});
        assert_eq!(keys.unwrap().jwks().unwrap(), &kept);
    }

    #[test]
    fn every_other_set_is_refused_with_a_reason() {
        let key = |kid: &str| okp(&json!({"kid": kid}));
        let six: Vec<_> = ["a", "b", "c", "d", "e", "f"].map(key).to_vec();
        for (keys, reason) in [
            (vec![], "1 to 5 public keys"),
            (six, "1 to 5 public keys"),
            (vec![json!("key")], "jwks.keys[0] is not valid: it is not an object."),
            (vec![okp(&json!({"d": X}))], "it contains private members."),
            (vec![json!({"kty": "oct", "k": "c2VjcmV0"})], "it is a secret"),
            (vec![okp(&json!({"use": "enc"}))], "it is not for verifying signatures."),
            (vec![okp(&json!({"alg": "ES256"}))], "type, curve or algorithm"),
            (vec![key("a"), okp(&json!({}))], "jwks.keys[1] is not valid: of several keys"),
            (vec![key("a"), key("a")], "each needs a kid of its own."),
        ] {
            let refused = set(&keys).unwrap_err();
            assert!(refused.contains(reason), "{refused}");
        }
        for jwks in [json!(null), json!([]), json!({}), json!({"keys": {}})] {
            ClientKeys::from_jwks(&jwks).unwrap_err();
        }
    }

    #[test]
    fn a_stored_set_that_cannot_be_read_is_none() {
        let stored = set(&[okp(&json!({}))]).unwrap();
        let json = serde_json::to_value(&stored).unwrap();
        assert_eq!(serde_json::from_value::<ClientKeys>(json).unwrap(), stored);
        for bad in [
            json!({"jwks": ""}),
            json!({"jwks": "{\"keys\": []}"}),
            json!({"jwks": "{\"keys\": [{\"kty\": \"OKP\"}]}"}),
            json!({"jwks": {"keys": []}}),
            json!({"jwks_uri": "https://a.example"}),
            json!({"jwks_uri": "http://a.example/jwks"}),
            json!({}),
        ] {
            serde_json::from_value::<ClientKeys>(bad).unwrap_err();
        }
    }

    #[test]
    fn a_url_is_https_and_names_a_host() {
        for bad in ["", "http://a.example/jwks", "https://10.0.0.1/jwks", "https://a.example"] {
            ClientKeys::from_uri(bad, Destinations::Public).unwrap_err();
        }
        let uri = "https://a.example/jwks";
        let keys = ClientKeys::from_uri(uri, Destinations::Public).unwrap();
        assert_eq!((keys.uri(), keys.jwks()), (Some(uri), None));
        ClientKeys::from_uri("http://127.0.0.1:9/jwks", Destinations::Public).unwrap_err();
    }
}
