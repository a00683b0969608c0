//! Keys whose digests are in the configuration, in their own header or as bearer tokens.

use async_trait::async_trait;
use serde_json::Map;

use super::{Outcome, Provider};
use crate::{
    config::ConfiguredKeys,
    context::Context,
    core::{
        error::{Fault, Refusal},
        principal::{InheritedLimits, Principal, PrincipalKind},
        scope::ResourceLimits,
        subject::{CONFIGURED_KEY_PREFIX, CredentialId, Subject},
    },
    credential::opaque,
    crypto::{Digest, jwt},
    http::CredentialSource,
};

/// The number of digits of a key's digest in its subject.
const ID_LEN: usize = 12;

/// Needs no I/O. Such a key can have any format except that of a JWT or of our own credentials.
#[derive(Debug)]
pub(super) struct ConfiguredKeyProvider {
    settings: ConfiguredKeys,
    header: String,
}

impl ConfiguredKeyProvider {
    pub(super) fn new(settings: ConfiguredKeys) -> Self {
        Self { header: settings.header.to_string(), settings }
    }

    /// Reports whether `digest` is that of a key. All are compared, each in constant time.
    fn holds(&self, digest: &Digest) -> bool {
        self.settings.sha256.iter().filter(|known| known.matches(digest)).count() > 0
    }
}

#[async_trait]
impl Provider for ConfiguredKeyProvider {
    fn name(&self) -> &'static str {
        "configured_keys"
    }

    fn headers(&self) -> Vec<String> {
        vec![self.header.clone()]
    }

    fn knows_bearer(&self, context: &Context, token: &str) -> bool {
        let has_other_form =
            jwt::looks_like_jwt(token) || opaque::is_ours(&context.config.brand, token);
        !has_other_form || self.holds(&Digest::of(token.as_bytes()))
    }

    async fn authenticate(
        &self,
        context: &Context,
        source: &dyn CredentialSource,
    ) -> Result<Outcome, Fault> {
        let given = source.header(&self.header).or_else(|| source.bearer());
        let Some(key) = given.filter(|key| self.knows_bearer(context, key)) else {
            return Ok(Outcome::NotPresented);
        };
        let digest = Digest::of(key.as_bytes());
        if !self.holds(&digest) {
            return Ok(Refusal::ApiKeyUnknown.into());
        }
        let user_id = format!("{CONFIGURED_KEY_PREFIX}{}", &digest.to_hex()[..ID_LEN]);
        Ok(Outcome::Authenticated(Principal {
            credential_id: CredentialId::External(user_id.clone()),
            user_id: Subject::ConfiguredKey(user_id),
            kind: PrincipalKind::ApiKey,
            org_id: None,
            scopes: self.settings.scopes.clone(),
            resources: ResourceLimits::default(),
            on_behalf_of: None,
            actor: None,
            metadata: Map::new(),
            expires_at: None,
            client_id: None,
            inherited: InheritedLimits::default(),
        }))
    }
}
