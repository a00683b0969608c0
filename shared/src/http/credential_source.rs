//! What a caller presents, wherever it comes from: one of our own routes, an authorizer's event, or
//! a message.

use crate::{core::error::Refusal, crypto::Digest, http::Request};

/// Somebody's message on a messaging platform, vouched for by the function that passes it on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The messaging platform.
    pub platform: String,
    /// The user.
    pub user_id: String,
    /// The chat, if the platform has chats.
    pub chat_id: Option<String>,
}

/// What a caller presented.
pub trait CredentialSource: Sync {
    /// A header's value, by its name in lower case; `None` where it is missing or empty.
    fn header(&self, name: &str) -> Option<&str>;

    /// The method of the request.
    fn method(&self) -> &str;

    /// The target of the request as the client sent it, path and query; `None` where that cannot be
    /// told.
    fn target(&self) -> Option<&str>;

    /// The digest of the body; `None` where the body is not at hand.
    fn body_digest(&self) -> Option<Digest>;

    /// The message that this is, if it is no request.
    fn message(&self) -> Option<&Message> {
        None
    }

    /// What follows `scheme` in the `Authorization` header; the scheme in any case (RFC 9110
    /// §11.1).
    fn authorization(&self, scheme: &str) -> Option<&str> {
        let (given, rest) = self.header("authorization")?.split_once(' ')?;
        given.eq_ignore_ascii_case(scheme).then(|| rest.trim_start())
    }

    /// The bearer token (RFC 6750 §2.1).
    fn bearer(&self) -> Option<&str> {
        self.authorization("bearer")
    }

    /// A cookie's value (RFC 6265 §5.4).
    ///
    /// Only ASCII whitespace is trimmed: browsers do not apply the rules of `__Host-` to a cookie
    /// whose name begins with another space, so another host of the domain may have set it.
    ///
    /// # Errors
    /// [`Refusal::DuplicateHeader`] where two have this name: a page of another host may have set
    /// the second.
    fn cookie(&self, name: &str) -> Result<Option<&str>, Refusal> {
        let pairs = self
            .header("cookie")
            .unwrap_or_default()
            .split(';')
            .filter_map(|pair| pair.trim_ascii().split_once('='));
        let mut values = pairs.filter(|(given, _)| *given == name).map(|(_, value)| value);
        match (values.next(), values.next()) {
            (_, Some(_)) => Err(Refusal::DuplicateHeader),
            (value, None) => Ok(value),
        }
    }
}

impl CredentialSource for Request {
    fn header(&self, name: &str) -> Option<&str> {
        Request::header(self, name)
    }

    fn method(&self) -> &str {
        Request::method(self)
    }

    fn target(&self) -> Option<&str> {
        Some(Request::target(self))
    }

    fn body_digest(&self) -> Option<Digest> {
        Some(Digest::of(self.body()))
    }
}

impl CredentialSource for Message {
    fn header(&self, _name: &str) -> Option<&str> {
        None
    }

    fn method(&self) -> &str {
        "MESSAGE"
    }

    fn target(&self) -> Option<&str> {
        None
    }

    fn body_digest(&self) -> Option<Digest> {
        None
    }

    fn message(&self) -> Option<&Message> {
        Some(self)
    }
}
