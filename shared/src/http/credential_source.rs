//! The source of a caller's credentials: a request to one of our own routes, an authorizer's event,
//! or a message.

use crate::{
    config::Config,
    core::{
        audience::RequiredAudience, caller_address::CallerAddress, error::Refusal,
        request_uri::RequestUri,
    },
    crypto::Digest,
    http::Request,
};

/// A message on a messaging platform. The function that passes it on is trusted to name the sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The messaging platform.
    pub platform: String,
    /// The user.
    pub user_id: String,
    /// The chat, if the platform has chats.
    pub chat_id: Option<String>,
}

/// Why a credential is presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To use it.
    Use,
    /// To ask what it is, which has no effect on it.
    Introspection,
}

/// A request or message in which providers look for credentials.
pub trait CredentialSource: Sync {
    /// Returns the value of a header, by its name in lower case; `None` if it is missing or empty.
    fn header(&self, name: &str) -> Option<&str>;

    /// Returns the names of all headers, in lower case, if an answer can name them.
    fn header_names(&self) -> Vec<&str> {
        Vec::new()
    }

    /// Returns the method of the request.
    fn method(&self) -> &str;

    /// Returns the target as the client sent it, path and query; `None` if it is unknown.
    fn target(&self) -> Option<&str>;

    /// Returns the digest of the body; `None` if the body is not available.
    fn body_digest(&self) -> Option<Digest>;

    /// Returns the URIs that the request can have been sent to: a proof of possession names one of
    /// them. Empty if none is known.
    fn uris(&self, _config: &Config) -> Vec<RequestUri> {
        Vec::new()
    }

    /// Returns the audience that an access token must have here.
    fn audience(&self) -> RequiredAudience<'_> {
        RequiredAudience::ISSUER
    }

    /// Returns why the credential is presented.
    fn purpose(&self) -> Purpose {
        Purpose::Use
    }

    /// Returns the caller's network address, if it is known.
    fn address(&self) -> Option<&str> {
        None
    }

    /// Returns the caller's network address, for a decision that depends on it.
    fn deciding_address(&self) -> CallerAddress<'_> {
        self.address().into()
    }

    /// Returns the message, if this is not a request.
    fn message(&self) -> Option<&Message> {
        None
    }

    /// Returns the credentials of `scheme` in the `Authorization` header. The scheme is
    /// case-insensitive (RFC 9110 §11.1).
    fn authorization(&self, scheme: &str) -> Option<&str> {
        let (given, rest) = self.header("authorization")?.split_once(' ')?;
        given.eq_ignore_ascii_case(scheme).then(|| rest.trim_start())
    }

    /// Returns the bearer token (RFC 6750 §2.1).
    fn bearer(&self) -> Option<&str> {
        self.authorization("bearer")
    }

    /// Returns the token after the word `DPoP`, which is bound to a key (RFC 9449 §7.1).
    fn bound_token(&self) -> Option<&str> {
        self.authorization("dpop")
    }

    /// Returns the access token, in either way to send it.
    fn access_token(&self) -> Option<&str> {
        self.bearer().or_else(|| self.bound_token())
    }

    /// Returns the value of a cookie (RFC 6265 §5.4).
    ///
    /// Only ASCII whitespace is trimmed: browsers do not apply the rules of `__Host-` to a cookie
    /// whose name begins with another space, so another host of the domain may have set it.
    ///
    /// # Errors
    /// [`Refusal::DuplicateHeader`] if two cookies have this name: a page of another host may have
    /// set the second.
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

    fn header_names(&self) -> Vec<&str> {
        Request::header_names(self)
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

    fn address(&self) -> Option<&str> {
        Some(self.source_ip()).filter(|address| !address.is_empty())
    }

    fn uris(&self, config: &Config) -> Vec<RequestUri> {
        let bases = [&config.deployment.issuer, &config.deployment.public_url];
        let bases = bases.into_iter().filter_map(|base| RequestUri::parse(base));
        bases.map(|base| base.below(self.path())).collect()
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
