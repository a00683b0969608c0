//! The client half of Postern: log in once, and every request has a current access token.
//!
//! A [`Session`] belongs to a program. It comes from a login that was stored
//! ([`Session::open`]), from the credentials of a client ([`Session::client_credentials`]), from
//! the token that a CI job, a pod or a cloud role already has ([`Session::federation`]), or from an
//! API key ([`Session::api_key`]). [`Session::access_token`] returns a token that does not expire
//! soon, and renews it before. Refresh tokens never leave the session.
//!
//! Any number of processes can share a stored session: a renewal locks a file, so that no other
//! process uses the refresh token at the same time, and a process that is killed leaves a session
//! that the others can use.
//!
//! With the feature `tower`, servers verify the credentials of their callers: see the module
//! `server`.
//!
//! It works with every server that has metadata (RFC 8414) and speaks OAuth 2.0 (RFC 6749), the
//! device flow (RFC 8628) and the code flow with PKCE (RFC 7636, RFC 8252).
//!
//! ```no_run
//! # async fn example() -> postern_client::Result<()> {
//! use postern_client::{Context, Home, Session, TokenRequest};
//!
//! let context = Context::new()?;
//! let profile = Home::from_environment(&context)?.profile(&context, None)?;
//! let session = Session::open(&context, &profile).await?;
//! let token = session.access_token(&TokenRequest::default()).await?;
//! # Ok(())
//! # }
//! ```

mod access_token;
mod cached;
mod context;
mod discovery;
mod error;
mod files;
mod home;
mod http_client;
mod issuer;
#[cfg(feature = "keyring")]
mod keyring;
mod lock;
mod login;
mod oauth;
#[cfg(feature = "tower")]
pub mod server;
mod session;
mod session_file;
mod signature;
mod workload;

pub use access_token::{AccessToken, TokenRequest};
pub use context::{Context, System};
pub use discovery::{ServerMetadata, discover};
pub use error::{Error, ErrorCode, Result};
pub use home::{Config, Home, Profile, ProfileConfig, ProfileName};
pub use issuer::Issuer;
pub use login::{DevicePrompt, Login};
pub use reqwest;
pub use secrecy::{ExposeSecret, SecretString};
pub use session::{Logout, Session, SessionStatus};
pub use session_file::Storage;
pub use signature::{Signature, sign_request, sign_request_now};
pub use workload::WorkloadSource;

/// The id of the client that every deployment of Postern has, for programs on a user's machine.
pub const CLIENT_ID: &str = "postern-cli";

#[doc = include_str!("../README.md")]
#[cfg(doctest)]
pub struct Readme;
