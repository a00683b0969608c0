//! The deployment's keys, read from its secret once per cold start.
//!
//! One JSON document, whole for the functions that sign and without its private members for those that only verify:
//! the `verification` form gives a function nothing with which it could make a credential.

use std::{collections::HashSet, fmt};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    digest::Digest,
    jwk::{Jwk, JwkSet, PublicKey},
    jwt::{Algorithm, SigningKey, VerifyingKey},
    mac::MacKey,
};
use crate::{app::Needs, clock::Clock, credential::refresh_token, entropy::Entropy, error::Fault};

/// The secret, as JSON.
#[derive(Clone, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Secrets {
    /// SHA-256 of the operator key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator_key_sha256: Option<Digest>,
    /// Keys of our own tokens. The first of the configured algorithm signs; all of them verify.
    #[serde(default)]
    pub signing_keys: Vec<StoredSigningKey>,
    /// Keys of refresh tokens. The first one makes new families; a family keeps its key for life.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refresh_keys: Vec<StoredMacKey>,
    /// Secrets that `postern.toml` names by `secret_ref`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub refs: Map<String, Value>,
}

/// One key of our own tokens.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredSigningKey {
    pub kid: String,
    pub algorithm: Algorithm,
    pub public_key: PublicKey,
    /// PKCS#8 DER in base64; absent in the verification form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_key: Option<String>,
}

/// One key of refresh tokens: 32 bytes in base64, and the two characters that name it inside a token.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredMacKey {
    pub kid: String,
    pub key: String,
}

impl Secrets {
    /// Adds what is missing for `algorithm`, and keeps what is there. Returns whether anything was added.
    ///
    /// # Errors
    /// A generator that fails.
    pub fn complete(&mut self, algorithm: Algorithm, clock: &Clock, entropy: &Entropy) -> Result<bool, Fault> {
        let mut added = false;
        if !self.signing_keys.iter().any(|key| key.algorithm == algorithm && key.private_key.is_some()) {
            let pkcs8 = SigningKey::generate(algorithm)?;
            let kid = format!("{}-{}", clock.now().strftime("%Y%m%d"), entropy.letters(crate::credential::BASE62, 8)?);
            let public_key = SigningKey::parse(kid.clone(), algorithm, &pkcs8)?.public();
            self.signing_keys.push(StoredSigningKey {
                kid,
                algorithm,
                public_key,
                private_key: Some(BASE64.encode(pkcs8)),
            });
            added = true;
        }
        if self.refresh_keys.is_empty() {
            let kid = entropy.letters(crate::credential::BASE62, crate::credential::refresh_token::KID_LEN)?;
            self.refresh_keys.push(StoredMacKey { kid, key: BASE64.encode(entropy.bytes::<32>()?) });
            added = true;
        }
        Ok(added)
    }

    /// The same without anything that could make a credential.
    pub fn verification(&self) -> Self {
        let strip = |key: &StoredSigningKey| StoredSigningKey { private_key: None, ..key.clone() };
        Self {
            operator_key_sha256: self.operator_key_sha256,
            signing_keys: self.signing_keys.iter().map(strip).collect(),
            refresh_keys: Vec::new(),
            refs: Map::new(),
        }
    }
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

/// The keys, parsed.
#[derive(Debug, Default)]
pub struct Keyring {
    operator: Option<Digest>,
    signing: Option<SigningKey>,
    verifying: Vec<VerifyingKey>,
    refresh: Vec<(String, MacKey)>,
}

impl Keyring {
    /// Parses every key of `secrets`.
    ///
    /// # Errors
    /// [`Fault::Crypto`] for a key that cannot be used, a `kid` given twice, or a public key that is not the private one's.
    pub fn new(secrets: &Secrets, algorithm: Algorithm) -> Result<Self, Fault> {
        let mut ring = Self { operator: secrets.operator_key_sha256, ..Self::default() };
        for stored in &secrets.signing_keys {
            ring.verifying.push(VerifyingKey::new(stored.kid.clone(), stored.algorithm, stored.public_key.clone())?);
            if let Some(private) = &stored.private_key {
                let pkcs8 = BASE64.decode(private).map_err(|_| Fault::Crypto("a private key is not base64"))?;
                let key = SigningKey::parse(stored.kid.clone(), stored.algorithm, &pkcs8)?;
                if key.public() != stored.public_key {
                    return Err(Fault::Crypto("a public key is not the one of its private key"));
                }
                if stored.algorithm == algorithm && ring.signing.is_none() {
                    ring.signing = Some(key);
                }
            }
        }
        for stored in &secrets.refresh_keys {
            let bytes = BASE64.decode(&stored.key).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
            let key = MacKey::new(&bytes.ok_or(Fault::Crypto("a refresh key is not 32 bytes in base64"))?);
            if !refresh_token::is_kid(&stored.kid) {
                return Err(Fault::Crypto("the kid of a refresh key is not two letters or digits"));
            }
            ring.refresh.push((stored.kid.clone(), key));
        }
        ring.has_distinct_kids().then_some(ring).ok_or(Fault::Crypto("a kid is given twice"))
    }

