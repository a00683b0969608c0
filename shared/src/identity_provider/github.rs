//! GitHub, which supports OAuth but not OpenID Connect, so the user is looked up through its API by
//! numeric id.

use serde_json::{Value, value::RawValue};

use super::{Endpoints, ExternalIdentity, readable};
use crate::{
    config::GithubSignIn,
    context::Context,
    core::{
        email::Email,
        error::{Error, Fault, Refusal},
        json::lenient::{self, LenientObject},
        subject::{GITHUB_PREFIX, Subject},
    },
    token::external,
};

#[derive(Debug)]
pub(super) struct GithubIdentityProvider {
    /// The URL of the site.
    web: String,
    /// The URL of the API: a separate host for github.com, a path for other servers.
    api: String,
    /// Whether `allow` needs verified email addresses.
    needs_addresses: bool,
}

impl GithubIdentityProvider {
    pub(super) fn new(settings: &GithubSignIn, needs_addresses: bool) -> Self {
        let (web, api) = match &settings.base_url {
            None => ("https://github.com".to_owned(), "https://api.github.com".to_owned()),
            Some(base_url) => (base_url.clone(), format!("{base_url}/api/v3")),
        };
        Self { web, api, needs_addresses }
    }

    pub(super) fn endpoints(&self) -> Endpoints {
        let scopes =
            if self.needs_addresses { &["read:user", "user:email"][..] } else { &["read:user"] };
        Endpoints {
            authorization: format!("{}/login/oauth/authorize", self.web),
            token: format!("{}/login/oauth/access_token", self.web),
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            secret_in_body: true,
        }
    }

    /// Returns the token's user, identified by the numeric id, because a login name can be
    /// reassigned.
    pub(super) async fn fetch_identity(
        &self,
        context: &Context,
        access_token: &str,
    ) -> Result<ExternalIdentity, Error> {
        let user = self.ask(context, "/user", access_token).await?;
        let user = lenient::decode(&user);
        let user = LenientObject::parse(&user).ok_or_else(|| self.unreadable())?;
        let id = user.get("id").as_ref().and_then(Value::as_u64).ok_or(Refusal::SignInRefused)?;
        let verified: Vec<_> = if self.needs_addresses {
            let addresses = self.ask(context, "/user/emails", access_token).await?;
            let addresses = lenient::decode(&addresses);
            let addresses = lenient::elements(&addresses).ok_or_else(|| self.unreadable())?;
            addresses.into_iter().filter_map(verified_address).collect()
        } else {
            Vec::new()
        };
        // The address of a profile is for display: only the list of addresses says what is
        // verified.
        let shown = user.text("email").and_then(|email| Email::try_from(email).ok());
        let email = match shown {
            Some(shown) if verified.contains(&shown) => external::EMAIL,
            Some(_) | None => external::EMAIL_UNVERIFIED,
        };
        let metadata = [("login", "login"), ("name", "name"), (email, "email")]
            .into_iter()
            .filter_map(|(ours, theirs)| {
                Some((ours.to_owned(), readable(user.get(theirs).as_ref())?))
            })
            .collect();
        Ok(ExternalIdentity {
            subject: Subject::External(format!("{GITHUB_PREFIX}{id}")),
            verified,
            metadata,
            tokens: None,
        })
    }

    async fn ask(&self, context: &Context, path: &str, token: &str) -> Result<Vec<u8>, Error> {
        let fault = |source| self.fault(source);
        let request = http::Request::get(format!("{}{path}", self.api))
            .header("authorization", format!("Bearer {token}"))
            .header("accept", "application/vnd.github+json")
            .header("x-github-api-version", "2022-11-28")
            .body(Vec::new())
            .map_err(|error| fault(error.into()))?;
        let answer = context.fetcher.request(request).await.map_err(|error| fault(error.into()))?;
        if !answer.status().is_success() {
            return Err(fault(format!("its API answered {}", answer.status()).into()).into());
        }
        Ok(answer.into_body())
    }

    fn unreadable(&self) -> Fault {
        self.fault("it returned an unreadable response".into())
    }

    fn fault(&self, source: Box<dyn std::error::Error + Send + Sync>) -> Fault {
        Fault::Issuer { issuer: self.web.clone(), source }
    }
}

/// Returns an address of the list, if it is verified.
fn verified_address(address: &RawValue) -> Option<Email> {
    let address = LenientObject::of(address)?;
    let is_verified = address.get("verified") == Some(Value::Bool(true));
    Email::try_from(address.text("email").filter(|_| is_verified)?).ok()
}
