//! The subject token of a token exchange (RFC 8693 §2.1), if it is an API key, a CLI token or the
//! access token of a user. It is authenticated as on every route, but presents no signature.

use super::{Outcome, ProviderChain, SecretHolder, access_token};
use crate::{
    context::Context,
    core::{
        audience::RequiredAudience,
        caller_address::CallerAddress,
        credential_header::AUTHORIZATION,
        error::{Error, Refusal},
        principal::{Principal, PrincipalKind},
        secret::Secret,
        subject::KeyId,
    },
    credential::ParsedCliToken,
    crypto::{Digest, jwt, thumbprint::KeyThumbprint},
    grant::{
        delegation::PresentedUser, key_exchange::PresentedKey, presented_client::PresentedClient,
    },
    http::CredentialSource,
    token::{self, Claims},
};

/// Reports whether a subject token has the form of an access token.
pub fn is_access_token(subject_token: &Secret) -> bool {
    jwt::looks_like_jwt(subject_token.expose())
}

/// Authenticates a key that a caller at `address` exchanges. The client is nobody else: the key
/// itself, if it is named.
///
/// # Errors
/// `invalid_request`, [`Refusal::UserDisabled`], [`Refusal::UserForbidden`]; a fault.
pub async fn authenticate(
    context: &Context,
    providers: &ProviderChain,
    subject_token: &Secret,
    client: &PresentedClient,
    address: &str,
) -> Result<PresentedKey, Error> {
    let brand = &context.config.brand;
    let text = subject_token.expose();
    let api_key = context.config.parse_api_key(text);
    let api_key = api_key.map(|key| (KeyId::ApiKey(key.id), key.digest));
    let cli_token = ParsedCliToken::parse(brand, text);
    let parsed = api_key.or(cli_token.map(|key| (KeyId::CliToken(key.id), key.digest)));
    let (id, digest) = parsed.ok_or(Refusal::ExchangeTokenNotKey)?;
    let is_itself = match client {
        PresentedClient::Absent => true,
        PresentedClient::Named(name) => *name == id.client_id().as_str(),
        PresentedClient::WithAssertion(_) | PresentedClient::WithSecret(..) => false,
    };
    if !is_itself {
        return Err(Refusal::ExchangeClientNotAllowed.into());
    }
    let source = SubjectToken { authorization: format!("Bearer {text}"), address };
    let principal = providers.authenticate(context, &source).await.map_err(refused)?;
    if KeyId::of(&principal.credential_id) == Some(id) {
        Ok(PresentedKey { id, digest, principal })
    } else {
        Err(Refusal::ExchangeTokenNotKey.into())
    }
}

/// Authenticates the user whose access token an agent at `address` presents, for whichever API of ours it is. If
/// the token is bound to a key, `key` is the one that the caller has proved to have.
///
/// # Errors
/// `invalid_request`, [`Refusal::UserDisabled`], [`Refusal::UserForbidden`]; a fault.
pub async fn authenticate_user(
    context: &Context,
    subject_token: &Secret,
    key: Option<&KeyThumbprint>,
    address: &str,
) -> Result<PresentedUser, Error> {
    let claims = verify_user_token(context, subject_token.expose(), key)?;
    let (actor, organization, expires_at) = (claims.act.clone(), claims.org_id, claims.exp);
    let is_by_rule = claims.trust_rule.is_some();
    let address = Some(address).into();
    let principal = identify(context, claims, address).await.map_err(Error::of_subject_token)?;
    match principal.kind {
        // It does not show that the user is there, and the new token would not end with the rule.
        PrincipalKind::User if is_by_rule => Err(Refusal::ExchangeTokenByRule.into()),
        PrincipalKind::User => Ok(PresentedUser { principal, organization, expires_at, actor }),
        PrincipalKind::Agent
        | PrincipalKind::ApiKey
        | PrincipalKind::CliToken
        | PrincipalKind::External
        | PrincipalKind::Message
        | PrincipalKind::Runner
        | PrincipalKind::Service => Err(Refusal::ExchangeTokenNotOfUser.into()),
    }
}

/// Verifies an access token, without I/O.
fn verify_user_token(
    context: &Context,
    text: &str,
    key: Option<&KeyThumbprint>,
) -> Result<Claims, Error> {
    let of_subject_token = |refusal: Refusal| Error::from(refusal).of_subject_token();
    let now = context.clock.now();
    if !jwt::names_issuer(text, &context.config.deployment.issuer) {
        return Err(of_subject_token(Refusal::TokenIssuerUnknown));
    }
    let claims = token::verify::access_token(context, text, RequiredAudience::Any, now)
        .map_err(of_subject_token)?;
    if !token::verify::is_known_audience(context, &claims.aud) {
        return Err(of_subject_token(Refusal::TokenAudienceWrong));
    }
    // The leeway would make a token that has expired already.
    if claims.exp <= now {
        return Err(of_subject_token(Refusal::TokenExpired));
    }
    match &claims.cnf {
        Some(bound) if key != Some(&bound.jkt) => Err(Refusal::SubjectTokenBound.into()),
        Some(_) | None => Ok(claims),
    }
}

async fn identify(
    context: &Context,
    claims: Claims,
    address: CallerAddress<'_>,
) -> Result<Principal, Error> {
    let now = context.clock.now();
    match access_token::identify(context, claims, address, now).await? {
        Outcome::Authenticated(caller)
        | Outcome::AuthenticatedBySecret(SecretHolder { principal: caller, .. }) => {
            let users = &context.config.allowed_users;
            users.check(&caller.user_id, caller.on_behalf_of.as_ref())?;
            Ok(caller)
        }
        Outcome::NotPresented => Err(Refusal::TokenClaimsInvalid.into()),
        Outcome::Refused(refusal) => Err(refusal.into()),
    }
}

fn refused(error: Error) -> Error {
    match error.refusal() {
        Some(Refusal::SignatureMissing) => Refusal::ExchangeSignatureRequired.into(),
        Some(_) | None => error.of_subject_token(),
    }
}

/// A key as a bearer token, which is how every API accepts it.
struct SubjectToken<'a> {
    authorization: String,
    address: &'a str,
}

impl CredentialSource for SubjectToken<'_> {
    fn header(&self, name: &str) -> Option<&str> {
        (name == AUTHORIZATION).then_some(self.authorization.as_str())
    }

    fn method(&self) -> &str {
        "POST"
    }

    fn target(&self) -> Option<&str> {
        None
    }

    fn body_digest(&self) -> Option<Digest> {
        None
    }

    fn address(&self) -> Option<&str> {
        Some(self.address).filter(|address| !address.is_empty())
    }
}
