//! Refresh-token families: one item each.

use aws_sdk_dynamodb::types::Update;
use jiff::{
    SignedDuration, Timestamp,
    fmt::serde::timestamp::{millisecond, second},
};
use serde::{Deserialize, Serialize};

use super::{
    Deletion, Store,
    client::fault,
    conditional::{AttributeEquals, Conditional, conditional},
    item::{from_item, item_of, milliseconds, seconds, text},
    key,
    token_owner::TokenOwner,
    transaction,
};
use crate::{
    core::{
        audience::Audience,
        client_kind::ClientKind,
        clock::{LEEWAY, after},
        epoch::Epoch,
        error::Fault,
        event::Event,
        id::{
            self, AccessTokenId, AttemptId, ClientId, ConsentId, Family, FamilyId, OrganizationId,
        },
        scope::Scopes,
        subject::Subject,
    },
    crypto::{mac::MacKeyId, thumbprint::KeyThumbprint},
};

/// A stored family. It contains no secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FamilyRecord {
    /// The id.
    #[serde(rename = "pk")]
    pub id: FamilyId,
    /// The generation of the token that is accepted next.
    pub generation: u64,
    /// The MAC key of that token. A family that was last rotated by an earlier version has none:
    /// its tokens keep their key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kid: Option<MacKeyId>,
    /// The MAC key of the token before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kid_before: Option<MacKeyId>,
    /// When the family was last rotated.
    #[serde(rename = "rotated_at_ms", with = "millisecond::required")]
    pub rotated_at: Timestamp,
    /// The network address that it was last rotated from, or created for.
    pub rotated_from: String,
    /// The network address from which it was used before the last rotation: who rotates a family
    /// from a new address may be a thief.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_from: Option<String>,
    /// The [`RotationRequest::attempt`](super::rotation::RotationRequest) that rotated it.
    pub attempt: AttemptId,
    /// The client: an agent, or a tool of a user.
    pub client_id: ClientId,
    /// The user, if the client is a tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<Subject>,
    /// The partition that lists the user's families.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listing: Option<String>,
    /// The organization.
    pub org_id: OrganizationId,
    /// The API that its tokens are for.
    #[serde(rename = "resource", default, skip_serializing_if = "Audience::is_issuer")]
    pub audience: Audience,
    /// The key that its tokens are bound to, if they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jkt: Option<KeyThumbprint>,
    /// The granted scopes.
    pub scopes: Scopes,
    /// The owner's epoch at the time of the grant: that of an
    /// [agent](super::service_account::ServiceAccountRecord::epoch) or of a
    /// [user](super::membership::MembershipRecord::epoch).
    #[serde(default, skip_serializing_if = "Epoch::is_first")]
    pub epoch: Epoch,
    /// The consent that it is based on, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consent: Option<ConsentId>,
    /// Whether the client must authenticate whenever it refreshes (RFC 6749 §6).
    #[serde(rename = "confidential", default, skip_serializing_if = "std::ops::Not::not")]
    pub is_confidential: bool,
    /// When the family expires unless it is rotated.
    #[serde(rename = "idle_expires_at_ms", with = "millisecond::required")]
    pub idle_expires_at: Timestamp,
    /// When the family expires in any case.
    #[serde(rename = "absolute_expires_at_ms", with = "millisecond::required")]
    pub absolute_expires_at: Timestamp,
    /// When the family was revoked.
    #[serde(
        rename = "revoked_at_ms",
        default,
        skip_serializing_if = "Option::is_none",
        with = "millisecond::optional"
    )]
    pub revoked_at: Option<Timestamp>,
    /// DynamoDB's time to live. After the absolute expiry, so that late reuse is still recognized
    /// as reuse.
    #[serde(with = "second::required")]
    pub expires_at: Timestamp,
}

impl FamilyRecord {
    /// Returns when the family was granted, which its id contains.
    pub fn created_at(&self) -> Timestamp {
        id::created_at(&self.id)
    }

    /// Reports whether the MAC key of a token of this family is not the one that we used for this
    /// generation. Somebody has that key.
    pub fn has_other_key(&self, generation: u64, kid: &MacKeyId) -> bool {
        let used = match self.generation.checked_sub(generation) {
            Some(0) => self.kid.as_ref(),
            Some(1) => self.kid_before.as_ref(),
            Some(_) | None => None,
        };
        used.is_some_and(|used| used != kid)
    }

    /// Returns the agent or user that the family was granted to.
    ///
    /// # Errors
    /// [`Fault::Corrupt`] if the record names neither.
    pub fn owner(&self) -> Result<TokenOwner, Fault> {
        match &self.user_id {
            Some(user_id) => {
                Ok(TokenOwner::User { user_id: user_id.clone(), client_id: self.client_id.clone() })
            }
            None => match self.client_id.kind() {
                ClientKind::Agent(id) => Ok(TokenOwner::Agent(id)),
                ClientKind::InvalidUrl
                | ClientKind::Listed
                | ClientKind::Registered(_)
                | ClientKind::Url(_) => {
                    Err(Fault::Corrupt("a family of neither an agent nor a user".into()))
                }
            },
        }
    }

