//! What happened: one variant per event, with what a reader needs besides subject and actor.

use jiff::Timestamp;
use serde::Serialize;

use super::SubjectKind;
use crate::core::{id::ClientId, rfc3339, scope::Scopes, subject::Subject};

/// Declares the events: their names, their data, and the kinds of records that they happen to.
macro_rules! events {
    ($($(#[$doc:meta])* $event:ident = $name:literal ($data:ty) of $($kind:ident)*;)*) => {
        /// What happened.
        #[derive(Clone, Debug, Serialize)]
        #[serde(untagged)]
        pub enum EventData {
            $($(#[$doc])* $event($data),)*
        }

        impl EventData {
            /// The names of all events, with which their types end, and the kinds of records that
            /// they happen to.
            pub const ALL: &[(&str, &[SubjectKind])] = &[$(($name, &[$(SubjectKind::$kind,)*]),)*];

            /// Returns the name of the event.
            pub const fn name(&self) -> &'static str {
                match self { $(Self::$event(_) => $name,)* }
            }

            /// Reports whether an event can have this type.
            pub fn is_type(text: &str) -> bool {
                text.split_once('.').is_some_and(|(kind, name)| {
                    let is_of = |kinds: &[SubjectKind]| kinds.iter().any(|it| it.as_str() == kind);
                    Self::ALL.iter().any(|(known, kinds)| *known == name && is_of(kinds))
                })
            }

            /// Returns the JSON Schema of the data of each event, by its name.
            #[cfg(feature = "openapi")]
            pub fn schemas(
                generator: impl Fn() -> schemars::generate::SchemaGenerator,
            ) -> Vec<(&'static str, schemars::Schema)> {
                vec![$(($name, generator().into_root_schema_for::<$data>()),)*]
            }
        }

        $(impl From<$data> for EventData {
            fn from(data: $data) -> Self {
                Self::$event(data)
            }
        })*
    };
}

events! {
    /// Something about it was changed, and it keeps its secret.
    Changed = "changed" (ChangedData) of Agent ApiKey CliToken Runner Service;
    /// A code was used again that had been redeemed, and what it was redeemed for has ended.
    CodeReplayed = "code_replayed" (CodeReplayedData) of Grant;
    /// It was created.
    Created = "created" (CreatedData) of Agent ApiKey CliToken Organization Runner Service User;
    /// Nobody can use it until it is enabled.
    Disabled = "disabled" (DisabledData) of Agent ApiKey CliToken Runner Service User;
    /// It can be used again.
    Enabled = "enabled" (EnabledData) of Agent ApiKey CliToken Runner Service User;
    /// The user has ended it.
    Ended = "ended" (ConsentEndedData) of Consent;
    /// It expires soon.
    Expiring = "expiring" (ExpiringData) of Agent ApiKey CliToken Runner Service;
    /// A user has allowed something.
    Given = "given" (ConsentGivenData) of Consent;
    /// It was reported as leaked, and no longer works.
    Leaked = "leaked" (LeakedData) of Agent ApiKey CliToken Grant Runner Service;
    /// It granted a token to a workload, for the first time in this hour.
    Matched = "matched" (TrustMatchedData) of TrustRule;
    /// Attempts were refused because of it, for the first time in this hour.
    Reached = "reached" (ReachedData) of Limit;
    /// A refresh token was used again that had been replaced, and the grant has ended.
    RefreshReused = "refresh_reused" (RefreshReusedData) of Grant;
    /// It issued a valid token that meets no rule, for the first time in this hour.
    Refused = "refused" (TrustRefusedData) of Issuer;
    /// It was deleted or ended, and no longer works.
    Revoked = "revoked" (RevokedData) of Agent ApiKey CliToken Runner Service User;
    /// It has a new secret or new keys.
    Rotated = "rotated" (RotatedData) of Agent ApiKey Runner;
    /// Nobody has used it for 90 days, or a multiple.
    Unused = "unused" (UnusedData) of Agent ApiKey CliToken Runner Service;
    /// All credentials of the user have ended.
    SignedOut = "signed_out" (SignedOutData) of User;
}

/// What is known about a change.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct ChangedData {
    /// The members of the record that have other values now.
    pub members: Vec<&'static str>,
}

/// What is known about a new record.
#[derive(Clone, Debug, Default, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct CreatedData {
    /// Its scopes; null for a kind of record without scopes.
    pub scopes: Option<Scopes>,
    /// When it expires; null if it does not.
    #[serde(serialize_with = "rfc3339::serialize")]
    pub expires_at: Option<Timestamp>,
    /// The user on whose behalf it was created; null if there is none.
    pub on_behalf_of: Option<Subject>,
}

/// What is known about a leak.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct LeakedData {
    /// Who reported it.
    pub reported_by: Reporter,
    /// The kind of place where it was found, such as `commit`; null if it was not reported.
    pub source: Option<String>,
    /// The host where it was found; null if it was not reported.
    pub host: Option<String>,
    /// What has ended.
    pub ended: LeakedPart,
}

