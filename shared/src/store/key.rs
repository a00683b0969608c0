//! Every name and key string of the tables.
//!
//! | table | item | `pk` |
//! |---|---|---|
//! | `Keys` | organization, API key, CLI token, agent, runner, service | the record's id |
//! | `Keys` | a user of any kind, with the organization that they own or belong to | `own_` and the
//! SHA-256 of the user's id |
//! | `Keys` | user with a password | the user's id |
//! | `Keys` | login record of a user | `eml_`, the id of the organization and `#` if somebody other
//! than the operator created it, and the SHA-256 of the address |
//! | `Families` | refresh-token family, session | its id |
//! | `Families` | consent of a user to a client | `cns_` and the SHA-256 of client, resource and
//! user |
//! | `Families` | revoked access token without a family | the token's id |
//! | `Nonces` | nonce of a signed request | `non_`, the id of the key, `#` and the SHA-256 of the
//! nonce |
//! | `Nonces` | assertion of a client | `jti_` and the SHA-256 of the client's id and the `jti` |
//! | `Nonces` | token of a workload, with the key that used it | `jti_` and the SHA-256 of its issuer and its `jti`, or of
//! what was signed |
//! | `Nonces` | proof of possession | `non_`, the thumbprint of the key, `#` and the SHA-256 of
//! `jti` |
//! | `Nonces` | sign-in, authorization code, device code | its id |
//! | `Nonces` | the device code that a user code stands for | `uco_` and a keyed code of it |
//! | `Nonces` | form of the portal that was sent | `frm_` and the SHA-256 of the form |
//! | `Nonces` | how far the scan of a day is | `scn_` and the day |
//! | `Nonces` | counter of failures | `thr_`, the kind, the SHA-256 of the subject, and the
//! window's end |
//! | `Uses` | last uses of a credential's secrets, from its creation on | the credential's id |
//! | `Events` | event of a record | the id of the record |
//! | `Events` | event of a user of any kind | as that of the user in `Keys`, with `own_` |
//! | `Events` | event of a rule, an issuer or a limit | `tru_`, `iss_` or `lim_`, and its name |
//!
//! Ids are public. No secret, and no digest of one, is part of a key, because keys appear in
//! metadata and audit trails.

use type_safe_id::StaticType;

use crate::{
    core::{
        audience::{Audience, ResourceUri},
        email::Email,
        event::{EventSubject, SubjectKind},
        id::{ClientId, OrganizationId},
        subject::{CredentialId, Subject},
    },
    crypto::{Digest, mac::Tag, thumbprint::KeyThumbprint},
};

/// The partition key of every table. Only `Events` has a sort key.
pub const PK: &str = "pk";
/// The sort key of `Events`, which sorts by time.
pub const EVENT_ID: &str = "id";
/// The attribute of DynamoDB's time to live, in epoch **seconds**. DynamoDB deletes up to days
/// late, so every read checks the time itself.
pub const TTL: &str = "expires_at";
/// The index for listing by organization. It is never consistent, so no authentication decision
/// reads it.
pub const LISTING_INDEX: &str = "by_organization";
/// The index of `Families` that lists a user's sessions and the families of a user's tools. It is
/// never consistent either.
pub const USER_INDEX: &str = "by_person";
/// The partition key of every index. The sort key of both above is [`PK`], which sorts by creation
/// time; that of the index of `Events` is [`EVENT_ID`].
pub const LISTING: &str = "listing";

// The indexes that answer questions (docs/decisions/0043). They contain only keys, so that a change
// of a record that does not change its sort key does not write to them.

/// The index of `Keys` by when records expire. Its sort key is [`TTL`].
pub const EXPIRY_INDEX: &str = "by_expiry";
/// The index of `Keys` by the ids that records have in other systems.
pub const EXTERNAL_ID_INDEX: &str = "by_external_id";
/// The sort key of [`EXTERNAL_ID_INDEX`].
pub const EXTERNAL_ID: &str = "external_id";
/// The index of `Keys` by the names of records.
pub const NAME_INDEX: &str = "by_name";
/// The sort key of [`NAME_INDEX`]: a [`SearchKey`](crate::core::name::SearchKey).
pub const SEARCH_KEY: &str = "search_key";
/// The index of `Uses` by the days of last uses.
pub const USE_INDEX: &str = "by_use";
/// The sort key of [`USE_INDEX`]: the day of the last recorded use of any secret; without one, the
/// day on which the credential was created.
pub const USED_ON: &str = "used_on";

/// Returns the partition that lists an organization's records of one kind.
pub fn listing<T: StaticType>(organization: &OrganizationId) -> String {
    format!("{organization}#{}", T::TYPE)
}

