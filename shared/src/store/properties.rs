//! What can be changed about a credential without a new secret.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Record;
use crate::core::{
    allowed_networks::AllowedNetworks, external_id::ExternalId, metadata::Metadata, scope::Scopes,
};

/// The properties that every credential of an organization has, besides its name. Part of its
/// record by `#[serde(flatten)]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Properties {
    /// What another system calls its owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<ExternalId>,
    /// What its organization stores about it.
    #[serde(default, skip_serializing_if = "Metadata::is_empty")]
    pub metadata: Metadata,
    /// Whether it can be used.
    #[serde(rename = "disabled", default, skip_serializing_if = "CredentialState::is_enabled")]
    pub state: CredentialState,
    /// The networks that it can be used from, if not from all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_networks: Option<AllowedNetworks>,
}

impl Properties {
    /// Returns what a principal shows of a record with this name.
    pub fn of_principal(self, name: String) -> Map<String, Value> {
        let external_id = self.external_id.as_ref().map(ExternalId::as_str);
        self.metadata.of_principal(name, external_id)
    }
}

/// Whether a credential can be used. Stored records say so as a flag, `disabled`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "bool", into = "bool")]
pub enum CredentialState {
    /// It can be used.
    #[default]
    Enabled,
    /// It cannot be used until it is enabled again.
    Disabled,
}

impl CredentialState {
    /// Reports whether it can be used, which is not stored.
    pub fn is_enabled(&self) -> bool {
        match self {
            Self::Enabled => true,
            Self::Disabled => false,
        }
    }
}

impl From<bool> for CredentialState {
    fn from(is_disabled: bool) -> Self {
        if is_disabled { Self::Disabled } else { Self::Enabled }
    }
}

impl From<CredentialState> for bool {
    fn from(state: CredentialState) -> Self {
        !state.is_enabled()
    }
}

/// A record of a credential, which can be changed without a new secret.
pub trait ChangeableRecord: Record + Clone {
    /// Returns its properties.
    fn properties(&self) -> &Properties;

    /// Returns what can be changed.
    fn changeable(&mut self) -> Changeable<'_>;
}

/// The fields of a record that can be changed.
#[derive(Debug)]
pub struct Changeable<'r> {
    /// The name.
    pub name: &'r mut String,
    /// The scopes, if it has any.
    pub scopes: Option<&'r mut Scopes>,
    /// When it expires.
    pub expires_at: &'r mut Option<Timestamp>,
    /// The properties.
    pub properties: &'r mut Properties,
}

/// Implements [`ChangeableRecord`] for records with scopes.
macro_rules! changeable {
    ($record:ty $(, $K:ident: $bound:path)?) => {
        impl$(<$K: $bound>)? super::properties::ChangeableRecord for $record {
            fn properties(&self) -> &super::properties::Properties {
                &self.properties
            }

            fn changeable(&mut self) -> super::properties::Changeable<'_> {
                super::properties::Changeable {
                    name: &mut self.name,
                    scopes: Some(&mut self.scopes),
                    expires_at: &mut self.expires_at,
                    properties: &mut self.properties,
                }
            }
        }
    };
}
pub(super) use changeable;
