//! What a workload would get for its token, for the operator who writes the rules. Nothing is read,
//! spent or logged.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::federation::TrustedIssuers;
use crate::{
    config::{
        TrustRule,
        trust::{ConditionOutcome, claim_pattern::text_of},
    },
    context::Context,
    core::{
        error::{Error, Refusal},
        secret::Secret,
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
    /// Whether the issuer has signed it.
    pub signature: SignatureStatus,
    /// Why it is refused whatever the rules say.
    pub refusal: Option<Refusal>,
    /// The rules about its issuer, in their order.
    pub rules: Vec<RuleOutcome<'r>>,
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
    /// Tries a token with the rules of the configuration. Fetches the keys of its issuer, if it could
    /// be valid.
    ///
    /// # Errors
    /// [`Refusal::TrustTokenMalformed`] for text that is not a JWT.
    pub async fn new(
        context: &'r Context,
        issuers: &TrustedIssuers,
        token: &Secret,
    ) -> Result<Self, Refusal> {
        let (now, text) = (context.clock.now(), token.expose());
        let rules = &context.config.trust;
        let claims = jwt::unverified_claims(text).ok_or(Refusal::TrustTokenMalformed)?;
        let (signature, refusal) = match UnverifiedWorkloadToken::parse(rules, text, now) {
            Err(refusal) => (SignatureStatus::NotVerified, Some(refusal)),
            Ok(token) => match issuers.verify(context, text, &token, now).await {
                Ok(_) => (SignatureStatus::Valid, None),
                Err(Error::Rejected(rejection)) => {
                    (SignatureStatus::NotVerified, Some(rejection.refusal))
                }
                Err(Error::Failed(fault)) => {
                    let cause = std::error::Error::source(&fault).map(ToString::to_string);
                    let reason =
                        cause.map_or(fault.to_string(), |cause| format!("{fault}: {cause}"));
                    (SignatureStatus::KeysUnavailable(reason), None)
                }
            },
        };
        let audience = workload::only_audience(&claims);
        let of_issuer = rules.iter().filter(|rule| workload::is_issuer(rule, &claims));
        let rules = of_issuer.map(|rule| RuleOutcome {
            rule,
            is_for_audience: audience == Some(&rule.audience),
            outcomes: rule.outcomes(&claims),
        });
        let rules = rules.collect();
        Ok(Self { expires_at: external::expires_at(&claims), signature, refusal, rules, claims })
    }

    /// Returns a claim as text: the value itself, if it is the only one of a list.
    pub fn claim(&self, name: &str) -> Option<String> {
        let claim = self.claims.get(name)?;
        let only = claim.as_array().filter(|all| all.len() == 1).and_then(|all| all.first());
        text_of(only.unwrap_or(claim)).or_else(|| Some(claim.to_string()))
    }

    /// Returns the rule that decides, if one does.
    pub fn decided_by(&self) -> Option<&'r TrustRule> {
        let decides = |dry_run: &&RuleOutcome<'_>| dry_run.rule.decides() && dry_run.is_met();
        self.rules.iter().find(decides).map(|dry_run| dry_run.rule)
    }
}
