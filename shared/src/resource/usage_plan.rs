//! The usage plan of an API key, which only the operator sets.

use serde::Deserialize;

use super::owned;
use crate::{
    context::Context,
    core::{
        error::{Error, Refusal},
        id::ApiKeyId,
        plan::PlanName,
    },
    store::RecordUpdate,
};

/// The usage plan of a key.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PlanOfKey {
    /// The name of a `[[plan]]`; null for that of the organization.
    #[serde(deserialize_with = "owned::given")]
    #[cfg_attr(feature = "openapi", schemars(with = "Option<String>"))]
    pub plan: Option<Option<String>>,
}

/// Sets the usage plan of a key, for the operator. The next response of the authorizer has it.
///
/// # Errors
/// `invalid_request` for an unknown plan, `not_found`, or a fault.
pub async fn set(
    context: &Context,
    id: &ApiKeyId,
    PlanOfKey { plan }: PlanOfKey,
) -> Result<(), Error> {
    let plan = plan.flatten().map(|name| known(context, name)).transpose()?;
    match context.store.set_key_plan(id, plan.as_ref()).await? {
        RecordUpdate::Updated => Ok(()),
        RecordUpdate::Unknown => Err(Refusal::RecordUnknown.into()),
    }
}

/// Returns the plan `name`, if it is configured.
///
/// # Errors
/// [`Refusal::PlanUnknown`]
pub(super) fn known(context: &Context, name: String) -> Result<PlanName, Refusal> {
    let name = PlanName::try_from(name).map_err(|_| Refusal::PlanUnknown)?;
    let is_known = context.config.plans.iter().any(|plan| plan.name == name);
    is_known.then_some(name).ok_or(Refusal::PlanUnknown)
}
