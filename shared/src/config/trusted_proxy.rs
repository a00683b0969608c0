//! The proxy in front of the API that is trusted to name the caller's address.
//!
//! Behind a proxy such as CloudFront, the gateway sees the proxy's address as that of every caller.
//! The proxy adds a secret to each request that it forwards, and the address that it saw. Without
//! the secret, anyone could send the address, so then the gateway's counts.

use std::net::IpAddr;

use super::setting;
use crate::{core::error::Fault, crypto::Digest};

/// The header in which the proxy sends its secret.
pub const SECRET_HEADER: &str = "x-postern-proxy-secret";
/// The header in which CloudFront sends the caller's address and port.
const CLOUDFRONT_VIEWER: &str = "cloudfront-viewer-address";
/// How many secrets are accepted, so that one can replace another.
const MOST_SECRETS: usize = 2;

/// A proxy whose statements about callers are believed.
#[derive(Clone, Debug)]
pub struct TrustedProxy {
    secrets: Vec<Digest>,
    address_header: String,
}

impl TrustedProxy {
    /// Parses the settings: the SHA-256 of one or two secrets, and the name of the header with the
    /// address.
    ///
    /// # Errors
    /// [`Fault::Setting`] with a sentence that names the variable.
    pub(super) fn parse(secrets: &str, address_header: Option<String>) -> Result<Self, Fault> {
        let parsed: Option<Vec<_>> =
            secrets.split(',').map(|digest| Digest::from_hex(digest.trim())).collect();
        let parsed = parsed.filter(|secrets| secrets.len() <= MOST_SECRETS);
        let Some(secrets) = parsed else {
            return setting(
                "POSTERN_PROXY_SECRET_SHA256 must be one or two SHA-256 digests in lowercase hexadecimal digits, separated by a comma".into(),
            );
        };
        let header = address_header.unwrap_or_else(|| CLOUDFRONT_VIEWER.to_owned());
        let header = header.to_ascii_lowercase();
        let is_header = ::http::HeaderName::from_bytes(header.as_bytes()).is_ok();
        // Proxies append to this header what the caller sent in it.
        if !is_header || header == "x-forwarded-for" || header == SECRET_HEADER {
            return setting(format!(
                "POSTERN_PROXY_ADDRESS_HEADER is {header:?}; it must be a header in which the proxy sends one address, such as CloudFront-Viewer-Address"
            ));
        }
        Ok(Self { secrets, address_header: header })
    }

    /// Returns the caller's address, if the request came through the proxy. `header` returns the
    /// value of a header, by its name in lower case.
    pub fn caller_address<'a>(&self, header: impl Fn(&str) -> Option<&'a str>) -> Option<IpAddr> {
        let presented = Digest::of(header(SECRET_HEADER)?.as_bytes());
        let is_proxy = self.secrets.iter().filter(|known| known.matches(&presented)).count() > 0;
        let given = header(&self.address_header).filter(|_| is_proxy)?.trim_ascii();
        let (is_port_there, address) = match given.rsplit_once(':') {
            Some((address, port)) => (port.parse::<u16>().is_ok(), address),
            None => (false, given),
        };
        // CloudFront always appends the port, and writes version 6 without brackets.
        let is_joined = self.address_header == CLOUDFRONT_VIEWER
            || given.starts_with('[')
            || address.parse::<std::net::Ipv4Addr>().is_ok();
        let text = if is_joined && is_port_there { address } else { given };
        let text = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        text.parse::<IpAddr>().ok().map(|address| address.to_canonical())
    }
}
