//! Postern on one machine, without Docker and without AWS: an API gateway that reads the template,
//! a DynamoDB-compatible store, and every function, in one program. The tests drive the same parts.

pub mod data;
pub mod engine;
pub mod error;
pub mod event;
pub mod event_stream;
pub mod explain;
pub mod first_organization;
pub mod gateway;
pub mod guard;
pub mod http_server;
pub mod invoke;
pub mod keys;
pub mod log_group;
pub mod mcp;
mod own_origin;
pub mod permissions;
pub mod private_file;
pub mod protect;
mod request_line;
pub mod request_log;
pub mod serve;
pub mod settings;
mod store_api;
pub mod template;
pub mod trust;
pub mod watch;

pub use error::Error;
