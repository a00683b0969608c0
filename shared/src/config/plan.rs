//! `[[plan]]`: usage plans of API Gateway, and who is in which.

use std::num::{NonZeroU32, NonZeroU64};

use serde::Deserialize;

use super::{Config, setting};
use crate::core::{error::Fault, id::OrganizationId, plan::PlanName};

/// A usage plan of REST APIs that the authorizer protects.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UsagePlan {
    /// The name.
    pub name: PlanName,
    /// The member of `refs` in the deployment's secret that lists the API keys of the usage plan.
    pub secret_ref: String,
    /// Whether callers are in it who are in no other.
    #[serde(default)]
    pub default: bool,
    /// The organizations that are in it, except for credentials with a plan of their own.
    #[serde(default)]
    pub organizations: Vec<OrganizationId>,
    /// Its limits, as API Gateway has them. Only the local program applies them.
    #[serde(default)]
    pub limits: PlanLimits,
}

/// The limits of a usage plan, for each of its API keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PlanLimits {
    /// Requests per second.
    pub rate: Option<NonZeroU32>,
    /// Requests at once; by default as many as per second.
    pub burst: Option<NonZeroU32>,
    /// Requests per period.
    pub quota: Option<NonZeroU64>,
    /// The period of the quota.
    pub period: QuotaPeriod,
}

/// The period of a quota, in UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QuotaPeriod {
    /// A day.
    #[default]
    Day,
    /// A week, from Sunday.
    Week,
    /// A month.
    Month,
}

/// Checks the plans.
pub(super) fn validate(plans: &[UsagePlan]) -> Result<(), Fault> {
    for (at, plan) in plans.iter().enumerate() {
        let (name, earlier) = (&plan.name, &plans[..at]);
        if earlier.iter().any(|other| other.name == *name) {
            return setting(format!("the plan {name} is configured twice"));
        }
        if let Some(other) = earlier.iter().find(|other| other.secret_ref == plan.secret_ref) {
            return setting(format!(
                "the plans {} and {name} have the same secret_ref: an API key is in one usage plan of an API",
                other.name
            ));
        }
        if let Some(other) = earlier.iter().find(|other| other.default && plan.default) {
            return setting(format!("the plans {} and {name} are both default", other.name));
        }
        let all: Vec<_> = plans[..=at].iter().flat_map(|plan| &plan.organizations).collect();
        let repeated = (1..all.len()).find(|at| all[..*at].contains(&all[*at]));
        if let Some(repeated) = repeated {
            return setting(format!("the organization {} is in two plans", all[repeated]));
        }
        if plan.limits.burst.is_some() && plan.limits.rate.is_none() {
            return setting(format!("the plan {name} has a burst and no rate"));
        }
    }
    Ok(())
}

impl Config {
    /// Returns the plan of a caller: of the credential, else of its organization, else the default.
    pub fn plan(
        &self,
        own: Option<&PlanName>,
        organization: Option<&OrganizationId>,
    ) -> Option<&UsagePlan> {
        let plans = || self.plans.iter();
        let has_it = |plan: &&UsagePlan| {
            organization.is_some_and(|organization| plan.organizations.contains(organization))
        };
        plans()
            .find(|plan| own == Some(&plan.name))
            .or_else(|| plans().find(has_it))
            .or_else(|| plans().find(|plan| plan.default))
    }
}
