//! `[[signin]]` and `[[client]]`: the identity providers at which users sign in, and the tools
//! that act for them.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer};

use super::{provider::remedy_for_issuer, setting, tagged::Tagged};
use crate::{
    core::{
        client_kind::ClientKind,
        email::Email,
        error::Fault,
        id::ClientId,
        name::Name,
        principal::Role,
        redirect_uri::RedirectUri,
        subject::{GITHUB_PREFIX, Subject, SubjectPrefix},
        text, url,
    },
    crypto::ClientKeys,
};

/// An identity provider at which users sign in.
#[derive(Clone, Debug)]
pub enum SignInSettings {
    /// An OpenID provider.
    Oidc(OidcSignIn),
    /// GitHub.
    Github(GithubSignIn),
}

/// The `type` of an identity provider.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum SignInType {
    Oidc,
    Github,
}

impl<'de> Deserialize<'de> for SignInSettings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let table = Tagged::deserialize(deserializer)?;
        match table.kind {
            SignInType::Oidc => table.members().map(Self::Oidc),
            SignInType::Github => table.members().map(Self::Github),
        }
    }
}

/// An OpenID provider (OpenID Connect Core §3.1).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OidcSignIn {
    /// The name on the portal's button and in `?provider=`.
    pub name: String,
    /// `iss`, exactly.
    pub issuer: String,
    /// Our client's id there.
    pub client_id: String,
    /// The name of the client's secret in `refs` of the deployment's secret; `None` for a public
    /// client.
    pub secret_ref: Option<String>,
    /// The prefix of `sub` in the user's id. An `oidc` provider of the same issuer has the same
    /// prefix.
    pub subject_prefix: Option<SubjectPrefix>,
    /// How the provider returns the browser.
    #[serde(default)]
    pub response_mode: ResponseMode,
    /// The role of a new user.
    #[serde(default)]
    pub role: Role,
    /// Who can sign in: user ids, `@domain` of verified addresses, or `*`. An empty list allows no
    /// one.
    pub allow: Vec<Allowed>,
}

/// How a provider returns the browser with its response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResponseMode {
    /// With a query, which is the default of the code flow.
    #[default]
    Query,
    /// With a form that the browser posts (OAuth 2.0 Form Post Response Mode). Apple requires it
    /// for `name` and `email`.
    FormPost,
}

/// GitHub, or a GitHub Enterprise Server.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GithubSignIn {
    /// The name on the portal's button.
    #[serde(default = "github")]
    pub name: String,
    /// The server's URL, if it is not github.com.
    pub base_url: Option<String>,
    /// Our client's id there.
    pub client_id: String,
    /// The name of the client's secret in `refs` of the deployment's secret.
    pub secret_ref: Option<String>,
    /// The role of a new user.
    #[serde(default)]
    pub role: Role,
    /// Who can sign in, as in [`OidcSignIn::allow`].
    pub allow: Vec<Allowed>,
}

fn github() -> String {
    "github".into()
}

/// Who can sign in, and with which role.
#[derive(Clone, Copy, Debug)]
pub struct SignInRules<'a> {
    /// The role of a new user.
    pub role: Role,
    allow: &'a [Allowed],
}

/// An entry of `allow`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Allowed {
    /// Everyone whom the identity provider authenticates: `*`.
    Everyone,
    /// Whoever has a verified address of this domain: `@example.com`.
    Domain(String),
    /// One user, by id.
    User(Subject),
}

impl TryFrom<String> for Allowed {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match (text.as_str(), text.strip_prefix('@')) {
            ("" | "@", _) => Err("an entry is empty: expected a user id, an @domain, or \"*\""),
            ("*", _) => Ok(Self::Everyone),
            (_, Some(domain)) => text::domain(domain)
                .map(Self::Domain)
                .ok_or("an entry of allow begins with @, but no domain follows"),
            (_, None) => Ok(Self::User(Subject::External(text))),
        }
    }
}

impl SignInRules<'_> {
    /// Reports whether the user `user_id` with the verified addresses `verified` can sign in.
    pub fn allows(&self, subject: &Subject, verified: &[Email]) -> bool {
        self.allow.iter().any(|allowed| match allowed {
            Allowed::Everyone => true,
            Allowed::Domain(domain) => verified.iter().any(|email| email.domain() == domain),
            Allowed::User(user) => user == subject,
        })
    }

    /// Reports whether the decision needs verified addresses.
    pub fn needs_verified_emails(&self) -> bool {
        self.allow.iter().any(|allowed| matches!(allowed, Allowed::Domain(_)))
    }
}

impl SignInSettings {
    /// Returns its name.
    pub fn name(&self) -> &str {
        match self {
            Self::Oidc(oidc) => &oidc.name,
            Self::Github(github) => &github.name,
        }
    }

    /// Returns the name of the client secret in `refs`, if the client has one.
    pub fn secret_ref(&self) -> Option<&str> {
        match self {
            Self::Oidc(oidc) => oidc.secret_ref.as_deref(),
            Self::Github(github) => github.secret_ref.as_deref(),
        }
    }

