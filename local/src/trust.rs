//! `postern trust`: the rules of `[[trust]]`, checked and tried before a workload needs them.

use jiff::Timestamp;
use postern::{
    App,
    config::{
        Config, DEFAULT, TrustOwner, TrustRule, read_file,
        trust::{TrustMode, lint_file},
    },
    core::{audience::Audience, secret::Secret},
    grant::trust_dry_run::{RuleOutcome, SignatureStatus, TrustDryRun},
};

use crate::{Error, settings::ConfigSource};

/// Checks the rules of a configuration, and returns what to print if nothing is wrong.
///
/// # Errors
/// [`Error::Invalid`] with everything that is wrong, [`Error::Postern`] if the file is not valid.
pub fn lint(source: &ConfigSource) -> Result<String, Error> {
    let toml = match source {
        ConfigSource::BuiltIn => DEFAULT.to_owned(),
        ConfigSource::File(file) => read_file(file)?,
    };
    let (findings, count) = lint_file(&toml)?;
    if !findings.is_empty() {
        let sentences: Vec<_> = findings.iter().map(ToString::to_string).collect();
        return Err(Error::Invalid(sentences.join("\n")));
    }
    let given = [
        ("ISSUER", "https://localhost"),
        ("KEYS_TABLE", "-"),
        ("FAMILIES_TABLE", "-"),
        ("NONCES_TABLE", "-"),
    ];
    let variables = given.map(|(name, value)| (format!("POSTERN_{name}"), value.to_owned())).into();
    Config::from_settings(&variables, &toml)?;
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
    let dry_run = TrustDryRun::new(&app.context, &app.trusted_issuers, &token).await;
    let dry_run = dry_run.map_err(|_| {
        Error::Invalid("this is not a JWT: give the token that the workload would send".into())
    })?;
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
    text.escape_debug().to_string()
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
    let state = match (rule.disabled, rule.mode) {
        (true, _) => "disabled",
        (false, TrustMode::Audit) => "audit only",
        (false, TrustMode::Enforce) => "enforced",
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
            let found = outcome.found.as_deref().map(shown);
            let found = found.unwrap_or_else(|| "no single value".into());
            text.push_str(&format!(", but the token has {found}"));
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
    let Some(rule) = dry_run.decided_by() else {
        line(page, "Refused: the token meets no rule that is enforced");
        return false;
    };
    let who = match &rule.owner {
        TrustOwner::Agent(agent) => format!("{agent}, as far as that agent has them"),
        TrustOwner::User { subject_prefix } => {
            let subject = dry_run.claim("sub").unwrap_or_default();
            format!("{}{}, as far as that user has them", subject_prefix.as_str(), shown(&subject))
        }
        TrustOwner::Workload { organization, subject_prefix } => {
            let subject = dry_run.claim("sub").unwrap_or_default();
            format!("{}{} in {organization}", subject_prefix.as_str(), shown(&subject))
        }
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
    is_valid
}

fn lifetime_s(app: &App, rule: &TrustRule, dry_run: &TrustDryRun<'_>, now: Timestamp) -> i64 {
    let longest = rule.lifetime.unwrap_or(app.context.config.lifetimes.access_token);
    let left = dry_run.expires_at.map(|end| end.duration_since(now));
    left.map_or(longest, |left| left.min(longest)).as_secs()
}
