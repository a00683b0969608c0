//! The order in which a rotation changes the secret and its copies. Each step can be repeated, and
//! a rotation that stops before its last step has changed nothing that callers notice.
//!
//! 1. *Create* prepares the next secret. Its new keys sign a day later.
//! 2. *Set* makes the copies announce the new keys, which verify and publish them from then on.
//! 3. *Test* checks that the next secret can be used, and that the copies announce its keys.
//! 4. *Finish* checks the same, puts the next secret in force, if enough of the day is left for
//!    every process to get to know the new keys, and then makes the copies those of the secret.
//!
//! A drop changes the copies first, so that nobody accepts a key while it can still sign, and then
//! puts its secret in force, unless another one came into force meanwhile. Its secret is staged
//! before that, so that a rotation waits for it.

use serde::Deserialize;

use super::{KeyRotation, RotationStop};
use crate::{core::error::Fault, crypto::secrets::Secrets};

/// A step of a rotation, with its name in Secrets Manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum RotationStep {
    /// Prepares the next secret.
    #[serde(rename = "createSecret")]
    Create,
    /// Announces its keys.
    #[serde(rename = "setSecret")]
    Set,
    /// Checks it.
    #[serde(rename = "testSecret")]
    Test,
    /// Puts it in force.
    #[serde(rename = "finishSecret")]
    Finish,
}

/// The version of the secret that a rotation prepares.
#[derive(Clone, Copy, Debug)]
pub enum PreparedVersion<'a> {
    /// It has no value yet.
    Missing,
    /// It is to come into force.
    Pending(&'a Secrets),
    /// It is in force.
    InForce,
    /// It has a value, and is neither of these.
    Withdrawn,
}

/// The secret at the beginning of a step.
#[derive(Clone, Copy, Debug)]
pub struct RotationState<'a> {
    /// The one that is in force.
    pub current: &'a Secrets,
    /// The one that the rotation prepares.
    pub prepared: PreparedVersion<'a>,
    /// The one that a drop is to put in force.
    pub staged: Option<&'a Secrets>,
}

/// What a step does.
#[derive(Clone, Debug)]
pub enum StepAction {
    /// Nothing: it is done.
    Nothing,
    /// It prepares this secret.
    Prepare(Box<Secrets>),
    /// It makes the copies those of this secret.
    Announce(Box<Secrets>),
    /// It checks that the copies are those of this secret, and that the prepared one can be used.
    Test(Box<Secrets>),
    /// It checks the same, puts the prepared secret in force, and then does what
    /// [`StepAction::Complete`] does.
    PutInForce(Box<Secrets>),
    /// It makes the copies those of the secret that is in force.
    Complete,
    /// It stops. The rotation can continue later.
    Stop(RotationStop),
    /// It stops, because the prepared secret can never come into force: the copies become those of
    /// the secret that is in force, and the prepared one is withdrawn, so that the next rotation
    /// prepares another.
    Withdraw(RotationStop),
}

impl KeyRotation<'_> {
    /// Decides what a step does.
    ///
    /// # Errors
    /// As [`KeyRotation::next`].
    pub fn action(
        &self,
        step: RotationStep,
        state: &RotationState<'_>,
    ) -> Result<StepAction, Fault> {
        let RotationState { current, prepared, staged } = *state;
        if staged.is_some_and(|staged| staged.drops > current.drops) {
            return Ok(StepAction::Stop(RotationStop::DropUnfinished));
        }
        match (prepared, step) {
            (PreparedVersion::Missing, RotationStep::Create) => {
                Ok(StepAction::Prepare(Box::new(self.next(current)?)))
            }
            (
                PreparedVersion::Missing,
                RotationStep::Set | RotationStep::Test | RotationStep::Finish,
            ) => Ok(StepAction::Stop(RotationStop::NotPrepared)),
            (PreparedVersion::InForce, RotationStep::Create | RotationStep::Test) => {
                Ok(StepAction::Nothing)
            }
            (PreparedVersion::InForce, RotationStep::Set | RotationStep::Finish) => {
                Ok(StepAction::Complete)
            }
            (PreparedVersion::Withdrawn, _) => Ok(StepAction::Stop(RotationStop::NotPending)),
            (PreparedVersion::Pending(next), step) => Ok(self.pending_action(step, current, next)),
        }
    }

    fn pending_action(&self, step: RotationStep, current: &Secrets, next: &Secrets) -> StepAction {
        if let Err(stop) = self.check(current, next) {
            return StepAction::Withdraw(stop);
        }
        let announced = || Box::new(self.announce(current, next));
        match step {
            RotationStep::Create => StepAction::Nothing,
            RotationStep::Set => StepAction::Announce(announced()),
            RotationStep::Test => StepAction::Test(announced()),
            RotationStep::Finish => StepAction::PutInForce(announced()),
        }
    }
}
