//! The deployment's secret: one JSON document. Functions that sign read all of it; functions that
//! only verify read a copy without private keys and refresh keys; the function that publishes the
//! public keys reads a copy with nothing else.

use std::{fmt, time::Duration};

use aws_config::{SdkConfig, timeout::TimeoutConfig};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    digest::Digest,
    jwk::{Jwk, PublicKey},
    jws::{JwsAlgorithm, KeyType},
    key_list::KeyKind,
    key_set::KeySet,
    key_times::{KeyTimes, TimedKey},
    mac::{MAC_KEY_ID_LEN, MacKey, MacKeyId},
    seal::SealingKey,
    sign::{Algorithm, SigningKey},
    verifying_key::VerifyingKey,
};
use crate::core::{
    clock::Clock,
    entropy::{BASE62, Entropy},
    error::Fault,
    json::without_bom,
    secret::Secret,
};

/// The maximum age of a process's copy of the secret. A key that is removed from the secret works
/// for at most this long, provided that the secret can be read and used.
pub const SECRET_AGE: SignedDuration = SignedDuration::from_secs(300);
/// How long a process waits after a failure before it reads the secret again. Until then its copy
/// stays in use.
pub const SECRET_RETRY: SignedDuration = SignedDuration::from_secs(30);

/// The secret, as JSON.
#[derive(Clone, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Secrets {
    /// The SHA-256 of the operator key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator_key_sha256: Option<Digest>,
    /// When everything that was issued before was ended: tokens, families of refresh tokens, and
    /// sessions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// How often keys were dropped or `not_before` was set. A rotation that began before the last
    /// time does not come into force.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub drops: u64,
    /// The keys of our own tokens. Of the configured algorithm, the newest that can sign does.
    #[serde(default)]
    pub signing_keys: Vec<StoredSigningKey>,
    /// The keys of refresh tokens. The newest that can sign does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refresh_keys: Vec<StoredMacKey>,
    /// The keys of session values. The newest that can sign does. A value also contains a secret of
    /// which the store keeps the digest, so that this key is not enough to make a session.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub session_keys: Vec<StoredMacKey>,
    /// The keys that encrypt the tokens of identity providers at rest. The newest that can sign
    /// seals.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sealing_keys: Vec<StoredMacKey>,
    /// The secrets that `postern.toml` names by `secret_ref`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub refs: Map<String, Value>,
}

/// A key of our own tokens.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredSigningKey {
    /// The name of the key.
    pub kid: String,
    /// Its only algorithm.
    pub algorithm: Algorithm,
    /// The public half.
    pub public_key: PublicKey,
    /// PKCS#8 DER in base64; absent in the copy for verification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_key: Option<String>,
    /// When the public half is first published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publish_at: Option<Timestamp>,
    /// When the key begins to sign, in place of older ones; absent: it always could.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign_from: Option<Timestamp>,
    /// When the key stops to verify; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify_until: Option<Timestamp>,
}

/// A key of refresh tokens, sessions or seals: 32 bytes in base64, and the two characters that name
/// it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredMacKey {
    /// The name of the key.
    pub kid: String,
    /// The key.
    pub key: String,
    /// When the key begins to sign, in place of older ones; absent: it always could.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign_from: Option<Timestamp>,
    /// When the key stops to verify; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify_until: Option<Timestamp>,
}

impl StoredSigningKey {
    pub(super) fn generate(
        algorithm: Algorithm,
        clock: &Clock,
        entropy: &Entropy,
    ) -> Result<Self, Fault> {
        let pkcs8 = SigningKey::generate(algorithm)?;
        let date = clock.now().strftime("%Y%m%d");
        let kid = format!("{date}-{}", entropy.random_string(BASE62, 8)?);
        let public_key = SigningKey::parse(kid.clone(), algorithm, &pkcs8)?.public_key();
        let private_key = Some(BASE64.encode(pkcs8));
        let (publish_at, sign_from, verify_until) = (None, None, None);
        Ok(Self { kid, algorithm, public_key, private_key, publish_at, sign_from, verify_until })
    }

    /// Returns the times of the key.
    pub fn times(&self) -> KeyTimes {
        let Self { publish_at, sign_from, verify_until, .. } = *self;
        KeyTimes { publish_at, sign_from, verify_until }
    }

    pub(super) fn jwk(&self) -> Jwk {
        Jwk {
            key: self.public_key.clone(),
            kid: self.kid.clone(),
            alg: self.algorithm,
            usage: "sig",
        }
    }

    pub(super) fn signing_key(&self) -> Result<Option<SigningKey>, Fault> {
        let Some(private) = &self.private_key else { return Ok(None) };
        let kid = &self.kid;
        let pkcs8 = BASE64
            .decode(private)
            .map_err(|_| unusable(&format!("the private key of {kid} is not base64")))?;
        let key = SigningKey::parse(self.kid.clone(), self.algorithm, &pkcs8)?;
        let is_its_own = key.public_key() == self.public_key;
        is_its_own.then_some(Some(key)).ok_or_else(|| {
            unusable(&format!("the public key of {kid} does not match its private key"))
        })
    }
}

