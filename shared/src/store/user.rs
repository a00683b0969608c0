//! Users with a password: the user, which is listed, and the login record, which is found by email
//! address.

use aws_sdk_dynamodb::types::{AttributeValue, Delete, TransactWriteItem};
use serde::{Deserialize, Serialize};

use super::{
    Deletion, Record, RecordMeta, Store,
    client::fault,
    conditional::first_unmet,
    item::{from_item, item_of, text},
    key,
    organization::MembershipRecord,
    record::item_of_record,
};
use crate::{
    core::{
        email::Email,
        error::Fault,
        id::{User, UserId},
        principal::Role,
        subject::Subject,
    },
    crypto::password::PasswordHash,
};

/// A stored user.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UserRecord {
    /// Id, organization and time of creation.
    #[serde(flatten)]
    pub meta: RecordMeta<User>,
    /// The email address.
    pub email: Email,
    /// The role.
    pub role: Role,
    /// The user who created this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<Subject>,
}

/// The record that verifies the password of a user.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LoginRecord {
    /// The partition key. See [`key::email`].
    pub pk: String,
    /// The user.
    pub user_id: UserId,
    /// The user's role.
    pub role: Role,
    /// The hash of the password.
    pub password: PasswordHash,
}

/// The outcome of creating a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateUser {
    /// The user is stored.
    Created,
    /// Another user has this email address.
    AddressTaken,
}

impl Record for UserRecord {
    type Kind = User;

    fn meta(&self) -> &RecordMeta<User> {
        &self.meta
    }
}

impl Store {
    /// Stores a user, the login record and the membership in the organization: all or nothing.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer or the id exists already.
    pub async fn create_user(
        &self,
        user: &UserRecord,
        password: PasswordHash,
    ) -> Result<CreateUser, Fault> {
        let login = LoginRecord {
            pk: key::email(&user.email),
            user_id: user.meta.id,
            role: user.role,
            password,
        };
        let user_id = Subject::User(user.meta.id);
        let membership =
            MembershipRecord { pk: key::membership(&user_id), user_id, org_id: user.meta.org_id };
        let created = self
            .client
            .transact_write_items()
            .transact_items(self.put_new(item_of(&login)?)?)
            .transact_items(self.put_new(item_of_record(user)?)?)
            .transact_items(self.put_new(item_of(&membership)?)?)
            .send()
            .await;
        let Err(error) = created else { return Ok(CreateUser::Created) };
        match first_unmet(&error) {
            Some(0) => Ok(CreateUser::AddressTaken),
            _ => Err(fault("create a user")(error)),
        }
    }

    /// Returns the login record of an email address, with a consistent read.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer, [`Fault::Corrupt`] if a record is unreadable.
    pub async fn login_record(&self, email: &Email) -> Result<Option<LoginRecord>, Fault> {
        let item =
            self.keys_item(AttributeValue::S(key::email(email)), "read a login record").await?;
        item.map(from_item).transpose()
    }

    /// Deletes a user with the login record and the membership. Sessions and tokens end with the
    /// membership, which every use of them reads.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn delete_user(&self, user: &UserRecord) -> Result<Deletion, Fault> {
        let delete = |pk: AttributeValue, condition: &str| {
            let delete = Delete::builder().table_name(&self.tables.keys).key(key::PK, pk);
            let delete = delete.condition_expression(condition).build();
            delete
                .map(|delete| TransactWriteItem::builder().delete(delete).build())
                .map_err(|error| Fault::Serialization(error.into()))
        };
        let deleted = self
            .client
            .transact_write_items()
            .transact_items(delete(text(&user.meta.id), "attribute_exists(pk)")?)
            .transact_items(delete(
                AttributeValue::S(key::email(&user.email)),
                "attribute_exists(pk)",
            )?)
            .transact_items(delete(
                AttributeValue::S(key::membership(&Subject::User(user.meta.id))),
                "attribute_exists(pk)",
            )?)
            .send()
            .await;
        match deleted {
            Ok(_) => Ok(Deletion::Deleted),
            Err(error) if first_unmet(&error).is_some() => Ok(Deletion::Unknown),
            Err(error) => Err(fault("delete a user")(error)),
        }
    }
}
