//! Whether rules are well formed, and fit to each other and to the rest of the configuration.

use jiff::SignedDuration;

use super::{SPIFFE, TrustKind, TrustRule, lint::lint};
use crate::{
    config::{Lifetimes, ProtectedResource, ProviderKind, SignInSettings, provider, setting},
    core::{error::Fault, url::is_https_or_local},
};

/// Checks each rule, and the rules against each other and the rest of the configuration.
pub(crate) fn validate(
    rules: &[TrustRule],
    resources: &[ProtectedResource],
    lifetimes: &Lifetimes,
) -> Result<(), Fault> {
    for (at, rule) in rules.iter().enumerate() {
        check_rule(rule, &rules[..at], resources, lifetimes).or_else(|sentence| {
            setting(format!("[[trust]] {:?}: {sentence}", rule.name.as_str()))
        })?;
    }
    match lint(rules, lifetimes).into_iter().next() {
        None => Ok(()),
        Some(finding) => setting(finding.to_string()),
    }
}

fn check_rule(
    rule: &TrustRule,
    earlier: &[TrustRule],
    resources: &[ProtectedResource],
    lifetimes: &Lifetimes,
) -> Result<(), String> {
    if earlier.iter().any(|other| other.name == rule.name) {
        return Err("the name is used twice".into());
    }
    check_issuer(rule)?;
    let has_other_keys = |other: &TrustRule| {
        other.issuer == rule.issuer && (other.kind, &other.jwks_url) != (rule.kind, &rule.jwks_url)
    };
    if earlier.iter().any(has_other_keys) {
        return Err(
            "another rule has the same issuer, but another kind or jwks_url: set the same".into()
        );
    }
    if rule.scopes.is_empty() {
        return Err("it needs at least one scope".into());
    }
    let longest = lifetimes.access_token.as_secs();
    let given = rule.lifetime.as_ref().map(SignedDuration::as_secs);
    if let Some(given) = given.filter(|given| !(60..=longest).contains(given)) {
        return Err(format!(
            "lifetime is {given}; it must be 60 to {longest} seconds, the lifetime of access tokens"
        ));
    }
    check_resource(rule, resources)
}

fn check_issuer(rule: &TrustRule) -> Result<(), String> {
    let issuer = rule.issuer.as_str();
    if let Some(remedy) = provider::remedy_for_issuer(issuer) {
        return Err(remedy);
    }
    if let Some(url) = rule.jwks_url.as_deref().filter(|url| !is_https_or_local(url)) {
        return Err(format!("jwks_url must be an https URL, not {url:?}"));
    }
    if let Some(domain) = rule.trust_domain() {
        let is_part =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte);
        return if rule.kind != TrustKind::Spiffe {
            Err(format!("the issuer {issuer:?} is a trust domain: set kind = \"spiffe\""))
        } else if domain.is_empty() || !domain.bytes().all(is_part) {
            Err(format!(
                "the issuer {issuer:?} is not a trust domain, such as spiffe://example.org"
            ))
        } else if rule.jwks_url.is_none() {
            Err("a trust domain has no discovery: set jwks_url to the URL of its bundle".into())
        } else {
            Ok(())
        };
    }
    if is_https_or_local(issuer) {
        Ok(())
    } else if rule.kind == TrustKind::Spiffe && !issuer.contains("://") {
        Err(format!(
            "issuer must be a trust domain, such as {:?}, or the https URL of its OpenID provider",
            format!("{SPIFFE}{issuer}")
        ))
    } else {
        Err(format!("issuer must be an https URL, not {issuer:?}"))
    }
}

fn check_resource(rule: &TrustRule, resources: &[ProtectedResource]) -> Result<(), String> {
    let Some(uri) = rule.resource.resource() else { return Ok(()) };
    let Some(resource) = resources.iter().find(|resource| resource.uri == *uri) else {
        return Err(format!("the resource {:?} has no [[resource]]", uri.as_str()));
    };
    match rule.scopes.iter().find(|scope| !resource.scopes.allows(scope)) {
        None => Ok(()),
        Some(scope) => Err(format!("the scope {scope} is not one of the resource {uri}")),
    }
}

/// Checks that no rule accepts tokens that the same issuer makes for people, or that are
/// credentials here as they are.
pub(crate) fn validate_audiences(
    rules: &[TrustRule],
    providers: &[ProviderKind],
    signins: &[SignInSettings],
) -> Result<(), Fault> {
    for rule in rules {
        let is_client = |signin: &SignInSettings| match signin {
            SignInSettings::Oidc(oidc) => {
                oidc.issuer == rule.issuer && oidc.client_id == rule.audience
            }
            SignInSettings::Github(_) => false,
        };
        let is_at_issuer = |signin: &SignInSettings| match signin {
            SignInSettings::Oidc(oidc) => oidc.issuer == rule.issuer,
            SignInSettings::Github(_) => false,
        };
        if rule.is_about_users() && !signins.iter().any(is_at_issuer) {
            return setting(format!(
                "[[trust]] {:?}: no [[signin]] has the issuer {:?}, so none of its users can sign in: \
                 add one, or another kind",
                rule.name.as_str(),
                rule.issuer
            ));
        }
        let is_api = |provider: &ProviderKind| match provider {
            ProviderKind::Oidc(oidc) => {
                oidc.issuer == rule.issuer && oidc.audience == rule.audience
            }
            ProviderKind::Jwt(jwt) => jwt.issuer == rule.issuer && jwt.audience == rule.audience,
            ProviderKind::AccessToken {}
            | ProviderKind::ApiKey {}
            | ProviderKind::Session {}
            | ProviderKind::ServiceToken {}
            | ProviderKind::Runner {}
            | ProviderKind::ConfiguredKeys(_)
            | ProviderKind::Allowlist(_) => false,
        };
        let other = if signins.iter().any(is_client) {
            "the client_id of a [[signin]] at this issuer, so it would accept the ID tokens of people"
        } else if providers.iter().any(is_api) {
            "the audience of a [[provider]] of this issuer, so it would accept tokens for an API"
        } else {
            continue;
        };
        return setting(format!(
            "[[trust]] {:?}: the audience {:?} is {other}: have the workload request tokens for \
             another audience, such as the URL of this deployment",
            rule.name.as_str(),
            rule.audience
        ));
    }
    Ok(())
}

/// Checks that no rule trusts the tokens of this deployment.
pub(crate) fn validate_issuer(rules: &[TrustRule], issuer: &str) -> Result<(), Fault> {
    match rules.iter().find(|rule| rule.issuer.trim_end_matches('/') == issuer) {
        None => Ok(()),
        Some(rule) => setting(format!(
            "[[trust]] {:?}: the issuer is this deployment, whose tokens are credentials already",
            rule.name.as_str()
        )),
    }
}
