//! What a workload would get for its token, for the operator who writes the rules. Nothing is read,
//! spent or logged. An expired token, which can be shown to anybody, is tried as of its last
//! second.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use super::federation::{self, TrustedIssuers};
use crate::{
    config::{
        TrustRule,
        trust::{ConditionOutcome, claim_pattern::text_of},
    },
    context::Context,
    core::{
        clock::after,
        error::{Error, Refusal},
        secret::Secret,
        subject::Subject,
    },
    crypto::jwt,
    token::{
        external,
        workload::{self, UnverifiedWorkloadToken},
    },
};

/// What a token is, and what each rule about its issuer says.
#[derive(Debug)]
pub struct TrustDryRun<'r> {
    /// Its claims, of which nothing is verified unless `signature` says so.
    pub claims: Map<String, Value>,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
    /// Whether it has expired, so that it is refused whatever else is said here.
    pub is_expired: bool,
    /// Whether the issuer has signed it.
    pub signature: SignatureStatus,
    /// Why it is refused whatever the rules say.
    pub refusal: Option<Refusal>,
    /// The rules about its issuer, in their order.
    pub rules: Vec<RuleOutcome<'r>>,
    /// What the first rule that it meets decides.
    pub decision: Option<DryRunDecision<'r>>,
}

/// What a rule decides about a token that it is the first to meet.
#[derive(Debug)]
pub struct DryRunDecision<'r> {
    /// The rule.
    pub rule: &'r TrustRule,
    /// Who would own the tokens, or why nobody would.
    pub subject: Result<Subject, Refusal>,
}

/// Whether a token is signed by its issuer.
#[derive(Debug)]
pub enum SignatureStatus {
    /// The keys of the issuer are not available, for this reason.
    KeysUnavailable(String),
    /// It was not verified, because the token is refused anyway.
    NotVerified,
    /// A key of the issuer has signed it.
    Valid,
}

/// What a rule says about a token.
#[derive(Debug)]
pub struct RuleOutcome<'r> {
    /// The rule.
    pub rule: &'r TrustRule,
    /// Whether the token is for the audience of the rule.
    pub is_for_audience: bool,
    /// Whether it meets each clause, and each condition of the kind.
    pub outcomes: Vec<ConditionOutcome>,
}

impl RuleOutcome<'_> {
    /// Reports whether the token meets the whole rule.
    pub fn is_met(&self) -> bool {
        self.is_for_audience && self.outcomes.iter().all(|outcome| outcome.is_met)
    }
}

impl<'r> TrustDryRun<'r> {
    /// Tries a token with the rules of the configuration. Fetches the keys of its issuer, if it
    /// could be valid.
    ///
    /// # Errors
    /// [`Refusal::TrustTokenMalformed`] for text that is not a JWT.
    pub async fn new(
        context: &'r Context,
        issuers: &TrustedIssuers,
        token: &Secret,
    ) -> Result<Self, Refusal> {
        let (now, text) = (context.clock.now(), token.expose());
        let config = &context.config;
        let claims = jwt::unverified_claims(text).ok_or(Refusal::TrustTokenMalformed)?;
        let expires_at = external::expires_at(&claims);
        let expired_at = expires_at.filter(|end| *end <= now);
        let at = expired_at.map_or(now, |end| after(end, SignedDuration::from_secs(-1)));
        let (signature, refusal) = verify(context, issuers, text, at).await;
        let audience = workload::only_audience(&claims);
        let of_issuer = config.trust.iter().filter(|rule| workload::is_issuer(rule, &claims));
        let rules = of_issuer.map(|rule| RuleOutcome {
            rule,
            is_for_audience: audience == Some(&rule.audience),
            outcomes: rule.outcomes(&claims),
        });
        let rules: Vec<_> = rules.collect();
        let decided = rules.iter().find(|outcome| outcome.rule.decides() && outcome.is_met());
        let decision = decided.map(|RuleOutcome { rule, .. }| {
            let subject = federation::subject(config, &rule.owner, &claims);
            DryRunDecision { rule, subject }
        });
        let is_expired = expired_at.is_some();
        Ok(Self { expires_at, is_expired, signature, refusal, rules, decision, claims })
    }

    /// Returns a claim as text: the value itself, if it is the only one of a list.
    pub fn claim(&self, name: &str) -> Option<String> {
        let claim = self.claims.get(name)?;
        let only = claim.as_array().filter(|all| all.len() == 1).and_then(|all| all.first());
        text_of(only.unwrap_or(claim)).or_else(|| Some(claim.to_string()))
    }
}

/// Verifies a token as of `at`, and returns why it is refused whatever the rules say, if it is.
async fn verify(
    context: &Context,
    issuers: &TrustedIssuers,
    text: &str,
    at: Timestamp,
) -> (SignatureStatus, Option<Refusal>) {
    let token = match UnverifiedWorkloadToken::parse(&context.config.trust, text, at) {
        Ok(token) => token,
        Err(refusal) => return (SignatureStatus::NotVerified, Some(refusal)),
    };
    match issuers.verify(context, text, &token, at).await {
        Ok(_) => (SignatureStatus::Valid, None),
        Err(Error::Rejected(rejection)) => (SignatureStatus::NotVerified, Some(rejection.refusal)),
        Err(Error::Failed(fault)) => {
            let cause = std::error::Error::source(&fault).map(ToString::to_string);
            let reason = cause.map_or(fault.to_string(), |cause| format!("{fault}: {cause}"));
            (SignatureStatus::KeysUnavailable(reason), None)
        }
    }
}
