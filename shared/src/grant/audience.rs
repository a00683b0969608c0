//! The API that a client requests tokens for (RFC 8707): our own routes, or a resource. It limits
//! the scopes of the tokens, and is their audience.

use super::scope_not_granted;
use crate::{
    config::{Config, ConfiguredAudience},
    core::{
        audience::Audience,
        error::{Error, Refusal},
        scope::Scopes,
    },
};

impl<'c> ConfiguredAudience<'c> {
    /// Returns the API that `requested` names, the values of the parameter `resource`; without any,
    /// the issuer.
    ///
    /// # Errors
    /// As [`Self::requested_if_any`].
    pub fn requested(config: &'c Config, requested: &[impl AsRef<str>]) -> Result<Self, Refusal> {
        Ok(Self::requested_if_any(config, requested)?.unwrap_or(Self::Issuer))
    }

    /// Returns the API that `requested` names, if it names one.
    ///
    /// # Errors
    /// [`Refusal::ResourceUnknown`], [`Refusal::ResourcesTooMany`] for several: a token has one
    /// audience, so that none of them can use it at another (RFC 9700 §2.3).
    pub fn requested_if_any(
        config: &'c Config,
        requested: &[impl AsRef<str>],
    ) -> Result<Option<Self>, Refusal> {
        let mut audiences = requested.iter().map(|text| Self::named(config, text.as_ref()));
        let Some(first) = audiences.next().transpose()? else { return Ok(None) };
        for other in audiences {
            if other?.audience() != first.audience() {
                return Err(Refusal::ResourcesTooMany);
            }
        }
        Ok(Some(first))
    }

    fn named(config: &'c Config, text: &str) -> Result<Self, Refusal> {
        if text.strip_suffix('/').unwrap_or(text) == config.deployment.issuer {
            return Ok(Self::Issuer);
        }
        config.resource(text).map(Self::Resource).ok_or(Refusal::ResourceUnknown)
    }

    /// Returns the API of an earlier grant for `stored`.
    ///
    /// # Errors
    /// [`Refusal::GrantResourceRemoved`] if it is no longer configured.
    pub(crate) fn stored(config: &'c Config, stored: &Audience) -> Result<Self, Refusal> {
        config.audience(stored).ok_or(Refusal::GrantResourceRemoved)
    }

    /// Returns the scopes to grant to a client that requests `requested`, or none in particular.
    /// `held` are the scopes of the agent or user, of which our own routes need no description.
    ///
    /// The client of a resource learns from its metadata what there is, not what this user has, so
    /// it gets those that the user has (RFC 6749 §3.3).
    ///
    /// # Errors
    /// [`Refusal::ScopeNotGranted`] if nothing is left, or one is not a scope of the resource.
    pub fn grant(self, held: &Scopes, requested: Option<&Scopes>) -> Result<Scopes, Error> {
        let requested = requested.cloned().map(|requested| requested.without("offline_access").0);
        let requested = requested.filter(|requested| !requested.is_empty());
        let granted = match (self, requested) {
            (Self::Issuer, None) => return Ok(held.clone()),
            (Self::Issuer, Some(requested)) => {
                return match held.first_missing(&requested) {
                    None => Ok(requested),
                    Some(at) => Err(scope_not_granted(at)),
                };
            }
            (Self::Resource(resource), None) => resource.default_scopes().intersection(held),
            (Self::Resource(_), Some(requested)) => {
                self.check_scopes(&requested)?;
                requested.intersection(held)
            }
        };
        if granted.is_empty() {
            let detail = "The user or agent has none of the requested scopes of the resource: request others, or have the operator grant them.";
            Err(Error::with_detail(Refusal::ScopeNotGranted, detail.into()))
        } else {
            Ok(granted)
        }
    }

    /// Checks that scopes which a client requests are scopes of the resource. Those of our own
    /// routes depend on who grants them.
    ///
    /// # Errors
    /// [`Refusal::ScopeNotGranted`]
    pub fn check_scopes(self, requested: &Scopes) -> Result<(), Error> {
        let Self::Resource(resource) = self else { return Ok(()) };
        let Some(at) = resource.scopes.first_missing(requested) else { return Ok(()) };
        let detail = format!(
            "scope[{at}] is not a scope of the requested resource: request some of the scopes of its [[resource]] in postern.toml."
        );
        Err(Error::with_detail(Refusal::ScopeNotGranted, detail))
    }

    /// Returns what is left of the scopes of an earlier grant, of which the user or agent still has
    /// `held`. A token for a resource without any scope would pass its rules that name none.
    ///
    /// # Errors
    /// [`Refusal::ScopeNotGranted`] if nothing is left for a resource.
    pub(crate) fn limit(self, held: &Scopes) -> Result<Scopes, Refusal> {
        match self {
            Self::Issuer => Ok(held.clone()),
            Self::Resource(resource) => {
                let left = held.intersection(&resource.scopes);
                if left.is_empty() { Err(Refusal::ScopeNotGranted) } else { Ok(left) }
            }
        }
    }

    /// Checks that a later request names no other API than the grant (RFC 8707 §2.2).
    ///
    /// # Errors
    /// [`Refusal::ResourceNotGranted`]
    pub(super) fn check(self, requested: Option<ConfiguredAudience<'_>>) -> Result<(), Refusal> {
        match requested {
            Some(requested) if requested.audience() != self.audience() => {
                Err(Refusal::ResourceNotGranted)
            }
            Some(_) | None => Ok(()),
        }
    }
}