impl Secrets {
    /// Adds what is missing to sign with `algorithms`, keeps what exists, and returns whether
    /// anything was added.
    ///
    /// # Errors
    /// A fault of the generator.
    pub fn generate_missing(
        &mut self,
        algorithms: &[Algorithm],
        clock: &Clock,
        entropy: &Entropy,
    ) -> Result<bool, Fault> {
        let (mut added, now) = (false, clock.now());
        for algorithm in algorithms {
            let signs = |key: &StoredSigningKey| {
                key.algorithm == *algorithm
                    && key.private_key.is_some()
                    && key.times().verifies(now)
            };
            if !self.signing_keys.iter().any(signs) {
                self.signing_keys.push(StoredSigningKey::generate(*algorithm, clock, entropy)?);
                added = true;
            }
        }
        for keys in [&mut self.refresh_keys, &mut self.session_keys, &mut self.sealing_keys] {
            if !keys.iter().any(|key| key.times().verifies(now)) {
                keys.push(StoredMacKey::generate(entropy)?);
                added = true;
            }
        }
        Ok(added)
    }

    /// Returns the copy without private keys and refresh keys, with only those `refs` that
    /// providers and sign-ins need.
    ///
    /// A secret that is shared with a partner signs as well as it verifies: a function that reads
    /// it can make that partner's tokens, and no others.
    pub fn verification(&self, refs: &[&str]) -> Self {
        let strip = |key: &StoredSigningKey| StoredSigningKey { private_key: None, ..key.clone() };
        Self {
            operator_key_sha256: self.operator_key_sha256,
            not_before: self.not_before,
            drops: 0,
            signing_keys: self.signing_keys.iter().map(strip).collect(),
            refresh_keys: Vec::new(),
            session_keys: self.session_keys.clone(),
            sealing_keys: self.sealing_keys.clone(),
            refs: self
                .refs
                .iter()
                .filter(|(name, _)| refs.contains(&name.as_str()))
                .map(owned)
                .collect(),
        }
    }

    /// Returns the public keys only, for the function that publishes them.
    pub fn publication(&self) -> Self {
        let Self { signing_keys, .. } = self.verification(&[]);
        Self { signing_keys, ..Self::default() }
    }

    /// Returns the text that a setting names by `secret_ref`: a client's secret at another server.
    ///
    /// # Errors
    /// What is wrong, as the rest of a sentence about it.
    pub fn named_secret(&self, reference: &str) -> Result<Secret, String> {
        match self.refs.get(reference) {
            None => Err(MISSING.into()),
            Some(Value::String(text)) if !text.is_empty() => Ok(Secret::new(text.clone())),
            Some(_) => Err("is empty, or is not text".into()),
        }
    }

    /// Returns the list of texts that a setting names by `secret_ref`.
    ///
    /// # Errors
    /// What is wrong, as the rest of a sentence about it.
    pub fn named_list(&self, reference: &str) -> Result<Vec<Secret>, String> {
        let Some(Value::Array(elements)) = self.refs.get(reference) else {
            let is_missing = !self.refs.contains_key(reference);
            return Err(if is_missing { MISSING } else { "is not a list of texts" }.into());
        };
        let texts = elements.iter().map(|one| one.as_str().map(|text| Secret::new(text.into())));
        texts.collect::<Option<_>>().ok_or_else(|| "is not a list of texts".into())
    }

    /// Returns the shared keys that a setting names by `secret_ref`: text, which is the secret
    /// itself, or a JWK Set of secrets.
    ///
    /// # Errors
    /// What is wrong, as the rest of a sentence about it.
    pub fn shared_keys(&self, reference: &str, algorithm: JwsAlgorithm) -> Result<KeySet, String> {
        let keys = match self.refs.get(reference) {
            None => return Err(MISSING.into()),
            Some(Value::String(secret)) => {
                if let KeyType::Oct { least } = algorithm.key_type()
                    && secret.len() < least
                {
                    return Err(format!(
                        "is too short: it has {} bytes, and {algorithm:?} needs at least {least}",
                        secret.len()
                    ));
                }
                VerifyingKey::from_secret(algorithm, secret.as_bytes()).map(KeySet::from)
            }
            Some(set) => KeySet::parse_secrets(set.to_string().as_bytes(), algorithm),
        };
        keys.map_err(|unsound| format!("cannot be used: {unsound}"))
    }
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// What is wrong with a secret that a setting names and the deployment's secret does not contain.
const MISSING: &str = "is missing: add it";

fn owned((name, value): (&String, &Value)) -> (String, Value) {
    (name.clone(), value.clone())
}

impl StoredMacKey {
    pub(super) fn generate(entropy: &Entropy) -> Result<Self, Fault> {
        let kid = entropy.random_string(BASE62, MAC_KEY_ID_LEN)?;
        let key = BASE64.encode(entropy.bytes::<32>()?);
        Ok(Self { kid, key, sign_from: None, verify_until: None })
    }

