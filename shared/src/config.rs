//! Every setting, parsed once at the start into types. The only reader of the environment.
//!
//! What differs between deployments comes as environment variables, `POSTERN_…`; the structured part is
//! `postern.toml`, compiled in as the default. A wrong, unknown or missing setting stops the start with a sentence that
//! names it, and never means "open".

mod file;
mod provider;
mod signin;

use std::{collections::BTreeMap, path::Path};

pub use file::{Lifetimes, RouteAuth, RouteRule, Signing, Signup};
pub use provider::{Allowlist, ConfiguredKeys, JwtIssuer, OidcIssuer, ProviderKind};
pub use signin::{Admission, Client, GITHUB_PREFIX, GithubSignIn, OidcSignIn, SignIn, Throttle};
use tracing::Level;

use crate::{
    core::{
        error::Fault,
        id::{ClientId, RESERVED_PREFIXES},
        principal::UserAllowlist,
        subject::CONFIGURED_KEY_PREFIX,
    },
    credential::TokenPrefix,
    telemetry::FUNCTION_NAME,
};

/// The repository's own `postern.toml`.
pub const DEFAULT: &str = include_str!("../../postern.toml");

/// The three tables, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tables {
    pub keys: String,
    pub families: String,
    pub nonces: String,
}

/// Where the deployment's secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// In Secrets Manager.
    Arn(String),
    /// In a file, as the same JSON.
    File(String),
}

/// How the authorizer answers an HTTP API with payload 2.0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuthorizerAnswer {
    /// `{"isAuthorized": …}`
    #[default]
    Simple,
    /// An IAM policy.
    Policy,
}

/// All settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// `iss` of our tokens, and `aud` too: the public URL without a trailing slash.
    pub issuer: String,
    pub tables: Tables,
    pub secret: Option<SecretSource>,
    pub log: Level,
    pub authorizer_answer: AuthorizerAnswer,
    pub brand: TokenPrefix,
    pub signup: Signup,
    /// Where a session is forwarded, and where a service token stands; in lower case.
    pub session_header: String,
    pub service_token_header: String,
    pub allowlist: UserAllowlist,
    pub lifetimes: Lifetimes,
    pub signing: Signing,
    pub providers: Vec<ProviderKind>,
    pub routes: Vec<RouteRule>,
    /// Where people sign in, besides by a password.
    pub signins: Vec<SignIn>,
    /// Tools of people.
    pub clients: Vec<Client>,
    pub throttle: Throttle,
}

/// Variables that a deployment sets, and the one of Lambda's that counts.
const KNOWN: [&str; 11] = [
    FUNCTION_NAME,
    "POSTERN_AUTHORIZER_ANSWER",
    "POSTERN_CONFIG",
    "POSTERN_FAMILIES_TABLE",
    "POSTERN_ISSUER",
    "POSTERN_KEYS_TABLE",
    "POSTERN_LOG",
    "POSTERN_NONCES_TABLE",
    "POSTERN_SECRET_ARN",
    "POSTERN_SECRET_FILE",
    "POSTERN_STACK",
];

impl Config {
    /// Takes the settings of `variables` and of the file that `POSTERN_CONFIG` names.
    ///
    /// # Errors
    /// [`Fault::Setting`] with a sentence that names the setting.
    pub fn from_variables(variables: &BTreeMap<String, String>) -> Result<Self, Fault> {
        let file = variables.get("POSTERN_CONFIG").filter(|path| !path.is_empty());
        let toml = file.map_or_else(|| Ok(DEFAULT.to_owned()), read)?;
        Self::from_settings(variables, &toml)
    }

    /// Takes the settings of `variables` and `toml`.
    ///
    /// # Errors
    /// [`Fault::Setting`] with a sentence that names the setting.
    pub fn from_settings(variables: &BTreeMap<String, String>, toml: &str) -> Result<Self, Fault> {
        if let Some(unknown) = variables.keys().find(|name| !KNOWN.contains(&name.as_str())) {
            return setting(format!("{unknown} is not a setting; known are {}", KNOWN.join(", ")));
        }
        let given = |name: &str| variables.get(name).filter(|value| !value.is_empty()).cloned();
        let required =
            |name: &str| given(name).ok_or_else(|| Fault::Setting(format!("{name} must be set")));
        let file = file::parse(toml)?;

        Ok(Self {
            issuer: issuer(required("POSTERN_ISSUER")?)?,
            tables: Tables {
                keys: required("POSTERN_KEYS_TABLE")?,
                families: required("POSTERN_FAMILIES_TABLE")?,
                nonces: required("POSTERN_NONCES_TABLE")?,
            },
            secret: match (given("POSTERN_SECRET_ARN"), given("POSTERN_SECRET_FILE")) {
                (Some(_), Some(_)) => {
                    return setting(
                        "POSTERN_SECRET_ARN and POSTERN_SECRET_FILE are both set: set one".into(),
                    );
                }
                (Some(arn), None) => Some(SecretSource::Arn(arn)),
                (None, Some(path)) => Some(SecretSource::File(path)),
                (None, None) => None,
            },
            log: match given("POSTERN_LOG") {
                None => Level::INFO,
                Some(level) => level.parse().map_err(|_| {
                    Fault::Setting(format!(
                        "POSTERN_LOG is {level:?}; it is one of error, warn, info, debug, trace"
                    ))
                })?,
            },
            authorizer_answer: match given("POSTERN_AUTHORIZER_ANSWER").as_deref() {
                None | Some("simple") => AuthorizerAnswer::Simple,
                Some("policy") => AuthorizerAnswer::Policy,
                Some(other) => {
                    return setting(format!(
                        "POSTERN_AUTHORIZER_ANSWER is {other:?}; it is simple or policy"
                    ));
                }
            },
            brand: file.brand,
            signup: file.signup,
            session_header: file.session_header,
            service_token_header: file.service_token_header,
            allowlist: file.allowlist,
            lifetimes: file.lifetimes,
            signing: file.signing,
            providers: file.providers,
            routes: file.routes,
            signins: file.signins,
            clients: file.clients,
            throttle: file.throttle,
        })
    }
}

