//! The decision which credentials an API accepts.

use std::{fmt, sync::Arc, time::Duration};

use http::HeaderMap;
use secrecy::{ExposeSecret as _, SecretString};

use super::{
    claims::{self, Expected, UnverifiedHeader},
    introspection::Introspection,
    issuer_keys::{IssuerKeys, SigningAlgorithm},
    presented::Presented,
    principal::Principal,
    refusal::{Refusal, RefusalCode, joined},
};
use crate::{Context, Error, ErrorCode, Issuer, Result, oauth::Server};

const NOT_VALID: &str = "The credential is not valid: it may have expired or been revoked, or be \
                         for another API or organization. Get another one.";
const NONE: &str = "Send a credential, in the header Authorization: Bearer or X-API-Key.";
const TWO: &str = "Send one credential, in Authorization or in X-API-Key.";
const UNAVAILABLE: &str = "The credential cannot be checked at the moment. Try again later.";

/// How long the issuer is not asked again after its keys or metadata could not be fetched: requests
/// with made-up tokens must not become requests to it.
const FAILURE_LIFETIME: Duration = Duration::from_secs(5);

type OnFailure = Arc<dyn Fn(&Error) + Send + Sync>;

/// Decides which credentials an API accepts. An API has one for all of its requests; it is cheap to
/// clone, and its clones share the keys of the issuer.
///
/// An access token that is verified here is accepted until it expires, also after it was revoked.
/// With [`Introspection::introspect_jwts`], the issuer is asked about each of them, too.
#[derive(Clone)]
pub struct Verifier {
    server: Arc<Server>,
    keys: Arc<IssuerKeys>,
    settings: Arc<Settings>,
}

#[derive(Clone)]
struct Settings {
    audience: String,
    organization: Option<String>,
    algorithms: Vec<SigningAlgorithm>,
    introspection: Option<Introspection>,
    resource_metadata: Option<String>,
    on_failure: OnFailure,
}

impl Verifier {
    /// Creates a verifier. `audience` is the API: the `uri` of its `[[resource]]`, or the issuer.
    /// Only access tokens are accepted, signed with ES256.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidRequest`] if the audience is empty.
    pub fn new(context: &Context, issuer: &Issuer, audience: impl Into<String>) -> Result<Self> {
        let audience = audience.into();
        if audience.is_empty() {
            return Err(unusable("audience", "Pass the uri of the [[resource]] of this API"));
        }
        let settings = Settings {
            audience,
            organization: None,
            algorithms: vec![SigningAlgorithm::ES256],
            introspection: None,
            resource_metadata: None,
            on_failure: Arc::new(report),
        };
        // A program in which something else enables the library's other cryptography has none by
        // default.
        jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default().ok();
        // A caller waits for the response, and can try again.
        let mut server = Server::new(&context.clone().without_repetitions(), issuer);
        server.failure_lifetime = FAILURE_LIFETIME;
        Ok(Self { server: Arc::new(server), keys: Arc::default(), settings: Arc::new(settings) })
    }

    /// Asks the issuer about API keys and everything else that is not one of its access tokens.
    /// Without it, these are refused.
    #[must_use]
    pub fn introspection(mut self, introspection: Introspection) -> Self {
        self.settings_mut().introspection = Some(introspection);
        self
    }

    /// Accepts only the callers of an organization, by its id. By default, those of every
    /// organization of the deployment are accepted, because each has access tokens of the issuer.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidRequest`] if the id is empty.
    pub fn organization(mut self, id: impl Into<String>) -> Result<Self> {
        let id = id.into();
        if id.is_empty() {
            return Err(unusable("organization", "Pass its id, or leave it out"));
        }
        self.settings_mut().organization = Some(id);
        Ok(self)
    }

    /// Accepts tokens that are signed by these algorithms, in place of ES256.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidRequest`] if there is none.
    pub fn algorithms(
        mut self,
        accepted: impl IntoIterator<Item = SigningAlgorithm>,
    ) -> Result<Self> {
        let accepted: Vec<_> = accepted.into_iter().collect();
        if accepted.is_empty() {
            return Err(unusable("list of algorithms", "Pass those by which the issuer signs"));
        }
        self.settings_mut().algorithms = accepted;
        Ok(self)
    }

    /// Names the URL of the metadata of the API (RFC 9728) in challenges.
    #[must_use]
    pub fn resource_metadata(mut self, url: impl Into<String>) -> Self {
        self.settings_mut().resource_metadata = Some(url.into());
        self
    }

    /// Calls a function with the reason why the response to a request is a 503. By default, it is
    /// written to standard error. It contains no credential.
    #[must_use]
    pub fn on_failure(mut self, report: impl Fn(&Error) + Send + Sync + 'static) -> Self {
        self.settings_mut().on_failure = Arc::new(report);
        self
    }

