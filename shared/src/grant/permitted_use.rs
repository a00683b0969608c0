//! Whether a credential that was presented can be used: it is not disabled, and the caller is at an
//! address that it can be used from. Checked once the credential is known to be the caller's, so
//! that nobody else finds out.

use crate::{
    core::{allowed_networks::AllowedNetworks, caller_address::CallerAddress, error::Refusal},
    store::properties::{CredentialState, Properties},
};

/// Checks that a credential with these properties can be used by a caller at `address`.
///
/// # Errors
/// [`Refusal::AddressNotAllowed`], [`Refusal::AddressNotIdentitySource`],
/// [`Refusal::CredentialDisabled`]. To the caller, they are the answer to an unknown credential.
pub fn check(properties: &Properties, address: CallerAddress<'_>) -> Result<(), Refusal> {
    match properties.state {
        CredentialState::Disabled => return Err(Refusal::CredentialDisabled),
        CredentialState::Enabled => {}
    }
    check_address(properties.allowed_networks.as_ref(), address)
}

/// Checks that a credential that can be used from `networks`, or from everywhere if there are none,
/// can be used by a caller at `address`.
///
/// # Errors
/// [`Refusal::AddressNotAllowed`], [`Refusal::AddressNotIdentitySource`].
pub fn check_address(
    networks: Option<&AllowedNetworks>,
    address: CallerAddress<'_>,
) -> Result<(), Refusal> {
    match (networks, address) {
        (None, _) => Ok(()),
        (Some(networks), CallerAddress::Known(address)) if networks.contain(address) => Ok(()),
        (Some(_), CallerAddress::Known(_) | CallerAddress::Unknown) => {
            Err(Refusal::AddressNotAllowed)
        }
        (Some(_), CallerAddress::NotIdentitySource) => Err(Refusal::AddressNotIdentitySource),
    }
}
