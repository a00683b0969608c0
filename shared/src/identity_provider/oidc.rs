//! OpenID providers. Discovery finds their endpoints, and the ID token identifies the user (OpenID
//! Connect Core §3.1.3.7).

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use oauth2::TokenResponse as _;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::sync::Mutex;

use super::{Endpoints, ExternalIdentity, PendingSignIn, oauth::OauthTokenResponse, readable};
use crate::{
    config::{self, OidcSignIn},
    context::Context,
    core::{
        email::Email,
        error::{Error, Fault, Refusal},
        subject::SubjectPrefix,
    },
    token::{external, issuer_keys::IssuerKeys},
};

/// How long a discovery document is used.
const FRESH: SignedDuration = SignedDuration::from_mins(10);
const LARGEST_DISCOVERY: usize = 64 * 1024;
/// The timeout of the userinfo request.
const ABOUT_A_PERSON: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(super) struct OidcIdentityProvider {
    issuer: String,
    subject_prefix: SubjectPrefix,
    /// Whether `allow` needs verified email addresses.
    needs_addresses: bool,
    keys: IssuerKeys,
    known: Mutex<Option<(Discovered, Timestamp)>>,
}

/// The members of the discovery document that are used (OpenID Connect Discovery §3, RFC 9207 §3).
#[derive(Clone, Debug, Deserialize)]
struct Discovered {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    userinfo_endpoint: Option<String>,
    #[serde(default)]
    scopes_supported: Vec<String>,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Vec<String>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

impl OidcIdentityProvider {
    pub(super) fn new(settings: &OidcSignIn, needs_addresses: bool) -> Self {
        Self {
            issuer: settings.issuer.clone(),
            subject_prefix: settings.subject_prefix.clone().unwrap_or_default(),
            needs_addresses,
            keys: IssuerKeys::new(settings.issuer.clone(), None),
            known: Mutex::default(),
        }
    }

    pub(super) async fn endpoints(&self, context: &Context) -> Result<Endpoints, Fault> {
        let found = self.discovered(context).await?;
        let wanted = ["openid", "profile", "email", "offline_access"];
        let is_offered = |scope: &&str| match found.scopes_supported.as_slice() {
            [] => *scope != "offline_access",
            offered => *scope == "openid" || offered.iter().any(|known| known == scope),
        };
        let methods = &found.token_endpoint_auth_methods_supported;
        let knows = |method: &str| methods.iter().any(|known| known == method);
        Ok(Endpoints {
            authorization: found.authorization_endpoint,
            token: found.token_endpoint,
            scopes: wanted
                .iter()
                .filter(|scope| is_offered(scope))
                .map(|scope| (*scope).to_owned())
                .collect(),
            secret_in_body: !methods.is_empty()
                && !knows("client_secret_basic")
                && knows("client_secret_post"),
        })
    }

    /// Checks the issuer that a response names. Otherwise another provider's code would be sent to
    /// this one (RFC 9207 §2.4).
    pub(super) async fn check_response_issuer(
        &self,
        answered_by: Option<&str>,
    ) -> Result<(), Refusal> {
        let is_named = |(found, _): &(Discovered, Timestamp)| {
            found.authorization_response_iss_parameter_supported
        };
        let must_name = self.known.lock().await.as_ref().is_some_and(is_named);
        match answered_by {
            Some(issuer) if issuer == self.issuer => Ok(()),
            None if !must_name => Ok(()),
            Some(_) | None => Err(Refusal::SignInRefused),
        }
    }

