//! Recording that the secret of a credential was used (docs/decisions/0041).
//!
//! It happens once the caller is authenticated and allowed, and before the response: an execution
//! environment is frozen after it.

use crate::{context::Context, store::last_use::UnrecordedUse, telemetry};

/// Records a use by a caller at `address`, if it is to be recorded. A failure is logged, and the
/// request continues.
pub async fn record(context: &Context, new: Option<UnrecordedUse>, address: Option<&str>) {
    let Some(new) = new else { return };
    let from = address.filter(|address| !address.is_empty());
    if let Err(fault) = Box::pin(context.store.record_use(&new, from)).await {
        telemetry::use_not_recorded(&fault);
    }
}
