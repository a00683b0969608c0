//! The specification of Postern: a module per capability, a sentence per test.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod access_tokens;
mod agents;
mod authorizer;
mod cli_tokens;
mod costs;
mod credentials;
mod custom;
mod downloads;
mod events;
mod exchange;
mod fixtures;
mod gate;
mod guard;
mod house;
mod issuers;
mod jose;
mod keys;
mod malformed;
mod messages;
mod organizations;
mod outages;
mod refresh;
mod refresh_model;
mod revocation;
mod runners;
mod scopes;
mod secrecy;
mod services;
mod sessions;
mod settings;
mod shapes;
mod signed;
mod template;
mod unrouted;
