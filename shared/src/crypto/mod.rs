//! Every use of a cryptographic library, and of a comparison in constant time.

pub mod digest;
pub mod jwk;
pub mod jwt;
pub mod keyring;
pub mod mac;

pub use digest::Digest;
pub use keyring::Keyring;