    /// Returns the user of the ID token, which must be valid, intended for us, and belong to this
    /// sign-in.
    pub(super) async fn fetch_identity(
        &self,
        context: &Context,
        client_id: &str,
        answer: &OauthTokenResponse,
        proof: &PendingSignIn,
    ) -> Result<ExternalIdentity, Error> {
        let id_token = answer.extra_fields().id_token.as_deref().ok_or(Refusal::SignInRefused)?;
        let mut claims = self.verify(context, client_id, id_token).await?;
        let is_this_one = claims.get("nonce").and_then(Value::as_str) == Some(&proof.nonce);
        let is_for_us = claims.get("azp").is_none_or(|party| party == client_id);
        if !is_this_one || !is_for_us {
            return Err(Refusal::SignInRefused.into());
        }
        let refused = |_| Refusal::SignInRefused;
        let user = external::remove_user_id(&mut claims, &["sub"]).map_err(refused)?;
        let prefix = self.subject_prefix.as_str();
        let subject = context.config.external_subject(prefix, &user).map_err(refused)?;
        if !claims.contains_key("email") {
            match self.userinfo(context, answer.access_token().secret(), &user).await {
                Ok(more) => claims.extend(more),
                Err(error) if self.needs_addresses => return Err(error),
                Err(_) => {} // it is only for display
            }
        }
        let verified = match (claims.get("email"), claims.get("email_verified")) {
            (Some(Value::String(email)), Some(Value::Bool(true))) => {
                Email::try_from(email.clone()).into_iter().collect()
            }
            _ => Vec::new(),
        };
        let metadata = ["name", "email"]
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), readable(claims.get(name))?)))
            .collect();
        Ok(ExternalIdentity { subject, verified, metadata, tokens: None })
    }

    async fn verify(
        &self,
        context: &Context,
        client_id: &str,
        id_token: &str,
    ) -> Result<Map<String, Value>, Error> {
        let verified = self.keys.verify(context, id_token, client_id).await?;
        verified.map_err(|_| Refusal::SignInRefused.into())
    }

    /// Returns what the provider says about the user (OpenID Connect Core §5.3).
    async fn userinfo(
        &self,
        context: &Context,
        access_token: &str,
        subject: &str,
    ) -> Result<Map<String, Value>, Error> {
        let found = self.discovered(context).await?;
        let Some(url) = found.userinfo_endpoint else { return Ok(Map::new()) };
        let request = http::Request::get(url)
            .header("authorization", format!("Bearer {access_token}"))
            .header("accept", "application/json")
            .body(Vec::new())
            .map_err(|error| self.fault(error.to_string()))?;
        let answer = tokio::time::timeout(ABOUT_A_PERSON, context.fetcher.request(request)).await;
        let answer = answer
            .map_err(|_| self.fault("it did not respond in time"))?
            .map_err(|error| self.fault(error))?;
        let claims: Map<String, Value> = serde_json::from_slice(answer.body())
            .map_err(|_| self.fault("its userinfo response is malformed"))?;
        // OpenID Connect Core §5.3.2: claims about another subject must not be used.
        let is_theirs = claims.get("sub").and_then(Value::as_str) == Some(subject);
        if is_theirs { Ok(claims) } else { Err(Refusal::SignInRefused.into()) }
    }

    async fn discovered(&self, context: &Context) -> Result<Discovered, Fault> {
        let mut known = self.known.lock().await;
        let now = context.clock.now();
        if let Some((found, since)) = known.as_ref()
            && (SignedDuration::ZERO..FRESH).contains(&now.duration_since(*since))
        {
            return Ok(found.clone());
        }
        let base = self.issuer.strip_suffix('/').unwrap_or(&self.issuer);
        let json = context
            .fetcher
            .get(&format!("{base}/.well-known/openid-configuration"), LARGEST_DISCOVERY)
            .await?;
        let found: Discovered = serde_json::from_slice(&json)
            .map_err(|_| self.fault("its discovery document is malformed"))?;
        let urls = [
            Some(&found.authorization_endpoint),
            Some(&found.token_endpoint),
            found.userinfo_endpoint.as_ref(),
        ];
        let is_sound = |url: &String| {
            config::is_https_or_loopback_url(url)
                && (self.issuer.starts_with("http:") || url.starts_with("https:"))
        };
        if found.issuer != self.issuer || !urls.into_iter().flatten().all(is_sound) {
            return Err(self.fault(
                "its discovery document names another issuer, or endpoints that are not https",
            ));
        }
        *known = Some((found.clone(), now));
        Ok(found)
    }

    fn fault(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Fault {
        Fault::Issuer { issuer: self.issuer.clone(), source: source.into() }
    }
}
