//! `[[provider]]`: the ways to authenticate, in the order in which they are tried.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer, de};

use super::{setting, tagged::Tagged};
use crate::{
    core::{
        credential_header::CredentialHeader, error::Fault, principal::Role, scope::Scopes,
        subject::SubjectPrefix, url,
    },
    crypto::{
        Digest,
        jws::JwsAlgorithm,
        verifying_key::{InvalidKey, VerifyingKey},
    },
};

/// A way to authenticate.
#[derive(Clone, Debug)]
pub enum ProviderKind {
    /// Our own access tokens.
    AccessToken {},
    /// API keys and CLI tokens.
    ApiKey {},
    /// Browser sessions.
    Session {},
    /// Tokens of services.
    ServiceToken {},
    /// Tokens of runners.
    Runner {},
    /// Access tokens of an OpenID provider.
    Oidc(OidcIssuer),
    /// JWTs of an issuer whose key is configured.
    Jwt(JwtIssuer),
    /// Keys whose digests are configured.
    ConfiguredKeys(ConfiguredKeys),
    /// Senders on messaging platforms.
    Allowlist(SenderAllowlist),
}

/// The `type` of a provider.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum ProviderType {
    AccessToken,
    ApiKey,
    Session,
    ServiceToken,
    Runner,
    Oidc,
    Jwt,
    ConfiguredKeys,
    Allowlist,
}

impl<'de> Deserialize<'de> for ProviderKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct NoMembers {}
        let table = Tagged::deserialize(deserializer)?;
        match table.kind {
            ProviderType::AccessToken => table.members().map(|NoMembers {}| Self::AccessToken {}),
            ProviderType::ApiKey => table.members().map(|NoMembers {}| Self::ApiKey {}),
            ProviderType::Session => table.members().map(|NoMembers {}| Self::Session {}),
            ProviderType::ServiceToken => table.members().map(|NoMembers {}| Self::ServiceToken {}),
            ProviderType::Runner => table.members().map(|NoMembers {}| Self::Runner {}),
            ProviderType::Oidc => table.members().map(Self::Oidc),
            ProviderType::Jwt => table.members().map(Self::Jwt),
            ProviderType::ConfiguredKeys => table.members().map(Self::ConfiguredKeys),
            ProviderType::Allowlist => table.members().map(Self::Allowlist),
        }
    }
}

impl ProviderKind {
    /// Returns the prefix of the ids of an issuer's users; `None` for other providers.
    pub fn subject_prefix(&self) -> Option<&SubjectPrefix> {
        match self {
            Self::Oidc(oidc) => Some(&oidc.subject_prefix),
            Self::Jwt(jwt) => Some(&jwt.subject_prefix),
            Self::AccessToken {}
            | Self::ApiKey {}
            | Self::Session {}
            | Self::ServiceToken {}
            | Self::Runner {}
            | Self::ConfiguredKeys(_)
            | Self::Allowlist(_) => None,
        }
    }
}

/// Returns the default providers, for a file that lists none.
pub(super) fn defaults() -> Vec<ProviderKind> {
    vec![
        ProviderKind::AccessToken {},
        ProviderKind::ApiKey {},
        ProviderKind::Session {},
        ProviderKind::ServiceToken {},
        ProviderKind::Runner {},
    ]
}

/// An OpenID provider whose access tokens are accepted.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OidcIssuer {
    /// `iss`, exactly.
    pub issuer: String,
    /// The required audience: `aud`, or a member of it.
    pub audience: String,
    /// The URL of the key set. Without it, discovery is used.
    pub jwks_url: Option<String>,
    /// The prefix of `sub` in the user's id, which distinguishes it from the ids of other issuers.
    #[serde(default)]
    pub subject_prefix: SubjectPrefix,
    /// The role of its users.
    #[serde(default)]
    pub role: Role,
    /// The claim that contains their scopes, if the issuer chooses them among those of the role.
    pub scopes_claim: Option<String>,
    /// Whether ID tokens are accepted too. They are issued to a client, not for an API, and every
    /// client that users sign in to has one.
    #[serde(default)]
    pub accept_id_tokens: bool,
}

/// An issuer whose only key is configured.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtIssuer {
    /// The only algorithm that is accepted.
    pub algorithm: JwsAlgorithm,
    /// The name of a shared secret, in `refs` of the deployment's secret.
    pub secret_ref: Option<String>,
    /// A public key in PEM.
    pub public_key: Option<String>,
    /// `iss`, exactly.
    pub issuer: String,
    /// The required audience: `aud`, or a member of it.
    pub audience: String,
    /// The prefix of the subject in the user's id.
    #[serde(default)]
    pub subject_prefix: SubjectPrefix,
    /// The scopes of its users, or the most that the issuer can grant.
    #[serde(default)]
    pub scopes: Scopes,
    /// The claim that contains their scopes, if the issuer chooses them among `scopes`.
    pub scopes_claim: Option<String>,
    /// Whether ID tokens are accepted too, as for [`OidcIssuer`].
    #[serde(default)]
    pub accept_id_tokens: bool,
}

/// Keys whose digests are configured.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfiguredKeys {
    /// The header that is read before `Authorization: Bearer`.
    #[serde(default = "CredentialHeader::api_key", deserialize_with = "key_header")]
    pub header: CredentialHeader,
    /// SHA-256 of each key, in lowercase hexadecimal digits.
    pub sha256: Vec<Digest>,
    /// The scopes of callers with these keys.
    #[serde(default)]
    pub scopes: Scopes,
}

