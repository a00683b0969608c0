//! Users with a password: created and deleted together with their
//! [login record](super::login::LoginRecord) and their membership.

use aws_sdk_dynamodb::types::{AttributeValue, Delete, TransactWriteItem, Update};
use jiff::{Timestamp, fmt::serde::timestamp::millisecond};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    Record, RecordMeta, Store,
    client::fault,
    conditional::first_unmet,
    item::{attribute, item_of, text},
    key,
    login::LoginRecord,
    membership::{MembershipRecord, UserProfile},
    record::item_of_record,
};
use crate::{
    core::{
        email::Email, epoch::Epoch, error::Fault, event::Event, id::User, principal::Role,
        subject::Subject,
    },
    crypto::{Digest, password::PasswordHash},
};

/// A stored user.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UserRecord {
    /// Id, organization and time of creation.
    #[serde(flatten)]
    pub meta: RecordMeta<User>,
    /// The email address.
    pub email: Email,
    /// Among which users the address is unique.
    #[serde(default, skip_serializing_if = "AddressScope::is_deployment")]
    pub address_scope: AddressScope,
    /// The role.
    pub role: Role,
    /// The user who created this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<Subject>,
    /// The invitation with which the user sets a password.
    #[serde(flatten)]
    pub invitation: Option<StoredInvitation>,
}

/// The stored part of an invitation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredInvitation {
    /// The digest of the whole text.
    pub invitation_digest: Digest,
    /// When it expires.
    #[serde(rename = "invitation_expires_at_ms", with = "millisecond::required")]
    pub invitation_expires_at: Timestamp,
    /// The user's epoch in which it was made, and with which it ends.
    #[serde(default, skip_serializing_if = "Epoch::is_first")]
    pub invitation_epoch: Epoch,
}

/// Among which users an email address is unique.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AddressScope {
    /// The users of all organizations that the operator created.
    #[default]
    Deployment,
    /// The users of one organization, which somebody else created. Its users name it when they log
    /// in.
    Organization,
}

impl AddressScope {
    /// Reports whether it is that of the deployment, which is not stored.
    pub fn is_deployment(&self) -> bool {
        match self {
            Self::Deployment => true,
            Self::Organization => false,
        }
    }
}

impl UserRecord {
    /// Returns the key of the user's login record.
    pub(super) fn login_key(&self) -> String {
        match self.address_scope {
            AddressScope::Deployment => key::email(&self.email),
            AddressScope::Organization => key::email_in(&self.meta.org_id, &self.email),
        }
    }

    pub(super) fn subject(&self) -> Subject {
        Subject::User(self.meta.id)
    }
}

/// The outcome of creating a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateUser {
    /// The user is stored.
    Created,
    /// Another user has this email address.
    AddressTaken,
}

/// The outcome of giving a user another role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleChange {
    /// The user has the new role.
    Changed,
    /// The user was changed or deleted since they were read.
    Conflict,
}

/// The outcome of deleting a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserDeletion {
    /// The user was deleted.
    Deleted,
    /// The operator disabled the user, who is kept.
    DisabledByOperator,
    /// There is no such user.
    Unknown,
}

impl Record for UserRecord {
    type Kind = User;

    fn meta(&self) -> &RecordMeta<User> {
        &self.meta
    }
}

impl Store {
    /// Stores a user, the login record, the membership in the organization, and the event that
    /// reports it: all or nothing.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer or the id exists already.
    pub async fn create_user(
        &self,
        user: &UserRecord,
        password: Option<PasswordHash>,
        metadata: Map<String, Value>,
        event: &Event,
    ) -> Result<CreateUser, Fault> {
        let login = LoginRecord {
            pk: user.login_key(),
            user_id: user.meta.id,
            org_id: Some(user.meta.org_id),
            role: user.role,
            password,
            epoch: Epoch::default(),
        };
        let profile = UserProfile { metadata, ..UserProfile::default() };
        let membership = MembershipRecord {
            role: Some(user.role),
            scope_limit: user.meta.scope_limit,
            ..MembershipRecord::new(user.subject(), user.meta.org_id, profile)
        };
        let created = self
            .client
            .transact_write_items()
            .transact_items(self.put_new(item_of(&login)?)?)
            .transact_items(self.put_new(item_of_record(user)?)?)
            .transact_items(self.put_new(item_of(&membership)?)?)
            .transact_items(self.event_write(event)?)
            .send()
            .await;
        let Err(error) = created else { return Ok(CreateUser::Created) };
        match first_unmet(&error) {
            Some(0) => Ok(CreateUser::AddressTaken),
            _ => Err(fault("create a user")(error)),
        }
    }

    /// Gives a user another role than `user.role`, in the three records that have it: all or
    /// nothing, and only if it is still the one that was read.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn change_role(&self, user: &UserRecord, role: Role) -> Result<RoleChange, Fault> {
        let update = |pk: AttributeValue| {
            Update::builder()
                .table_name(&self.tables.keys)
                .key(key::PK, pk)
                .update_expression("SET #role = :new")
                .condition_expression("#role = :old")
                .expression_attribute_names("#role", "role")
                .expression_attribute_values(":old", attribute(user.role)?)
                .expression_attribute_values(":new", attribute(role)?)
                .build()
                .map(|update| TransactWriteItem::builder().update(update).build())
                .map_err(|error| Fault::Serialization(error.into()))
        };
        let changed = self
            .client
            .transact_write_items()
            .transact_items(update(text(&user.meta.id))?)
            .transact_items(update(AttributeValue::S(user.login_key()))?)
            .transact_items(update(AttributeValue::S(key::membership(&user.subject())))?)
            .send()
            .await;
        match changed {
            Ok(_) => Ok(RoleChange::Changed),
            Err(error) if first_unmet(&error).is_some() => Ok(RoleChange::Conflict),
            Err(error) => Err(fault("change the role of a user")(error)),
        }
    }

    /// Deletes a user with the login record and the membership, unless the operator disabled the
    /// user, and stores the event that reports it. Sessions and tokens end with the membership, which every use of them reads.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn delete_user(
        &self,
        user: &UserRecord,
        event: &Event,
    ) -> Result<UserDeletion, Fault> {
        let delete = |pk: AttributeValue, condition: &str| {
            let delete = Delete::builder().table_name(&self.tables.keys).key(key::PK, pk);
            let delete = delete.condition_expression(condition).build();
            delete
                .map(|delete| TransactWriteItem::builder().delete(delete).build())
                .map_err(|error| Fault::Serialization(error.into()))
        };
        let exists = "attribute_exists(pk)";
        let membership = AttributeValue::S(key::membership(&user.subject()));
        let is_deletable = "attribute_exists(pk) AND attribute_not_exists(disabled_by_operator)";
        let deleted = self
            .client
            .transact_write_items()
            .transact_items(delete(text(&user.meta.id), exists)?)
            .transact_items(delete(AttributeValue::S(user.login_key()), exists)?)
            .transact_items(delete(membership, is_deletable)?)
            .transact_items(self.event_write(event)?)
            .send()
            .await;
        match deleted {
            Ok(_) => Ok(UserDeletion::Deleted),
            Err(error) => match first_unmet(&error) {
                // The three exist together.
                Some(2) => Ok(UserDeletion::DisabledByOperator),
                Some(_) => Ok(UserDeletion::Unknown),
                None => Err(fault("delete a user")(error)),
            },
        }
    }
}
