//! Passwords of users: the login record, which is found by email address, and invitations to set a
//! password.

use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem, Update, builders::UpdateBuilder};
use serde::{Deserialize, Serialize};

use super::{
    Deletion, RecordUpdate, Store,
    client::fault,
    conditional::{Conditional, conditional, first_unmet},
    item::{attribute, from_item, hex, milliseconds, text},
    key,
    user::{StoredInvitation, UserRecord},
};
use crate::{
    core::{
        email::Email,
        epoch::Epoch,
        error::Fault,
        id::{OrganizationId, UserId},
        principal::Role,
    },
    credential::ParsedInvitation,
    crypto::{Digest, password::PasswordHash},
};

/// Removes the invitation from the record of a user.
const REMOVE_INVITATION: &str =
    "REMOVE invitation_digest, invitation_expires_at_ms, invitation_epoch";

/// The record that verifies the password of a user.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LoginRecord {
    /// The partition key. See [`key::email`] and [`key::email_in`].
    pub pk: String,
    /// The user.
    pub user_id: UserId,
    /// The user's organization.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org_id: Option<OrganizationId>,
    /// The user's role.
    pub role: Role,
    /// The hash of the password; `None` until an invited user sets one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<PasswordHash>,
    /// The epoch that began when this password was set.
    #[serde(default, skip_serializing_if = "Epoch::is_first")]
    pub epoch: Epoch,
}

/// The outcome of setting a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetPassword {
    /// The password is set, and all credentials of the user have ended.
    Set,
    /// The user was changed or deleted since they were read.
    Changed,
}

impl Store {
    /// Returns the login record of an email address: among the users of `organization`, or else of
    /// all organizations that the operator created. Consistent reads.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer, [`Fault::Corrupt`] if a record is unreadable.
    pub async fn login_record(
        &self,
        email: &Email,
        organization: Option<&OrganizationId>,
    ) -> Result<Option<LoginRecord>, Fault> {
        let Some(organization) = organization else {
            return self.login_item(key::email(email)).await;
        };
        // Both are always read, so that the time does not tell which of them exists.
        let (of_organization, of_deployment) = tokio::join!(
            Box::pin(self.login_item(key::email_in(organization, email))),
            Box::pin(self.login_item(key::email(email)))
        );
        let is_theirs = |record: &LoginRecord| record.org_id.as_ref() == Some(organization);
        Ok(of_organization?.or(of_deployment?.filter(is_theirs)))
    }

    async fn login_item(&self, pk: String) -> Result<Option<LoginRecord>, Fault> {
        let item = self.keys_item(AttributeValue::S(pk), "read a login record").await?;
        item.map(from_item).transpose()
    }

    /// Returns the login record of a user, with a consistent read.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer, [`Fault::Corrupt`] if a record is unreadable.
    pub async fn login_of(&self, user: &UserRecord) -> Result<Option<LoginRecord>, Fault> {
        let record = self.login_item(user.login_key()).await?;
        Ok(record.filter(|record| record.user_id == user.meta.id))
    }

    /// Stores an invitation in place of an earlier one.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn put_invitation(
        &self,
        user: &UserId,
        invitation: &StoredInvitation,
    ) -> Result<RecordUpdate, Fault> {
        let outcome = self
            .client
            .update_item()
            .table_name(&self.tables.keys)
            .key(key::PK, text(user))
            .update_expression(
                "SET invitation_digest = :new, invitation_expires_at_ms = :end, \
                 invitation_epoch = :epoch",
            )
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_values(":new", hex(&invitation.invitation_digest))
            .expression_attribute_values(":end", milliseconds(invitation.invitation_expires_at))
            .expression_attribute_values(":epoch", attribute(invitation.invitation_epoch)?)
            .send()
            .await;
        match conditional(outcome, "store an invitation")? {
            Conditional::Met(_) => Ok(RecordUpdate::Updated),
            Conditional::NotMet(_) => Ok(RecordUpdate::Unknown),
        }
    }

    /// Deletes the presented invitation: one write.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn delete_invitation(
        &self,
        invitation: &ParsedInvitation,
    ) -> Result<Deletion, Fault> {
        let outcome = self
            .client
            .update_item()
            .table_name(&self.tables.keys)
            .key(key::PK, text(&invitation.id))
            .update_expression(REMOVE_INVITATION)
            .condition_expression("invitation_digest = :presented")
            .expression_attribute_values(":presented", hex(&invitation.digest))
            .send()
            .await;
        match conditional(outcome, "delete an invitation")? {
            Conditional::Met(_) => Ok(Deletion::Deleted),
            Conditional::NotMet(_) => Ok(Deletion::Unknown),
        }
    }

    /// Sets the password of an invited user, consumes the invitation and ends the user's
    /// credentials: all or nothing.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn accept_invitation(
        &self,
        user: &UserRecord,
        invitation: &Digest,
        password: PasswordHash,
        epoch: Epoch,
    ) -> Result<SetPassword, Fault> {
        let consume = Update::builder()
            .table_name(&self.tables.keys)
            .key(key::PK, text(&user.meta.id))
            .update_expression(REMOVE_INVITATION)
            .condition_expression("invitation_digest = :presented")
            .expression_attribute_values(":presented", hex(invitation))
            .build();
        let set = self
            .set_password(user, password, epoch.next())?
            .condition_expression("user_id = :user")
            .expression_attribute_values(":user", text(&user.meta.id))
            .build();
        self.update_together([
            consume.map_err(|error| Fault::Serialization(error.into()))?,
            set.map_err(|error| Fault::Serialization(error.into()))?,
            self.next_epoch(&user.subject(), epoch)?,
        ])
        .await
    }

    /// Replaces the password `old` of a user, ends the user's credentials and their invitation: all
    /// or nothing.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn replace_password(
        &self,
        user: &UserRecord,
        old: &PasswordHash,
        new: PasswordHash,
        epoch: Epoch,
    ) -> Result<SetPassword, Fault> {
        let withdraw = Update::builder()
            .table_name(&self.tables.keys)
            .key(key::PK, text(&user.meta.id))
            .update_expression(REMOVE_INVITATION)
            .condition_expression("attribute_exists(pk)")
            .build();
        let set = self
            .set_password(user, new, epoch.next())?
            .condition_expression("user_id = :user AND password = :old")
            .expression_attribute_values(":user", text(&user.meta.id))
            .expression_attribute_values(":old", attribute(old)?)
            .build();
        self.update_together([
            withdraw.map_err(|error| Fault::Serialization(error.into()))?,
            set.map_err(|error| Fault::Serialization(error.into()))?,
            self.next_epoch(&user.subject(), epoch)?,
        ])
        .await
    }

    fn set_password(
        &self,
        user: &UserRecord,
        password: PasswordHash,
        epoch: Epoch,
    ) -> Result<UpdateBuilder, Fault> {
        Ok(Update::builder()
            .table_name(&self.tables.keys)
            .key(key::PK, AttributeValue::S(user.login_key()))
            .update_expression("SET password = :new, epoch = :epoch")
            .expression_attribute_values(":new", attribute(password)?)
            .expression_attribute_values(":epoch", attribute(epoch)?))
    }

    async fn update_together(&self, updates: [Update; 3]) -> Result<SetPassword, Fault> {
        let writes = updates.map(|update| TransactWriteItem::builder().update(update).build());
        let request = self.client.transact_write_items().set_transact_items(Some(writes.into()));
        match request.send().await {
            Ok(_) => Ok(SetPassword::Set),
            Err(error) if first_unmet(&error).is_some() => Ok(SetPassword::Changed),
            Err(error) => Err(fault("set a password")(error)),
        }
    }
}
