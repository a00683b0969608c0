//! HTTP in and out: the only place besides `policy` that knows Lambda's types.
//!
//! [`door`] lets a gateway's event in and the answer out; a handler sees a [`Request`] and returns a [`Response`].

pub mod door;
mod list;
pub mod path;
mod request;
mod response;
pub mod route;

pub use door::Inner;
pub use list::List;
pub use request::{Form, Request};
pub use response::Response;
