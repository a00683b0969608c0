//! Every use of a cryptographic library, and of a comparison in constant time.

pub mod digest;
pub mod json;
pub mod jwk;
pub mod jwt;
pub mod key_set;
pub mod keyring;
pub mod mac;
pub mod sign;

pub use digest::Digest;
pub use keyring::Keyring;
