//! Sign-in at an OpenID provider (`/v1/auth/oidc/start` and `/callback`) or GitHub
//! (`/v1/auth/github` and `/callback`), either for a session in this browser or for a tool on the
//! user's machine.

use postern::{
    App, Error, Refusal,
    core::{id::ClientId, loopback_uri::is_loopback_uri, path, scope::Scopes, secret::Secret},
    credential::SESSION_COOKIE,
    crypto::Digest,
    grant::{
        session::{self, Browser},
        sign_in::{self, AuthorizationRedirect, LIFETIME, Returned, SignInOutcome},
    },
    http::{CredentialSource as _, Request, Response},
    identity_provider::IdentityProvider,
    store::sign_in::Loopback,
};

/// Binds a sign-in to the browser that started it.
const BROWSER_COOKIE: &str = "__Host-postern_signin";
/// The maximum length of a provider's response as a query, in bytes: all headers of a response of
/// ours together may have 10 KB.
const LONGEST_RESPONSE: usize = 8 * 1024;
/// The maximum length of a tool's `state`, in bytes.
const LONGEST_STATE: usize = 500;

/// Handles the routes.
///
/// # Errors
/// The refusals of each route, and faults.
pub async fn handle(app: &App, request: &Request) -> Result<Response, Error> {
    match request.route() {
        "GET /v1/auth/oidc/start" => start(app, request, SignInKind::Oidc).await,
        "GET /v1/auth/oidc/callback" => callback(app, request, SignInKind::Oidc).await,
        "POST /v1/auth/oidc/callback" => form_post(request),
        "GET /v1/auth/github" => start(app, request, SignInKind::Github).await,
        "GET /v1/auth/github/callback" => callback(app, request, SignInKind::Github).await,
        _ => Err(Refusal::RouteUnknown.into()),
    }
}

/// The kind of identity provider that a route is for.
#[derive(Clone, Copy)]
enum SignInKind {
    Github,
    Oidc,
}

impl SignInKind {
    fn matches(self, provider: &IdentityProvider) -> bool {
        match self {
            Self::Github => provider.is_github(),
            Self::Oidc => !provider.is_github(),
        }
    }

    /// Says that no provider of this kind is configured.
    fn not_configured(self) -> String {
        let (sentence, name) = match self {
            Self::Github => ("GitHub is not configured", "github"),
            Self::Oidc => ("No OpenID provider is configured", "oidc"),
        };
        format!(
            "{sentence}: the operator has to add a [[signin]] with the type '{name}' to postern.toml."
        )
    }
}

async fn start(app: &App, request: &Request, kind: SignInKind) -> Result<Response, Error> {
    let provider = identity_provider(app, request, kind)?;
    let loopback = if is_for_tool(request)? { Some(loopback(app, request)?) } else { None };
    let next = path::safe_redirect(request.oauth_parameter("next")?.as_deref());
    let browser = request.cookie(BROWSER_COOKIE)?.map(|value| Secret::new(value.to_owned()));
    let AuthorizationRedirect { location, browser } =
        sign_in::start(&app.context, provider, &next, loopback, browser, request.source_ip())
            .await?;
    Ok(Response::see_other(location)?.cookie(BROWSER_COOKIE, &browser, LIFETIME.as_secs())?)
}

/// Reports whether a tool started the sign-in. Without `cli=true`, the browser would be signed in
/// and the tool would wait for a code that never comes.
fn is_for_tool(request: &Request) -> Result<bool, Error> {
    match request.oauth_parameter("cli")?.as_deref() {
        Some("true") => Ok(true),
        None | Some("false") => {
            for name in ["redirect_uri", "code_challenge"] {
                if request.oauth_parameter(name)?.is_some() {
                    let detail = format!(
                        "The parameter 'cli' is missing: send cli=true together with {name}, to sign in for a tool on this machine."
                    );
                    return Err(Error::with_detail(Refusal::ParameterMissing, detail));
                }
            }
            Ok(false)
        }
        Some(_) => {
            let detail = "The parameter 'cli' must be true, for a tool on this machine, or absent.";
            Err(Error::with_detail(Refusal::RequestMalformed, detail.into()))
        }
    }
}

/// Returns the identity provider that `?provider=` names, or the only one of this kind.
fn identity_provider<'a>(
    app: &'a App,
    request: &Request,
    kind: SignInKind,
) -> Result<&'a IdentityProvider, Error> {
    let named = request.oauth_parameter("provider")?;
    let configured: Vec<_> =
        app.identity_providers.iter().filter(|provider| kind.matches(provider)).collect();
    let names =
        || configured.iter().map(|provider| provider.name()).collect::<Vec<_>>().join(" or ");
    let detail = match (named, configured.as_slice()) {
        (None, [only]) => return Ok(only),
        (_, []) => kind.not_configured(),
        (None, _) => {
            format!("Send the parameter 'provider', because there are several: {}.", names())
        }
        (Some(name), _) => match configured.iter().find(|provider| provider.name() == name) {
            Some(provider) => return Ok(provider),
            None => {
                format!("The parameter 'provider' names no configured provider: use {}.", names())
            }
        },
    };
    Err(Error::with_detail(Refusal::IdentityProviderUnknown, detail))
}

