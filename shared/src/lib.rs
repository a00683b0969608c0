//! Credentials, rotation, policies: everything that Postern's functions share.
//!
//! Reading order: [`app`], [`sandbox`], [`config`], [`http`], [`policy`], [`error`], [`principal`], [`scope`], then the rooms
//! [`authn`], [`credential`], [`token`], [`grant`], [`store`], [`crypto`]. `ARCHITECTURE.md` tells what each may know.

pub mod app;
pub mod authn;
pub mod clock;
pub mod config;
pub mod credential;
pub mod crypto;
pub mod email;
pub mod entropy;
pub mod error;
pub mod fetch;
pub mod grant;
pub mod http;
pub mod id;
pub mod lambda;
pub mod machines;
pub mod name;
pub mod page;
pub mod policy;
pub mod principal;
pub mod records;
pub mod sandbox;
pub mod scope;
pub mod sdk;
pub mod store;
pub mod telemetry;
pub mod token;
pub mod upstream;

#[cfg(doctest)]
#[doc = include_str!("../../docs/custom-provider.md")]
pub struct CustomProvider;

pub use app::App;
pub use error::{Error, Fault, Refusal};
