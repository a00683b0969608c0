//! The basic types that all other modules use: ids, secrets, scopes, the principal, time,
//! randomness, errors. The only I/O is reading the operating system's clock and random generator.

pub mod actor;
pub mod audience;
pub mod client_kind;
pub mod client_url;
pub mod clock;
pub mod credential_header;
pub mod email;
pub mod entropy;
pub mod epoch;
pub mod error;
pub mod id;
pub mod json;
pub mod list_question;
pub mod loopback_uri;
pub mod mcp;
pub mod method;
pub mod name;
pub mod network;
pub mod pagination;
pub mod path;
pub mod permission;
pub mod plan;
pub mod principal;
pub mod redirect_uri;
pub mod request_uri;
pub mod rfc3339;
pub mod route_pattern;
#[cfg(feature = "openapi")]
pub mod schema;
pub mod scope;
pub mod scope_limit;
pub mod secret;
pub mod subject;
pub mod text;
pub mod url;
