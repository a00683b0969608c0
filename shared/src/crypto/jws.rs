//! Signature algorithms, and the type of key that each of them needs.

use serde::{Deserialize, Serialize};

/// The signature algorithms that Postern verifies (RFC 7518 §3.1, RFC 8037 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JwsAlgorithm {
    /// HMAC with SHA-256.
    HS256,
    /// HMAC with SHA-384.
    HS384,
    /// HMAC with SHA-512.
    HS512,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RS256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    RS384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    RS512,
    /// RSASSA-PSS with SHA-256.
    PS256,
    /// RSASSA-PSS with SHA-384.
    PS384,
    /// RSASSA-PSS with SHA-512.
    PS512,
    /// ECDSA with SHA-256.
    ES256,
    /// ECDSA with SHA-384.
    ES384,
    /// Ed25519, also by the name that RFC 9864 gives it in a key.
    #[serde(alias = "Ed25519")]
    EdDSA,
}

/// The type of key that an algorithm needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyType {
    /// A secret of at least this many bytes: the length of the hash (RFC 7518 §3.2).
    Oct {
        least: usize,
    },
    Rsa,
    /// A point on this curve, whose coordinates have this many bytes.
    Ec {
        curve: &'static str,
        coordinate: usize,
    },
    Okp,
}

impl JwsAlgorithm {
    /// The algorithms whose keys are pairs of a public and a private key.
    pub const ASYMMETRIC: [Self; 9] = [
        Self::ES256,
        Self::ES384,
        Self::EdDSA,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::RS256,
        Self::RS384,
        Self::RS512,
    ];

    /// Returns the algorithm that a token or key names, in its exact case.
    pub fn from_name(name: &str) -> Option<Self> {
        serde_json::from_value(name.into()).ok()
    }

    /// Returns its name (RFC 7518 §3.1, RFC 8037 §3.1).
    pub fn name(self) -> &'static str {
        match self {
            Self::HS256 => "HS256",
            Self::HS384 => "HS384",
            Self::HS512 => "HS512",
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::EdDSA => "EdDSA",
        }
    }

    /// Reports whether the key is a secret that signs as well as it verifies.
    pub fn is_symmetric(self) -> bool {
        matches!(self.key_type(), KeyType::Oct { .. })
    }

    pub(super) fn key_type(self) -> KeyType {
        match self {
            Self::HS256 => KeyType::Oct { least: 32 },
            Self::HS384 => KeyType::Oct { least: 48 },
            Self::HS512 => KeyType::Oct { least: 64 },
            Self::RS256 | Self::RS384 | Self::RS512 | Self::PS256 | Self::PS384 | Self::PS512 => {
                KeyType::Rsa
            }
            Self::ES256 => KeyType::Ec { curve: "P-256", coordinate: 32 },
            Self::ES384 => KeyType::Ec { curve: "P-384", coordinate: 48 },
            Self::EdDSA => KeyType::Okp,
        }
    }
}

impl From<JwsAlgorithm> for jsonwebtoken::Algorithm {
    fn from(algorithm: JwsAlgorithm) -> Self {
        match algorithm {
            JwsAlgorithm::HS256 => Self::HS256,
            JwsAlgorithm::HS384 => Self::HS384,
            JwsAlgorithm::HS512 => Self::HS512,
            JwsAlgorithm::RS256 => Self::RS256,
            JwsAlgorithm::RS384 => Self::RS384,
            JwsAlgorithm::RS512 => Self::RS512,
            JwsAlgorithm::PS256 => Self::PS256,
            JwsAlgorithm::PS384 => Self::PS384,
            JwsAlgorithm::PS512 => Self::PS512,
            JwsAlgorithm::ES256 => Self::ES256,
            JwsAlgorithm::ES384 => Self::ES384,
            JwsAlgorithm::EdDSA => Self::EdDSA,
        }
    }
}
