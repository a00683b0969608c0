//! Events: what happened to a credential, a user or a rule, for programs that react to it
//! (docs/events.md).
//!
//! An event is stored together with the change that it reports, and is published and listed in the
//! form in which it was stored. It contains no secret, no digest of one, and no email address.

mod actor;
mod data;

use jiff::Timestamp;
use serde::{Serialize, ser::SerializeStruct as _};
use type_safe_id::{StaticType, TypeSafeId};

pub use self::{
    actor::{ActorKind, EventActor},
    data::{
        ChangedData, CodeReplayedData, ConsentEndedData, ConsentGivenData, CreatedData,
        DisabledData, EnabledData, EventData, ExpiringData, LeakedData, LeakedPart, ReachedData,
        RefreshReusedData, ReplacedCredential, Reporter, RevocationReason, RevokedData,
        RotatedData, SignedOutData, TrustMatchedData, TrustRefusedData, UnusedData,
    },
};
use crate::core::{
    entropy::Entropy,
    error::Fault,
    id::{
        self, Agent, ApiKey, CliToken, Consent, EventId, Family, Organization, OrganizationId,
        Runner, Service, User,
    },
    subject::Subject,
};

/// What EventBridge shows as the source of every event.
pub const SOURCE: &str = "Postern";
/// The version of the form of events. A new member or a new type does not change it.
pub const VERSION: u32 = 1;

/// Something that happened.
#[derive(Clone, Debug)]
pub struct Event {
    /// The id, by which a program recognizes an event that it receives twice.
    pub id: EventId,
    /// When it happened.
    pub time: Timestamp,
    /// The organization that it concerns, if there is one.
    pub organization: Option<OrganizationId>,
    /// What it happened to.
    pub subject: EventSubject,
    /// Who caused it.
    pub actor: EventActor,
    /// The request in which it happened, as in its log line.
    pub request_id: Option<String>,
    /// What happened.
    pub data: EventData,
}

/// The parts of a new event that its caller knows.
#[derive(Clone, Debug)]
pub struct EventContents {
    /// The organization that it concerns, if there is one.
    pub organization: Option<OrganizationId>,
    /// What it happened to.
    pub subject: EventSubject,
    /// Who caused it.
    pub actor: EventActor,
    /// What happened.
    pub data: EventData,
}

impl Event {
    /// Returns a new event of this moment.
    ///
    /// # Errors
    /// [`Fault::Entropy`] when the generator fails.
    pub fn new(
        contents: EventContents,
        request_id: Option<String>,
        now: Timestamp,
        entropy: &Entropy,
    ) -> Result<Self, Fault> {
        let EventContents { organization, subject, actor, data } = contents;
        let id = id::mint(now, entropy)?;
        Ok(Self { id, time: now, organization, subject, actor, request_id, data })
    }

    /// Returns an event of this moment that has another id than any other event, but the same as
    /// every event with this digest since `beginning`: it is stored once.
    pub fn of_window(
        contents: EventContents,
        request_id: Option<String>,
        now: Timestamp,
        beginning: Timestamp,
        digest: &[u8; 10],
    ) -> Self {
        let EventContents { organization, subject, actor, data } = contents;
        let id = id::derived(beginning, digest);
        Self { id, time: now, organization, subject, actor, request_id, data }
    }

    /// Returns its type, such as `api_key.created`.
    pub fn event_type(&self) -> String {
        format!("{}.{}", self.subject.kind.as_str(), self.data.name())
    }
}

/// The members in the order in which people read them.
impl Serialize for Event {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut members = serializer.serialize_struct("Event", 9)?;
        members.serialize_field("id", &self.id)?;
        members.serialize_field("type", &self.event_type())?;
        members.serialize_field("version", &VERSION)?;
        members.serialize_field("time", &self.time)?;
        members.serialize_field("organization_id", &self.organization)?;
        members.serialize_field("subject", &self.subject)?;
        members.serialize_field("actor", &self.actor)?;
        members.serialize_field("request_id", &self.request_id)?;
        members.serialize_field("data", &self.data)?;
        members.end()
    }
}

/// What an event happened to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct EventSubject {
    /// The kind of record.
    pub kind: SubjectKind,
    /// Its id.
    pub id: String,
    /// Its name; null if it has none. Names of users are personal data, and not included.
    pub name: Option<String>,
}

impl EventSubject {
    /// Returns a subject that is no record, and has no other name than its id.
    pub fn named(kind: SubjectKind, id: &str) -> Self {
        Self { kind, id: id.to_owned(), name: None }
    }

    /// Returns a user of any kind.
    pub fn user(user_id: &Subject) -> Self {
        Self::named(SubjectKind::User, &user_id.to_string())
    }

    /// Returns the subject that is the record `id`.
    pub fn record<K: Observed>(id: &TypeSafeId<K>, name: Option<&str>) -> Self {
        Self { kind: K::KIND, id: id.to_string(), name: name.map(str::to_owned) }
    }
}

/// A kind of record that events happen to.
pub trait Observed: StaticType {
    /// Its name in events.
    const KIND: SubjectKind;
}

macro_rules! subjects {
    ($($(#[$doc:meta])* $kind:ident = $name:literal $(of $record:ident)?;)*) => {
        /// The kind of record that an event happened to.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
        #[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
        pub enum SubjectKind {
            $($(#[$doc])* #[serde(rename = $name)] $kind,)*
        }

        impl SubjectKind {
            /// Returns its name, with which the types of its events begin.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }
        }

        $($(impl Observed for $record { const KIND: SubjectKind = SubjectKind::$kind; })?)*
    };
}

subjects! {
    /// An agent.
    Agent = "agent" of Agent;
    /// An API key.
    ApiKey = "api_key" of ApiKey;
    /// A CLI token.
    CliToken = "cli_token" of CliToken;
    /// What a user has allowed a client to do.
    Consent = "consent" of Consent;
    /// A grant: all refresh tokens that descend from one authorization.
    Grant = "grant" of Family;
    /// An issuer of workloads' tokens.
    Issuer = "issuer";
    /// A limit on attempts.
    Limit = "limit";
    /// An organization.
    Organization = "organization" of Organization;
    /// A runner.
    Runner = "runner" of Runner;
    /// A service.
    Service = "service" of Service;
    /// A rule about the tokens of workloads.
    TrustRule = "trust_rule";
    /// A user.
    User = "user" of User;
}
