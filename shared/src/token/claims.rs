//! What our tokens say.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::core::{
    id::{AccessTokenId, AgentId, FamilyId, OrganizationId, ServiceId},
    principal::Kind,
    scope::{Resources, Scopes},
};

/// A kind of token of ours: what its header and claims must say, so that none passes for another.
pub trait Token: Serialize + DeserializeOwned {
    /// The media type in the header.
    const TYPE: &'static str;

    /// The audience, of tokens that `issuer` issues.
    fn audience(issuer: &str) -> String;

    /// Issuer and audience, as the token says.
    fn parties(&self) -> (&String, &String);

    /// Not before, issued at, expiry; epoch seconds.
    fn times(&self) -> Times;
}

/// When a token holds, in epoch seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    pub iat: i64,
    pub nbf: i64,
    pub exp: i64,
}

macro_rules! tokens {
    ($($claims:ident is $typ:literal for $suffix:literal;)*) => {$(
        impl Token for $claims {
            const TYPE: &'static str = $typ;

            fn audience(issuer: &str) -> String {
                format!("{issuer}{}", $suffix)
            }

            fn parties(&self) -> (&String, &String) {
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

/// An access token: the claims of RFC 9068 §2.2, and our own. Times are epoch seconds. A member that is not listed refuses the token:
/// what a later version adds to bind a token must not be ignored by an earlier one.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    pub iss: String,
    pub sub: String,
    pub aud: String,
    pub iat: i64,
    pub nbf: i64,
    pub exp: i64,
    pub jti: AccessTokenId,
    /// The agent, or the tool to which a person lends their rights.
    pub client_id: String,
    /// For agents alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<AgentId>,
    pub org_id: OrganizationId,
    /// Space-joined, as OAuth's clients read it.
    pub scope: String,
    /// The same as an array.
    pub scopes: Scopes,
    /// The family of refresh tokens with which it was issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<FamilyId>,
}

/// A service token: one of our own services speaks to another.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceClaims {
    pub iss: String,
    pub sub: ServiceId,
    pub aud: String,
    pub iat: i64,
    pub nbf: i64,
    pub exp: i64,
    pub jti: AccessTokenId,
    pub org_id: OrganizationId,
    pub scopes: Scopes,
}

/// A download token: its bearer may `GET` one path on behalf of whoever asked for it. It cannot be revoked; it lives minutes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DownloadClaims {
    pub iss: String,
    pub sub: String,
    pub aud: String,
    pub iat: i64,
    pub nbf: i64,
    pub exp: i64,
    pub jti: AccessTokenId,
    /// The path that may be downloaded.
    pub path: String,
    pub kind: Kind,
    pub org_id: Option<OrganizationId>,
    pub credential_id: String,
    pub scopes: Scopes,
    #[serde(default)]
    pub resources: Resources,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<String>,
}
