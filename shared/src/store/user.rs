//! People with a password: the user that is listed, and what the user signs in with, found by the address.

use aws_sdk_dynamodb::types::{AttributeValue, Delete, TransactWriteItem};
use serde::{Deserialize, Serialize};

use super::{
    Deletion, Record, Store,
    client::{fault, unmet},
    key,
    organization::OwnerRecord,
    record::{item_of, item_of_record, read, text},
};
use crate::{
    core::{
        email::Email,
        error::Fault,
        id::{OrganizationId, User, UserId},
        principal::Role,
        subject::Subject,
    },
    crypto::password::PasswordHash,
};

/// A stored user.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UserRecord {
    #[serde(rename = "pk")]
    pub id: UserId,
    /// Where the user works.
    pub org_id: OrganizationId,
    pub email: Email,
    pub role: Role,
    pub created_at_ms: i64,
    /// The user on whose behalf it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<Subject>,
}

/// What a user signs in with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LoginRecord {
    pub pk: String,
    pub user_id: UserId,
    pub role: Role,
    pub password: PasswordHash,
}

/// What became of a new user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enrolment {
    Enrolled,
    /// Somebody has this address.
    AddressTaken,
}

impl Record for UserRecord {
    type Kind = User;

    fn id(&self) -> UserId {
        self.id
    }

    fn org_id(&self) -> OrganizationId {
        self.org_id
    }
}

impl Store {
    /// Stores a user, what they sign in with, and where they work: all or nothing.
    ///
    /// # Errors
    /// A store that does not answer, or an id that was there before.
    pub async fn enrol(
        &self,
        user: &UserRecord,
        password: PasswordHash,
    ) -> Result<Enrolment, Fault> {
        let login = LoginRecord {
            pk: key::email(&user.email),
            user_id: user.id,
            role: user.role,
            password,
        };
        let user_id = Subject::User(user.id);
        let home = OwnerRecord { pk: key::owner(&user_id), user_id, org_id: user.org_id };
        let enrolled = self
            .client
            .transact_write_items()
            .transact_items(self.put_new(item_of(&login)?)?)
            .transact_items(self.put_new(item_of_record(user)?)?)
            .transact_items(self.put_new(item_of(&home)?)?)
            .send()
            .await;
        let Err(error) = enrolled else { return Ok(Enrolment::Enrolled) };
        match unmet(&error) {
            Some(0) => Ok(Enrolment::AddressTaken),
            _ => Err(fault("enrol a user")(error)),
        }
    }

    /// What the user with this address signs in with; read consistently.
    ///
    /// # Errors
    /// A store that does not answer, or a record that cannot be read.
    pub async fn login(&self, email: &Email) -> Result<Option<LoginRecord>, Fault> {
        let item = self
            .item(AttributeValue::S(key::email(email)), "read what a user signs in with")
            .await?;
        item.map(read).transpose()
    }

    /// Deletes a user, and all that they could sign in with: their sessions and tokens end with the record of where they work,
    /// which every use of them reads.
    ///
    /// # Errors
    /// A store that does not answer.
    pub async fn dismiss(&self, user: &UserRecord) -> Result<Deletion, Fault> {
        let delete = |pk: AttributeValue, condition: &str| {
            let delete = Delete::builder().table_name(&self.tables.keys).key(key::PK, pk);
            let delete = delete.condition_expression(condition).build();
            delete
                .map(|delete| TransactWriteItem::builder().delete(delete).build())
                .map_err(|error| Fault::Corrupt(error.to_string()))
        };
        let dismissed = self
            .client
            .transact_write_items()
            .transact_items(delete(text(&user.id), "attribute_exists(pk)")?)
            .transact_items(delete(
                AttributeValue::S(key::email(&user.email)),
                "attribute_exists(pk)",
            )?)
            .transact_items(delete(
                AttributeValue::S(key::owner(&Subject::User(user.id))),
                "attribute_exists(pk)",
            )?)
            .send()
            .await;
        match dismissed {
            Ok(_) => Ok(Deletion::Deleted),
            Err(error) if unmet(&error).is_some() => Ok(Deletion::Unknown),
            Err(error) => Err(fault("dismiss a user")(error)),
        }
    }
}
