//! A form that creates a secret is accepted once. Sending one again, by a double click, the back
//! button or a reload, changes nothing, and leads to the page that shows what the first request
//! returned. A form that deletes or changes a record is executed again, because its first request
//! may have failed.

use jiff::Timestamp;
use postern::{
    App, Error, Fault, Refusal,
    core::{id::AttemptId, secret::Secret},
    crypto::Digest,
    http::Request,
    store::form::{FormClaim, FormOutcome, SentForm},
    telemetry,
};
use serde::{Deserialize, Serialize};

use crate::portal::{form::ReceivedForm, visitor::Visitor};

/// The parameter of a page that shows what a form returned.
pub(crate) const SENT: &str = "sent";
/// What the page says about a form that may still be executed.
const UNFINISHED: &str = "This form was sent before, and may still be running. If it succeeds, this page shows the new secret. Please wait.";
/// What the page says about a form whose result is not stored.
const UNKNOWN: &str = "This form was sent before, but its result was not stored. It is unknown whether it created a secret, which can no longer be shown. If the list contains an entry that you do not know, delete it and create another one. If you renewed a secret, the old one may no longer work: renew it again.";
/// What the page says about a form whose secret was shown.
const ALREADY_SENT: &str = "This form was sent before. A new secret is shown only once: if you did not copy it, create another one.";
/// How long a first request can still be running, in seconds: as long as a function can run.
const UNFINISHED_S: i64 = 30;

/// A form that this request is the first to send.
pub(crate) struct Submission {
    form: SentForm,
    digest: Digest,
}

/// A new secret, which is shown once.
pub(crate) struct ShownOnce {
    /// A phrase for its owner.
    pub(crate) what: String,
    pub(crate) secret: Secret,
    pub(crate) id: String,
    /// When the previous secret expires, or the new one if it is an invitation.
    pub(crate) until: Option<Timestamp>,
}

/// What a form returned, as it is stored.
#[derive(Serialize, Deserialize)]
struct Outcome {
    what: String,
    secret: String,
    id: String,
    #[serde(default)]
    until: Option<Timestamp>,
}

/// What became of a form that was sent.
enum FormResult {
    AlreadyShown,
    /// The first request failed, or could not keep what it returned.
    Unknown,
    Secret(ShownOnce),
    Unfinished,
}

/// What a page shows after a form that creates a secret.
#[derive(Default)]
pub(crate) struct AfterForm {
    pub(crate) shown: Option<ShownOnce>,
    pub(crate) done: Option<&'static str>,
    /// Whether a new secret may be about to be shown.
    pub(crate) is_unfinished: bool,
}

impl From<FormResult> for AfterForm {
    fn from(result: FormResult) -> Self {
        let says = |done| Self { done: Some(done), ..Self::default() };
        match result {
            FormResult::Secret(shown) => Self { shown: Some(shown), ..Self::default() },
            FormResult::Unfinished => Self { is_unfinished: true, ..says(UNFINISHED) },
            FormResult::Unknown => says(UNKNOWN),
            FormResult::AlreadyShown => says(ALREADY_SENT),
        }
    }
}

/// Claims a form; `None` if it was sent before.
pub(crate) async fn claim(
    app: &App,
    visitor: &Visitor,
    form: &ReceivedForm,
) -> Result<Option<Submission>, Error> {
    let context = &app.context;
    let digest = digest(visitor, &form.id);
    let now = context.clock.now();
    let form = SentForm::new(&digest, AttemptId::mint(&context.entropy)?, now);
    Ok(match context.store.claim_form(&form, now).await? {
        FormClaim::First => Some(Submission { form, digest }),
        FormClaim::Repeated => None,
    })
}

