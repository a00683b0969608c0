//! `GET /v1/runners/{id}/install.sh`: a download, authorized by a download token or by the token of
//! the runner itself.
//!
//! A download token is sent in the query or as a bearer token, and is valid only for its own path.

mod install;

use http::{HeaderValue, header::REFERRER_POLICY};
use postern::{
    App, Error, Refusal,
    core::{
        credential_header::RUNNER_TOKEN, permission::Permission, secret::Secret, subject::Subject,
    },
    credential::{PresentedKind, RunnerToken},
    crypto::jwt,
    grant::permitted_use,
    http::{CredentialSource as _, Request, Response},
    store::runner::RunnerRecord,
    token::{DownloadClaims, verify},
};

const SCRIPT: HeaderValue = HeaderValue::from_static("text/x-shellscript; charset=utf-8");
const NO_REFERRER: HeaderValue = HeaderValue::from_static("no-referrer");

/// Handles the route: verifies the token without I/O, then makes one consistent read.
///
/// # Errors
/// A 401 if the token is missing or invalid, a 403 without the scope, a 404 for a runner of another
/// organization, or for another runner than the one whose token was presented.
pub async fn handle(app: &App, request: &Request) -> Result<Response, Error> {
    let runner = match request.header(RUNNER_TOKEN) {
        Some(token) => runner_itself(app, request, token).await?,
        None => runner_of_claims(app, request).await?,
    };
    let script = install::script(&app.context.config.deployment.public_url, &runner.meta.id);
    Ok(Response::text(SCRIPT, script).with_header(REFERRER_POLICY, NO_REFERRER))
}

/// Returns the runner whose token was presented: the script contains nothing that it does not have.
async fn runner_itself(app: &App, request: &Request, token: &str) -> Result<RunnerRecord, Error> {
    let context = &app.context;
    if request.bearer().is_some() || request.query("token")?.is_some() {
        return Err(Refusal::DuplicateParameter.into());
    }
    let token = RunnerToken::parse(&context.config.brand, token);
    let token = token.ok_or(Refusal::CredentialMalformed)?;
    let runner: Option<RunnerRecord> = context.store.record(&token.id, context.clock.now()).await?;
    let runner = runner.filter(|runner| runner.secret.digest.matches(&token.digest));
    let runner = runner.ok_or(Refusal::RunnerTokenWrong)?;
    permitted_use::check(&runner.properties, request.deciding_address())?;
    let subject = Subject::Runner(runner.meta.id);
    context.config.allowed_users.check(&subject, runner.on_behalf_of.as_ref())?;
    if runner.meta.id != request.path_id()? {
        return Err(Refusal::RecordUnknown.into());
    }
    Ok(runner)
}

/// Returns the runner of a download token.
async fn runner_of_claims(app: &App, request: &Request) -> Result<RunnerRecord, Error> {
    let claims = authenticate(app, request)?;
    let wanted = Permission::RunnersRead.into();
    if !claims.scopes.allows(&wanted) {
        return Err(Error::lacks_scope(Permission::RunnersRead));
    }
    let organization = claims.org_id.ok_or(Refusal::OrganizationMissing)?;
    let id = request.path_id()?;
    let runner: Option<RunnerRecord> = app
        .context
        .store
        .record_in_organization(&organization, &id, app.context.clock.now())
        .await?;
    Ok(runner.ok_or(Refusal::RecordUnknown)?)
}

fn authenticate(app: &App, request: &Request) -> Result<DownloadClaims, Error> {
    let in_query = request.query("token")?.map(Secret::new);
    let token = match (&in_query, request.bearer()) {
        (Some(_), Some(_)) => return Err(Refusal::DuplicateParameter.into()),
        (Some(token), None) => token.expose(),
        (None, Some(token)) => token,
        (None, None) => {
            let detail = "No download token was presented: send the one from POST /v1/auth/download-token as ?token= or as Authorization: Bearer.";
            return Err(Error::with_detail(Refusal::CredentialMissing, detail.into()));
        }
    };
    let claims: DownloadClaims = verify::verify(&app.context, token, app.context.clock.now())
        .map_err(|refusal| token_refused(app, request, token, refusal))?;
    if claims.path != request.path() {
        return Err(path_mismatch(Refusal::DownloadPathMismatch));
    }
    app.context.config.allowed_users.check(&claims.sub, claims.on_behalf_of.as_ref())?;
    Ok(claims)
}

/// Returns the refusal of a token for another path.
fn path_mismatch(refusal: Refusal) -> Error {
    let detail = "The download token names another path: request one for this path at POST /v1/auth/download-token.";
    Error::with_detail(refusal, detail.into())
}

/// Returns the refusal of a token that could not be verified. It says if another kind of credential
/// was sent, or a token for another path. The form and the path of a token are not secret, so the
/// answer does not depend on whether it is valid.
fn token_refused(app: &App, request: &Request, token: &str, refusal: Refusal) -> Error {
    let named = jwt::unverified_claims(token).and_then(|mut claims| claims.remove("path"));
    if named.is_some_and(|path| path != request.path()) {
        return path_mismatch(refusal);
    }
    let kind = PresentedKind::of(&app.context.config.brand, token);
    match kind.filter(|kind| *kind != PresentedKind::Jwt) {
        Some(kind) => {
            let name = kind.name();
            let detail = format!(
                "The download token looks like {name}: send the token from POST /v1/auth/download-token."
            );
            Error::with_detail(refusal, detail)
        }
        None => refusal.into(),
    }
}
