//! CLI tokens: keys that belong to one user.

use serde::{Deserialize, Serialize};

use super::{Deletion, HasSecret, Page, Record, Store, conditional::Expected, key, record::text};
use crate::{
    core::{
        error::Fault,
        id::{CliToken, CliTokenId, OrganizationId},
        scope::{Resources, Scopes},
        subject::Subject,
    },
    crypto::Digest,
};

/// A stored CLI token.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CliTokenRecord {
    #[serde(rename = "pk")]
    /// The id, and the key of the record.
    pub id: CliTokenId,
    /// The organization.
    pub org_id: OrganizationId,
    /// What it is called.
    pub name: String,
    /// What it is allowed to do.
    pub scopes: Scopes,
    #[serde(default)]
    /// What it is limited to.
    pub resources: Resources,
    /// The digest of its secret.
    pub digest: Digest,
    /// The last four characters of its secret, which lists show.
    pub last_four: String,
    /// When it was created, in epoch milliseconds.
    pub created_at_ms: i64,
    /// Does it open nothing unless the request is signed with it?
    #[serde(default)]
    pub require_signature: bool,
    /// The person.
    pub on_behalf_of: Subject,
    /// Epoch seconds; also DynamoDB's time to live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<i64>,
}

impl Record for CliTokenRecord {
    type Kind = CliToken;

    fn id(&self) -> CliTokenId {
        self.id
    }

    fn org_id(&self) -> OrganizationId {
        self.org_id
    }

    fn listing(&self) -> String {
        key::listing_of_person::<CliToken>(&self.org_id, &self.on_behalf_of)
    }

    fn is_expired(&self, now_s: i64) -> bool {
        self.expires_at.is_some_and(|end| end <= now_s)
    }
}

impl HasSecret for CliTokenRecord {
    fn digest(&self) -> &Digest {
        &self.digest
    }
}

impl Store {
    /// Lists a user's tokens after `cursor`, oldest first.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer, [`Fault::Corrupt`] if a record is unreadable.
    pub async fn cli_tokens(
        &self,
        organization: &OrganizationId,
        user_id: &Subject,
        cursor: Option<&CliTokenId>,
        limit: i32,
        now_s: i64,
    ) -> Result<Page<CliTokenRecord>, Fault> {
        self.list_in(
            key::listing_of_person::<CliToken>(organization, user_id),
            cursor,
            limit,
            now_s,
        )
        .await
    }

    /// Deletes a user's token.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn delete_cli_token(
        &self,
        user_id: &Subject,
        id: &CliTokenId,
    ) -> Result<Deletion, Fault> {
        let condition = Expected { attribute: "on_behalf_of", value: text(&user_id) };
        self.delete_if(&self.tables.keys, text(id), condition).await
    }
}