    /// Returns the caller who presents the credential of these headers, and has all of `scopes`.
    ///
    /// # Errors
    /// A [`Refusal`] if there is no such caller, or the credential cannot be checked now.
    pub async fn verify(
        &self,
        headers: &HeaderMap,
        scopes: &[impl AsRef<str>],
    ) -> Result<Principal, Refusal> {
        let token = self.presented(headers)?;
        let principal = match self.decide(&token).await {
            Ok(Some(principal)) if self.is_of_organization(&principal) => principal,
            Ok(Some(_) | None) => return Err(self.refusal(RefusalCode::InvalidToken, NOT_VALID)),
            // A failure of ours, or of the issuer, says nothing about the credential.
            Err(error) => {
                (self.settings.on_failure)(&error);
                return Err(self.refusal(RefusalCode::TemporarilyUnavailable, UNAVAILABLE));
            }
        };
        self.require(&principal, scopes)?;
        Ok(principal)
    }

    /// Checks that a caller has all of `scopes`.
    ///
    /// # Errors
    /// A [`Refusal`] that names them, if one is missing.
    pub fn require(
        &self,
        principal: &Principal,
        scopes: &[impl AsRef<str>],
    ) -> Result<(), Refusal> {
        let missing = principal.missing(scopes);
        if missing.is_empty() {
            return Ok(());
        }
        let description =
            format!("The credential lacks the scope that is required: {}.", joined(&missing));
        Err(self.refusal(RefusalCode::InsufficientScope, description).with_scope(scopes))
    }

    /// Returns whether two verifiers have the same settings and keys, as clones have.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.settings, &other.settings) && Arc::ptr_eq(&self.keys, &other.keys)
    }

    pub(super) fn refusal(&self, code: RefusalCode, description: impl Into<String>) -> Refusal {
        Refusal::new(code, description, self.settings.resource_metadata.as_deref())
    }

    fn settings_mut(&mut self) -> &mut Settings {
        Arc::make_mut(&mut self.settings)
    }

    fn presented(&self, headers: &HeaderMap) -> Result<SecretString, Refusal> {
        match Presented::read(headers) {
            Presented::Credential(token) => Ok(token),
            Presented::Malformed => Err(self.refusal(RefusalCode::InvalidToken, NOT_VALID)),
            Presented::Nothing => Err(self.refusal(RefusalCode::AuthRequired, NONE)),
            Presented::Two => Err(self.refusal(RefusalCode::InvalidRequest, TWO)),
        }
    }

    /// Returns the caller of a credential, if it is valid.
    ///
    /// 1. An access token of the issuer is verified by its signature. If that fails, it is refused.
    /// 2. If it is valid, the issuer is asked about it only if the API wants that.
    /// 3. The issuer is asked about everything else.
    async fn decide(&self, token: &SecretString) -> Result<Option<Principal>> {
        let text = token.expose_secret();
        let Some(header) = UnverifiedHeader::of_issuer(text, self.server.issuer.as_str()) else {
            return self.introspect(token).await;
        };
        let Some(algorithm) = header.algorithm(&self.settings.algorithms) else {
            return Ok(None);
        };
        let Some(key) = self.keys.find(&self.server, header.key_id(), algorithm).await? else {
            return Ok(None);
        };
        let expected = Expected {
            issuer: self.server.issuer.as_str(),
            audience: &self.settings.audience,
            now: self.server.context.system.now(),
        };
        let claims = claims::verify(text, &key, algorithm, expected);
        match claims.as_ref().and_then(Principal::from_claims) {
            Some(_) if self.introspects_jwts() => self.introspect(token).await,
            outcome => Ok(outcome),
        }
    }

    fn is_of_organization(&self, principal: &Principal) -> bool {
        let accepted = self.settings.organization.as_ref();
        accepted.is_none_or(|accepted| principal.org_id.as_ref() == Some(accepted))
    }

    fn introspects_jwts(&self) -> bool {
        self.settings.introspection.as_ref().is_some_and(|asking| asking.asks_about_jwts)
    }

    async fn introspect(&self, token: &SecretString) -> Result<Option<Principal>> {
        match &self.settings.introspection {
            Some(asking) => asking.ask(&self.server, &self.settings.audience, token).await,
            None => Ok(None),
        }
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier({} at {})", self.settings.audience, self.server.issuer)
    }
}

/// With an empty setting, every request would be refused.
fn unusable(setting: &str, advice: &str) -> Error {
    let message = format!("The {setting} of a verifier is empty. {advice}.");
    Error::new(ErrorCode::InvalidRequest, message)
}

#[expect(clippy::print_stderr, reason = "the default, which a program replaces")]
fn report(error: &Error) {
    eprintln!("A credential cannot be checked: {error}");
}
