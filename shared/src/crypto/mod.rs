//! Cryptography: the only module that uses a cryptographic library or compares in constant time.

pub mod client_keys;
pub mod digest;
pub mod github_keys;
pub mod jwk;
pub mod jws;
pub mod jwt;
pub mod key_list;
pub mod key_rotation;
pub mod key_set;
pub mod key_times;
pub mod keyring;
pub mod mac;
pub mod password;
pub mod seal;
pub mod secret_versions;
pub mod secrets;
pub mod sign;
pub mod thumbprint;
pub mod verifying_key;

pub use client_keys::ClientKeys;
pub use digest::Digest;
pub use keyring::{KeyAccess, Keyring};
