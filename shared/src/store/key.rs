//! Every name and key string of the tables.
//!
//! | table | item | `pk` |
//! |---|---|---|
//! | `Keys` | organization, API key, CLI token, agent, runner, service | the record's id |
//! | `Keys` | the organization that a person owns, or belongs to | `own_` and the SHA-256 of the person's id |
//! | `Keys` | user | the user's id |
//! | `Keys` | what a user signs in with | `eml_` and the SHA-256 of the address |
//! | `Families` | refresh-token family, session | its id |
//! | `Families` | revoked access token without a family | the token's id |
//! | `Nonces` | nonce of a signed request | `non_`, the id of the key, `#` and the SHA-256 of the nonce |
//! | `Nonces` | sign-in, authorization code, device code | its id |
//! | `Nonces` | the device code that a user code stands for | `uco_` and a keyed code of it |
//! | `Nonces` | counter of failures | `thr_`, what is counted, the SHA-256 of whom, and the window's end |
//!
//! Ids are public; no secret and no digest is part of a key, because keys show up in metadata and audit trails.

use type_safe_id::StaticType;

use crate::{
    core::{
        email::Email,
        id::OrganizationId,
        subject::{CredentialId, Subject},
    },
    crypto::{Digest, mac::Tag},
};

/// The partition key of every table; there are no sort keys.
pub const PK: &str = "pk";
/// DynamoDB's time to live, in epoch **seconds**. It deletes days late: every read looks at the time itself.
pub const TTL: &str = "expires_at";
/// The index for listing by organization. Never consistent: no authentication decision reads it.
pub const LISTING_INDEX: &str = "by_organization";
/// The index of `Families` for listing what a person holds: sessions, and what tools of theirs hold. Never consistent either.
pub const PERSON_INDEX: &str = "by_person";
/// The partition key of both indexes; their sort key is [`PK`], which sorts by the time of creation.
pub const LISTING: &str = "listing";

/// The partition in which an organization's records of one kind are listed.
pub fn listing<T: StaticType>(organization: &OrganizationId) -> String {
    format!("{organization}#{}", T::TYPE)
}

/// The partition in which a person's CLI tokens are listed.
pub fn listing_of_person<T: StaticType>(
    organization: &OrganizationId,
    user_id: &Subject,
) -> String {
    format!("{}#{user_id}", listing::<T>(organization))
}

/// The partition in which what a person holds is listed, one kind each.
pub fn listing_of_holder<T: StaticType>(user_id: &Subject) -> String {
    format!("{}#{}", T::TYPE, Digest::of(user_id.to_string().as_bytes()).to_hex())
}

/// The key of what a user signs in with.
pub fn email(email: &Email) -> String {
    format!("eml_{}", Digest::of(email.as_str().as_bytes()).to_hex())
}

/// The key of a user code. It has some 34 bits: a plain digest could be guessed, a keyed `code` of it cannot.
pub fn user_code(code: &Tag) -> String {
    format!("uco_{}", Digest::of(code).to_hex())
}

/// The key of a counter of one window, which ends at `until_s`.
pub fn counter(what: &str, whom: &str, until_s: i64) -> String {
    format!("thr_{what}#{}#{until_s}", Digest::of(whom.as_bytes()).to_hex())
}

/// The key under which a person's organization is found.
pub fn owner(user_id: &Subject) -> String {
    format!("own_{}", Digest::of(user_id.to_string().as_bytes()).to_hex())
}

/// The key of a nonce. Each credential has its own: nobody can spend another's. Hashed, because a caller chose it.
pub fn nonce(credential_id: &CredentialId, nonce: &str) -> String {
    format!("non_{credential_id}#{}", Digest::of(nonce.as_bytes()).to_hex())
}
