//! The claims of our tokens.

use jiff::{Timestamp, fmt::serde::timestamp::second};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::dpop::Confirmation;
use crate::core::{
    actor::Actor,
    epoch::Epoch,
    id::{AccessTokenId, AgentId, ClientId, ConsentId, FamilyId, OrganizationId, ServiceId},
    principal::PrincipalKind,
    scope::{ResourceLimits, Scopes},
    subject::{CredentialId, Subject},
};

/// A kind of token. Its header type and audience separate it from the other kinds.
pub trait TokenClaims: Serialize + DeserializeOwned {
    /// The media type in the header.
    const TYPE: &'static str;

    /// Returns the audience of tokens that `issuer` issues, unless they are for a resource.
    fn audience(issuer: &str) -> String;

    /// Returns the claims `iss` and `aud`.
    fn issuer_and_audience(&self) -> (&String, &String);

    /// Returns the claims about time.
    fn times(&self) -> Times;
}

/// When a token is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Issued at.
    pub iat: Timestamp,
    /// Not before.
    pub nbf: Timestamp,
    /// Expiry.
    pub exp: Timestamp,
}

macro_rules! tokens {
    ($($claims:ident is $typ:literal for $suffix:literal;)*) => {$(
        impl TokenClaims for $claims {
            const TYPE: &'static str = $typ;

            fn audience(issuer: &str) -> String {
                format!("{issuer}{}", $suffix)
            }

            fn issuer_and_audience(&self) -> (&String, &String) {
                (&self.iss, &self.aud)
            }

            fn times(&self) -> Times {
                Times { iat: self.iat, nbf: self.nbf, exp: self.exp }
            }
        }
    )*};
}
tokens! {
    Claims is "at+jwt" for ""; // RFC 9068 §2.1
    ServiceClaims is "st+jwt" for "/services";
    DownloadClaims is "dl+jwt" for "/downloads";
}

/// The claims of an access token: those of RFC 9068 §2.2, and our own.
///
/// Unknown claims are refused: a claim that a later version adds to restrict a token must not be
/// ignored by an earlier one.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    /// The issuer: this deployment.
    pub iss: String,
    /// The subject: whom the token is for.
    pub sub: Subject,
    /// The audience: the issuer, or the resource that it is for.
    pub aud: String,
    /// When it was issued.
    #[serde(with = "second::required")]
    pub iat: Timestamp,
    /// When it becomes valid.
    #[serde(with = "second::required")]
    pub nbf: Timestamp,
    /// When it expires.
    #[serde(with = "second::required")]
    pub exp: Timestamp,
    /// The token's own id.
    pub jti: AccessTokenId,
    /// The agent, the tool that acts for a user, or the key that was exchanged for it.
    pub client_id: ClientId,
    /// The agent, in tokens of agents only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<AgentId>,
    /// The organization.
    pub org_id: OrganizationId,
    /// The scopes, space-joined as OAuth clients expect them.
    pub scope: String,
    /// The scopes as an array.
    pub scopes: Scopes,
    /// The family of refresh tokens with which it was issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<FamilyId>,
    /// The epoch of the agent, or of a user without a family. The token ends when that begins
    /// another one.
    #[serde(default, skip_serializing_if = "Epoch::is_first")]
    pub epoch: Epoch,
    /// The key that it is bound to, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cnf: Option<Confirmation>,
    /// The rule that granted it to a workload, or for an identity assertion. The token ends with
    /// the rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust_rule: Option<String>,
    /// What tells apart the secrets of the key that was exchanged for it. The token ends with that
    /// secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_fingerprint: Option<String>,
    /// The agent that acts for the user (RFC 8693 §4.1). It is the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<Actor>,
    /// The epoch of the agent that is the client of the user. The token ends when the agent begins
    /// another one.
    #[serde(default, skip_serializing_if = "Epoch::is_first")]
    pub client_epoch: Epoch,
    /// What the user has allowed that agent. The token ends with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consent_id: Option<ConsentId>,
}

/// The claims of a service token, with which one of our own services calls another.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceClaims {
    /// The issuer: this deployment.
    pub iss: String,
    /// The subject: whom the token is for.
    pub sub: ServiceId,
    /// The audience.
    pub aud: String,
    /// When it was issued.
    #[serde(with = "second::required")]
    pub iat: Timestamp,
    /// When it becomes valid.
    #[serde(with = "second::required")]
    pub nbf: Timestamp,
    /// When it expires.
    #[serde(with = "second::required")]
    pub exp: Timestamp,
    /// The token's own id.
    pub jti: AccessTokenId,
    /// The organization.
    pub org_id: OrganizationId,
    /// The scopes of the service.
    pub scopes: Scopes,
}

/// The claims of a download token: its bearer can `GET` one path on behalf of the caller who
/// requested it. It cannot be revoked, and expires within minutes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DownloadClaims {
    /// The issuer: this deployment.
    pub iss: String,
    /// The subject: whom the token is for.
    pub sub: Subject,
    /// The audience.
    pub aud: String,
    /// When it was issued.
    #[serde(with = "second::required")]
    pub iat: Timestamp,
    /// When it becomes valid.
    #[serde(with = "second::required")]
    pub nbf: Timestamp,
    /// When it expires.
    #[serde(with = "second::required")]
    pub exp: Timestamp,
    /// The token's own id.
    pub jti: AccessTokenId,
    /// The path that can be downloaded.
    pub path: String,
    /// The kind of caller to which it was issued.
    pub kind: PrincipalKind,
    /// The organization.
    pub org_id: Option<OrganizationId>,
    /// The credential for which it was issued.
    pub credential_id: CredentialId,
    /// The scopes of the caller.
    pub scopes: Scopes,
    /// The resources that it is limited to.
    #[serde(default)]
    pub resources: ResourceLimits,
    /// The user on whose behalf its caller acts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<Subject>,
}
