//! The forms that issuers give to their documents, keys and tokens: the files of `tests/corpus`,
//! which the provider of [`crate::Issuer`] then serves as its own.

use std::{collections::BTreeMap, fs, path::Path, sync::LazyLock};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use jsonwebtoken::{EncodingKey, Header};
use postern::crypto::sign::{Algorithm, SigningKey};
use serde_json::{Map, Value};

use crate::issuer::encode;

/// A signing key, and the members of its public half.
type Pair = (EncodingKey, Map<String, Value>);

/// The key that signs, and another one.
static KEYS: LazyLock<[Pair; 2]> = LazyLock::new(|| [rsa(), rsa()]);

fn rsa() -> Pair {
    let pkcs8 = SigningKey::generate(Algorithm::RS256).unwrap();
    let key = SigningKey::parse("any".into(), Algorithm::RS256, &pkcs8).unwrap();
    let Value::Object(public) = serde_json::to_value(key.public_key()).unwrap() else {
        unreachable!("a JWK is an object")
    };
    let private = EncodingKey::from_rsa_pem(armoured("PRIVATE KEY", &pkcs8).as_bytes()).unwrap();
    (private, public)
}

/// Returns a key in PEM.
pub fn armoured(label: &str, der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// The form of one issuer.
#[derive(Clone, Debug)]
pub struct IssuerForm {
    /// The name of its file.
    pub name: String,
    members: Map<String, Value>,
}

impl IssuerForm {
    /// Reads all of them.
    pub fn all() -> Vec<Self> {
        let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/corpus"));
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            let members: Map<String, Value> = serde_json::from_str(&text).unwrap();
            files.insert(path.file_name().unwrap().to_str().unwrap().to_owned(), members);
        }
        let complete = |members: &Map<String, Value>| {
            let like = members.get("like").and_then(Value::as_str);
            let mut whole = like.map(|like| files[like].clone()).unwrap_or_default();
            whole.extend(members.clone());
            whole
        };
        files
            .iter()
            .map(|(name, members)| Self { name: name.clone(), members: complete(members) })
            .collect()
    }

    /// Returns a member as it is written.
    pub fn member(&self, name: &str) -> &Value {
        self.members.get(name).unwrap_or(&Value::Null)
    }

    /// Returns a member with the values that it stands for.
    pub fn filled(&self, name: &str, values: &[(&str, Value)]) -> Value {
        filled(self.member(name), values)
    }

    /// Returns the key set. A member without numbers is the key that signs.
    pub(crate) fn keys(&self, values: &[(&str, Value)]) -> Value {
        let mut keys = self.filled("keys", values);
        for jwk in keys.as_array_mut().unwrap() {
            let jwk = jwk.as_object_mut().unwrap();
            let (_, public) = &KEYS[usize::from(jwk.contains_key("n"))];
            jwk.insert("n".into(), public["n"].clone());
            jwk.insert("e".into(), public["e"].clone());
        }
        serde_json::json!({"keys": keys})
    }

    /// Signs claims under a header of this form.
    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        let header: Header = serde_json::from_value(header.clone()).unwrap();
        encode(&header, claims, &KEYS[0].0)
    }
}

/// Replaces `{name}` in every text. A text that is only a name becomes the value itself.
fn filled(template: &Value, values: &[(&str, Value)]) -> Value {
    match template {
        Value::String(text) => {
            let whole = values.iter().find(|(name, _)| *text == format!("{{{name}}}"));
            whole.map_or_else(|| replaced(text, values).into(), |(_, value)| value.clone())
        }
        Value::Array(all) => all.iter().map(|one| filled(one, values)).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (name.clone(), filled(value, values)))
            .collect::<Map<_, _>>()
            .into(),
        Value::Null | Value::Bool(_) | Value::Number(_) => template.clone(),
    }
}

fn replaced(text: &str, values: &[(&str, Value)]) -> String {
    values.iter().fold(text.to_owned(), |text, (name, value)| {
        text.replace(&format!("{{{name}}}"), value.as_str().unwrap_or_default())
    })
}
