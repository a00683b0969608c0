//! Runner tokens, in `X-Runner-Token`.

use async_trait::async_trait;

use super::{Outcome, Provider, SecretHolder, presented_record};
use crate::{
    context::Context,
    core::{
        credential_header::RUNNER_TOKEN,
        error::{Fault, Refusal},
        principal::{InheritedLimits, Principal, PrincipalKind},
        scope::{ResourceLimits, Scopes},
        subject::{CredentialId, Subject},
    },
    credential::RunnerToken,
    grant::permitted_use,
    http::CredentialSource,
    store::runner::RunnerRecord,
};

/// Verifies the checksum without I/O, then makes one consistent read, once an hour with
/// that of its last use. A runner has no scopes; it
/// can only send heartbeats and be identified.
#[derive(Debug)]
pub(super) struct RunnerProvider;

#[async_trait]
impl Provider for RunnerProvider {
    fn name(&self) -> &'static str {
        "runner"
    }

    fn headers(&self) -> Vec<String> {
        vec![RUNNER_TOKEN.to_owned()]
    }

    async fn authenticate(
        &self,
        context: &Context,
        source: &dyn CredentialSource,
    ) -> Result<Outcome, Fault> {
        let brand = &context.config.brand;
        let Some(text) =
            source.header(RUNNER_TOKEN).filter(|text| RunnerToken::has_prefix(brand, text))
        else {
            return Ok(Outcome::NotPresented);
        };
        let Some(token) = RunnerToken::parse(brand, text) else {
            return Ok(Refusal::CredentialMalformed.into());
        };

        let now = context.clock.now();
        let found =
            presented_record::read::<RunnerRecord>(context, source, &token.id, &token.digest, now)
                .await?;
        Ok(match found {
            Some((record, unrecorded)) if record.secret.digest.matches(&token.digest) => {
                let address = source.deciding_address();
                if let Err(refusal) = permitted_use::check(&record.properties, address) {
                    return Ok(refusal.into());
                }
                let principal = principal(record);
                Outcome::AuthenticatedBySecret(SecretHolder {
                    principal,
                    is_signed: false,
                    unrecorded,
                })
            }
            _ => Refusal::RunnerTokenWrong.into(),
        })
    }
}

fn principal(record: RunnerRecord) -> Principal {
    let networks = record.properties.allowed_networks.clone();
    Principal {
        user_id: Subject::Runner(record.meta.id),
        kind: PrincipalKind::Runner,
        org_id: Some(record.meta.org_id),
        credential_id: CredentialId::Runner(record.meta.id),
        scopes: Scopes::default(),
        resources: ResourceLimits::default(),
        on_behalf_of: record.on_behalf_of,
        actor: None,
        metadata: record.properties.of_principal(record.name),
        expires_at: record.expires_at,
        client_id: None,
        inherited: InheritedLimits {
            expires_at: record.expires_at,
            require_signature: false,
            epoch: None,
            scope_limit: record.meta.scope_limit,
            plan: record.meta.plan,
            networks,
        },
    }
}
