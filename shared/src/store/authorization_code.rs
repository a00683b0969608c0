//! One-time codes of the loopback flow. Redeemed codes are kept for a while so that replays can be
//! detected.

use aws_sdk_dynamodb::types::{AttributeValue, Update};
use jiff::{
    Timestamp,
    fmt::serde::timestamp::{millisecond, second},
};
use serde::{Deserialize, Serialize};

use super::{
    Store,
    client::fault,
    consent::ConsentRecord,
    family::FamilyRecord,
    item::{from_item, item_of, milliseconds, text},
    key,
    redemption::Redemption,
};
use crate::{
    core::{
        audience::Audience,
        epoch::Epoch,
        error::Fault,
        id::{AuthorizationCodeId, ClientId, ConsentId, FamilyId},
        scope::Scopes,
        subject::Subject,
    },
    credential::ParsedAuthorizationCode,
    crypto::{Digest, thumbprint::KeyThumbprint},
};

/// A stored authorization code.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AuthorizationCodeRecord {
    /// The id, which is part of the code.
    #[serde(rename = "pk")]
    pub id: AuthorizationCodeId,
    /// The digest of the code.
    pub digest: Digest,
    /// The client that the code was issued to.
    pub client_id: ClientId,
    /// The redirect URI that the code was sent to.
    pub redirect_uri: String,
    /// Whether the authorization request left the redirect URI out.
    #[serde(rename = "redirect_uri_implied", default, skip_serializing_if = "std::ops::Not::not")]
    pub is_redirect_uri_implied: bool,
    /// The PKCE challenge, by S256.
    pub challenge: Digest,
    /// The key that the code is bound to, if the client named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jkt: Option<KeyThumbprint>,
    /// The user who signed in.
    pub user_id: Subject,
    /// The API that its tokens are for.
    #[serde(rename = "resource", default, skip_serializing_if = "Audience::is_issuer")]
    pub audience: Audience,
    /// The granted scopes.
    pub scopes: Scopes,
    /// The consent that it was issued for, unless the client is a tool that the user signed in to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consent: Option<ConsentId>,
    /// Whether the client must authenticate to redeem it (RFC 6749 §4.1.3).
    #[serde(rename = "confidential", default, skip_serializing_if = "std::ops::Not::not")]
    pub is_confidential: bool,
    /// The epoch of the user at that time: a code ends with everything else that the user had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    /// When the code expires.
    #[serde(rename = "valid_until_ms", with = "millisecond::required")]
    pub valid_until: Timestamp,
    /// The family that the code was redeemed for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<FamilyId>,
    /// DynamoDB's time to live. Long enough to detect replays.
    #[serde(with = "second::required")]
    pub expires_at: Timestamp,
}

impl Store {
    /// Stores a new code.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer or the id exists already.
    pub async fn put_code(&self, record: &AuthorizationCodeRecord) -> Result<(), Fault> {
        let is_ours = |stored| {
            Ok(from_item::<AuthorizationCodeRecord>(stored)?.digest.matches(&record.digest))
        };
        self.insert(&self.tables.nonces, item_of(record)?, "put an authorization code", is_ours)
            .await
    }

    /// Returns the code that was presented, with a consistent read.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer, [`Fault::Corrupt`] if a record is unreadable.
    pub async fn code(
        &self,
        presented: &ParsedAuthorizationCode,
    ) -> Result<Option<AuthorizationCodeRecord>, Fault> {
        let item = self.nonces_item(text(&presented.id), "read an authorization code").await?;
        let record = item.map(from_item::<AuthorizationCodeRecord>).transpose()?;
        Ok(record.filter(|record| record.digest.matches(&presented.digest)))
    }

    /// Redeems a code for `family`, once, if the consent has not ended: one transaction of two or
    /// three writes.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn redeem_code(
        &self,
        code: &AuthorizationCodeRecord,
        family: &FamilyRecord,
        now: Timestamp,
    ) -> Result<Redemption, Fault> {
        let consent = match &code.consent {
            None => None,
            Some(consent) => {
                let pk = ConsentRecord::key(&code.user_id, &code.client_id, &code.audience);
                Some(self.add_family_to(&pk, consent, &family.id)?)
            }
        };
        let redeem = Update::builder()
            .key(key::PK, text(&code.id))
            .update_expression("SET #family = :family")
            .condition_expression(
                "attribute_exists(pk) AND attribute_not_exists(#family) AND valid_until_ms > :now",
            )
            .expression_attribute_values(":now", milliseconds(now));
        self.redeem_for(redeem, family, consent, "redeem an authorization code").await
    }

    /// Reads an item of `Nonces` consistently.
    pub(super) async fn nonces_item(
        &self,
        pk: AttributeValue,
        what: &'static str,
    ) -> Result<Option<super::item::Item>, Fault> {
        let request = self
            .client
            .get_item()
            .table_name(&self.tables.nonces)
            .key(key::PK, pk)
            .consistent_read(true);
        Ok(request.send().await.map_err(fault(what))?.item)
    }
}
