//! The settings that differ between deployments: the environment variables `POSTERN_…`.

use std::collections::BTreeMap;

use tracing::Level;

use super::{TrustedProxy, setting};
use crate::{
    core::{error::Fault, url},
    crypto::secret_versions::SecretArns,
    telemetry::FUNCTION_NAME,
};

/// The names of the five tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// Organizations, users, keys and machines.
    pub keys: String,
    /// Families of refresh tokens, sessions and revocations.
    pub families: String,
    /// Everything that can be used only once or a limited number of times.
    pub nonces: String,
    /// When and from where credentials were last used.
    pub uses: String,
    /// What happened, until it is published and for a while after.
    pub events: String,
}

/// The source of the deployment's secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// In Secrets Manager.
    Arn(String),
    /// In a file, as the same JSON.
    File(String),
}

/// The response format of the authorizer for HTTP APIs with payload 2.0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuthorizerAnswer {
    /// `{"isAuthorized": …}`
    #[default]
    Simple,
    /// An IAM policy.
    Policy,
}

/// The settings of the environment.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// `iss` and `aud` of our tokens: the public URL without a trailing slash.
    pub issuer: String,
    /// The URL of our routes and pages, without a trailing slash: the issuer. Only the local
    /// program can be reached elsewhere, because its issuer does not change when its port does.
    pub public_url: String,
    /// The names of the tables.
    pub tables: Tables,
    /// The source of the secret; `None` for functions without keys.
    pub secret: Option<SecretSource>,
    /// The secret and its copies, for the function that replaces keys.
    pub rotated_secrets: Option<SecretArns>,
    /// The name of the bus to which events are published, for the function that publishes them.
    pub event_bus: Option<String>,
    /// The log level.
    pub log: Level,
    /// The format of the authorizer's responses.
    pub authorizer_answer: AuthorizerAnswer,
    /// The proxy that is trusted to name the caller's address, if there is one.
    pub trusted_proxy: Option<TrustedProxy>,
}

/// A placeholder while the file is parsed. [`Deployment::from_variables`] replaces it.
impl Default for Deployment {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            public_url: String::new(),
            tables: Tables::default(),
            secret: None,
            rotated_secrets: None,
            event_bus: None,
            log: Level::INFO,
            authorizer_answer: AuthorizerAnswer::default(),
            trusted_proxy: None,
        }
    }
}

/// The variables that a deployment can set, and the one of Lambda's that we read.
const KNOWN: [&str; 19] = [
    FUNCTION_NAME,
    "POSTERN_AUTHORIZER_ANSWER",
    "POSTERN_CONFIG",
    "POSTERN_EVENTS_TABLE",
    "POSTERN_EVENT_BUS",
    "POSTERN_FAMILIES_TABLE",
    "POSTERN_ISSUER",
    "POSTERN_KEYS_TABLE",
    "POSTERN_LOG",
    "POSTERN_NONCES_TABLE",
    "POSTERN_PROXY_ADDRESS_HEADER",
    "POSTERN_PROXY_SECRET_SHA256",
    "POSTERN_PUBLIC_KEYS_ARN",
    "POSTERN_SECRET_ARN",
    "POSTERN_SECRET_FILE",
    "POSTERN_SIGNING_SECRET_ARN",
    "POSTERN_STACK",
    "POSTERN_USES_TABLE",
    "POSTERN_VERIFICATION_KEYS_ARN",
];
/// Variables of the command `postern` and of the packages, which a terminal can have, too.
const OF_CALLERS: [&str; 7] = [
    "POSTERN_AGENT_ID",
    "POSTERN_AGENT_SECRET",
    "POSTERN_API_KEY",
    "POSTERN_HOME",
    "POSTERN_ID_TOKEN",
    "POSTERN_PROFILE",
    "POSTERN_TOKEN",
];

/// The variables of one deployment, of which those without a value count as absent.
struct Variables<'v>(&'v BTreeMap<String, String>);

impl Deployment {
    /// Parses the settings in `variables`.
    ///
    /// # Errors
    /// [`Fault::Setting`] with a sentence that names the variable.
    pub fn from_variables(variables: &BTreeMap<String, String>) -> Result<Self, Fault> {
        let is_known = |name: &str| KNOWN.contains(&name) || OF_CALLERS.contains(&name);
        if let Some(unknown) = variables.keys().find(|name| !is_known(name)) {
            return setting(format!(
                "{unknown} is not a setting; the settings are {}",
                KNOWN.join(", ")
            ));
        }
        let given = Variables(variables);
        let issuer = issuer(given.required("POSTERN_ISSUER")?)?;
        Ok(Self {
            public_url: issuer.clone(),
            issuer,
            tables: given.tables()?,
            secret: given.secret_source()?,
            rotated_secrets: given.rotated_secrets()?,
            event_bus: given.optional("POSTERN_EVENT_BUS"),
            log: given.log_level()?,
            trusted_proxy: given.trusted_proxy()?,
            authorizer_answer: given.authorizer_answer()?,
        })
    }
}