    /// Returns when the item of a family with this absolute expiry can be deleted.
    pub fn item_expires_at(absolute_expires_at: Timestamp) -> Timestamp {
        after(absolute_expires_at, LEEWAY + SignedDuration::from_secs(1))
    }

    /// Reports whether the family is neither revoked nor expired.
    pub fn is_alive(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && now < self.idle_expires_at && now < self.absolute_expires_at
    }
}

impl Store {
    /// Stores a new family.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer or the id exists already.
    pub async fn create_family(&self, family: &FamilyRecord) -> Result<(), Fault> {
        let is_ours = |stored| Ok(from_item::<FamilyRecord>(stored)?.attempt == family.attempt);
        self.insert(&self.tables.families, item_of(family)?, "create a family", is_ours).await
    }

    /// Returns a family, with a consistent read.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer, [`Fault::Corrupt`] if a record is unreadable.
    pub async fn family(&self, id: &FamilyId) -> Result<Option<FamilyRecord>, Fault> {
        const WHAT: &str = "read a family";
        let request =
            self.client.get_item().table_name(&self.tables.families).key(key::PK, text(id));
        let answer = request.consistent_read(true).send().await.map_err(fault(WHAT))?;
        answer.item.map(from_item).transpose()
    }

    /// Revokes a family, and with it its access tokens: one write. Does nothing if the family does
    /// not exist.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn revoke_family(&self, family: &FamilyId, now: Timestamp) -> Result<(), Fault> {
        let condition = AttributeEquals { attribute: key::PK, value: text(family) };
        self.revoke_family_if(family, now, condition).await.map(drop)
    }

    /// Revokes a family that is not revoked yet, and stores the event that reports why.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn revoke_family_because(
        &self,
        family: &FamilyId,
        event: &Event,
        now: Timestamp,
    ) -> Result<Deletion, Fault> {
        let revocation = Update::builder()
            .table_name(&self.tables.families)
            .key(key::PK, text(family))
            .update_expression("SET revoked_at_ms = :now")
            .condition_expression("attribute_exists(pk) AND attribute_not_exists(revoked_at_ms)")
            .expression_attribute_values(":now", milliseconds(now));
        let writes = vec![transaction::update(revocation)?, self.event_write(event)?];
        match self.transact(writes, "revoke a family").await? {
            Conditional::Met(()) => Ok(Deletion::Deleted),
            Conditional::NotMet(_) => Ok(Deletion::Unknown),
        }
    }

    async fn revoke_family_if(
        &self,
        family: &FamilyId,
        now: Timestamp,
        condition: AttributeEquals,
    ) -> Result<Deletion, Fault> {
        let outcome = self
            .client
            .update_item()
            .table_name(&self.tables.families)
            .key(key::PK, text(family))
            .update_expression("SET revoked_at_ms = if_not_exists(revoked_at_ms, :now)")
            .condition_expression(condition.expression())
            .expression_attribute_values(AttributeEquals::PLACEHOLDER, condition.value)
            .expression_attribute_values(":now", milliseconds(now))
            .send()
            .await;
        match conditional(outcome, "revoke a family")? {
            Conditional::Met(_) => Ok(Deletion::Deleted),
            Conditional::NotMet(_) => Ok(Deletion::Unknown),
        }
    }

    /// Returns a user's families, newest first.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer, [`Fault::Corrupt`] if a record is unreadable.
    pub async fn families_of(
        &self,
        user_id: &Subject,
        now: Timestamp,
    ) -> Result<Vec<FamilyRecord>, Fault> {
        let is_alive = |family: &FamilyRecord| {
            family.user_id.as_ref() == Some(user_id) && family.is_alive(now)
        };
        self.list_owned(key::listing_of_user::<Family>(user_id), is_alive).await
    }

    /// Returns the families that a client of a user has for an API without a consent, newest first.
    ///
    /// # Errors
    /// As [`Self::families_of`].
    pub async fn families_without_consent(
        &self,
        user_id: &Subject,
        client_id: &ClientId,
        audience: &Audience,
        now: Timestamp,
    ) -> Result<Vec<FamilyRecord>, Fault> {
        let is_of_client = |family: &FamilyRecord| {
            family.user_id.as_ref() == Some(user_id)
                && family.client_id == *client_id
                && family.audience == *audience
                && family.consent.is_none()
                && family.is_alive(now)
        };
        self.list_owned(key::listing_of_user::<Family>(user_id), is_of_client).await
    }

    /// Revokes a family of a user: one write.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn revoke_family_of(
        &self,
        user_id: &Subject,
        family: &FamilyId,
        now: Timestamp,
    ) -> Result<Deletion, Fault> {
        let condition = AttributeEquals { attribute: "user_id", value: text(&user_id) };
        self.revoke_family_if(family, now, condition).await
    }

    /// Revokes an access token without a family: one write, kept until the token expires.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn revoke_access_token(
        &self,
        token: &AccessTokenId,
        expires_at: Timestamp,
    ) -> Result<(), Fault> {
        self.client
            .put_item()
            .table_name(&self.tables.families)
            .item(key::PK, text(token))
            .item(key::TTL, seconds(FamilyRecord::item_expires_at(expires_at)))
            .send()
            .await
            .map_err(fault("revoke an access token"))?;
        Ok(())
    }
}