    fn has_distinct_kids(&self) -> bool {
        let mut seen = HashSet::new();
        self.verifying.iter().all(|key| seen.insert(&key.kid)) && {
            let mut seen = HashSet::new();
            self.refresh.iter().all(|(kid, _)| seen.insert(kid))
        }
    }

    /// Are the keys there that a function needs? With half of them it would refuse good credentials.
    ///
    /// # Errors
    /// [`Fault::Setting`] with a sentence that names what is missing.
    pub fn suffice(&self, needs: Needs) -> Result<(), Fault> {
        match needs {
            Needs::Nothing => Ok(()),
            Needs::Verification if self.verifying.is_empty() => {
                Err(Fault::Setting("the secret holds no signing_keys".into()))
            }
            Needs::Verification => Ok(()),
            Needs::Signing => self.signing().and_then(|_| self.current_refresh_kid()).map(drop),
        }
    }

    /// The digest of the operator key, where there is one.
    pub fn operator(&self) -> Option<&Digest> {
        self.operator.as_ref()
    }

    /// The key that signs new tokens.
    ///
    /// # Errors
    /// [`Fault::Setting`] where this function's secret holds none.
    pub fn signing(&self) -> Result<&SigningKey, Fault> {
        self.signing
            .as_ref()
            .ok_or_else(|| Fault::Setting("the secret holds no private key of the configured algorithm".into()))
    }

    /// The keys that verify our tokens.
    pub fn verifying(&self) -> &[VerifyingKey] {
        &self.verifying
    }

    /// The key that makes the refresh tokens of new families.
    ///
    /// # Errors
    /// [`Fault::Setting`] where this function's secret holds none.
    pub fn current_refresh_kid(&self) -> Result<&str, Fault> {
        self.refresh
            .first()
            .map(|(kid, _)| kid.as_str())
            .ok_or_else(|| Fault::Setting("the secret holds no refresh key".into()))
    }

    /// The refresh key named `kid`.
    pub fn refresh(&self, kid: &str) -> Option<&MacKey> {
        self.refresh.iter().find(|(known, _)| known == kid).map(|(_, key)| key)
    }

    /// The public keys, for those who verify our tokens themselves.
    pub fn jwks(&self) -> JwkSet {
        let jwk = |key: &VerifyingKey| Jwk {
            key: key.public.clone(),
            kid: key.kid.clone(),
            alg: key.algorithm,
            usage: "sig",
        };
        JwkSet { keys: self.verifying.iter().map(jwk).collect() }
    }
}

/// Reads the secret from Secrets Manager.
///
/// # Errors
/// [`Fault::Secret`] when it cannot be read or is not the JSON that it should be.
pub async fn fetch(sdk: &aws_config::SdkConfig, arn: &str) -> Result<Secrets, Fault> {
    let answer = aws_sdk_secretsmanager::Client::new(sdk)
        .get_secret_value()
        .secret_id(arn)
        .send()
        .await
        .map_err(|error| Fault::Secret(aws_sdk_secretsmanager::error::DisplayErrorContext(error).to_string()))?;
    parse(answer.secret_string().unwrap_or_default())
}

/// Reads the secret's JSON. Nothing of it appears in the error but the place.
///
/// # Errors
/// [`Fault::Secret`] when it is not the JSON that it should be.
pub fn parse(json: &str) -> Result<Secrets, Fault> {
    serde_json::from_str(json).map_err(|error| {
        Fault::Secret(format!("not the expected JSON at line {}, column {}", error.line(), error.column()))
    })
}
