//! What is stored about a user, whoever authenticates them. Every use of a user's sessions, tokens
//! and keys reads this record, so that one write ends them all.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, Update};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    RecordUpdate, Store, batch,
    client::{fault, unexpected},
    conditional::{Conditional, conditional},
    item::{attribute, from_item, item_of, milliseconds, number, text},
    key,
    organization::OrganizationRecord,
    transaction,
};
use crate::core::{
    email::Email, epoch::Epoch, error::Fault, event::Event, id::OrganizationId, principal::Role,
    scope_limit::ScopeLimit, subject::Subject,
};

/// A user: the organization that the user owns or belongs to (the first one, if the user owns
/// several), and whether the user is still allowed in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MembershipRecord {
    /// The partition key. See [`key::membership`].
    pub pk: String,
    /// The user.
    pub user_id: Subject,
    /// The organization.
    pub org_id: OrganizationId,
    /// The role of a user whom an organization enrolled, or whom the local program signed in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Whether `signup_scopes` limits every use.
    #[serde(rename = "by_signup", default, skip_serializing_if = "ScopeLimit::is_unlimited")]
    pub scope_limit: ScopeLimit,
    /// What the last sign-in reported.
    #[serde(flatten)]
    pub profile: UserProfile,
    /// The current epoch.
    #[serde(default, skip_serializing_if = "Epoch::is_first")]
    pub epoch: Epoch,
    /// The epoch that began when the user's password was set.
    #[serde(default, skip_serializing_if = "Epoch::is_first")]
    pub password_epoch: Epoch,
    /// Since when the user is disabled, and by whom.
    #[serde(flatten, with = "disabled")]
    pub disabled: Option<Disabled>,
}

/// Since when a user is disabled, and by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disabled {
    /// When the user was disabled.
    pub at: Timestamp,
    /// Who disabled the user.
    pub by: Authority,
}

/// Who disables and enables users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authority {
    /// An administrator of the user's organization.
    Organization,
    /// The operator of the deployment, whose decision no organization can undo.
    Operator,
}

/// Reads and writes [`Disabled`] as two members of the item.
mod disabled {
    use jiff::{Timestamp, fmt::serde::timestamp::millisecond};
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    use super::{Authority, Disabled};

    #[derive(Serialize, Deserialize)]
    struct StoredMembers {
        #[serde(
            rename = "disabled_at_ms",
            default,
            skip_serializing_if = "Option::is_none",
            with = "millisecond::optional"
        )]
        at: Option<Timestamp>,
        #[serde(
            rename = "disabled_by_operator",
            default,
            skip_serializing_if = "std::ops::Not::not"
        )]
        by_operator: bool,
    }

    pub(super) fn serialize<S: Serializer>(
        disabled: &Option<Disabled>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let by_operator = disabled.is_some_and(|disabled| disabled.by == Authority::Operator);
        StoredMembers { at: disabled.map(|disabled| disabled.at), by_operator }
            .serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Disabled>, D::Error> {
        match StoredMembers::deserialize(deserializer)? {
            StoredMembers { at: None, by_operator: false } => Ok(None),
            StoredMembers { at: None, by_operator: true } => {
                Err(D::Error::missing_field("disabled_at_ms"))
            }
            StoredMembers { at: Some(at), by_operator: false } => {
                Ok(Some(Disabled { at, by: Authority::Organization }))
            }
            StoredMembers { at: Some(at), by_operator: true } => {
                Ok(Some(Disabled { at, by: Authority::Operator }))
            }
        }
    }
}

/// What the last sign-in reported about a user.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UserProfile {
    /// The name of the sign-in in the configuration; `None` for a user with a password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signin: Option<String>,
    /// The email addresses that the identity provider has verified.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verified: Vec<Email>,
    /// A name and an email address, for callers of APIs and for display.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
}

impl MembershipRecord {
    /// Returns the record of a new user.
    pub fn new(user_id: Subject, org_id: OrganizationId, profile: UserProfile) -> Self {
        let pk = key::membership(&user_id);
        Self {
            pk,
            user_id,
            org_id,
            role: None,
            scope_limit: ScopeLimit::Unlimited,
            profile,
            epoch: Epoch::default(),
            password_epoch: Epoch::default(),
            disabled: None,
        }
    }
}