impl Variables<'_> {
    fn optional(&self, name: &str) -> Option<String> {
        self.0.get(name).filter(|value| !value.is_empty()).cloned()
    }

    fn required(&self, name: &str) -> Result<String, Fault> {
        self.optional(name).ok_or_else(|| Fault::Setting(format!("{name} must be set")))
    }

    fn tables(&self) -> Result<Tables, Fault> {
        Ok(Tables {
            keys: self.required("POSTERN_KEYS_TABLE")?,
            families: self.required("POSTERN_FAMILIES_TABLE")?,
            nonces: self.required("POSTERN_NONCES_TABLE")?,
            uses: self.required("POSTERN_USES_TABLE")?,
            events: self.required("POSTERN_EVENTS_TABLE")?,
        })
    }

    fn secret_source(&self) -> Result<Option<SecretSource>, Fault> {
        match (self.optional("POSTERN_SECRET_ARN"), self.optional("POSTERN_SECRET_FILE")) {
            (Some(_), Some(_)) => {
                setting("POSTERN_SECRET_ARN and POSTERN_SECRET_FILE are both set: set one".into())
            }
            (Some(arn), None) => Ok(Some(SecretSource::Arn(arn))),
            (None, Some(path)) => Ok(Some(SecretSource::File(path))),
            (None, None) => Ok(None),
        }
    }

    fn rotated_secrets(&self) -> Result<Option<SecretArns>, Fault> {
        let Some(signing) = self.optional("POSTERN_SIGNING_SECRET_ARN") else { return Ok(None) };
        Ok(Some(SecretArns {
            signing,
            verification: self.required("POSTERN_VERIFICATION_KEYS_ARN")?,
            public: self.required("POSTERN_PUBLIC_KEYS_ARN")?,
        }))
    }

    fn log_level(&self) -> Result<Level, Fault> {
        let Some(level) = self.optional("POSTERN_LOG") else { return Ok(Level::INFO) };
        level.parse().map_err(|_| {
            Fault::Setting(format!(
                "POSTERN_LOG is {level:?}; it must be error, warn, info, debug or trace"
            ))
        })
    }

    fn trusted_proxy(&self) -> Result<Option<TrustedProxy>, Fault> {
        let Some(secrets) = self.optional("POSTERN_PROXY_SECRET_SHA256") else { return Ok(None) };
        let header = self.optional("POSTERN_PROXY_ADDRESS_HEADER");
        TrustedProxy::parse(&secrets, header).map(Some)
    }

    fn authorizer_answer(&self) -> Result<AuthorizerAnswer, Fault> {
        match self.optional("POSTERN_AUTHORIZER_ANSWER").as_deref() {
            None | Some("simple") => Ok(AuthorizerAnswer::Simple),
            Some("policy") => Ok(AuthorizerAnswer::Policy),
            Some(other) => setting(format!(
                "POSTERN_AUTHORIZER_ANSWER is {other:?}; it must be simple or policy"
            )),
        }
    }
}

impl Deployment {
    /// Reports whether the deployment is on one machine, where callers use no TLS.
    pub fn is_local(&self) -> bool {
        self.issuer.starts_with("http://") // accepted for loopback addresses only
    }

    /// Reports whether a request with this `Host` can have been sent to this machine, if the
    /// deployment is on one. Another name may have been pointed at it (DNS rebinding), or belong to
    /// another server.
    pub fn is_local_host(&self, host: &str) -> bool {
        let name = |authority: &str| {
            let authority: Option<::http::uri::Authority> = authority.parse().ok();
            authority.map(|authority| authority.host().to_ascii_lowercase())
        };
        let own = name(self.origin().split_once("://").unwrap_or_default().1);
        let is_ours = |name: String| url::is_this_machine(&name) || Some(name) == own;
        self.is_local() && !host.contains('@') && name(host).is_some_and(is_ours)
    }

    /// Returns the origin of our own pages: scheme, host and port of the public URL (RFC 6454 §7).
    pub fn origin(&self) -> &str {
        url::split_origin(&self.public_url).0
    }

    /// Returns the path of the issuer, which is empty or begins with a slash.
    pub fn issuer_path(&self) -> &str {
        url::split_origin(&self.issuer).1
    }
}

/// Checks the issuer (RFC 8414 §2): `https`, no query and no fragment.
fn issuer(text: String) -> Result<String, Fault> {
    if url::is_https_or_local(&text) && !text.contains('?') && !text.ends_with('/') {
        Ok(text)
    } else {
        setting(format!(
            "POSTERN_ISSUER is {text:?}; it must be an https URL without a query, fragment or trailing slash (http for loopback addresses)"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::Deployment;

    #[test]
    fn a_local_deployment_is_reached_at_names_of_this_machine_only() {
        let local = Deployment {
            issuer: "http://127.0.0.1:9000".into(),
            public_url: "http://192.0.2.7:9000".into(),
            ..Deployment::default()
        };
        for host in ["127.0.0.1:9000", "localhost:1", "LOCALHOST", "[::1]:9000", "192.0.2.7:9000"] {
            assert!(local.is_local_host(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:9000",
            "127.0.0.1.evil.example",
            "localhost.evil.example:9000",
            "localhost@evil.example",
            "evil.example@localhost",
            "192.0.2.8:9000",
        ] {
            assert!(!local.is_local_host(host), "{host}");
        }
        let public = Deployment { issuer: "https://auth.example.com".into(), ..local };
        assert!(!public.is_local_host("localhost"));
    }
}
