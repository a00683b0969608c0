//! OpenID providers. Discovery finds their endpoints, and the ID token identifies the user (OpenID
//! Connect Core §3.1.3.7).

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use oauth2::TokenResponse as _;
use serde_json::{Map, Value};
use tokio::sync::Mutex;

use super::{Endpoints, ExternalIdentity, PendingSignIn, oauth::OauthTokenResponse, readable};
use crate::{
    config::{OidcSignIn, ResponseMode},
    context::Context,
    core::{
        email::Email,
        error::{Error, Fault, Refusal},
        json::lenient::{self, LenientObject},
        subject::SubjectPrefix,
    },
    token::{
        discovery::{self, Discovered},
        external,
        issuer_keys::IssuerKeys,
    },
};

/// How long a discovery document is used.
const FRESH: SignedDuration = SignedDuration::from_mins(10);
/// The timeout of the userinfo request.
const ABOUT_A_PERSON: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(super) struct OidcIdentityProvider {
    issuer: String,
    subject_prefix: SubjectPrefix,
    pub(super) response_mode: ResponseMode,
    /// Whether `allow` needs verified email addresses.
    needs_addresses: bool,
    keys: IssuerKeys,
    known: Mutex<Option<(Discovered, Timestamp)>>,
}

/// Returns the cause that an ID token was refused for. An access token with the same fault has
/// another public answer.
fn of_sign_in(refusal: Refusal) -> Refusal {
    if refusal == Refusal::TokenKeyNotFetched {
        refusal // the public answer is the same
    } else if refusal == Refusal::TokenExpired {
        Refusal::IdTokenExpired
    } else if matches!(refusal, Refusal::TokenForged | Refusal::TokenKeyUnknown) {
        Refusal::IdTokenForged
    } else if refusal == Refusal::TokenAudienceWrong {
        Refusal::IdTokenAudienceWrong
    } else {
        Refusal::IdTokenClaimsInvalid
    }
}

impl OidcIdentityProvider {
    pub(super) fn new(settings: &OidcSignIn, needs_addresses: bool) -> Self {
        Self {
            issuer: settings.issuer.clone(),
            subject_prefix: settings.subject_prefix.clone().unwrap_or_default(),
            response_mode: settings.response_mode,
            needs_addresses,
            keys: IssuerKeys::new(settings.issuer.clone(), None),
            known: Mutex::default(),
        }
    }

