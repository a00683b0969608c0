//! Our tokens, which are JWTs: access tokens of RFC 9068, service tokens, download tokens. And the JWTs of others.

mod claims;
pub mod external;
pub mod issue;
pub mod issuer_keys;
pub mod verify;

pub use claims::{Claims, DownloadClaims, ServiceClaims, Token};
pub use issue::Grant;