/// A change to a user by those who manage them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserChange {
    /// Ends all credentials.
    SignOut,
    /// Ends all credentials, and refuses new ones.
    Disable(Disabled),
    /// Allows new credentials again, except that an organization cannot enable whom the operator
    /// disabled.
    Enable {
        /// Who enables the user.
        by: Authority,
    },
}

/// The outcome of a change to a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberUpdate {
    /// The user was changed.
    Updated,
    /// The operator disabled the user, whom only the operator can enable.
    DisabledByOperator,
    /// There is no such user.
    Unknown,
}

impl UserChange {
    /// Returns its name in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SignOut => "signed_out",
            Self::Disable(_) => "disabled",
            Self::Enable { .. } => "enabled",
        }
    }

    /// Returns the update, what it requires besides the organization, and their values.
    fn expression(
        self,
    ) -> (&'static str, Option<&'static str>, Vec<(&'static str, AttributeValue)>) {
        let one = (":one", number(1));
        match self {
            Self::SignOut => ("ADD epoch :one", None, vec![one]),
            Self::Disable(Disabled { at, by: Authority::Organization }) => (
                "SET disabled_at_ms = if_not_exists(disabled_at_ms, :now) ADD epoch :one",
                None,
                vec![(":now", milliseconds(at)), one],
            ),
            Self::Disable(Disabled { at, by: Authority::Operator }) => (
                "SET disabled_at_ms = if_not_exists(disabled_at_ms, :now), \
                 disabled_by_operator = :true ADD epoch :one",
                None,
                vec![(":now", milliseconds(at)), (":true", AttributeValue::Bool(true)), one],
            ),
            Self::Enable { by: Authority::Organization } => (
                "REMOVE disabled_at_ms",
                Some("attribute_not_exists(disabled_by_operator)"),
                Vec::new(),
            ),
            Self::Enable { by: Authority::Operator } => {
                ("REMOVE disabled_at_ms, disabled_by_operator", None, Vec::new())
            }
        }
    }
}

impl Store {
    /// Returns a user, with a consistent read.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer, [`Fault::Corrupt`] if a record is unreadable.
    pub async fn membership(&self, user_id: &Subject) -> Result<Option<MembershipRecord>, Fault> {
        let pk = AttributeValue::S(key::membership(user_id));
        self.keys_item(pk, "read a user's organization").await?.map(from_item).transpose()
    }

    /// Returns those of these users who are stored, for display, in no particular order. There are
    /// at most 100.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer, [`Fault::Corrupt`] if a record is unreadable.
    pub async fn members(&self, users: &[Subject]) -> Result<Vec<MembershipRecord>, Fault> {
        const WHAT: &str = "read users";
        if users.is_empty() {
            return Ok(Vec::new());
        }
        let table = &self.tables.keys;
        let keys = users.iter().map(|user| AttributeValue::S(key::membership(user))).collect();
        let request = HashMap::from([(table.clone(), batch::eventually(keys)?)]);
        let mut found = self.batch(WHAT, request).await?;
        if found.is_incomplete(table) {
            return Err(unexpected(WHAT, "the store left keys unread"));
        }
        found.take(table).into_iter().map(from_item).collect()
    }

    /// Returns a user, and stores `draft` with the organization that it names if the user is new.
    /// Simultaneous callers get the same record.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer, [`Fault::Corrupt`] if a record is unreadable.
    pub async fn get_or_create_member(
        &self,
        organization: &OrganizationRecord,
        draft: MembershipRecord,
    ) -> Result<MembershipRecord, Fault> {
        let created = self
            .client
            .transact_write_items()
            .transact_items(self.put_new(item_of(organization)?)?)
            .transact_items(self.put_new(item_of(&draft)?)?)
            .send()
            .await;
        let Err(error) = created else { return Ok(draft) };
        let is_owned =
            error.as_service_error().is_some_and(|error| error.is_transaction_canceled_exception());
        match self.membership(&draft.user_id).await? {
            Some(member) if is_owned => Ok(member),
            _ => Err(fault("create a personal organization")(error)),
        }
    }

