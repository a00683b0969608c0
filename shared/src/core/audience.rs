//! For which API an access token is: this deployment's own routes, or a resource (RFC 8707).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::url;

/// The longest URI of a resource, in bytes: it is part of every token.
const LONGEST_URI: usize = 256;

/// The URI of an API that tokens can be for (RFC 8707 §2): absolute, without a fragment.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ResourceUri(String);

impl ResourceUri {
    /// Returns the URI as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reports whether a client means this resource by `text`.
    ///
    /// URL libraries write the URI of an origin with a slash at its end, so these two spellings are
    /// the same. All others are compared byte for byte (RFC 3986 §6.2.1).
    pub fn is_named_by(&self, text: &str) -> bool {
        let without_slash = |uri: &str| match url::split_origin(uri) {
            (origin, "/") => origin.to_owned(),
            _ => uri.to_owned(),
        };
        without_slash(text) == without_slash(&self.0)
    }
}

impl TryFrom<String> for ResourceUri {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let uri: Option<::http::Uri> = text.parse().ok();
        // URL libraries write a host in lower case, and clients would name another resource.
        let is_host = |host: &str| !host.bytes().any(|byte| byte.is_ascii_uppercase());
        let is_absolute =
            uri.is_some_and(|uri| uri.scheme().is_some() && uri.host().is_some_and(is_host));
        // A space joins several of them, and a quotation mark would end a challenge's parameter.
        let is_plain =
            text.bytes().all(|byte| byte.is_ascii_graphic() && !b"#@\"\\".contains(&byte));
        if is_absolute && is_plain && text.len() <= LONGEST_URI {
            Ok(Self(text))
        } else {
            Err(
                "expected an absolute URI of at most 256 characters, with its host in lower case, without a fragment",
            )
        }
    }
}

impl From<ResourceUri> for String {
    fn from(uri: ResourceUri) -> Self {
        uri.0
    }
}

impl fmt::Display for ResourceUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The API that an access token is for. A record stores the URI of a resource, and nothing for the
/// issuer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Option<ResourceUri>", into = "Option<ResourceUri>")]
pub enum Audience {
    /// The issuer: our own routes, and APIs that no resource names.
    #[default]
    Issuer,
    /// A resource.
    Resource(ResourceUri),
}

impl Audience {
    /// Reports whether it is the issuer.
    pub fn is_issuer(&self) -> bool {
        match self {
            Self::Issuer => true,
            Self::Resource(_) => false,
        }
    }

    /// Returns the URI of the resource, if it is one.
    pub fn resource(&self) -> Option<&ResourceUri> {
        match self {
            Self::Issuer => None,
            Self::Resource(uri) => Some(uri),
        }
    }
}

impl From<Option<ResourceUri>> for Audience {
    fn from(uri: Option<ResourceUri>) -> Self {
        uri.map_or(Self::Issuer, Self::Resource)
    }
}

impl From<Audience> for Option<ResourceUri> {
    fn from(audience: Audience) -> Self {
        match audience {
            Audience::Issuer => None,
            Audience::Resource(uri) => Some(uri),
        }
    }
}

/// The audience that an access token needs to be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequiredAudience<'a> {
    /// This API.
    Only(&'a Audience),
    /// Any of ours: to revoke or to introspect a token.
    Any,
}

impl RequiredAudience<'_> {
    /// The issuer.
    pub const ISSUER: RequiredAudience<'static> = RequiredAudience::Only(&Audience::Issuer);
}

#[cfg(test)]
mod tests {
    use super::ResourceUri;

    fn uri(text: &str) -> Result<ResourceUri, &'static str> {
        text.to_owned().try_into()
    }

    #[test]
    fn a_resource_is_an_absolute_uri_without_a_fragment() {
        for good in ["https://api.example.com", "https://api.example.com/mcp?a=b", "urn://x/y"] {
            assert!(uri(good).is_ok(), "{good}");
        }
        let long = format!("https://api.example.com/{}", "a".repeat(256));
        for bad in [
            "",
            "api.example.com",
            "/mcp",
            "https://api.example.com/#fragment",
            "https://user@api.example.com/",
            "https://api.example.com/a b",
            "https://api.example.com/\u{e4}",
            "https://api.example.com/\"",
            &long,
        ] {
            assert!(uri(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_an_origin_is_the_same_with_a_slash() {
        let origin = uri("https://api.example.com").unwrap();
        assert!(origin.is_named_by("https://api.example.com/"));
        assert!(origin.is_named_by("https://api.example.com"));
        assert!(uri("https://api.example.com/").unwrap().is_named_by("https://api.example.com"));
        let path = uri("https://api.example.com/mcp").unwrap();
        for other in [
            "https://api.example.com/mcp/",
            "https://api.example.com/MCP",
            "https://API.example.com/mcp",
            "https://api.example.com:443/mcp",
            "https://api.example.com/mcp?",
            "https://api.example.com",
        ] {
            assert!(!path.is_named_by(other), "{other}");
        }
    }
}