    pub(super) async fn endpoints(&self, context: &Context) -> Result<Endpoints, Fault> {
        let found = self.discovered(context).await?;
        let required = |name: &str, endpoint: Option<String>| {
            endpoint.ok_or_else(|| discovery::endpoint_missing(&self.issuer, name))
        };
        let wanted = ["openid", "profile", "email", "offline_access"];
        let is_offered = |scope: &&str| match found.scopes_supported.as_slice() {
            [] => *scope != "offline_access",
            offered => *scope == "openid" || offered.iter().any(|known| known == scope),
        };
        let methods = &found.token_endpoint_auth_methods_supported;
        let knows = |method: &str| methods.iter().any(|known| known == method);
        Ok(Endpoints {
            authorization: required("authorization_endpoint", found.authorization_endpoint)?,
            token: required("token_endpoint", found.token_endpoint)?,
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
            Some(_) | None => Err(Refusal::SignInIssuerWrong),
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
        let id_token = answer.id_token.as_deref().ok_or(Refusal::IdTokenMissing)?;
        let verified = self.keys.verify(context, id_token, client_id).await?;
        let mut claims = verified.map_err(of_sign_in)?;
        claims.retain(|_, value| !value.is_null());
        if claims.get("nonce").and_then(Value::as_str) != Some(&proof.nonce) {
            return Err(Refusal::IdTokenNonceWrong.into());
        }
        if claims.get("azp").is_some_and(|party| party != client_id) {
            return Err(Refusal::IdTokenAudienceWrong.into());
        }
        let user = external::remove_user_id(&mut claims, &["sub"]).map_err(of_sign_in)?;
        let prefix = self.subject_prefix.as_str();
        let subject = context.config.external_subject(prefix, &user).map_err(of_sign_in)?;
        if !["email", "email_verified"].iter().all(|name| claims.contains_key(*name)) {
            match self.userinfo(context, answer.access_token().secret(), &user).await {
                Ok(more) => {
                    // Whether an address is verified is said next to it.
                    if more.contains_key("email") {
                        claims.remove("email_verified");
                    }
                    claims.extend(more);
                }
                Err(error) if self.needs_addresses => return Err(error),
                Err(_) => {} // it is only for display
            }
        }
        let verified = match claims.get("email") {
            Some(Value::String(email)) if external::is_email_verified(&claims) => {
                Email::try_from(email.clone()).into_iter().collect()
            }
            _ => Vec::new(),
        };
        external::rename_unverified_email(&mut claims);
        let metadata = ["name", external::EMAIL, external::EMAIL_UNVERIFIED]
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), readable(claims.get(name))?)))
            .collect();
        Ok(ExternalIdentity { subject, verified, metadata, tokens: None })
    }

    /// Returns what the provider says about the name and the address of the user (OpenID Connect
    /// Core §5.3).
    async fn userinfo(
        &self,
        context: &Context,
        access_token: &str,
        subject: &str,
    ) -> Result<Map<String, Value>, Error> {
        let found = self.discovered(context).await?;
        let url = found.userinfo_endpoint.filter(|_| !access_token.is_empty());
        let Some(url) = url else { return Ok(Map::new()) };
        let request = http::Request::get(url)
            .header("authorization", format!("Bearer {access_token}"))
            .header("accept", "application/json")
            .body(Vec::new())
            .map_err(|error| self.fault(error.to_string()))?;
        let answer = tokio::time::timeout(ABOUT_A_PERSON, context.fetcher.request(request)).await;
        let answer = answer
            .map_err(|_| self.fault("it did not respond in time"))?
            .map_err(|error| self.fault(error))?;
        if !answer.status().is_success() {
            return Err(self.fault(format!("its userinfo answered {}", answer.status())).into());
        }
        let about = lenient::decode(answer.body());
        let about = LenientObject::parse(&about)
            .filter(|about| {
                !["sub", "email", "email_verified"].iter().any(|name| about.is_unreadable(name))
            })
            .ok_or_else(|| self.unreadable_userinfo(&answer))?;
        // OpenID Connect Core §5.3.2: claims about another subject must not be used.
        if about.text("sub").as_deref() != Some(subject) {
            return Err(Refusal::UserinfoSubjectWrong.into());
        }
        let used = ["name", "email", "email_verified"];
        Ok(used.iter().filter_map(|name| Some(((*name).to_owned(), about.get(name)?))).collect())
    }

    /// Returns the fault for a userinfo response that is not JSON. A signed one (OpenID Connect
    /// Core §5.3.2) is never read unverified.
    fn unreadable_userinfo(&self, answer: &http::Response<Vec<u8>>) -> Fault {
        let media_type = answer.headers().get("content-type").and_then(|name| name.to_str().ok());
        let is_jwt =
            media_type.is_some_and(|name| name.to_ascii_lowercase().starts_with("application/jwt"));
        self.fault(if is_jwt {
            "its userinfo response is a JWT, which is not supported: register the client without \
             userinfo_signed_response_alg and userinfo_encrypted_response_alg"
        } else {
            "its userinfo response is malformed"
        })
    }

    async fn discovered(&self, context: &Context) -> Result<Discovered, Fault> {
        let mut known = self.known.lock().await;
        let now = context.clock.now();
        if let Some((found, since)) = known.as_ref()
            && (SignedDuration::ZERO..FRESH).contains(&now.duration_since(*since))
        {
            return Ok(found.clone());
        }
        let found = discovery::fetch(context, &self.issuer).await?;
        // A document that cannot be used is fetched again for the next sign-in.
        if found.authorization_endpoint.is_some() && found.token_endpoint.is_some() {
            *known = Some((found.clone(), now));
        }
        Ok(found)
    }

    fn fault(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Fault {
        Fault::Issuer { issuer: self.issuer.clone(), source: source.into() }
    }
}