    /// Returns who can sign in.
    pub fn rules(&self) -> SignInRules<'_> {
        match self {
            Self::Oidc(oidc) => SignInRules { role: oidc.role, allow: &oidc.allow },
            Self::Github(github) => SignInRules { role: github.role, allow: &github.allow },
        }
    }
}

/// An OAuth client of users: a tool that they run (RFC 8252), or an app.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// The `client_id` that the tool sends.
    pub id: ClientId,
    /// The name that users see.
    pub name: String,
    /// Where the authorization endpoint can redirect to. The port of a loopback address or of
    /// `localhost` is free.
    #[serde(default)]
    pub redirect_uris: Vec<RedirectUri>,
    /// Who says this about the client.
    #[serde(skip)]
    pub source: ClientMetadataSource,
    /// The keys with which it authenticates. Without keys, it is public.
    #[serde(skip)]
    pub keys: Option<ClientKeys>,
}

/// Who says what a client is called and where it is redirected to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClientMetadataSource {
    /// The operator, in the configuration.
    #[default]
    Configuration,
    /// The client itself, in the document at its id, on this host.
    Document(String),
    /// The client itself, when it registered.
    Registration,
}

/// The client id in tokens from a login with a password, which belong to no configured client.
pub const PASSWORD_CLIENT: &str = "password";

const DEFAULT_REDIRECT_URIS: [&str; 3] =
    ["http://127.0.0.1/callback", "http://[::1]/callback", "http://localhost/callback"];

/// Returns the client that exists by default.
pub(super) fn default_client() -> Client {
    let redirect_uris = DEFAULT_REDIRECT_URIS
        .iter()
        .filter_map(|uri| RedirectUri::try_from((*uri).to_owned()).ok());
    Client {
        id: "postern-cli".into(),
        name: "Postern CLI".into(),
        redirect_uris: redirect_uris.collect(),
        source: ClientMetadataSource::Configuration,
        keys: None,
    }
}

/// How many failures, or requests of some kinds, are allowed per 15 minutes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Throttle {
    /// Failed logins of one account.
    pub login_per_account: i64,
    /// Failed logins from one address.
    pub login_per_address: i64,
    /// Wrong user codes of one user. The limit per address is four times as high.
    pub device_code_guesses: i64,
    /// Metadata documents of clients that are fetched for one address.
    pub client_documents_per_address: i64,
    /// Device flows that are started from one address.
    pub devices_per_address: i64,
    /// Organizations that are created from one address, if signup is open.
    pub organizations_per_address: i64,
    /// Clients that are registered from one address, if registration is open.
    pub registrations_per_address: i64,
    /// Sign-ins at an identity provider that are started from one address.
    pub sign_ins_per_address: i64,
    /// Users whom one organization enrolls or invites.
    pub users_per_organization: i64,
}

impl Default for Throttle {
    fn default() -> Self {
        Self {
            login_per_account: 10,
            login_per_address: 50,
            device_code_guesses: 5,
            client_documents_per_address: 300,
            devices_per_address: 300,
            organizations_per_address: 50,
            registrations_per_address: 50,
            sign_ins_per_address: 300,
            users_per_organization: 100,
        }
    }
}

/// Checks the sign-ins against each other.
pub(super) fn validate(signins: &[SignInSettings]) -> Result<(), Fault> {
    let (mut names, mut issuers) = (BTreeSet::new(), BTreeSet::new());
    for signin in signins {
        if !is_word(signin.name()) || !names.insert(signin.name().to_owned()) {
            return refuse(&format!(
                "the name {:?} is used twice, or is not 1 to 32 characters from a-z, 0-9, _ and -",
                signin.name()
            ));
        }
        let client_id = match signin {
            SignInSettings::Oidc(oidc) => {
                if !url::is_https_or_local(&oidc.issuer) || oidc.issuer.contains('?') {
                    return refuse(&format!(
                        "issuer must be an https URL without a query, not {:?}",
                        oidc.issuer
                    ));
                }
                if let Some(remedy) = remedy_for_issuer(&oidc.issuer) {
                    return refuse(&remedy);
                }
                if !issuers.insert(oidc.issuer.clone()) {
                    return refuse(&format!("the issuer {:?} is configured twice", oidc.issuer));
                }
                &oidc.client_id
            }
            SignInSettings::Github(github) => {
                let base_url = github.base_url.as_deref();
                if base_url.is_some_and(|url| {
                    !url::is_https_or_local(url) || url.contains('?') || url.ends_with('/')
                }) {
                    return refuse(
                        "base_url must be an https URL without a query or trailing slash",
                    );
                }
                if !issuers.insert(GITHUB_PREFIX.to_owned()) {
                    return refuse(
                        "github is configured twice: users of both would have the same ids",
                    );
                }
                &github.client_id
            }
        };
        if client_id.is_empty() {
            return refuse("client_id must be set");
        }
    }
    Ok(())
}

