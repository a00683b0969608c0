//! The authorization endpoint (RFC 6749 §3.1, RFC 7636, RFC 8707, RFC 9207): what a client asks a
//! user for. [`consent`](super::consent) has what the user answers.
//!
//! 1. Client and redirect URI are checked first. Their errors are shown to the user, and never
//!    redirected: otherwise anyone could redirect users of ours to any address.
//! 2. Everything else is returned to the client, with `state` and `iss`. A client that chose its
//!    redirect URIs itself gets an answer only from a signed-in user (RFC 9700 §4.11.2).

use super::{
    authorization_parameters::{AuthorizationParameters, Prompt},
    client,
};
use crate::{
    config::{Client, ClientMetadataSource, Config, ConfiguredAudience},
    context::Context,
    core::{
        client_kind::ClientKind,
        error::{Error, Refusal},
        id::ClientId,
        principal::{Principal, Role},
        redirect_uri::RedirectUri,
        scope::Scopes,
    },
    crypto::{Digest, thumbprint::KeyThumbprint},
};

/// The maximum length of `state`, in bytes.
const LONGEST_STATE: usize = 1000;

/// Where the answer to a request goes: a client, and one of its redirect URIs. Both are valid.
#[derive(Clone, Debug)]
pub struct RedirectTarget<'c> {
    /// The client.
    pub client: Client,
    /// Where the user is redirected.
    pub redirect_uri: RedirectUri,
    /// Whether the request left the redirect URI out, because the client has only one.
    pub(super) is_implied: bool,
    state: Option<String>,
    issuer: &'c str,
}

/// A valid request.
#[derive(Clone, Debug)]
pub struct AuthorizationRequest<'c> {
    /// Where the answer goes.
    pub to: &'c RedirectTarget<'c>,
    /// The API that tokens are requested for.
    pub audience: ConfiguredAudience<'c>,
    /// What the user must do.
    pub prompt: Prompt,
    scopes: Option<Scopes>,
    pub(super) challenge: Digest,
    pub(super) jkt: Option<KeyThumbprint>,
}

impl<'c> RedirectTarget<'c> {
    /// Returns where the answer to a request goes. `address` is the caller's.
    ///
    /// # Errors
    /// [`Refusal::AuthorizationClientDenied`], [`Refusal::AuthorizationClientUnknown`],
    /// [`Refusal::RedirectUriUnknown`], and those of [`client::find`], which the user sees.
    pub async fn find(
        context: &'c Context,
        sent: &AuthorizationParameters,
        address: &str,
    ) -> Result<Self, Error> {
        let config = &context.config;
        let id = ClientId::from(sent.client_id().ok_or_else(unnamed_client)?);
        if config.is_denied(&id) {
            return Err(Refusal::AuthorizationClientDenied.into());
        }
        let client = client::find(context, &id, address).await?;
        let client = client.ok_or_else(|| unknown_client(config, &id))?;
        let redirect_uri = match (sent.get("redirect_uri"), client.redirect_uris.as_slice()) {
            (Some(text), registered) => RedirectUri::try_from(text.to_owned())
                .ok()
                .filter(|uri| registered.iter().any(|known| known.allows(uri)))
                .ok_or_else(|| unknown_redirect_uri(&client.source))?,
            (None, [only]) => only.clone(),
            (None, _) => {
                let detail = "The parameter 'redirect_uri' is missing: send one of the app's.";
                return Err(Error::with_detail(Refusal::RedirectUriUnknown, detail.into()));
            }
        };
        let is_valid = |state: &&str| state.len() <= LONGEST_STATE;
        Ok(Self {
            client,
            redirect_uri,
            is_implied: sent.get("redirect_uri").is_none(),
            state: sent.get("state").filter(is_valid).map(str::to_owned),
            issuer: &config.deployment.issuer,
        })
    }

    /// Reports whether the operator has configured the redirect URI. Others were chosen by whoever
    /// provides the client.
    pub fn is_configured(&self) -> bool {
        match self.client.source {
            ClientMetadataSource::Configuration => true,
            ClientMetadataSource::Document(_) | ClientMetadataSource::Registration => false,
        }
    }

    /// Returns the URL that takes an answer to the client, with `state` and `iss` (RFC 9207).
    pub(super) fn answer(&self, parameters: &[(&str, &str)]) -> String {
        let mut parameters = parameters.to_vec();
        if let Some(state) = &self.state {
            parameters.push(("state", state));
        }
        parameters.push(("iss", self.issuer));
        self.redirect_uri.with_parameters(&parameters)
    }

    /// Returns the URL that takes an error to the client (RFC 6749 §4.1.2.1).
    pub fn error(&self, error: &Error) -> String {
        let public = error.public();
        self.answer(&[("error", public.code), ("error_description", error.description())])
    }
}

/// Returns the refusal of a redirect URI, which says who can add it.
fn unknown_redirect_uri(source: &ClientMetadataSource) -> Error {
    let remedy = match source {
        ClientMetadataSource::Configuration => return Refusal::RedirectUriUnknown.into(),
        ClientMetadataSource::Document(_) => {
            "whoever provides the app adds it to redirect_uris of its metadata document"
        }
        ClientMetadataSource::Registration => "register the app again, with this redirect URI",
    };
    let detail = format!("The redirect_uri is not one of those of this app: {remedy}.");
    Error::with_detail(Refusal::RedirectUriUnknown, detail)
}