    /// Returns the times of the key.
    pub fn times(&self) -> KeyTimes {
        let Self { sign_from, verify_until, .. } = *self;
        KeyTimes { publish_at: None, sign_from, verify_until }
    }

    pub(super) fn parse(&self, kind: KeyKind) -> Result<TimedKey<(MacKeyId, MacKey)>, Fault> {
        self.parse_with(kind, |kid, bytes| Ok((kid, MacKey::new(bytes))))
    }

    pub(super) fn parse_sealing(&self, kind: KeyKind) -> Result<TimedKey<SealingKey>, Fault> {
        self.parse_with(kind, |_, bytes| SealingKey::new(bytes))
    }

    fn parse_with<K>(
        &self,
        kind: KeyKind,
        prepare: impl Fn(MacKeyId, &[u8; 32]) -> Result<K, Fault>,
    ) -> Result<TimedKey<K>, Fault> {
        let kid = MacKeyId::try_from(self.kid.clone()).map_err(|_| {
            unusable(&format!("the kid of a {kind} key is not two letters or digits"))
        })?;
        let name = kind.with_kid(&self.kid);
        let bytes = BASE64.decode(&self.key).ok().and_then(|bytes| bytes.try_into().ok());
        let bytes =
            bytes.ok_or_else(|| unusable(&format!("the key {name} is not 32 bytes in base64")))?;
        let times = self.times();
        times.check_order(&name)?;
        Ok(TimedKey { kid: self.kid.clone(), times, key: prepare(kid, &bytes)? })
    }
}

/// Returns the fault of a secret that contains a key that cannot be used.
pub(super) fn unusable(why: &str) -> Fault {
    Fault::DeploymentSecret(why.to_owned())
}

macro_rules! redacted {
    ($($secret:ident)*) => {$(
        impl fmt::Debug for $secret {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($secret))
            }
        }
    )*};
}
redacted!(Secrets StoredSigningKey StoredMacKey);

/// The timeout of Secrets Manager. An authorizer has little time, and the current keys remain
/// usable for a while.
const ATTEMPT: Duration = Duration::from_millis(1500);
const OPERATION: Duration = Duration::from_secs(3);

/// Returns a client of Secrets Manager.
pub(super) fn client(sdk: &SdkConfig) -> aws_sdk_secretsmanager::Client {
    let timeouts = TimeoutConfig::builder()
        .operation_attempt_timeout(ATTEMPT)
        .operation_timeout(OPERATION)
        .build();
    let config =
        aws_sdk_secretsmanager::config::Builder::from(sdk).timeout_config(timeouts).build();
    aws_sdk_secretsmanager::Client::from_conf(config)
}

/// Reads the secret's JSON from Secrets Manager, and the time at which this version was written.
///
/// # Errors
/// [`Fault::DeploymentSecret`] if it cannot be read.
pub async fn get_secret_value(
    sdk: &SdkConfig,
    arn: &str,
) -> Result<(String, Option<Timestamp>), Fault> {
    let answer = client(sdk).get_secret_value().secret_id(arn).send().await.map_err(|error| {
        Fault::DeploymentSecret(
            aws_sdk_secretsmanager::error::DisplayErrorContext(error).to_string(),
        )
    })?;
    let written = answer.created_date().and_then(|date| Timestamp::from_second(date.secs()).ok());
    Ok((answer.secret_string.unwrap_or_default(), written))
}

/// Parses the secret's JSON. The error contains the position and what was expected there, nothing
/// of the content.
///
/// # Errors
/// [`Fault::DeploymentSecret`] if it is not the expected JSON.
pub fn parse(json: &str) -> Result<Secrets, Fault> {
    serde_json::from_slice(without_bom(json.as_bytes())).map_err(|error| {
        Fault::DeploymentSecret(format!(
            "not the expected JSON at line {}, column {}{}",
            error.line(),
            error.column(),
            expected(&error)
        ))
    })
}

/// Returns what the parser expected. Before that, its sentence may contain a name or a value.
fn expected(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let sentence = text.rsplit_once(" at line ").map_or("", |(sentence, _)| sentence);
    if !error.is_data() {
        return format!(": {sentence}");
    }
    let unknown = if sentence.starts_with("unknown field") { "unknown member, " } else { "" };
    let expected = sentence.rsplit_once(", expected ").map(|(_, expected)| expected);
    expected.map_or_else(String::new, |expected| format!(": {unknown}expected {expected}"))
}
