//! The subject token of a token exchange (RFC 8693 §2.1), if it is an API key or a CLI token. It is
//! authenticated as on every route, but presents no signature.

use super::ProviderChain;
use crate::{
    context::Context,
    core::{
        credential_header::AUTHORIZATION,
        error::{Error, Refusal},
        secret::Secret,
        subject::KeyId,
    },
    credential::{ParsedApiKey, ParsedCliToken},
    crypto::Digest,
    grant::{client::PresentedClient, key_exchange::PresentedKey},
    http::CredentialSource,
};

/// Authenticates a key that is to be exchanged. The client is nobody else: the key itself, if it is
/// named.
///
/// # Errors
/// `invalid_request`, [`Refusal::UserDisabled`], [`Refusal::UserForbidden`]; a fault.
pub async fn authenticate(
    context: &Context,
    providers: &ProviderChain,
    subject_token: &Secret,
    client: &PresentedClient,
) -> Result<PresentedKey, Error> {
    let brand = &context.config.brand;
    let text = subject_token.expose();
    let api_key = ParsedApiKey::parse(brand, text);
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
    let source = SubjectToken(format!("Bearer {text}"));
    let principal = providers.authenticate(context, &source).await.map_err(refused)?;
    if KeyId::of(&principal.credential_id) == Some(id) {
        Ok(PresentedKey { id, digest, principal })
    } else {
        Err(Refusal::ExchangeTokenNotKey.into())
    }
}

fn refused(error: Error) -> Error {
    match error.refusal() {
        Some(Refusal::SignatureMissing) => Refusal::ExchangeSignatureRequired.into(),
        Some(_) | None => error.of_subject_token(),
    }
}

/// A key as a bearer token, which is how every API accepts it.
struct SubjectToken(String);

impl CredentialSource for SubjectToken {
    fn header(&self, name: &str) -> Option<&str> {
        (name == AUTHORIZATION).then_some(self.0.as_str())
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
}