fn unnamed_client() -> Error {
    let detail = "The parameter 'client_id' is missing, or was sent more than once: send it once.";
    Error::with_detail(Refusal::AuthorizationClientUnknown, detail.into())
}

/// Returns the refusal of a client that is not known. It says what kind of id was sent, and nothing
/// about those that exist.
fn unknown_client(config: &Config, id: &ClientId) -> Error {
    let detail = match id.kind() {
        ClientKind::Agent(_) => client::AGENT_FOR_NO_USER,
        ClientKind::InvalidUrl | ClientKind::Url(_) => {
            "The app is not known here: its client_id is a URL that this deployment does not accept. It must be an https URL with a path, which metadata_documents of [clients] in postern.toml allows."
        }
        ClientKind::Registered(_) if !config.accepts_client(id) => {
            "The app is not known here: it registered itself, and this deployment does not accept such apps (registration of [clients] in postern.toml)."
        }
        ClientKind::Registered(_) => {
            "The app is not known here: this deployment did not issue its client_id. Register the app again."
        }
        ClientKind::Listed => return Refusal::AuthorizationClientUnknown.into(),
    };
    Error::with_detail(Refusal::AuthorizationClientUnknown, detail.into())
}

impl<'c> AuthorizationRequest<'c> {
    /// Checks the rest of a request.
    ///
    /// # Errors
    /// Those of RFC 6749 §4.1.2.1 and RFC 8707 §2, which the client receives.
    pub fn parse(
        context: &'c Context,
        to: &'c RedirectTarget<'c>,
        sent: &AuthorizationParameters,
    ) -> Result<Self, Error> {
        if let Some(name) = sent.repeated() {
            let detail = format!("The parameter '{name}' was sent more than once: send it once.");
            return Err(Error::with_detail(Refusal::DuplicateParameter, detail));
        }
        if sent.has_request_object() {
            return Err(Refusal::RequestObjectUnsupported.into());
        }
        match sent.get("response_type") {
            Some("code") => {}
            Some(_) => return Err(Refusal::ResponseTypeUnsupported.into()),
            None => return Err(missing("response_type", "code")),
        }
        if sent.get("response_mode").is_some_and(|mode| mode != "query") {
            let detail = "The response_mode is not supported: use query, or leave it out.";
            return Err(Error::with_detail(Refusal::RequestMalformed, detail.into()));
        }
        if sent.get("state").is_some_and(|state| state.len() > LONGEST_STATE) {
            let detail =
                format!("The parameter 'state' is too long: use at most {LONGEST_STATE} bytes.");
            return Err(Error::with_detail(Refusal::RequestMalformed, detail));
        }
        let challenge = challenge(sent)?;
        let jkt = sent.get("dpop_jkt").map(str::to_owned).map(KeyThumbprint::try_from).transpose();
        let jkt = jkt.map_err(|_| Refusal::DpopThumbprintMalformed)?;
        Ok(Self {
            audience: ConfiguredAudience::requested(&context.config, &sent.resources())?,
            prompt: Prompt::parse(sent.get("prompt"))?,
            scopes: sent.get("scope").map(Scopes::parse).transpose()?,
            challenge,
            jkt,
            to,
        })
    }

    /// Returns the scopes that `user` would grant. A client that requests none for our own routes
    /// gets those of a plain user.
    ///
    /// # Errors
    /// [`Refusal::ScopeNotGranted`]
    pub fn scopes(&self, context: &Context, user: &Principal) -> Result<Scopes, Error> {
        scopes_to_grant(context, self.audience, self.scopes.as_ref(), user)
    }
}

/// Returns the scopes that `user` would grant to a client that requests `requested`.
///
/// # Errors
/// [`Refusal::ScopeNotGranted`]
pub(super) fn scopes_to_grant(
    context: &Context,
    audience: ConfiguredAudience<'_>,
    requested: Option<&Scopes>,
    user: &Principal,
) -> Result<Scopes, Error> {
    // Many clients send this scope and no other one: they ask for nothing in particular.
    let requested = requested.cloned().map(|requested| requested.without("offline_access").0);
    let requested = requested.filter(|requested| !requested.is_empty());
    match (audience, &requested) {
        (ConfiguredAudience::Issuer, None) => {
            let plain = context.config.role_scopes(Role::User).covered_by(&user.scopes);
            if plain.is_empty() { Err(Refusal::ScopeNotGranted.into()) } else { Ok(plain) }
        }
        (audience, requested) => audience.grant(&user.scopes, requested.as_ref()),
    }
}

/// Returns the PKCE challenge. Without one, or with the method `plain`, whoever sees the code could
/// redeem it (RFC 9700 §2.1.1).
fn challenge(sent: &AuthorizationParameters) -> Result<Digest, Error> {
    let expected = "the SHA-256 of the code_verifier in base64url, 43 characters (RFC 7636)";
    let challenge =
        sent.get("code_challenge").ok_or_else(|| missing("code_challenge", expected))?;
    match sent.get("code_challenge_method") {
        Some("S256") => {}
        // RFC 7636 §4.3: a request without a method means `plain`.
        Some(_) | None => return Err(Refusal::ChallengeMethodUnknown.into()),
    }
    Ok(Digest::from_base64url(challenge).ok_or(Refusal::CodeChallengeMalformed)?)
}

fn missing(name: &str, what: &str) -> Error {
    let detail = format!("The parameter '{name}' is missing: send {what}.");
    Error::with_detail(Refusal::ParameterMissing, detail)
}
