//! `[[trust]]`: the workloads of other issuers that get tokens here without a secret, and which.

pub mod claim_pattern;
pub mod clause;
pub mod kind;
mod lint;
mod rule_members;
mod validate;

use std::fmt;

use jiff::SignedDuration;
use serde::{Deserialize, Deserializer, de};
use serde_json::{Map, Value};

pub use kind::TrustKind;
pub use lint::{TrustFinding, lint_file};
pub(super) use validate::{validate, validate_audiences, validate_issuer};

use self::{
    claim_pattern::{AcceptedValues, text_of},
    clause::Clauses,
    kind::{ClaimRequirement, KindCondition},
    rule_members::TrustRuleMembers,
};
use crate::core::{
    audience::Audience,
    id::{AgentId, ClientId, OrganizationId},
    scope::Scopes,
    subject::{Subject, SubjectPrefix},
};

/// The longest name, in bytes.
const LONGEST_NAME: usize = 64;
/// What the name of a SPIFFE trust domain begins with.
pub const SPIFFE: &str = "spiffe://";

/// A rule: which tokens of an issuer are exchanged, and for what.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "TrustRuleMembers")]
pub struct TrustRule {
    /// The name, which appears in logs and in the tokens.
    pub name: RuleName,
    /// The kind of the issuer.
    pub kind: TrustKind,
    /// The issuer of the workload's tokens.
    pub issuer: String,
    /// The URL of the key set. Without it, discovery is used.
    pub jwks_url: Option<String>,
    /// The only audience of the workload's tokens.
    pub audience: String,
    /// The claims that a token must have.
    pub clauses: Clauses,
    /// The owner of the tokens that it grants.
    pub owner: TrustOwner,
    /// The most that is granted.
    pub scopes: Scopes,
    /// The API that the granted tokens are for.
    pub resource: Audience,
    /// The longest lifetime of the granted tokens, if it limits it.
    pub lifetime: Option<SignedDuration>,
    /// Whether it grants.
    pub mode: TrustMode,
}

/// Whether a rule grants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TrustMode {
    /// It only logs what it would grant.
    Audit,
    /// It is ignored. What it has granted has ended too.
    Disabled,
    /// It grants.
    #[default]
    Enforce,
}

/// The name of a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RuleName(String);

impl RuleName {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the client id of a workload that is no agent: it has none of its own.
    pub fn client_id(&self) -> ClientId {
        format!("trust:{}", self.0).into()
    }
}

impl fmt::Display for RuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for RuleName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(is_part) {
            Ok(Self(name))
        } else {
            Err(de::Error::custom(format!(
                "a name has 1 to {LONGEST_NAME} of a-z, 0-9 and -, such as deploy-site"
            )))
        }
    }
}

/// The owner of the tokens that a rule grants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrustOwner {
    /// This agent.
    Agent(AgentId),
    /// The user whom an identity assertion is about.
    User {
        /// The prefix of the user's id.
        subject_prefix: SubjectPrefix,
    },
    /// The workload itself.
    Workload {
        /// Its organization.
        organization: OrganizationId,
        /// What its id begins with, before the `sub` of its token.
        subject_prefix: SubjectPrefix,
    },
}

/// Whether a token meets one condition of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionOutcome {
    /// The claim, as a rule names it.
    pub claim: String,
    /// What the rule or its kind requires.
    pub required: String,
    /// What the token has, unless it lacks the claim.
    pub found: Option<Value>,
    /// Whether that is enough.
    pub is_met: bool,
}

impl TrustRule {
    /// Returns the trust domain, if the issuer is one: its tokens name no issuer (JWT-SVID §3).
    pub fn trust_domain(&self) -> Option<&str> {
        self.issuer.strip_prefix(SPIFFE)
    }

    /// Reports whether it is about identity assertions, which are about users.
    pub fn is_about_users(&self) -> bool {
        self.kind == TrustKind::IdJag
    }

    /// Returns the client id of the tokens that it grants to workloads.
    pub fn client_id(&self) -> ClientId {
        match &self.owner {
            TrustOwner::Agent(agent) => (*agent).into(),
            TrustOwner::User { .. } | TrustOwner::Workload { .. } => self.name.client_id(),
        }
    }

