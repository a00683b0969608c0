//! The senders of messages. Does not apply to requests, nor to other platforms.

use async_trait::async_trait;
use serde_json::Map;

use super::{Outcome, Provider};
use crate::{
    config::SenderAllowlist,
    context::Context,
    core::{
        error::{Fault, Refusal},
        principal::{InheritedLimits, Principal, PrincipalKind},
        scope::ResourceLimits,
        subject::CredentialId,
    },
    http::CredentialSource,
};

/// The allowed senders are in the configuration, so no I/O is needed.
#[derive(Debug)]
pub(super) struct SenderProvider(SenderAllowlist);

impl SenderProvider {
    pub(super) fn new(settings: SenderAllowlist) -> Self {
        Self(settings)
    }
}

#[async_trait]
impl Provider for SenderProvider {
    fn name(&self) -> &'static str {
        "allowlist"
    }

    async fn authenticate(
        &self,
        context: &Context,
        source: &dyn CredentialSource,
    ) -> Result<Outcome, Fault> {
        let Self(list) = self;
        let is_ours =
            |platform: &String| list.platforms.is_empty() || list.platforms.contains(platform);
        let Some(message) = source.message().filter(|message| is_ours(&message.platform)) else {
            return Ok(Outcome::NotPresented);
        };
        let is_chat = list.chat_ids.is_empty()
            || message.chat_id.as_ref().is_some_and(|chat| list.chat_ids.contains(chat));
        if !list.user_ids.contains(&message.user_id) || !is_chat {
            return Ok(Refusal::SenderUnknown.into());
        }
        // The prefix separates it from the ids of other platforms and from all other subjects.
        let user_id = match context.config.sender_subject(&message.platform, &message.user_id) {
            Ok(user_id) => user_id,
            Err(refusal) => return Ok(refusal.into()),
        };
        let chat = message.chat_id.iter().map(|chat| ("chat_id".to_owned(), chat.clone().into()));
        Ok(Outcome::Authenticated(Principal {
            credential_id: CredentialId::External(user_id.to_string()),
            user_id,
            kind: PrincipalKind::Message,
            org_id: None,
            scopes: list.scopes.clone(),
            resources: ResourceLimits::default(),
            on_behalf_of: None,
            actor: None,
            metadata: Map::from_iter(
                [("platform".to_owned(), message.platform.clone().into())].into_iter().chain(chat),
            ),
            expires_at: None,
            client_id: None,
            inherited: InheritedLimits::default(),
        }))
    }
}
