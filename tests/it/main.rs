//! The specification of Postern: a module per capability, a sentence per test.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod access_tokens;
mod agents;
mod authorizer;
mod costs;
mod credentials;
mod events;
mod exchange;
mod house;
mod keys;
mod malformed;
mod organizations;
mod outages;
mod refresh;
mod refresh_model;
mod revocation;
mod runners;
mod scopes;
mod secrecy;
mod settings;
mod template;
mod unrouted;
