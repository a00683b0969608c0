//! Credentials, rotation, policies: everything that Postern's functions share.
//!
//! The modules are listed in reading order: each is allowed to use those below it, and none above.
//! A test computes the order from the imports; `ARCHITECTURE.md` says what each module is for.

pub mod runtime;

pub mod authorizer;

pub mod app;

pub mod resource;

pub mod authn;

pub mod grant;

pub mod identity_provider;

pub mod token;

pub mod context;

pub mod http;

pub mod store;

pub mod event_bus;

pub mod fetch;

pub mod config;

pub mod credential;

pub mod crypto;

pub mod telemetry;

pub mod core;

#[cfg(doctest)]
#[doc = include_str!("../../docs/custom-provider.md")]
pub struct CustomProvider;

pub use crate::{
    app::App,
    context::Context,
    core::error::{Error, Fault, Refusal},
};
