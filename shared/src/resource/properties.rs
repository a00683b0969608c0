//! The properties of credentials, as callers send and see them.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    core::{
        allowed_networks::AllowedNetworks,
        error::{Error, Refusal},
        external_id::ExternalId,
        metadata::Metadata,
        principal::Principal,
    },
    store::properties::{CredentialState, Properties},
};

/// What a caller sees of the properties. Part of views by `#[serde(flatten)]`.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct ShownProperties {
    /// What another system calls its owner.
    pub external_id: Option<ExternalId>,
    /// What its organization stores about it.
    #[cfg_attr(feature = "openapi", schemars(with = "Metadata"))]
    pub metadata: Map<String, Value>,
    /// Whether it is disabled: it cannot be used until it is enabled again.
    pub disabled: bool,
    /// The networks that it can be used from; null for all.
    pub allowed_networks: Option<AllowedNetworks>,
}

impl From<Properties> for ShownProperties {
    fn from(properties: Properties) -> Self {
        Self {
            external_id: properties.external_id,
            metadata: properties.metadata.members().clone(),
            disabled: properties.state.into(),
            allowed_networks: properties.allowed_networks,
        }
    }
}

/// The properties that a caller requests for a new credential.
#[derive(Debug)]
pub(super) struct NewProperties {
    pub(super) external_id: Option<String>,
    pub(super) metadata: Option<Map<String, Value>>,
    pub(super) allowed_networks: Option<Vec<String>>,
}

impl NewProperties {
    /// Parses them.
    ///
    /// # Errors
    /// [`Refusal::ExternalIdMalformed`], [`Refusal::MetadataMalformed`],
    /// [`Refusal::NetworksMalformed`].
    pub(super) fn parse(self) -> Result<Properties, Error> {
        let networks = self.allowed_networks.as_deref().map(AllowedNetworks::parse);
        Ok(Properties {
            external_id: self.external_id.map(ExternalId::try_from).transpose()?,
            metadata: self.metadata.map(Metadata::try_from).transpose()?.unwrap_or_default(),
            state: CredentialState::Enabled,
            allowed_networks: networks.transpose()?,
        })
    }
}

/// Returns the properties of a credential that `creator` creates, with the networks that it
/// inherits.
///
/// # Errors
/// [`Refusal::NetworkEscalation`]
pub(super) fn inherit(properties: Properties, creator: &Principal) -> Result<Properties, Refusal> {
    let allowed_networks = creator.delegated_networks(properties.allowed_networks)?;
    Ok(Properties { allowed_networks, ..properties })
}