/// Executes a form whose repetition changes nothing more, also if it was sent before. Returns `None`
/// if an earlier request with this form has deleted the record.
pub(crate) async fn execute_repeatable<T>(
    app: &App,
    visitor: &Visitor,
    form: &ReceivedForm,
    execute: impl AsyncFnOnce() -> Result<T, Error>,
) -> Result<Option<T>, Error> {
    let submission = claim(app, visitor, form).await?;
    let result = execute().await;
    match (submission, result) {
        (None, Err(error)) if error.refusal() == Some(Refusal::RecordUnknown) => Ok(None),
        (None, result) => result.map(Some),
        (Some(submission), result) => {
            submission.release_if_refused(app, result.as_ref().err()).await?;
            result.map(Some)
        }
    }
}

/// Binds a form to its session: nobody else can see what it returned.
fn digest(visitor: &Visitor, form: &str) -> Digest {
    Digest::of(format!("{} {form}", visitor.principal.credential_id).as_bytes())
}

impl Submission {
    /// Accepts the form again if this request was refused and changed nothing. After a failure of
    /// ours, it is unknown whether it did.
    pub(crate) async fn release_if_refused(
        &self,
        app: &App,
        error: Option<&Error>,
    ) -> Result<(), Error> {
        match error {
            Some(Error::Rejected(_)) => Ok(app.context.store.release_form(&self.form).await?),
            Some(Error::Failed(_)) | None => Ok(()),
        }
    }

    /// Keeps a new secret until the next page shows it, and reports whether that succeeded.
    /// Otherwise this response must show the secret, because nothing else can.
    pub(crate) async fn keep(&self, app: &App, shown: &ShownOnce) -> bool {
        match self.try_keep(app, shown).await {
            Ok(()) => true,
            Err(fault) => {
                telemetry::log_fault(fault.public().status, &fault);
                false
            }
        }
    }

    async fn try_keep(&self, app: &App, shown: &ShownOnce) -> Result<(), Fault> {
        let context = &app.context;
        let outcome = Outcome {
            what: shown.what.clone(),
            secret: shown.secret.expose().to_owned(),
            id: shown.id.clone(),
            until: shown.until,
        };
        let json =
            serde_json::to_string(&outcome).map_err(|error| Fault::Serialization(error.into()))?;
        let sealed = context.keyring.seal(&self.digest.to_hex(), &json, &context.entropy)?;
        context.store.keep_form_outcome(&self.form, &sealed).await
    }
}

/// Returns what a page shows after the form that `?sent=` names.
pub(crate) async fn shown(
    app: &App,
    request: &Request,
    visitor: &Visitor,
) -> Result<AfterForm, Error> {
    let result = result(app, request, visitor).await?;
    Ok(result.map(AfterForm::from).unwrap_or_default())
}

/// Returns what the form returned that `?sent=` names. A secret is returned once.
async fn result(
    app: &App,
    request: &Request,
    visitor: &Visitor,
) -> Result<Option<FormResult>, Error> {
    // A HEAD shows nothing, so it takes nothing.
    let Some(form) = request.query(SENT)?.filter(|_| request.method() == "GET") else {
        return Ok(None);
    };
    let context = &app.context;
    let (digest, now) = (digest(visitor, &form), context.clock.now());
    let attempt = AttemptId::mint(&context.entropy)?;
    let sealed = match context.store.take_form_outcome(&digest, &attempt, now).await? {
        FormOutcome::Ready(sealed) => sealed,
        FormOutcome::Unfinished(began) => {
            let is_running = now.duration_since(began).as_secs() < UNFINISHED_S;
            return Ok(Some(if is_running { FormResult::Unfinished } else { FormResult::Unknown }));
        }
        FormOutcome::Gone => return Ok(Some(FormResult::AlreadyShown)),
    };
    if let Err(fault) = context.store.delete_form_outcome(&digest).await {
        // It stays sealed until it expires, and is shown now.
        telemetry::log_fault(fault.public().status, &fault);
    }
    let json = context.keyring.open(&digest.to_hex(), &sealed);
    let outcome = json.and_then(|json| serde_json::from_str::<Outcome>(&json).ok());
    Ok(Some(outcome.map_or(FormResult::AlreadyShown, |outcome| {
        FormResult::Secret(ShownOnce {
            what: outcome.what,
            secret: Secret::new(outcome.secret),
            id: outcome.id,
            until: outcome.until,
        })
    })))
}
