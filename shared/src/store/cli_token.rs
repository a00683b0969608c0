//! CLI tokens: keys that belong to one user.

use jiff::{Timestamp, fmt::serde::timestamp::second};
use serde::{Deserialize, Serialize};

use super::{
    Deletion, HasSecret, Page, Record, RecordMeta, Store, StoredSecret,
    conditional::AttributeEquals,
    item::text,
    key,
    last_use::SecretTag,
    list::Newest,
    properties::{Properties, changeable},
};
use crate::core::{
    epoch::Epoch,
    error::Fault,
    event::Event,
    id::{CliToken, CliTokenId, OrganizationId},
    pagination::PageRequest,
    scope::{ResourceLimits, Scopes},
    subject::Subject,
};

/// A stored CLI token.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CliTokenRecord {
    /// Id, organization and time of creation.
    #[serde(flatten)]
    pub meta: RecordMeta<CliToken>,
    /// The name.
    pub name: String,
    /// The scopes.
    pub scopes: Scopes,
    /// The properties that can be changed.
    #[serde(flatten)]
    pub properties: Properties,
    /// The resources that it is limited to.
    #[serde(default)]
    pub resources: ResourceLimits,
    /// The stored part of its secret.
    #[serde(flatten)]
    pub secret: StoredSecret,
    /// Whether every request must be signed with it.
    #[serde(default)]
    pub require_signature: bool,
    /// The user.
    pub on_behalf_of: Subject,
    /// The user's epoch in which it was created.
    #[serde(default, skip_serializing_if = "Epoch::is_first")]
    pub epoch: Epoch,
    /// When it expires, in whole seconds. Also DynamoDB's time to live.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "second::optional")]
    pub expires_at: Option<Timestamp>,
}

impl Record for CliTokenRecord {
    type Kind = CliToken;

    fn meta(&self) -> &RecordMeta<CliToken> {
        &self.meta
    }

    fn listing(&self) -> String {
        key::listing_of_user_in::<CliToken>(&self.meta.org_id, &self.on_behalf_of)
    }

    fn secret_tags(&self) -> Vec<SecretTag> {
        vec![(&self.secret.digest).into()]
    }

    fn name(&self) -> Option<&str> {
        Some(&self.name)
    }

    fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }
}

changeable!(CliTokenRecord);

impl HasSecret for CliTokenRecord {
    fn secret(&self) -> &StoredSecret {
        &self.secret
    }
}

impl Store {
    /// Returns a page of a user's tokens.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer, [`Fault::Corrupt`] if a record is unreadable.
    pub async fn cli_tokens(
        &self,
        organization: &OrganizationId,
        user_id: &Subject,
        page: &PageRequest<CliToken>,
        now: Timestamp,
    ) -> Result<Page<CliTokenRecord>, Fault> {
        let listing = key::listing_of_user_in::<CliToken>(organization, user_id);
        self.list_in(listing, page, now).await
    }

    /// Returns a user's tokens after `cursor`, up to one page, and the cursor of the next page.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer, [`Fault::Corrupt`] if a record is unreadable.
    pub async fn newest_cli_tokens(
        &self,
        organization: &OrganizationId,
        user_id: &Subject,
        cursor: Option<&CliTokenId>,
        now: Timestamp,
    ) -> Result<(Vec<CliTokenRecord>, Option<CliTokenId>), Fault> {
        let listing = key::listing_of_user_in::<CliToken>(organization, user_id);
        let Newest { records, next } = self.newest(listing, cursor, 100, now).await?;
        Ok((records, next))
    }

    /// Deletes a user's token, and stores the event that reports it.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn delete_cli_token(
        &self,
        user_id: &Subject,
        id: &CliTokenId,
        event: &Event,
    ) -> Result<Deletion, Fault> {
        let condition = AttributeEquals { attribute: "on_behalf_of", value: text(&user_id) };
        self.delete_record_if(text(id), condition, event).await
    }
}
