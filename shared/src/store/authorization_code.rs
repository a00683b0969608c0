//! One-time codes of the loopback flow. One that was redeemed is kept for a while: who shows it again is seen.

use aws_sdk_dynamodb::{
    operation::update_item::UpdateItemError,
    types::{AttributeValue, ReturnValuesOnConditionCheckFailure},
};
use serde::{Deserialize, Serialize};

use super::{
    Store,
    client::fault,
    key,
    record::{item_of, number, read, text},
};
use crate::{
    core::{
        error::Fault,
        id::{AuthorizationCodeId, ClientId, FamilyId},
        scope::Scopes,
        subject::Subject,
    },
    credential::AuthorizationCode,
    crypto::Digest,
};

/// A stored code.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AuthorizationCodeRecord {
    #[serde(rename = "pk")]
    pub id: AuthorizationCodeId,
    pub digest: Digest,
    pub client_id: ClientId,
    pub redirect_uri: String,
    /// Of PKCE, by S256.
    pub challenge: Digest,
    pub user_id: Subject,
    pub scopes: Scopes,
    pub valid_until_ms: i64,
    /// What it was redeemed for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<FamilyId>,
    /// DynamoDB's time to live: as long as what it was redeemed for may be new to somebody.
    pub expires_at: i64,
}

/// What became of a redemption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redemption {
    Redeemed,
    /// It was redeemed before, for this family.
    Replayed(FamilyId),
    /// It is gone, or over.
    Gone,
}

impl Store {
    /// Stores a new code.
    ///
    /// # Errors
    /// A store that does not answer, or an id that was there before.
    pub async fn put_code(&self, record: &AuthorizationCodeRecord) -> Result<(), Fault> {
        let is_ours =
            |stored| Ok(read::<AuthorizationCodeRecord>(stored)?.digest.matches(&record.digest));
        self.insert(&self.tables.nonces, item_of(record)?, "put an authorization code", is_ours)
            .await
    }

    /// The code that was presented; read consistently.
    ///
    /// # Errors
    /// A store that does not answer, or a record that cannot be read.
    pub async fn code(
        &self,
        presented: &AuthorizationCode,
    ) -> Result<Option<AuthorizationCodeRecord>, Fault> {
        let item = self.nonce(text(&presented.id), "read an authorization code").await?;
        let record = item.map(read::<AuthorizationCodeRecord>).transpose()?;
        Ok(record.filter(|record| record.digest.matches(&presented.digest)))
    }

    /// Redeems a code for `family`, once: one write.
    ///
    /// # Errors
    /// A store that does not answer, or a record that cannot be read.
    pub async fn redeem(
        &self,
        id: &AuthorizationCodeId,
        family: &FamilyId,
        now_ms: i64,
    ) -> Result<Redemption, Fault> {
        let outcome = self
            .client
            .update_item()
            .table_name(&self.tables.nonces)
            .key(key::PK, text(id))
            .update_expression("SET #family = :family")
            .condition_expression(
                "attribute_exists(pk) AND attribute_not_exists(#family) AND valid_until_ms > :now",
            )
            .expression_attribute_names("#family", "family")
            .expression_attribute_values(":family", text(family))
            .expression_attribute_values(":now", number(now_ms))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        let Err(error) = outcome else { return Ok(Redemption::Redeemed) };
        match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                let stored =
                    failed.item().cloned().map(read::<AuthorizationCodeRecord>).transpose()?;
                Ok(match stored.and_then(|stored| stored.family) {
                    Some(known) if known == *family => Redemption::Redeemed, // ours, and its answer was lost
                    Some(known) => Redemption::Replayed(known),
                    None => Redemption::Gone,
                })
            }
            _ => Err(fault("redeem an authorization code")(error)),
        }
    }

    /// Reads an item of `Nonces`, consistently.
    pub(super) async fn nonce(
        &self,
        pk: AttributeValue,
        what: &'static str,
    ) -> Result<Option<super::record::Item>, Fault> {
        let request = self
            .client
            .get_item()
            .table_name(&self.tables.nonces)
            .key(key::PK, pk)
            .consistent_read(true);
        Ok(request.send().await.map_err(fault(what))?.item)
    }
}
