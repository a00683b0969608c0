//! Nonces of signed requests, ids of client assertions, proofs of possession and tokens of
//! workloads, each of which is accepted once.

use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure;
use jiff::{SignedDuration, Timestamp};

use super::{
    Store,
    conditional::{Conditional, conditional},
    item::{seconds, text},
    key,
};
use crate::{
    core::{
        clock::{LEEWAY, after},
        error::Fault,
        id::{AttemptId, ClientId},
        subject::CredentialId,
    },
    crypto::{Digest, thumbprint::KeyThumbprint},
};

/// Returns how long a nonce is kept after the later of its own time and its arrival, if its time
/// can differ from ours by `window`.
const fn lifetime(window: SignedDuration) -> SignedDuration {
    SignedDuration::from_secs(2 * window.as_secs() + LEEWAY.as_secs())
}
/// Reports whether a nonce outlives its own time, for a window of this length.
const fn is_covered(window_s: i64) -> bool {
    let lifetime = lifetime(SignedDuration::from_secs(window_s));
    lifetime.as_secs() > window_s + LEEWAY.as_secs()
}
// Its time is accepted for one window, by a clock that may be wrong by the leeway. If the nonce
// expired earlier, an attacker could repeat the request in between.
const _: () = assert!(is_covered(1) && is_covered(3600));

/// Returns until when to keep a nonce: `time` is the later of its own time and its arrival.
pub fn kept_until(time: Timestamp, window: SignedDuration) -> Timestamp {
    // One second more, because the time to live is stored in whole seconds.
    after(time, lifetime(window) + SignedDuration::from_secs(1))
}

/// The outcome of presenting a nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nonce {
    /// The nonce was not used before.
    Fresh,
    /// The nonce was used before.
    Replayed,
}

impl Store {
    /// Consumes a nonce of a credential, unless it was used before: one write.
    ///
    /// `attempt` is random and new for each presentation. It identifies our own write if the SDK
    /// repeats it after a lost response.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn consume_nonce(
        &self,
        credential_id: &CredentialId,
        nonce: &str,
        attempt: &AttemptId,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<Nonce, Fault> {
        self.consume(&key::nonce(credential_id, nonce), attempt, now, expires_at).await
    }

    /// Spends the proof with the identifier `id` that `key` has signed, in the same way.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn spend_proof(
        &self,
        key: &KeyThumbprint,
        id: &Digest,
        attempt: &AttemptId,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<Nonce, Fault> {
        self.consume(&key::proof(key, id), attempt, now, expires_at).await
    }

    /// Consumes the `jti` of an assertion of a client, in the same way.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn consume_assertion(
        &self,
        client: &ClientId,
        jti: &str,
        attempt: &AttemptId,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<Nonce, Fault> {
        self.consume(&key::assertion(client, jti), attempt, now, expires_at).await
    }

    /// Consumes the token of a workload that `issuer` has issued, in the same way. A token that was
    /// used with `key` can be used with it again.
    ///
    /// # Errors
    /// [`Fault::Store`] if the store does not answer.
    pub async fn consume_workload_token(
        &self,
        (issuer, id): (&str, &str),
        key: Option<&KeyThumbprint>,
        attempt: &AttemptId,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<Nonce, Fault> {
        let pk = key::workload_token(issuer, id);
        self.consume_with(&pk, key, attempt, now, expires_at).await
    }

    async fn consume(
        &self,
        pk: &str,
        attempt: &AttemptId,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<Nonce, Fault> {
        self.consume_with(pk, None, attempt, now, expires_at).await
    }

    async fn consume_with(
        &self,
        pk: &str,
        jkt: Option<&KeyThumbprint>,
        attempt: &AttemptId,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<Nonce, Fault> {
        // An expired item may still exist: DynamoDB deletes up to days late.
        const UNUSED: &str = "attribute_not_exists(pk) OR expires_at <= :now";
        let request = self
            .client
            .put_item()
            .table_name(&self.tables.nonces)
            .item(key::PK, text(&pk))
            .item("attempt", text(&attempt))
            .item(key::TTL, seconds(expires_at))
            .expression_attribute_values(":now", seconds(now))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let request = match jkt {
            None => request.condition_expression(UNUSED),
            Some(jkt) => request
                .item("jkt", text(jkt))
                .condition_expression(format!("{UNUSED} OR jkt = :jkt"))
                .expression_attribute_values(":jkt", text(jkt)),
        };
        let outcome = request.send().await;
        match conditional(outcome, "consume a nonce")? {
            Conditional::Met(_) => Ok(Nonce::Fresh),
            Conditional::NotMet(stored) => {
                let is_ours =
                    stored.is_some_and(|item| item.get("attempt") == Some(&text(&attempt)));
                Ok(if is_ours { Nonce::Fresh } else { Nonce::Replayed })
            }
        }
    }
}