    /// Stores what a sign-in reported about a user, who must exist, and a role that no
    /// configuration gives: one write.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn put_profile(
        &self,
        user_id: &Subject,
        role: Option<Role>,
        profile: &UserProfile,
    ) -> Result<RecordUpdate, Fault> {
        let update = match (role, &profile.signin) {
            (None, None) => "SET metadata = :metadata, verified = :verified REMOVE signin",
            (None, Some(_)) => "SET metadata = :metadata, verified = :verified, signin = :signin",
            (Some(_), None) => {
                "SET metadata = :metadata, verified = :verified, #role = :role REMOVE signin"
            }
            (Some(_), Some(_)) => {
                "SET metadata = :metadata, verified = :verified, #role = :role, signin = :signin"
            }
        };
        let mut request = self
            .client
            .update_item()
            .table_name(&self.tables.keys)
            .key(key::PK, AttributeValue::S(key::membership(user_id)))
            .update_expression(update)
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_values(":metadata", attribute(&profile.metadata)?)
            .expression_attribute_values(":verified", attribute(&profile.verified)?);
        if let Some(role) = role {
            request = request
                .expression_attribute_names("#role", "role")
                .expression_attribute_values(":role", attribute(role)?);
        }
        if let Some(signin) = &profile.signin {
            request = request.expression_attribute_values(":signin", text(signin));
        }
        match conditional(request.send().await, "store what a sign-in reported")? {
            Conditional::Met(_) => Ok(RecordUpdate::Updated),
            Conditional::NotMet(_) => Ok(RecordUpdate::Unknown),
        }
    }

    /// Changes a user of `organization`, and stores the event that reports it. The write also decides
    /// whether the operator has disabled the user.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer, [`Fault::Corrupt`] if a record is unreadable.
    pub async fn change_member(
        &self,
        user_id: &Subject,
        organization: &OrganizationId,
        change: UserChange,
        event: &Event,
    ) -> Result<MemberUpdate, Fault> {
        let (update, requirement, values) = change.expression();
        let of_organization = "org_id = :organization";
        let condition = requirement.map_or_else(
            || of_organization.to_owned(),
            |requirement| format!("{of_organization} AND {requirement}"),
        );
        let mut update = Update::builder()
            .table_name(&self.tables.keys)
            .key(key::PK, AttributeValue::S(key::membership(user_id)))
            .update_expression(update)
            .condition_expression(condition)
            .expression_attribute_values(":organization", text(organization));
        for (name, value) in values {
            update = update.expression_attribute_values(name, value);
        }
        let writes = vec![transaction::update(update)?, self.event_write(event)?];
        match self.transact(writes, "change a user").await? {
            Conditional::Met(()) => Ok(MemberUpdate::Updated),
            Conditional::NotMet(Some(item)) => {
                let member: MembershipRecord = from_item(item)?;
                let is_known = member.org_id == *organization;
                let by_organization = UserChange::Enable { by: Authority::Organization };
                Ok(if is_known && change == by_organization {
                    MemberUpdate::DisabledByOperator
                } else {
                    MemberUpdate::Unknown
                })
            }
            Conditional::NotMet(None) => Ok(MemberUpdate::Unknown),
        }
    }

    /// Returns the write that begins the epoch after `epoch` of a user, with a new password.
    pub(super) fn next_epoch(&self, user_id: &Subject, epoch: Epoch) -> Result<Update, Fault> {
        Update::builder()
            .table_name(&self.tables.keys)
            .key(key::PK, AttributeValue::S(key::membership(user_id)))
            .update_expression("SET epoch = :next, password_epoch = :next")
            .condition_expression(if epoch.is_first() {
                "attribute_exists(pk) AND (attribute_not_exists(epoch) OR epoch = :epoch)"
            } else {
                "epoch = :epoch"
            })
            .expression_attribute_values(":epoch", attribute(epoch)?)
            .expression_attribute_values(":next", attribute(epoch.next())?)
            .build()
            .map_err(|error| Fault::Serialization(error.into()))
    }
}