/// Checks that the entries of `allow` can admit somebody. The prefixes of user ids are set by then.
pub(super) fn validate_allow(signins: &[SignInSettings]) -> Result<(), Fault> {
    for signin in signins {
        let users = signin.rules().allow.iter().filter_map(|allowed| match allowed {
            Allowed::User(user) => Some(user),
            Allowed::Domain(_) | Allowed::Everyone => None,
        });
        for user in users {
            let text = user.to_string();
            if let Some(expected) = unlike_a_user(signin, user, &text) {
                return refuse(&format!(
                    "{text:?} in allow of {:?} is not a user id of this sign-in: {expected}",
                    signin.name()
                ));
            }
        }
    }
    Ok(())
}

/// Says what to write instead of `text`, if it is not the id of a user of `signin`.
fn unlike_a_user(signin: &SignInSettings, user: &Subject, text: &str) -> Option<String> {
    let domain = text.rsplit('@').next().filter(|domain| is_like_a_domain(domain));
    let of_domain =
        domain.map_or_else(|| "\"@\" and a domain".to_owned(), |domain| format!("\"@{domain}\""));
    let for_domain = format!("{of_domain} for everyone with a verified address there");
    match signin {
        SignInSettings::Github(_) => {
            let is_github = text.starts_with(GITHUB_PREFIX) && user.is_possible_user();
            (!is_github).then(|| {
                format!(
                    "write \"{GITHUB_PREFIX}\" and the number that GitHub's API shows as the user's id, or {for_domain}"
                )
            })
        }
        SignInSettings::Oidc(oidc) => {
            let prefix = oidc.subject_prefix.as_ref().map_or("", SubjectPrefix::as_str);
            if !text.starts_with(prefix)
                || text.starts_with(GITHUB_PREFIX)
                || !user.is_possible_user()
            {
                let sub = if prefix.is_empty() {
                    "the sub of the user".to_owned()
                } else {
                    format!("{prefix:?} and the sub of the user")
                };
                return Some(format!("write {sub}, or {for_domain}"));
            }
            // An address can be the `sub` of a user. A domain or a pattern would admit nobody.
            let is_address = text.rsplit_once('@').is_some_and(|(local, _)| !local.contains('*'));
            (prefix.is_empty() && domain.is_some() && !is_address).then(|| {
                format!(
                    "write {for_domain}. If it is the sub of a user, set a subject_prefix, and write it before the sub"
                )
            })
        }
    }
}

/// Reports whether `text` is probably a domain: it ends with a country code or a common top-level
/// domain. Other text with dots can be the name of a user.
fn is_like_a_domain(text: &str) -> bool {
    const COMMON: [&str; 14] = [
        "app", "cloud", "com", "dev", "edu", "example", "gov", "info", "int", "local", "mil",
        "net", "org", "test",
    ];
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let last = text.rsplit_once('.').map(|(_, last)| last.to_ascii_lowercase());
    let is_top_level = |last: String| {
        COMMON.contains(&&*last)
            || (last.len() == 2 && last.bytes().all(|b| b.is_ascii_lowercase()))
    };
    text.split('.').all(is_label) && last.is_some_and(is_top_level)
}

/// Checks the clients.
pub(super) fn validate_clients(clients: &[Client]) -> Result<(), Fault> {
    let mut ids = BTreeSet::new();
    for client in clients {
        let id = client.id.as_str();
        let wrong = if !is_word(id) {
            "its id must be 1 to 32 characters from a-z, 0-9, _ and -"
        } else if id.starts_with("agt_") {
            "its id is like that of an agent, whose client id it would be: choose another"
        } else if id == PASSWORD_CLIENT {
            "its id is reserved for logins with a password: choose another"
        } else if matches!(client.id.kind(), ClientKind::Registered(_)) {
            "its id is like that of a client that registered itself: choose another"
        } else if Name::try_from(client.name.clone()).is_err() {
            "its name must be 1 to 100 visible characters"
        } else if !ids.insert(client.id.clone()) {
            "it is listed twice: remove one"
        } else {
            continue;
        };
        return setting(format!("the client {id:?}: {wrong}"));
    }
    Ok(())
}

/// Checks the limits: without them, anyone could guess.
pub(super) fn validate_throttle(throttle: &Throttle) -> Result<(), Fault> {
    let limits = [
        ("login_per_account", throttle.login_per_account),
        ("login_per_address", throttle.login_per_address),
        ("device_code_guesses", throttle.device_code_guesses),
        ("client_documents_per_address", throttle.client_documents_per_address),
        ("devices_per_address", throttle.devices_per_address),
        ("organizations_per_address", throttle.organizations_per_address),
        ("registrations_per_address", throttle.registrations_per_address),
        ("sign_ins_per_address", throttle.sign_ins_per_address),
        ("users_per_organization", throttle.users_per_organization),
    ];
    match limits.iter().find(|(_, limit)| !(1..=100_000).contains(limit)) {
        None => Ok(()),
        Some((name, limit)) => {
            setting(format!("throttle.{name} is {limit}; it must be 1 to 100000 in 15 minutes"))
        }
    }
}

fn is_word(text: &str) -> bool {
    let is_letter = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-')
    };
    (1..=32).contains(&text.len()) && text.bytes().all(is_letter)
}

fn refuse(what: &str) -> Result<(), Fault> {
    setting(format!("a signin: {what}"))
}
