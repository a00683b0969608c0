//! Redeeming a code for a family of refresh tokens: one transaction, so that there is never a
//! redeemed code without its family.

use aws_sdk_dynamodb::types::{Put, TransactWriteItem, Update, builders::UpdateBuilder};

use super::{
    Store,
    client::fault,
    conditional::first_unmet,
    family::FamilyRecord,
    item::{item_of, text},
};
use crate::core::error::Fault;

/// The outcome of redeeming a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redemption {
    /// The code is redeemed, and the family exists.
    Redeemed,
    /// The code was redeemed before, or has expired.
    NotRedeemed,
}

impl Store {
    /// Stores `family`, and its id in a code, if the code meets `condition`.
    ///
    /// The SDK sends a token with the transaction, so that a repetition after a lost response is
    /// not a second redemption.
    pub(super) async fn redeem_for(
        &self,
        code: UpdateBuilder,
        family: &FamilyRecord,
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
        let outcome = self
            .client
            .transact_write_items()
            .transact_items(TransactWriteItem::builder().update(redeem).build())
            .transact_items(TransactWriteItem::builder().put(create).build())
            .send()
            .await;
        match outcome {
            Ok(_) => Ok(Redemption::Redeemed),
            Err(error) if first_unmet(&error) == Some(0) => Ok(Redemption::NotRedeemed),
            Err(error) => Err(fault(operation)(error)),
        }
    }
}
