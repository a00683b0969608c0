//! Organizations.

use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem, Update};
use jiff::{Timestamp, fmt::serde::timestamp::millisecond};
use serde::{Deserialize, Serialize};

use super::{
    Store,
    api_key::ApiKeyRecord,
    client::unexpected,
    conditional::Conditional,
    item::{Item, from_item, item_of, text},
    key,
};
use crate::core::{
    error::Fault, event::Event, id::OrganizationId, scope_limit::ScopeLimit, subject::Subject,
};

/// A stored organization.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OrganizationRecord {
    /// The id.
    #[serde(rename = "pk")]
    pub id: OrganizationId,
    /// The name.
    pub name: String,
    /// When it was created.
    #[serde(rename = "created_at_ms", with = "millisecond::required")]
    pub created_at: Timestamp,
    /// The user who owns it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Subject>,
    /// Who created it.
    #[serde(default, skip_serializing_if = "OrganizationOrigin::is_operator")]
    pub origin: OrganizationOrigin,
}

/// Who created an organization.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrganizationOrigin {
    /// The operator of the deployment.
    #[default]
    Operator,
    /// The first sign-in of its owner.
    Personal,
    /// Anyone, because signup is open.
    Signup,
}

impl OrganizationOrigin {
    /// Returns whether `signup_scopes` limits what belongs to the organization.
    pub fn scope_limit(self) -> ScopeLimit {
        match self {
            Self::Operator | Self::Personal => ScopeLimit::Unlimited,
            Self::Signup => ScopeLimit::SignupScopes,
        }
    }

    /// Reports whether the operator created it, which is not stored.
    pub fn is_operator(&self) -> bool {
        match self {
            Self::Operator => true,
            Self::Personal | Self::Signup => false,
        }
    }
}

impl Store {
    /// Stores an organization, its first key, its owner, and the events that report them: all or
    /// nothing.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer or the id exists already.
    pub async fn create_organization(
        &self,
        organization: &OrganizationRecord,
        key: &ApiKeyRecord,
        events: &[Event],
    ) -> Result<(), Fault> {
        const WHAT: &str = "create an organization";
        let mut writes = vec![self.put_new(item_of(organization)?)?];
        writes.extend(self.new_record(key)?);
        if let Some(owner) = &organization.owner {
            writes.push(self.set_owner(owner, &organization.id)?);
        }
        for event in events {
            writes.push(self.event_write(event)?);
        }
        match self.transact(writes, WHAT).await? {
            Conditional::Met(()) => Ok(()),
            Conditional::NotMet(_) => Err(unexpected(WHAT, "an id was there before")),
        }
    }

    /// Returns the write that records the owner of an organization, unless the user owns another
    /// one.
    fn set_owner(
        &self,
        user_id: &Subject,
        organization: &OrganizationId,
    ) -> Result<TransactWriteItem, Fault> {
        let update = Update::builder()
            .table_name(&self.tables.keys)
            .key(key::PK, AttributeValue::S(key::membership(user_id)))
            .update_expression("SET user_id = :user, org_id = if_not_exists(org_id, :org)")
            .expression_attribute_values(":user", text(&user_id))
            .expression_attribute_values(":org", text(organization))
            .build()
            .map_err(|error| Fault::Serialization(error.into()))?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    /// Returns the write of an item whose key must be new.
    pub(super) fn put_new(&self, item: Item) -> Result<TransactWriteItem, Fault> {
        let put = Put::builder()
            .table_name(&self.tables.keys)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(pk)")
            .build()
            .map_err(|error| Fault::Serialization(error.into()))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// Returns an organization, with a consistent read.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer, [`Fault::Corrupt`] if a record is unreadable.
    pub async fn organization(
        &self,
        id: &OrganizationId,
    ) -> Result<Option<OrganizationRecord>, Fault> {
        self.keys_item(text(id), "read an organization").await?.map(from_item).transpose()
    }
}
