//! What can be done with records: create, list, show, change, rotate, delete.
//!
//! Each function receives the principal and checks itself what the principal is allowed to do. The
//! routes call these functions, and so does the portal; nothing here knows HTTP. [`list`], [`show`],
//! [`change()`] and [`delete`] work for every resource that an organization owns.

mod admission;
pub mod api_key;
pub mod change;
pub mod cli_token;
pub mod connected_app;
pub mod event;
pub mod expiry;
pub mod key_import;
pub mod last_use;
pub mod organization;
mod owned;
mod properties;
pub mod runner;
pub mod service_account;
pub mod session;
pub mod usage_plan;
pub mod user;
pub mod user_access;

pub use change::change;
pub use owned::{Resource, Rights, delete, list, show};
