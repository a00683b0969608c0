//! JWTs: our access tokens (RFC 9068), service tokens and download tokens, and the tokens of other
//! issuers.

mod claims;
pub mod discovery;
pub mod dpop;
pub mod external;
pub mod introspection;
pub mod issue;
pub mod issuer_keys;
pub mod verify;
pub mod workload;

pub use claims::{Claims, DownloadClaims, ServiceClaims, TokenClaims};
pub use issue::{AgentClient, Delegation, NewAccessToken};