/// Returns the partition that lists a user's CLI tokens.
pub fn listing_of_user_in<T: StaticType>(
    organization: &OrganizationId,
    user_id: &Subject,
) -> String {
    format!("{}#{user_id}", listing::<T>(organization))
}

/// Returns the key of the consent of a user, a client and an API.
pub fn consent(user_id: &Subject, client_id: &ClientId, audience: &Audience) -> String {
    // Neither a client id nor a URI contains a line break.
    let resource = audience.resource().map_or("", ResourceUri::as_str);
    let text = format!("{client_id}\n{resource}\n{user_id}");
    format!("cns_{}", Digest::of(text.as_bytes()).to_hex())
}

/// Returns the partition that lists a user's sessions or families.
pub fn listing_of_user<T: StaticType>(user_id: &Subject) -> String {
    format!("{}#{}", T::TYPE, Digest::of(user_id.to_string().as_bytes()).to_hex())
}

/// Returns the key of the login record of an email address.
pub fn email(email: &Email) -> String {
    format!("eml_{}", Digest::of(email.as_str().as_bytes()).to_hex())
}

/// Returns the key of the login record of an email address that is unique only in `organization`.
pub fn email_in(organization: &OrganizationId, email: &Email) -> String {
    format!("eml_{organization}#{}", Digest::of(email.as_str().as_bytes()).to_hex())
}

/// Returns the key of a user code. A user code has only about 34 bits, so a plain digest could be
/// guessed; `code` is keyed.
pub fn user_code(code: &Tag) -> String {
    format!("uco_{}", Digest::of(code).to_hex())
}

/// Returns the key of the progress of the scan of a day.
pub fn scan(day: &str) -> String {
    format!("scn_{day}")
}

/// Returns the key of a form that was sent.
pub fn form(form: &Digest) -> String {
    format!("frm_{}", form.to_hex())
}

/// Returns the key of the counter of the window that ends at `until_s`.
pub fn counter(what: &str, whom: &str, until_s: i64) -> String {
    format!("thr_{what}#{}#{until_s}", Digest::of(whom.as_bytes()).to_hex())
}

/// Returns the key of the record that names a user's organization.
pub fn membership(user_id: &Subject) -> String {
    format!("own_{}", Digest::of(user_id.to_string().as_bytes()).to_hex())
}

/// Returns the partition of the events of a subject. Issuers choose the ids of their users, so that
/// no policy could name them.
pub fn events_of(subject: &EventSubject) -> String {
    let id = &subject.id;
    match subject.kind {
        SubjectKind::Issuer => format!("iss_{id}"),
        SubjectKind::Limit => format!("lim_{id}"),
        SubjectKind::TrustRule => format!("tru_{id}"),
        SubjectKind::User => membership(&Subject::from(id.as_str())),
        SubjectKind::Agent
        | SubjectKind::ApiKey
        | SubjectKind::CliToken
        | SubjectKind::Consent
        | SubjectKind::Grant
        | SubjectKind::Organization
        | SubjectKind::Runner
        | SubjectKind::Service => id.clone(),
    }
}

/// Returns the partition of the events of the record or user `id`, of whatever kind.
pub fn events_of_id(id: &str) -> String {
    let user = Subject::from(id);
    if user.is_possible_user() { membership(&user) } else { id.to_owned() }
}

/// Returns the key of an assertion of a client, which chose both.
pub fn assertion(client: &ClientId, jti: &str) -> String {
    // The JSON of both differs if one of them does.
    let both = serde_json::json!([client.as_str(), jti]).to_string();
    format!("jti_{}", Digest::of(both.as_bytes()).to_hex())
}

/// Returns the key of a token of a workload, whose issuer chose the id. It has the prefix of
/// assertions: what may use those up may use these up too.
pub fn workload_token(issuer: &str, id: &str) -> String {
    // Three elements, so it never is the key of an assertion.
    let all = serde_json::json!(["workload", issuer, id]).to_string();
    format!("jti_{}", Digest::of(all.as_bytes()).to_hex())
}

/// Returns the key of a nonce. The credential's id is part of it, so that nobody can consume the
/// nonces of another credential. The nonce is hashed because the caller chose it.
pub fn nonce(credential_id: &CredentialId, nonce: &str) -> String {
    format!("non_{credential_id}#{}", Digest::of(nonce.as_bytes()).to_hex())
}

/// Returns the key of a proof of possession that `key` has signed, whose identifier has this
/// digest. It has the prefix of nonces: what may use those up may use these up too.
pub fn proof(key: &KeyThumbprint, id: &Digest) -> String {
    format!("non_{key}#{}", id.to_hex())
}