/// Parses the parameters of a tool that receives its code on a loopback address.
///
/// Requires a PKCE challenge with S256: without one, or with the `plain` method, anyone who sees
/// the code could redeem it (RFC 9700 §2.1.1).
fn loopback(app: &App, request: &Request) -> Result<Loopback, Error> {
    let redirect_uri = required(
        request,
        "redirect_uri",
        "the address on this machine at which the tool listens, such as http://127.0.0.1:8976/callback",
    )?;
    if !is_loopback_uri(&redirect_uri) {
        return Err(Refusal::RedirectUriNotAllowed.into());
    }
    let client_id = request.oauth_parameter("client_id")?;
    let client_id = client_id.map_or_else(|| ClientId::from("postern-cli"), ClientId::from);
    if app.context.config.client(&client_id).is_none() {
        let detail = "The parameter 'client_id' names no client of this deployment: omit it, for postern-cli, or use the id of a [[client]] in postern.toml.";
        return Err(Error::with_detail(Refusal::ClientUnknown, detail.into()));
    }
    let method = required(request, "code_challenge_method", "S256 (RFC 7636)")?;
    if method != "S256" {
        return Err(Refusal::ChallengeMethodUnknown.into());
    }
    let challenge = required(
        request,
        "code_challenge",
        "the SHA-256 of the code_verifier in base64url, 43 characters (RFC 7636)",
    )?;
    let challenge = Digest::from_base64url(&challenge);
    let state = request.oauth_parameter("state")?;
    if state.as_ref().is_some_and(|state| state.len() > LONGEST_STATE) {
        let detail =
            format!("The parameter 'state' is too long: use at most {LONGEST_STATE} bytes.");
        return Err(Error::with_detail(Refusal::RequestMalformed, detail));
    }
    let scope = request.oauth_parameter("scope")?;
    scope.as_deref().map(Scopes::parse).transpose()?;
    let challenge = challenge.ok_or(Refusal::CodeChallengeMalformed)?;
    Ok(Loopback { client_id, redirect_uri, challenge, state, scope })
}

/// Returns a parameter of the query that a tool must send: `what`.
fn required(request: &Request, name: &str, what: &str) -> Result<String, Error> {
    request.oauth_parameter(name)?.ok_or_else(|| {
        let detail = format!("The parameter '{name}' is missing: send {what}.");
        Error::with_detail(Refusal::ParameterMissing, detail)
    })
}

/// Handles a response that the provider makes the browser post (`response_mode=form_post`), as
/// Apple does.
///
/// The browser sends no cookie of ours with a request from the provider's page (`SameSite=Lax`), so
/// the response continues as the same one in a query, to which the cookie is sent. Nothing is
/// decided here, and the code stays worthless without the cookie and the verifier.
fn form_post(request: &Request) -> Result<Response, Error> {
    let provider = request.oauth_parameter("provider")?;
    let mut query = form_urlencoded::Serializer::new(String::new());
    for name in ["state", "code", "error", "iss"] {
        if let Some(value) = request.posted_oauth_parameter(name)? {
            query.append_pair(name, value.expose());
        }
    }
    if let Some(provider) = provider {
        query.append_pair("provider", &provider);
    }
    let query = query.finish();
    if query.len() > LONGEST_RESPONSE {
        return Err(Refusal::RequestMalformed.into());
    }
    Ok(Response::see_other(format!("/v1/auth/oidc/callback?{query}"))?)
}

async fn callback(app: &App, request: &Request, kind: SignInKind) -> Result<Response, Error> {
    if request.method() == "HEAD" {
        // A HEAD is safe (RFC 9110 §9.2.1): it uses up no sign-in.
        return Err(Refusal::SignInExpired.into());
    }
    let returned = Returned {
        state: request.oauth_parameter("state")?.unwrap_or_default(),
        code: request.oauth_parameter("code")?,
        error: request.oauth_parameter("error")?,
        issuer: request.oauth_parameter("iss")?,
        provider: request.oauth_parameter("provider")?,
        browser: request.cookie(BROWSER_COOKIE)?.map(|value| Secret::new(value.to_owned())),
    };
    let replaced = request.cookie(SESSION_COOKIE)?.map(|value| Secret::new(value.to_owned()));
    let outcome = sign_in::complete(
        &app.context,
        &app.identity_providers,
        returned,
        Browser::from_request(request),
        |provider| kind.matches(provider),
    )
    .await?;
    Ok(match outcome {
        SignInOutcome::Session { value, next } => {
            if let Some(replaced) = replaced {
                session::delete(&app.context, &replaced).await?;
            }
            Response::see_other(next)?.cookie(
                SESSION_COOKIE,
                &value,
                app.context.config.lifetimes.session_idle.as_secs(),
            )?
        }
        SignInOutcome::CodeRedirect { location } => Response::see_other(location)?,
        SignInOutcome::ErrorRedirect { location, cause } => {
            Response::see_other(location)?.with_cause(cause)
        }
    })
}
