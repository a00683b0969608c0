//! Values that everything else is made of: ids, secrets, scopes, the principal, time, randomness,
//! errors. No I/O but the operating system's clock and random generator.

pub mod clock;
pub mod credential_header;
pub mod email;
pub mod entropy;
pub mod error;
pub mod id;
pub mod method;
pub mod name;
pub mod pagination;
pub mod path;
pub mod permission;
pub mod principal;
pub mod route_pattern;
pub mod scope;
pub mod secret;
pub mod subject;
