//! How a rule is written in the file.

use jiff::SignedDuration;
use serde::Deserialize;

use super::{RuleName, TrustMode, TrustOwner, TrustRule, clause::Clauses, kind::TrustKind};
use crate::core::{
    audience::Audience,
    id::{AgentId, OrganizationId},
    scope::Scopes,
    subject::SubjectPrefix,
};

/// The members of a rule.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TrustRuleMembers {
    name: RuleName,
    #[serde(default)]
    kind: TrustKind,
    issuer: Option<String>,
    jwks_url: Option<String>,
    audience: String,
    #[serde(rename = "match")]
    clauses: Clauses,
    agent: Option<AgentId>,
    organization: Option<OrganizationId>,
    subject_prefix: Option<SubjectPrefix>,
    scopes: Scopes,
    #[serde(default)]
    resource: Audience,
    lifetime: Option<u32>,
    #[serde(default)]
    mode: TrustMode,
}

impl TryFrom<TrustRuleMembers> for TrustRule {
    type Error = String;

    fn try_from(members: TrustRuleMembers) -> Result<Self, String> {
        let owner = members.owner()?;
        let kind = members.kind;
        let issuer = members.issuer.or_else(|| kind.issuer().map(str::to_owned));
        Ok(Self {
            issuer: issuer.ok_or_else(|| remedy_for_missing_issuer(kind))?,
            name: members.name,
            kind,
            jwks_url: members.jwks_url,
            audience: members.audience,
            clauses: members.clauses,
            owner,
            scopes: members.scopes,
            resource: members.resource,
            lifetime: members.lifetime.map(|seconds| SignedDuration::from_secs(seconds.into())),
            mode: members.mode,
        })
    }
}

impl TrustRuleMembers {
    /// Returns the owner of the tokens that the rule grants.
    fn owner(&self) -> Result<TrustOwner, String> {
        let is_about_users = self.kind == TrustKind::IdJag;
        match (self.agent, self.organization, self.subject_prefix.clone()) {
            (None, None, Some(subject_prefix)) if is_about_users => {
                Ok(TrustOwner::User { subject_prefix })
            }
            (Some(agent), None, None) if !is_about_users => Ok(TrustOwner::Agent(agent)),
            (None, Some(organization), Some(subject_prefix)) if !is_about_users => {
                Ok(TrustOwner::Workload { organization, subject_prefix })
            }
            (_, _, _) => Err(format!("the rule {:?}{}", self.name.as_str(), self.owner_remedy())),
        }
    }

    /// Says what to change in a rule that says too little or too much about the owner of its
    /// tokens, as the rest of a sentence.
    fn owner_remedy(&self) -> &'static str {
        if self.kind == TrustKind::IdJag {
            return " is about users: set the subject_prefix of the [[signin]] at this issuer, and \
                    neither agent nor organization";
        }
        match (&self.agent, &self.organization, &self.subject_prefix) {
            (Some(_), _, _) => {
                ": agent is set together with organization or subject_prefix: keep agent, whose \
                 organization is known, for tokens of that agent; or the other two, for tokens of \
                 the workload itself"
            }
            (None, Some(_), None) => {
                ": organization is set without subject_prefix: add what the user_id of the \
                 workload begins with, such as subject_prefix = \"ci|\""
            }
            (None, None, Some(_)) => {
                ": subject_prefix is set without organization: add the id of the workload's \
                 organization"
            }
            (None, _, _) => {
                ": set agent, for tokens of that agent; or organization and subject_prefix, for \
                 tokens of the workload itself"
            }
        }
    }
}

fn remedy_for_missing_issuer(kind: TrustKind) -> String {
    let remedy = if kind == TrustKind::Oidc {
        "set issuer, or a kind that has one: github, gitlab or google"
    } else {
        "set issuer to the iss of the tokens"
    };
    format!("the kind {} needs an issuer: {remedy}", kind.name())
}
