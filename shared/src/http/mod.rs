//! HTTP: a handler receives a [`Request`] and returns a [`Response`].

pub mod correction;
pub mod cors;
mod credential_source;
pub mod html;
mod json_body;
mod paging;
mod request;
mod response;
pub mod route;

pub use credential_source::{CredentialSource, Message, Purpose};
pub use json_body::one_or_none;
pub use request::{Form, Request, Target};
pub use response::Response;
