//! API keys: `/v1/keys` and below. Made, listed, rotated and deleted by whoever may; a leaked one by anybody who holds it.

mod answer;

use answer::{Created, Rotated, Shown};
use jiff::Timestamp;
use postern::{
    App, Error, Fault, Refusal,
    core::permission::Permission,
    core::{
        clock::after,
        id,
        name::Name,
        scope::{Resources, Scopes},
    },
    credential::{
        AgentSecret, ApiKey, CliToken, CredentialKind, Minted, RunnerToken, ServiceKey,
        opaque::ParsedSecret,
    },
    http::{Request, Response},
    resource::crud as records,
    store::{Deletion, Renewal, api_key::ApiKeyRecord, time},
    telemetry,
};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// The longest time for which two secrets of one key may work, in seconds.
const LONGEST_OVERLAP_S: i64 = 7 * 24 * 3600;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewKey {
    name: String,
    scopes: Vec<String>,
    #[serde(default)]
    resources: BTreeMap<String, BTreeSet<String>>,
    expires_at: Option<Timestamp>,
    #[serde(default)]
    require_signature: bool,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Rotation {
    #[serde(default)]
    overlap_s: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Leaked {
    token: String,
}

/// Answers the routes.
///
/// # Errors
/// The refusals of each, and failures of ours.
pub async fn handle(app: &App, request: &Request) -> Result<Response, Error> {
    match request.route() {
        "POST /v1/keys" => create(app, request).await,
        "GET /v1/keys" => {
            records::list(app, request, Permission::KeysRead, |record| Shown::new(app, record))
                .await
        }
        "GET /v1/keys/{id}" => {
            records::show(app, request, Permission::KeysRead, |record| Shown::new(app, record))
                .await
        }
        "DELETE /v1/keys/{id}" => {
            records::delete::<ApiKeyRecord>(app, request, Permission::KeysManage).await
        }
        "POST /v1/keys/{id}/rotate" => rotate(app, request).await,
        "POST /v1/keys/revoke-leaked" => revoke_leaked(app, request).await,
        _ => Err(Refusal::RouteUnknown.into()),
    }
}

async fn create(app: &App, request: &Request) -> Result<Response, Error> {
    let maker = app.providers.authorize(&app.context, request, Permission::KeysManage).await?;
    let wanted: NewKey = request.json()?;
    let name = Name::try_from(wanted.name)?;
    let scopes = Scopes::at_least_one(wanted.scopes)?;
    let resources = Resources::try_from(wanted.resources)?;
    maker.may_mint(&scopes, &resources)?;
    let now = app.context.clock.now();
    let expires_at = records::expiry(wanted.expires_at, now)?;

    let id = id::mint(now, &app.context.entropy)?;
    let minted = Minted::new(&app.context.config.brand, &id, &app.context.entropy)?;
    let record = ApiKeyRecord {
        id,
        org_id: maker.organization()?,
        name: name.into(),
        scopes,
        resources,
        digest: minted.digest,
        last_four: minted.secret.last_four(),
        created_at_ms: now.as_millisecond(),
        require_signature: wanted.require_signature,
        on_behalf_of: maker.behalf(),
        expires_at,
        previous_digest: None,
        previous_expires_at_ms: None,
    };
    app.context.store.put(&record).await?;
    Ok(Response::created(&Created { shown: Shown::new(app, record), key: minted.secret })?)
}

async fn rotate(app: &App, request: &Request) -> Result<Response, Error> {
    let caller = app.providers.authorize(&app.context, request, Permission::KeysManage).await?;
    let id = request.path_id()?;
    let overlap_s = match request.has_body() {
        true => request.json::<Rotation>()?.overlap_s,
        false => 0,
    };
    if !(0..=LONGEST_OVERLAP_S).contains(&overlap_s) {
        return Err(Refusal::OverlapTooLong.into());
    }
    let now = app.context.clock.now();
    let record: ApiKeyRecord = app
        .context
        .store
        .own_record(&caller.organization()?, &id, now.as_second())
        .await?
        .ok_or(Refusal::RecordUnknown)?;
    caller.may_mint(&record.scopes, &record.resources)?;

    let minted = Minted::new(&app.context.config.brand, &id, &app.context.entropy)?;
    let key_end =
        record.expires_at.map_or(Timestamp::MAX, |end_s| time(end_s.saturating_mul(1000)));
    let previous_expires_at = after(now, overlap_s).min(key_end);
    let overlap_until_ms = (overlap_s > 0).then(|| previous_expires_at.as_millisecond());
    match app.context.store.renew(&record, &minted, overlap_until_ms).await? {
        Renewal::Renewed => {
            Ok(Response::ok(&Rotated { id, key: minted.secret, previous_expires_at })?)
        }
        Renewal::Changed => Err(Refusal::RecordChanged.into()),
    }
}

/// Possession is enough, and the answer tells nothing: 202 for every token.
async fn revoke_leaked(app: &App, request: &Request) -> Result<Response, Error> {
    let Leaked { token } = request.json()?;
    let brand = &app.context.config.brand;
    let revoked = if let Some(key) = ApiKey::parse(brand, &token) {
        let deletion = app
            .context
            .store
            .delete_held_key(&key, app.context.clock.now().as_millisecond())
            .await?;
        (deletion == Deletion::Deleted).then(|| key.id.to_string())
    } else if let Some(key) = CliToken::parse(brand, &token) {
        delete(app, key).await?
    } else if let Some(secret) = AgentSecret::parse(brand, &token) {
        delete(app, secret).await?
    } else if let Some(runner) = RunnerToken::parse(brand, &token) {
        delete(app, runner).await?
    } else if let Some(service) = ServiceKey::parse(brand, &token) {
        delete(app, service).await?
    } else {
        None
    };
    if let Some(id) = revoked {
        telemetry::leaked_key_revoked(&id);
    }
    Ok(Response::accepted())
}

/// Deletes the record whose credential was presented; its id, if there was one.
async fn delete<K: CredentialKind>(
    app: &App,
    presented: ParsedSecret<K>,
) -> Result<Option<String>, Fault> {
    let deletion = app.context.store.delete_held(&presented.id, &presented.digest).await?;
    Ok((deletion == Deletion::Deleted).then(|| presented.id.to_string()))
}