    /// Reports whether it decides about tokens.
    pub fn decides(&self) -> bool {
        match self.mode {
            TrustMode::Enforce => true,
            TrustMode::Audit | TrustMode::Disabled => false,
        }
    }

    /// Reports whether it is ignored.
    pub fn is_disabled(&self) -> bool {
        match self.mode {
            TrustMode::Disabled => true,
            TrustMode::Audit | TrustMode::Enforce => false,
        }
    }

    /// Reports whether tokens that it granted to `subject` in `organization` are still valid.
    pub fn still_grants(&self, subject: &Subject, organization: OrganizationId) -> bool {
        match &self.owner {
            TrustOwner::Agent(agent) => *subject == Subject::Agent(*agent),
            TrustOwner::User { subject_prefix } => {
                let has_prefix = subject.to_string().starts_with(subject_prefix.as_str());
                matches!(subject, Subject::External(_)) && has_prefix
            }
            TrustOwner::Workload { organization: current, subject_prefix } => {
                let is_external = matches!(subject, Subject::External(_));
                let has_prefix = subject.to_string().starts_with(subject_prefix.as_str());
                is_external && has_prefix && *current == organization
            }
        }
    }

    /// Returns the prefix of the ids of the workloads, if they are not an agent.
    pub fn subject_prefix(&self) -> Option<&SubjectPrefix> {
        match &self.owner {
            TrustOwner::Agent(_) => None,
            TrustOwner::User { subject_prefix } | TrustOwner::Workload { subject_prefix, .. } => {
                Some(subject_prefix)
            }
        }
    }

    /// Returns the clauses, with what the kind requires of claims that none of them names.
    fn effective_clauses(&self) -> Clauses {
        let defaults = self.kind.conditions().into_iter().filter_map(|condition| {
            match condition.requirement {
                ClaimRequirement::OneOfByDefault(values) => {
                    Some((condition.path, AcceptedValues::exact(values)))
                }
                ClaimRequirement::Absent
                | ClaimRequirement::AbsentByDefault
                | ClaimRequirement::Present => None,
            }
        });
        self.clauses.with_defaults(defaults)
    }

    /// Returns whether a token with these claims meets each clause, and each condition of the kind.
    pub fn outcomes(&self, claims: &Map<String, Value>) -> Vec<ConditionOutcome> {
        let of_clauses = self.clauses.iter().map(|(path, values)| {
            let claim = path.find(claims);
            ConditionOutcome {
                claim: path.to_string(),
                required: values.to_string(),
                found: claim.cloned(),
                is_met: claim.is_some_and(|claim| values.accept(claim)),
            }
        });
        let of_kind = self.kind.conditions().into_iter().filter_map(|condition| {
            let KindCondition { path, requirement } = condition;
            let claim = path.find(claims);
            let text = claim.and_then(text_of);
            let is_met = match requirement {
                ClaimRequirement::Absent => claim.is_none(),
                ClaimRequirement::Present => claim.is_some(),
                ClaimRequirement::AbsentByDefault | ClaimRequirement::OneOfByDefault(_)
                    if self.clauses.get(&path).is_some() =>
                {
                    return None;
                }
                ClaimRequirement::AbsentByDefault => claim.is_none(),
                ClaimRequirement::OneOfByDefault(values) => {
                    text.as_deref().is_some_and(|text| values.contains(&text))
                }
            };
            Some(ConditionOutcome {
                claim: path.to_string(),
                required: requirement.to_string(),
                found: claim.cloned(),
                is_met,
            })
        });
        of_clauses.chain(of_kind).collect()
    }
}

/// The rules of a deployment.
impl super::Config {
    /// Returns the rule `name`, if it still grants.
    pub fn trust_rule(&self, name: &str) -> Option<&TrustRule> {
        self.trust.iter().find(|rule| rule.name.0 == name && rule.decides())
    }

    /// Reports whether `id` is the client id that a rule gives to workloads that are no agent.
    pub fn is_workload(&self, id: &ClientId) -> bool {
        let gives = |rule: &&TrustRule| matches!(rule.owner, TrustOwner::Workload { .. });
        self.trust.iter().filter(gives).any(|rule| rule.client_id() == *id)
    }
}
