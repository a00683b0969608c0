//! `[[signin]]` and `[[client]]`: where people come from, and the tools to which they lend their rights.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::{ProviderKind, is_sound_url, setting};
use crate::core::{email::Email, error::Fault, id::ClientId, principal::Role};

/// A place where people sign in.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum SignIn {
    Oidc(OidcSignIn),
    Github(GithubSignIn),
}

/// An OpenID provider (OpenID Connect Core §3.1).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OidcSignIn {
    /// What the portal's button and `?provider=` say.
    pub name: String,
    /// `iss`, exactly.
    pub issuer: String,
    pub client_id: String,
    /// Where the client's secret is, in `refs` of the deployment's secret; without one this is a public client.
    pub secret_ref: Option<String>,
    /// Goes before `sub` to make the person's id. The one of the `oidc` provider with the same issuer, where there is one.
    pub subject_prefix: Option<String>,
    /// What a newcomer becomes.
    #[serde(default)]
    pub role: Role,
    /// Who may come in: user ids, `@domain` of verified addresses, or `*`; empty admits nobody.
    pub allow: Vec<String>,
}

/// GitHub, or a GitHub Enterprise Server.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GithubSignIn {
    #[serde(default = "github")]
    pub name: String,
    /// The server's URL, where it is not github.com.
    pub base_url: Option<String>,
    pub client_id: String,
    pub secret_ref: Option<String>,
    #[serde(default)]
    pub role: Role,
    pub allow: Vec<String>,
}

fn github() -> String {
    "github".into()
}

/// Who may come in, and as what.
#[derive(Clone, Copy, Debug)]
pub struct Admission<'a> {
    /// What a newcomer becomes.
    pub role: Role,
    allow: &'a [String],
}

impl Admission<'_> {
    /// May the person `user_id` come in, whose addresses `verified` somebody has verified?
    pub fn allows(&self, user_id: &str, verified: &[Email]) -> bool {
        self.allow.iter().any(|allowed| match allowed.strip_prefix('@') {
            Some(domain) => {
                verified.iter().any(|email| email.domain().eq_ignore_ascii_case(domain))
            }
            None => allowed == "*" || allowed == user_id,
        })
    }

    /// Must addresses be known to decide?
    pub fn asks_for_addresses(&self) -> bool {
        self.allow.iter().any(|allowed| allowed.starts_with('@'))
    }
}

impl SignIn {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::Oidc(oidc) => &oidc.name,
            Self::Github(github) => &github.name,
        }
    }

    /// Where its client's secret is.
    pub fn secret_ref(&self) -> Option<&str> {
        match self {
            Self::Oidc(oidc) => oidc.secret_ref.as_deref(),
            Self::Github(github) => github.secret_ref.as_deref(),
        }
    }

    /// Who may come in.
    pub fn admission(&self) -> Admission<'_> {
        match self {
            Self::Oidc(oidc) => Admission { role: oidc.role, allow: &oidc.allow },
            Self::Github(github) => Admission { role: github.role, allow: &github.allow },
        }
    }
}

/// A public OAuth client: a tool that people run (RFC 8252).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    pub id: ClientId,
    /// What people are told.
    pub name: String,
}

/// There without a word.
pub(super) fn default_client() -> Client {
    Client { id: "postern-cli".into(), name: "Postern CLI".into() }
}

/// How many failures, per quarter of an hour.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Throttle {
    pub login_per_account: i64,
    pub login_per_address: i64,
    pub device_code_guesses: i64,
}

impl Default for Throttle {
    fn default() -> Self {
        Self { login_per_account: 10, login_per_address: 50, device_code_guesses: 5 }
    }
}

/// Who GitHub's people are here.
pub const GITHUB_PREFIX: &str = "github|";
/// Who people with a password are here.
const USER_PREFIX: &str = "usr_";

