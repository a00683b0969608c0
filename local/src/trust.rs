//! `postern trust`: the rules of `[[trust]]`, checked and tried before a workload needs them.

use std::fmt::Display;

use jiff::Timestamp;
use postern::{
    App,
    config::{
        TrustOwner, TrustRule,
        trust::{TrustMode, claim_pattern::text_of, lint_file},
    },
    core::{
        audience::Audience,
        error::{Fault, Refusal},
        secret::Secret,
    },
    grant::{
        federation::wrapped_token,
        trust_dry_run::{DryRunDecision, RuleOutcome, SignatureStatus, TrustDryRun},
    },
};
use serde_json::Value;

use crate::{
    Error,
    settings::{self, ConfigSource},
};

/// Checks the rules of a configuration, and returns what to print if nothing is wrong.
///
/// # Errors
/// [`Error::Invalid`] with everything that is wrong, [`Error::Postern`] if the file is not valid.
pub fn lint(source: &ConfigSource) -> Result<String, Error> {
    let toml = source.read()?;
    let in_file = |sentence: &dyn Display| format!("{source}: {sentence}");
    let invalid = |fault: Fault| Error::Invalid(in_file(&fault));
    let (findings, count) = lint_file(&toml).map_err(invalid)?;
    if !findings.is_empty() {
        let sentences: Vec<_> = findings.iter().map(|finding| in_file(finding)).collect();
        return Err(Error::Invalid(sentences.join("\n")));
    }
    settings::parse(source, &toml)?;
    Ok(match count {
        0 => format!("{source}: there is no [[trust]]\n"),
        1 => format!("{source}: the rule is good\n"),
        _ => format!("{source}: all {count} rules are good\n"),
    })
}

/// Tries a token with the rules of `app`; returns what to print, and whether it would be granted
/// anything.
///
/// # Errors
/// [`Error::Invalid`] for text that is not a JWT.
pub async fn try_token(app: &App, token: &str) -> Result<(String, bool), Error> {
    let token = Secret::new(token.trim().to_owned());
    let not_jwt = |remedy: &str| Error::Invalid(format!("this is not a JWT: {remedy}"));
    if let Some(remedy) = wrapped_token(token.expose()) {
        return Err(not_jwt(remedy));
    }
    let dry_run = TrustDryRun::new(&app.context, &app.trusted_issuers, &token).await;
    let dry_run = dry_run.map_err(|_| not_jwt("give the token that the workload would send"))?;
    let mut page = String::new();
    write_token(&mut page, &dry_run);
    for rule in &dry_run.rules {
        write_rule(&mut page, rule);
    }
    let is_granted = write_decision(&mut page, app, &dry_run);
    Ok((page, is_granted))
}

/// Returns text of a token without what a terminal would obey.
fn shown(text: &str) -> String {
    let escaped = |character: char| match character {
        '"' | '\'' => character.to_string(),
        other => other.escape_debug().to_string(),
    };
    text.chars().map(escaped).collect()
}

fn line(page: &mut String, text: &str) {
    page.push_str(text);
    page.push('\n');
}

fn write_token(page: &mut String, dry_run: &TrustDryRun<'_>) {
    line(page, "The token");
    for (name, claim) in [("issuer", "iss"), ("subject", "sub"), ("audience", "aud"), ("id", "jti")]
    {
        let value = dry_run.claim(claim).map_or_else(|| "absent".into(), |value| shown(&value));
        line(page, &format!("  {name:<10} {value}"));
    }
    let expires = dry_run.expires_at.map_or_else(|| "never".into(), |time| time.to_string());
    line(page, &format!("  {:<10} {expires}", "expires"));
    let signature = match &dry_run.signature {
        SignatureStatus::Valid => "valid".to_owned(),
        SignatureStatus::NotVerified => "not verified".to_owned(),
        SignatureStatus::KeysUnavailable(reason) => format!("not verified: {reason}"),
    };
    line(page, &format!("  {:<10} {signature}", "signature"));
}