fn key_header<'de, D: Deserializer<'de>>(deserializer: D) -> Result<CredentialHeader, D::Error> {
    let name = String::deserialize(deserializer)?;
    CredentialHeader::for_keys(name).map_err(de::Error::custom)
}

/// The senders whose messages are allowed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SenderAllowlist {
    /// The platforms that it applies to. An empty list means all.
    #[serde(default)]
    pub platforms: BTreeSet<String>,
    /// The ids of the senders.
    pub user_ids: BTreeSet<String>,
    /// The chats that messages must come from. An empty list means any.
    #[serde(default)]
    pub chat_ids: BTreeSet<String>,
    /// The scopes of these senders.
    #[serde(default)]
    pub scopes: Scopes,
}

/// Checks each provider, and the providers against each other.
pub(super) fn validate(providers: &[ProviderKind]) -> Result<(), Fault> {
    let (mut issuers, mut types) = (BTreeSet::new(), BTreeSet::new());
    for provider in providers {
        match provider {
            ProviderKind::Oidc(oidc) => {
                validate_oidc(oidc)?;
                named("oidc", &oidc.issuer, &oidc.audience, &mut issuers)?;
            }
            ProviderKind::Jwt(jwt) => {
                validate_jwt(jwt)?;
                named("jwt", &jwt.issuer, &jwt.audience, &mut issuers)?;
            }
            ProviderKind::ConfiguredKeys(keys) => {
                if keys.sha256.is_empty() {
                    return refuse(
                        "configured_keys: sha256 is empty, so no caller could authenticate",
                    );
                }
            }
            ProviderKind::Allowlist(list) if list.user_ids.is_empty() => {
                return refuse("allowlist: user_ids is empty, so no sender could be allowed");
            }
            ProviderKind::Allowlist(_) => {}
            ProviderKind::AccessToken {} => once("access_token", &mut types)?,
            ProviderKind::ApiKey {} => once("api_key", &mut types)?,
            ProviderKind::Session {} => once("session", &mut types)?,
            ProviderKind::ServiceToken {} => once("service_token", &mut types)?,
            ProviderKind::Runner {} => once("runner", &mut types)?,
        }
    }
    Ok(())
}

fn validate_oidc(oidc: &OidcIssuer) -> Result<(), Fault> {
    for url in [Some(&oidc.issuer), oidc.jwks_url.as_ref()].into_iter().flatten() {
        if !url::is_https_or_local(url) {
            return refuse(&format!("oidc: issuer and jwks_url must be https URLs, not {url:?}"));
        }
    }
    match remedy_for_issuer(&oidc.issuer) {
        Some(remedy) => refuse(&format!("oidc: {remedy}")),
        None => Ok(()),
    }
}

fn validate_jwt(jwt: &JwtIssuer) -> Result<(), Fault> {
    let is_secret = jwt.secret_ref.is_some() && jwt.public_key.is_none();
    let is_public = jwt.public_key.is_some() && jwt.secret_ref.is_none();
    if !(if jwt.algorithm.is_symmetric() { is_secret } else { is_public }) {
        return refuse(
            "jwt: HS256, HS384 and HS512 require secret_ref; all others require public_key",
        );
    }
    if jwt.scopes_claim.is_some() && jwt.scopes.is_empty() {
        return refuse(
            "jwt: scopes_claim requires scopes, the most that the issuer can grant: [\"*\"] for no limit",
        );
    }
    let Some(pem) = &jwt.public_key else { return Ok(()) };
    let remedy = match VerifyingKey::from_pem(jwt.algorithm, pem) {
        Ok(_) => return Ok(()),
        Err(InvalidKey::Malformed) => {
            "it is malformed: write the PEM text, which begins with -----BEGIN PUBLIC KEY-----"
                .into()
        }
        Err(invalid) => invalid.to_string(),
    };
    refuse(&format!("jwt: the public_key of {:?}: {remedy}", jwt.issuer))
}

/// Checks that a type without members is listed once.
fn once(kind: &'static str, seen: &mut BTreeSet<&'static str>) -> Result<(), Fault> {
    if seen.insert(kind) {
        Ok(())
    } else {
        refuse(&format!("the type {kind:?} is listed twice: remove one"))
    }
}

/// Says what to write instead of `issuer`, if it is the URL of the issuer's metadata.
pub(super) fn remedy_for_issuer(issuer: &str) -> Option<String> {
    let (url, _) = issuer.split_once("/.well-known")?;
    Some(format!("issuer is {issuer:?}, which is the URL of its metadata: write {url:?}"))
}

/// Checks the names of an issuer. A token's issuer selects its provider, so two cannot share one.
fn named(
    kind: &str,
    issuer: &str,
    audience: &str,
    seen: &mut BTreeSet<String>,
) -> Result<(), Fault> {
    if issuer.is_empty() || audience.is_empty() {
        refuse(&format!("{kind}: issuer and audience must be set"))
    } else if !seen.insert(issuer.to_owned()) {
        refuse(&format!("the issuer {issuer:?} is configured twice"))
    } else {
        Ok(())
    }
}

fn refuse(what: &str) -> Result<(), Fault> {
    setting(format!("a provider: {what}"))
}