/// Checks sign-ins against each other and the providers, and settles whose prefix is whose.
pub(super) fn check(signins: &mut [SignIn], providers: &[ProviderKind]) -> Result<(), Fault> {
    let (mut names, mut issuers) = (BTreeSet::new(), BTreeSet::new());
    let mut prefixes: BTreeSet<String> = [GITHUB_PREFIX.to_owned(), USER_PREFIX.to_owned()].into();
    for provider in providers {
        if let ProviderKind::Oidc(oidc) = provider {
            prefixes.insert(oidc.subject_prefix.clone());
        }
    }
    for signin in signins {
        if !is_word(signin.name()) || !names.insert(signin.name().to_owned()) {
            return refuse(&format!(
                "the name {:?} is given twice, or not 1 to 32 of a-z, 0-9, _ and -",
                signin.name()
            ));
        }
        if signin.admission().allow.iter().any(|allowed| matches!(allowed.as_str(), "" | "@")) {
            return refuse("an entry of allow is empty: user ids, @domains, or \"*\"");
        }
        let client_id = match signin {
            SignIn::Oidc(oidc) => {
                if !is_sound_url(&oidc.issuer) || oidc.issuer.contains('?') {
                    return refuse(&format!(
                        "issuer is an https URL without a query, not {:?}",
                        oidc.issuer
                    ));
                }
                if !issuers.insert(oidc.issuer.clone()) {
                    return refuse(&format!("the issuer {:?} is configured twice", oidc.issuer));
                }
                settle_prefix(oidc, providers, &mut prefixes)?;
                &oidc.client_id
            }
            SignIn::Github(github) => {
                let base_url = github.base_url.as_deref();
                if base_url.is_some_and(|url| {
                    !is_sound_url(url) || url.contains('?') || url.ends_with('/')
                }) {
                    return refuse("base_url is an https URL without query and trailing slash");
                }
                if !issuers.insert(GITHUB_PREFIX.to_owned()) {
                    return refuse(
                        "github is configured twice: an id there would be two people here",
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

/// One person has one id, whether they come with a bearer token or a session: so both have one prefix.
fn settle_prefix(
    oidc: &mut OidcSignIn,
    providers: &[ProviderKind],
    prefixes: &mut BTreeSet<String>,
) -> Result<(), Fault> {
    let same_issuer = providers.iter().find_map(|provider| {
        if let ProviderKind::Oidc(known) = provider { Some(known) } else { None }
            .filter(|known| known.issuer == oidc.issuer)
            .map(|known| &known.subject_prefix)
    });
    let prefix = match (same_issuer, &oidc.subject_prefix) {
        (Some(known), Some(given)) if known != given => {
            return refuse(&format!(
                "the issuer {:?} has another subject_prefix as a provider",
                oidc.issuer
            ));
        }
        (Some(known), _) => known.clone(),
        (None, given) => {
            let prefix = given.clone().unwrap_or_default();
            if !prefixes.insert(prefix.clone()) {
                return refuse(&format!(
                    "the subject_prefix {prefix:?} is another issuer's: a user of one could pass for one of the other"
                ));
            }
            prefix
        }
    };
    oidc.subject_prefix = Some(prefix);
    Ok(())
}

/// Checks the clients, and adds the one that is there by default.
pub(super) fn clients(mut clients: Vec<Client>) -> Result<Vec<Client>, Fault> {
    let mut ids = BTreeSet::new();
    for client in &clients {
        let is_name = (1..=100).contains(&client.name.chars().count())
            && !client.name.chars().any(char::is_control);
        // An agent is a client by its id.
        if !is_word(client.id.as_str())
            || client.id.as_str().starts_with("agt_")
            || !is_name
            || !ids.insert(client.id.clone())
        {
            return setting(format!(
                "postern.toml: the client {:?} is given twice, or has no id of 1 to 32 of a-z, 0-9, _ and -, or no name",
                client.id.as_str()
            ));
        }
    }
    let by_default = default_client();
    if !ids.contains(&by_default.id) {
        clients.push(by_default);
    }
    Ok(clients)
}

/// Checks the limits: none at all would let everybody guess.
pub(super) fn throttle(throttle: &Throttle) -> Result<(), Fault> {
    let limits =
        [throttle.login_per_account, throttle.login_per_address, throttle.device_code_guesses];
    match limits.iter().all(|limit| (1..=100_000).contains(limit)) {
        true => Ok(()),
        false => setting("postern.toml: a limit of [throttle] is 1 to 100000".into()),
    }
}

fn is_word(text: &str) -> bool {
    let is_letter = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-')
    };
    (1..=32).contains(&text.len()) && text.bytes().all(is_letter)
}

fn refuse(what: &str) -> Result<(), Fault> {
    setting(format!("postern.toml: a signin: {what}"))
}