fn write_rule(page: &mut String, dry_run: &RuleOutcome<'_>) {
    let RuleOutcome { rule, is_for_audience, outcomes } = dry_run;
    let state = match rule.mode {
        TrustMode::Audit => "audit only",
        TrustMode::Disabled => "disabled",
        TrustMode::Enforce => "enforced",
    };
    line(page, &format!("\nThe rule {} ({state})", rule.name));
    let yes_or_no = |is_met: bool| if is_met { "yes" } else { "no " };
    line(page, &format!("  {} aud = {}", yes_or_no(*is_for_audience), rule.audience));
    for outcome in outcomes {
        let mut text = format!(
            "  {} {} = {}",
            yes_or_no(outcome.is_met),
            outcome.claim,
            shown(&outcome.required)
        );
        if !outcome.is_met {
            text.push_str(&match &outcome.found {
                None => ", but the token does not have it".into(),
                Some(found) => match text_of(found) {
                    Some(found) => format!(", but the token has {}", shown(&found)),
                    None => format!(
                        ", but the token has {}, which is no single value",
                        shown(&found.to_string())
                    ),
                },
            });
        }
        line(page, &text);
    }
}

/// Says what the token would be granted, and reports whether it is something.
fn write_decision(page: &mut String, app: &App, dry_run: &TrustDryRun<'_>) -> bool {
    page.push('\n');
    if let Some(refusal) = dry_run.refusal {
        line(page, &format!("Refused: {} ({})", refusal.meaning(), refusal.name()));
        if dry_run.rules.is_empty() {
            let mut issuers: Vec<_> =
                app.context.config.trust.iter().map(|rule| rule.issuer.as_str()).collect();
            issuers.dedup();
            line(page, &format!("The rules are about: {}", issuers.join(", ")));
        }
        return false;
    }
    if dry_run.is_expired {
        let refusal = Refusal::TrustTokenExpired;
        line(page, &format!("Refused now: the token has expired ({})", refusal.name()));
        line(page, "Before it expired:");
    }
    let Some(DryRunDecision { rule, subject }) = &dry_run.decision else {
        line(page, "Refused: the token meets no rule that is enforced");
        return false;
    };
    let subject = match subject {
        Ok(subject) => shown(&subject.to_string()),
        Err(refusal) => {
            line(page, &format!("The rule {} decides.", rule.name));
            line(page, &format!("Refused: {} ({})", refusal.meaning(), refusal.name()));
            return false;
        }
    };
    let who = match &rule.owner {
        TrustOwner::Agent(_) => format!("{subject}, as far as that agent has them"),
        TrustOwner::User { .. } => format!("{subject}, as far as that user has them"),
        TrustOwner::Workload { organization, .. } => format!("{subject} in {organization}"),
    };
    line(page, &format!("The rule {} decides. It grants {} to {who},", rule.name, rule.scopes));
    let api = match &rule.resource {
        Audience::Issuer => "the routes of the deployment".to_owned(),
        Audience::Resource(uri) => uri.to_string(),
    };
    let now = app.context.clock.now();
    line(page, &format!("for {api}, for at most {} seconds", lifetime_s(app, rule, dry_run, now)));
    let is_valid = matches!(dry_run.signature, SignatureStatus::Valid);
    if !is_valid {
        line(page, "if its signature is valid, which could not be verified");
    }
    is_valid && !dry_run.is_expired
}

/// Returns how long what is granted lives at most. What an identity assertion is granted does not
/// end with the assertion.
fn lifetime_s(app: &App, rule: &TrustRule, dry_run: &TrustDryRun<'_>, now: Timestamp) -> i64 {
    let longest = rule.lifetime.unwrap_or(app.context.config.lifetimes.access_token);
    if rule.is_about_users() {
        return longest.as_secs();
    }
    let issued_at = dry_run.claims.get("iat").and_then(Value::as_i64);
    let issued_at = issued_at.and_then(|seconds| Timestamp::from_second(seconds).ok());
    let presented_at = if dry_run.is_expired { issued_at } else { Some(now) };
    let left = dry_run.expires_at.zip(presented_at).map(|(end, at)| end.duration_since(at));
    left.map_or(longest, |left| left.min(longest)).as_secs()
}
