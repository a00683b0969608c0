//! Every name and key string of the tables.
//!
//! | table | item | `pk` |
//! |---|---|---|
//! | `Keys` | organization, API key, agent, runner | the record's id |
//! | `Families` | refresh-token family | the family's id |
//! | `Families` | revoked access token without a family | the token's id |
//!
//! Ids are public; no secret and no digest is part of a key, because keys show up in metadata and audit trails.

use type_safe_id::StaticType;

use crate::id::OrganizationId;

/// The partition key of every table; there are no sort keys.
pub const PK: &str = "pk";
/// DynamoDB's time to live, in epoch **seconds**. It deletes days late: every read looks at the time itself.
pub const TTL: &str = "expires_at";
/// The index for listing by organization. Never consistent: no authentication decision reads it.
pub const LISTING_INDEX: &str = "by_organization";
/// The partition key of that index; its sort key is [`PK`], which sorts by the time of creation.
pub const LISTING: &str = "listing";

/// The partition in which an organization's records of one kind are listed.
pub fn listing<T: StaticType>(organization: &OrganizationId) -> String {
    format!("{organization}#{}", T::TYPE)
}
