//! `[[provider]]`: the ways to authenticate, in the order in which they are tried.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::{file::header, is_sound_url, setting};
use crate::{
    core::{error::Fault, principal::Role, scope::Scopes},
    crypto::{Digest, jws::JwsAlgorithm},
};

/// A way to authenticate.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ProviderKind {
    AccessToken {},
    ApiKey {},
    Session {},
    ServiceToken {},
    Runner {},
    Oidc(OidcIssuer),
    Jwt(JwtIssuer),
    ConfiguredKeys(ConfiguredKeys),
    Allowlist(Allowlist),
}

/// Listing any provider replaces these.
pub(super) fn defaults() -> Vec<ProviderKind> {
    vec![
        ProviderKind::AccessToken {},
        ProviderKind::ApiKey {},
        ProviderKind::Session {},
        ProviderKind::ServiceToken {},
        ProviderKind::Runner {},
    ]
}

/// An OpenID provider whose access tokens people bring.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OidcIssuer {
    /// `iss`, exactly.
    pub issuer: String,
    /// What `aud` must be or hold.
    pub audience: String,
    /// Where the keys are; without it, discovery says so.
    pub jwks_url: Option<String>,
    /// Goes before `sub` to make the user's id: apart from those of other issuers.
    #[serde(default)]
    pub subject_prefix: String,
    /// What its people are here.
    #[serde(default)]
    pub role: Role,
    /// The claim that holds their scopes, where the issuer's word is taken for them instead of the role.
    pub scopes_claim: Option<String>,
}

/// An issuer whose one key is in the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtIssuer {
    pub algorithm: JwsAlgorithm,
    /// The name of a shared secret, in `refs` of the deployment's secret.
    pub secret_ref: Option<String>,
    /// A public key in PEM.
    pub public_key: Option<String>,
    pub issuer: String,
    pub audience: String,
    #[serde(default)]
    pub subject_prefix: String,
    /// What its users may do.
    #[serde(default)]
    pub scopes: Scopes,
    /// The claim that holds their scopes, where the issuer's word is taken for them instead.
    pub scopes_claim: Option<String>,
}

/// Keys that stand in the configuration, as digests.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfiguredKeys {
    /// Where they are looked for first; then in `Authorization: Bearer`.
    #[serde(default = "default_key_header")]
    pub header: String,
    /// SHA-256 of each key, in lowercase hexadecimal digits.
    pub sha256: Vec<Digest>,
    /// What their holders may do.
    #[serde(default)]
    pub scopes: Scopes,
}

fn default_key_header() -> String {
    "X-API-Key".into()
}

/// Who may send messages.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allowlist {
    /// The platforms that it is about; all, where there are none.
    #[serde(default)]
    pub platforms: BTreeSet<String>,
    /// Senders.
    pub user_ids: BTreeSet<String>,
    /// Where it is not empty, the message must come from one of these chats.
    #[serde(default)]
    pub chat_ids: BTreeSet<String>,
    /// What they may do.
    #[serde(default)]
    pub scopes: Scopes,
}

/// Checks what one provider, and two together, must not say.
pub(super) fn check(providers: &[ProviderKind]) -> Result<(), Fault> {
    let mut issuers = BTreeSet::new();
    let mut prefixes = BTreeSet::new();
    for provider in providers {
        match provider {
            ProviderKind::Oidc(oidc) => {
                for url in [Some(&oidc.issuer), oidc.jwks_url.as_ref()].into_iter().flatten() {
                    if !is_sound_url(url) {
                        return refuse(&format!(
                            "oidc: issuer and jwks_url are https URLs, not {url:?}"
                        ));
                    }
                }
                if !prefixes.insert(&oidc.subject_prefix) {
                    let prefix = &oidc.subject_prefix;
                    return refuse(&format!(
                        "two issuers have the subject_prefix {prefix:?}: a user of one could pass for one of the other"
                    ));
                }
                named("oidc", &oidc.issuer, &oidc.audience, &mut issuers)?;
            }
            ProviderKind::Jwt(jwt) => {
                let is_secret = jwt.secret_ref.is_some() && jwt.public_key.is_none();
                let is_public = jwt.public_key.is_some() && jwt.secret_ref.is_none();
                if !(if jwt.algorithm.is_symmetric() { is_secret } else { is_public }) {
                    return refuse(
                        "jwt: HS256, HS384 and HS512 take a secret_ref, all others a public_key",
                    );
                }
                named("jwt", &jwt.issuer, &jwt.audience, &mut issuers)?;
            }
            ProviderKind::ConfiguredKeys(keys) => {
                header("configured_keys: header", &keys.header)?;
                if keys.sha256.is_empty() {
                    return refuse(
                        "configured_keys: sha256 is empty, so nobody could ever come in",
                    );
                }
            }
            ProviderKind::Allowlist(list) if list.user_ids.is_empty() => {
                return refuse("allowlist: user_ids is empty, so nobody could ever come in");
            }
            ProviderKind::Allowlist(_)
            | ProviderKind::AccessToken {}
            | ProviderKind::ApiKey {}
            | ProviderKind::Session {}
            | ProviderKind::ServiceToken {}
            | ProviderKind::Runner {} => {}
        }
    }
    Ok(())
}

/// A token's issuer says which provider it is for: it cannot stand for two.
fn named(
    kind: &str,
    issuer: &str,
    audience: &str,
    seen: &mut BTreeSet<String>,
) -> Result<(), Fault> {
    match () {
        () if issuer.is_empty() || audience.is_empty() => {
            refuse(&format!("{kind}: issuer and audience must be set"))
        }
        () if !seen.insert(issuer.to_owned()) => {
            refuse(&format!("the issuer {issuer:?} is configured twice"))
        }
        () => Ok(()),
    }
}

fn refuse(what: &str) -> Result<(), Fault> {
    setting(format!("postern.toml: a provider: {what}"))
}
