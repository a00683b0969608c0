//! For servers: who presents a credential, and whether they may.
//!
//! A [`Verifier`] decides which credentials an API accepts. [`Protect`] is the middleware for
//! [`tower`](https://docs.rs/tower) services, such as those of axum, hyper and tonic; the handler
//! finds the caller in the extensions of the request, as a [`Principal`].
//!
//! | credential | how it is checked | when it stops working |
//! |---|---|---|
//! | an access token of the issuer | by its signature and claims | **when it expires, also if it is revoked before** |
//! | everything else, in `Authorization: Bearer` or `X-API-Key` | by introspection, without a cache | at once |
//!
//! [`Introspection::introspect_jwts`] asks about access tokens, too: then they stop working at once.

mod claims;
mod introspection;
mod issuer_keys;
mod layer;
mod mcp;
mod presented;
mod principal;
mod refusal;
mod unique_json;
mod verifier;

pub use introspection::Introspection;
pub use issuer_keys::SigningAlgorithm;
pub use layer::{Protect, Protected};
pub use mcp::McpTools;
pub use principal::Principal;
pub use refusal::{Refusal, RefusalCode};
pub use verifier::Verifier;
