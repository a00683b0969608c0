//! What can be done with records.

pub mod crud;
pub mod service_account;