impl Config {
    /// Does `user_id`, of an issuer whose prefix is `prefix`, look like a user of another issuer, or one of our own?
    pub fn is_of_another_issuer(&self, prefix: &str, user_id: &str) -> bool {
        let ours = RESERVED_PREFIXES.iter().copied().chain([CONFIGURED_KEY_PREFIX, GITHUB_PREFIX]);
        let of_providers = self.providers.iter().filter_map(|provider| match provider {
            ProviderKind::Oidc(oidc) => Some(&oidc.subject_prefix),
            ProviderKind::Jwt(jwt) => Some(&jwt.subject_prefix),
            ProviderKind::AccessToken {}
            | ProviderKind::ApiKey {}
            | ProviderKind::Session {}
            | ProviderKind::ServiceToken {}
            | ProviderKind::Runner {}
            | ProviderKind::ConfiguredKeys(_)
            | ProviderKind::Allowlist(_) => None,
        });
        let of_signins = self.signins.iter().filter_map(|signin| match signin {
            SignIn::Oidc(oidc) => oidc.subject_prefix.as_ref(),
            SignIn::Github(_) => None,
        });
        let others = of_providers.chain(of_signins).map(String::as_str).chain(ours);
        let mut others = others.filter(|other| *other != prefix && other.len() > prefix.len());
        others.any(|other| user_id.starts_with(other))
    }

    /// Is `origin` (RFC 6454 §7) that of the deployment's own pages?
    pub fn has_origin(&self, origin: &str) -> bool {
        let path = self.issuer.match_indices('/').nth(2).map_or(self.issuer.len(), |(at, _)| at);
        origin == &self.issuer[..path]
    }

    /// The client that calls itself `id`.
    pub fn client(&self, id: &ClientId) -> Option<&Client> {
        self.clients.iter().find(|client| client.id == *id)
    }

    /// The sign-in that is called `name`.
    pub fn signin(&self, name: &str) -> Option<&SignIn> {
        self.signins.iter().find(|signin| signin.name() == name)
    }

    /// The `refs` of the deployment's secret that providers verify with, and sign-ins prove our own client with.
    pub fn refs(&self) -> Vec<&str> {
        let named = self.providers.iter().filter_map(|provider| {
            if let ProviderKind::Jwt(jwt) = provider { jwt.secret_ref.as_deref() } else { None }
        });
        named.chain(self.signins.iter().filter_map(SignIn::secret_ref)).collect()
    }
}

/// The variables of this process's environment that are ours.
#[expect(clippy::disallowed_methods, reason = "this is the door")]
pub fn environment() -> BTreeMap<String, String> {
    let ours = std::env::vars_os().filter_map(|(name, value)| {
        let name = name
            .into_string()
            .ok()
            .filter(|name| name.starts_with("POSTERN_") || name == FUNCTION_NAME)?;
        Some((name, value.to_string_lossy().into_owned()))
    });
    ours.collect()
}

/// Reads a file that a setting names.
///
/// # Errors
/// [`Fault::Setting`] where it cannot be read.
pub fn read(path: impl AsRef<Path>) -> Result<String, Fault> {
    let path = path.as_ref();
    std::fs::read_to_string(path)
        .map_err(|error| Fault::Setting(format!("cannot read {}: {error}", path.display())))
}

fn setting<T>(sentence: String) -> Result<T, Fault> {
    Err(Fault::Setting(sentence))
}

/// RFC 8414 §2: `https`, no query and no fragment.
fn issuer(text: String) -> Result<String, Fault> {
    if is_sound_url(&text) && !text.contains('?') && !text.ends_with('/') {
        Ok(text)
    } else {
        setting(format!(
            "POSTERN_ISSUER is {text:?}; it is an https URL without query, fragment and trailing slash (http for loopback alone)"
        ))
    }
}

/// `https`; plain `http` for loopback addresses alone; no fragment, and nobody's name before the host.
pub fn is_sound_url(text: &str) -> bool {
    let uri: Option<::http::Uri> = text.parse().ok();
    let is_plain = !text.contains(['#', '@']);
    is_plain
        && uri.is_some_and(|uri| match (uri.scheme_str(), uri.host()) {
            (Some("https"), Some(_)) => true,
            (Some("http"), Some(host)) => matches!(host, "127.0.0.1" | "[::1]" | "localhost"),
            _ => false,
        })
}