/// Who reported a leak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Reporter {
    /// Somebody who had the credential.
    Anyone,
    /// GitHub's secret scanning.
    Github,
}

/// What ended because of a leak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum LeakedPart {
    /// The whole credential.
    Credential,
    /// Only the secret before the last rotation, during the overlap.
    PreviousSecret,
}

/// What is known about an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct RevokedData {
    /// The cause.
    pub reason: RevocationReason,
}

/// Why something ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RevocationReason {
    /// The actor deleted it.
    Deleted,
    /// The access of its user ended: the user was deleted, signed out, or enabled again.
    UserEnded,
}

/// What is known about a rotation.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct RotatedData {
    /// What is new.
    pub replaced: ReplacedCredential,
    /// When the old secret stops working; null if it has stopped already.
    pub previous_expires_at: Option<Timestamp>,
    /// Whether the tokens that were granted so far have ended; null for what grants none.
    pub tokens_ended: Option<bool>,
}

/// What was replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ReplacedCredential {
    /// Its secret.
    Secret,
    /// Its public keys.
    Keys,
}

/// What is known about a credential or user that is disabled: nothing else.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct DisabledData {}

/// What is known about a credential or user that is enabled: nothing else.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct EnabledData {}

/// What is known about a user who is signed out: nothing else.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct SignedOutData {}

/// What is known about a refresh token that was used again.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct RefreshReusedData {
    /// The client that it was granted to.
    pub client_id: ClientId,
    /// The user, if the client is a tool of a user; null otherwise.
    pub user_id: Option<Subject>,
    /// The network address that used it again.
    pub address: String,
}

/// What is known about a code that was used again.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct CodeReplayedData {
    /// The client that it was issued to.
    pub client_id: ClientId,
    /// The user, if the client is a tool of a user; null otherwise.
    pub user_id: Option<Subject>,
}

/// What is known about a consent.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct ConsentGivenData {
    /// The client.
    pub client_id: ClientId,
    /// All scopes that the user has allowed so far.
    pub scopes: Scopes,
    /// The API that the tokens are for; null for our own routes.
    pub resource: Option<String>,
}

/// What is known about a consent that has ended.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct ConsentEndedData {
    /// The client.
    pub client_id: ClientId,
    /// The API that the tokens were for; null for our own routes.
    pub resource: Option<String>,
}

/// What is known about a limit that was reached. It does not say who has reached it: others can try
/// the address of anybody.
#[derive(Clone, Copy, Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct ReachedData {
    /// How many attempts are allowed in 15 minutes.
    pub limit: i64,
}

/// What is known about a workload that got a token.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct TrustMatchedData {
    /// The issuer of the workload's token.
    pub issuer: String,
    /// The `user_id` of the workload.
    pub user_id: Subject,
    /// The granted scopes.
    pub scopes: Scopes,
}

/// What is known about a workload that got no token.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct TrustRefusedData {
    /// The rules about the issuer and audience of its token, of which it meets none.
    pub rules: Vec<String>,
}

/// What is known about a credential that expires soon.
#[derive(Clone, Copy, Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct ExpiringData {
    /// When it expires.
    pub expires_at: Timestamp,
    /// In how many days at most: 14 or 3, or 0 on the last day.
    pub days: i64,
}

/// What is known about a credential that nobody uses.
#[derive(Clone, Copy, Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct UnusedData {
    /// The last use that is known; null if there was none.
    pub last_used_at: Option<Timestamp>,
    /// For how many days at least: 90, or a multiple.
    pub days: i64,
}
