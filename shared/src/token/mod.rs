//! Access tokens: JWTs of RFC 9068.

mod claims;
mod issue;
mod verify;

pub use claims::Claims;
pub use issue::{Grant, access_token};
pub use verify::{is_meant, verify};

/// The media type in a token's header (RFC 9068 §2.1). Other kinds of token have another one, so that none passes for this.
const TYP: &str = "at+jwt";
