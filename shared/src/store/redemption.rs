//! Redeeming a code for a family of refresh tokens: one transaction, so that there is never a
//! redeemed code without its family. Revoking a code.

use aws_sdk_dynamodb::types::{
    Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update, builders::UpdateBuilder,
};
use jiff::Timestamp;
use serde::Deserialize;

use super::{
    Deletion, Store,
    client::fault,
    conditional::{Conditional, conditional, first_unmet},
    family::FamilyRecord,
    item::{from_item, hex, item_of, text},
    key,
};
use crate::{
    core::{error::Fault, id::FamilyId},
    credential::{CredentialKind, opaque::ParsedSecret},
    crypto::Digest,
};

/// The part of a code's record that says whether it was redeemed.
#[derive(Deserialize)]
struct StoredCode {
    digest: Digest,
    family: Option<FamilyId>,
}

/// The outcome of redeeming a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redemption {
    /// The code is redeemed, and the family exists.
    Redeemed,
    /// The code was redeemed before, or it or its consent has ended.
    NotRedeemed,
}

/// The places of the writes in the transaction of [`Store::redeem_for`], between which is the
/// family.
const CODE: usize = 0;
const CONSENT: usize = 2;

impl Store {
    /// Revokes the code that was presented: deletes it, or revokes the family that it was redeemed
    /// for.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer, [`Fault::Corrupt`] if a record is unreadable.
    pub async fn revoke_code<K: CredentialKind>(
        &self,
        presented: &ParsedSecret<K>,
        now: Timestamp,
    ) -> Result<Deletion, Fault> {
        let outcome = self
            .client
            .delete_item()
            .table_name(&self.tables.nonces)
            .key(key::PK, text(&presented.id))
            .condition_expression("digest = :digest AND attribute_not_exists(#family)")
            .expression_attribute_names("#family", "family")
            .expression_attribute_values(":digest", hex(&presented.digest))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        let stored: Option<StoredCode> = match conditional(outcome, "revoke a code")? {
            Conditional::Met(_) => return Ok(Deletion::Deleted),
            Conditional::NotMet(stored) => stored.map(from_item).transpose()?,
        };
        let redeemed = stored.filter(|code| code.digest.matches(&presented.digest));
        match redeemed.and_then(|code| code.family) {
            Some(family) => {
                self.revoke_family(&family, now).await?;
                Ok(Deletion::Deleted)
            }
            None => Ok(Deletion::Unknown),
        }
    }

    /// Stores `family`, and its id in a code, if the code meets its condition. `consent` adds the
    /// family to the consent that the code was issued for.
    ///
    /// The SDK sends a token with the transaction, so that a repetition after a lost response is
    /// not a second redemption.
    pub(super) async fn redeem_for(
        &self,
        code: UpdateBuilder,
        family: &FamilyRecord,
        consent: Option<Update>,
        operation: &'static str,
    ) -> Result<Redemption, Fault> {
        let serialization =
            |error: aws_sdk_dynamodb::error::BuildError| Fault::Serialization(error.into());
        let redeem: Update = code
            .table_name(&self.tables.nonces)
            .expression_attribute_names("#family", "family")
            .expression_attribute_values(":family", text(&family.id))
            .build()
            .map_err(serialization)?;
        let create = Put::builder()
            .table_name(&self.tables.families)
            .set_item(Some(item_of(family)?))
            .condition_expression("attribute_not_exists(pk)")
            .build()
            .map_err(serialization)?;
        let update = |update| TransactWriteItem::builder().update(update).build();
        let mut writes = vec![update(redeem), TransactWriteItem::builder().put(create).build()];
        writes.extend(consent.map(update));
        let request = self.client.transact_write_items().set_transact_items(Some(writes));
        let outcome = request.send().await;
        match outcome {
            Ok(_) => {
                self.health.record_rotation(family.rotated_at);
                Ok(Redemption::Redeemed)
            }
            Err(error) if matches!(first_unmet(&error), Some(CODE | CONSENT)) => {
                Ok(Redemption::NotRedeemed)
            }
            Err(error) => Err(fault(operation)(error)),
        }
    }
}
