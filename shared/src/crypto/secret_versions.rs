//! The versions of the deployment's secret and its copies in Secrets Manager, for the function that
//! replaces keys.
//!
//! Which version is in force is decided by the label `AWSCURRENT`, and it moves only from the
//! version that was read: of two changes at once, the later one finds out, and begins again.

use std::fmt;

use aws_config::SdkConfig;
use aws_sdk_secretsmanager::{
    Client,
    error::{DisplayErrorContext, SdkError},
    operation::get_secret_value::GetSecretValueOutput,
};

use super::secrets::{Secrets, client, parse, unusable};
use crate::core::error::Fault;

/// The label of the version that is in force.
const CURRENT: &str = "AWSCURRENT";
/// The label of the version that a rotation prepares. Secrets Manager begins no other rotation while
/// a version has it that is not in force.
const PENDING: &str = "AWSPENDING";
/// The label of the version that was in force before.
const PREVIOUS: &str = "AWSPREVIOUS";
/// The label of the version that a drop is to put in force.
const STAGED: &str = "POSTERN_STAGED";

/// The secret and its copies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretArns {
    /// Everything.
    pub signing: String,
    /// The copy for functions that only verify.
    pub verification: String,
    /// The copy for the function that publishes keys.
    pub public: String,
}

/// A copy of the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretCopy {
    /// The one for functions that only verify.
    Verification,
    /// The one for the function that publishes keys.
    Public,
}

impl SecretCopy {
    /// All copies, in the order in which keys are announced: the ones that verify come before those
    /// that sign.
    pub const ALL: [Self; 2] = [Self::Public, Self::Verification];

    /// Returns what this copy of `secrets` contains. The copy names those `refs` that its functions
    /// need, and they stay as they are. Its `not_before` does not become earlier: what that has
    /// ended would be valid again.
    pub fn of(self, secrets: &Secrets, present: &Secrets) -> Secrets {
        match self {
            Self::Verification => Secrets {
                refs: present.refs.clone(),
                not_before: present.not_before.max(secrets.not_before),
                ..secrets.verification(&[])
            },
            Self::Public => secrets.publication(),
        }
    }
}

/// Reads and writes versions of the secret.
pub struct SecretVersions {
    client: Client,
    arns: SecretArns,
}

impl fmt::Debug for SecretVersions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretVersions")
    }
}

/// A version of the secret.
#[derive(Debug)]
pub struct SecretVersion {
    /// Its id.
    pub id: String,
    /// Its value.
    pub secrets: Secrets,
    /// Whether it has the label of the version that a rotation prepares.
    pub is_pending: bool,
}

impl TryFrom<GetSecretValueOutput> for SecretVersion {
    type Error = Fault;

    fn try_from(answer: GetSecretValueOutput) -> Result<Self, Fault> {
        let is_pending = answer.version_stages().iter().any(|label| label == PENDING);
        let secrets = parse(&answer.secret_string.unwrap_or_default())?;
        Ok(Self { id: answer.version_id.unwrap_or_default(), secrets, is_pending })
    }
}

/// The outcome of putting a version in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutInForce {
    /// It is in force.
    Done,
    /// Another version than the one that was read is in force, and stays so.
    Overtaken,
}

/// How a version is chosen.
#[derive(Clone, Copy)]
enum VersionChoice<'a> {
    Id(&'a str),
    Label(&'a str),
}

impl SecretVersions {
    /// Prepares a client, without I/O.
    pub fn new(sdk: &SdkConfig, arns: SecretArns) -> Self {
        Self { client: client(sdk), arns }
    }

    /// Returns the id of the secret.
    pub fn secret_id(&self) -> &str {
        &self.arns.signing
    }

    /// Reads the secret that is in force. Its `not_before` is that of the copy if that is later: a
    /// drop that was not completed has set it there, and it takes effect there.
    ///
    /// # Errors
    /// [`Fault::DeploymentSecret`] if it cannot be read.
    pub async fn current(&self) -> Result<SecretVersion, Fault> {
        let copied = self.current_of(&self.arns.verification).await?.secrets.not_before;
        let mut current = self.current_of(&self.arns.signing).await?;
        current.secrets.not_before = current.secrets.not_before.max(copied);
        Ok(current)
    }

    async fn current_of(&self, arn: &str) -> Result<SecretVersion, Fault> {
        let found = self.find(arn, VersionChoice::Label(CURRENT)).await?;
        found.ok_or_else(|| unusable("none of its versions is in force"))?.try_into()
    }

    /// Reads the version `id` of the secret; `None` if it has no value yet.
    ///
    /// # Errors
    /// [`Fault::DeploymentSecret`] if it cannot be read.
    pub async fn version(&self, id: &str) -> Result<Option<SecretVersion>, Fault> {
        let found = self.find(&self.arns.signing, VersionChoice::Id(id)).await?;
        found.map(TryInto::try_into).transpose()
    }

    /// Reads the version that a rotation has prepared, if one has the label.
    ///
    /// # Errors
    /// [`Fault::DeploymentSecret`] if it cannot be read.
    pub async fn pending(&self) -> Result<Option<SecretVersion>, Fault> {
        self.labelled(PENDING).await
    }

    /// Reads the version that was in force before, if there is one.
    ///
    /// # Errors
    /// [`Fault::DeploymentSecret`] if it cannot be read.
    pub async fn previous(&self) -> Result<Option<SecretVersion>, Fault> {
        self.labelled(PREVIOUS).await
    }

    /// Reads the version that a drop has made and not put in force yet, if there is one.
    ///
    /// # Errors
    /// [`Fault::DeploymentSecret`] if it cannot be read.
    pub async fn staged(&self) -> Result<Option<SecretVersion>, Fault> {
        self.labelled(STAGED).await
    }

    async fn labelled(&self, label: &str) -> Result<Option<SecretVersion>, Fault> {
        let found = self.find(&self.arns.signing, VersionChoice::Label(label)).await?;
        found.map(TryInto::try_into).transpose()
    }

    async fn find(
        &self,
        arn: &str,
        version: VersionChoice<'_>,
    ) -> Result<Option<GetSecretValueOutput>, Fault> {
        let call = self.client.get_secret_value().secret_id(arn);
        let call = match version {
            VersionChoice::Id(id) => call.version_id(id),
            VersionChoice::Label(label) => call.version_stage(label),
        };
        match call.send().await {
            Ok(answer) => Ok(Some(answer)),
            Err(error) => {
                let service = error.as_service_error();
                if service.is_some_and(|error| error.is_resource_not_found_exception()) {
                    Ok(None)
                } else {
                    Err(fault(error))
                }
            }
        }
    }

    /// Writes the version `id` of the secret, which is not in force yet. A repetition with the same
    /// value changes nothing.
    ///
    /// # Errors
    /// [`Fault::DeploymentSecret`] if it cannot be written, or has another value.
    pub async fn prepare(&self, id: &str, secrets: &Secrets) -> Result<(), Fault> {
        let call = self.client.put_secret_value().secret_id(&self.arns.signing);
        let call = call.client_request_token(id).version_stages(PENDING);
        call.secret_string(json(secrets)?).send().await.map(drop).map_err(fault)
    }

    /// Writes a version of the secret for a drop, which is not in force yet, and returns its id.
    ///
    /// # Errors
    /// [`Fault::DeploymentSecret`] if it cannot be written.
    pub async fn stage(&self, secrets: &Secrets) -> Result<String, Fault> {
        let call = self.client.put_secret_value().secret_id(&self.arns.signing);
        let call = call.version_stages(STAGED).secret_string(json(secrets)?);
        let answer = call.send().await.map_err(fault)?;
        answer.version_id.ok_or_else(|| unusable("Secrets Manager did not name the new version"))
    }

    /// Puts the version `id` of the secret in force, if that is still `current`.
    ///
    /// # Errors
    /// [`Fault::DeploymentSecret`] if Secrets Manager does not respond, or refuses.
    pub async fn put_in_force(&self, id: &str, current: &str) -> Result<PutInForce, Fault> {
        let call = self.client.update_secret_version_stage().secret_id(&self.arns.signing);
        let call = call.version_stage(CURRENT).move_to_version_id(id);
        let Err(error) = call.remove_from_version_id(current).send().await else {
            return Ok(PutInForce::Done);
        };
        // The SDK repeats a call whose response was lost, and the repetition is refused.
        match self.current_of(&self.arns.signing).await?.id {
            now if now == id => Ok(PutInForce::Done),
            now if now == current => Err(fault(error)),
            _ => Ok(PutInForce::Overtaken),
        }
    }

    /// Withdraws the version `id` that a rotation has prepared: its steps are refused from then on,
    /// and another rotation can begin. Does nothing if it was withdrawn already.
    ///
    /// # Errors
    /// [`Fault::DeploymentSecret`] if Secrets Manager does not respond, or refuses.
    pub async fn withdraw(&self, id: &str) -> Result<(), Fault> {
        self.remove_label(PENDING, id).await
    }

    /// Withdraws the version that a rotation has prepared, if there is one. The label is also
    /// removed from a version that is in force, because it would stay there when another one is.
    ///
    /// # Errors
    /// As [`SecretVersions::withdraw`].
    pub async fn withdraw_pending(&self) -> Result<(), Fault> {
        match self.id_of(PENDING).await? {
            Some(id) => self.withdraw(&id).await,
            None => Ok(()),
        }
    }

    /// Removes the label of a drop from the version `id`, because the drop is complete.
    ///
    /// # Errors
    /// As [`SecretVersions::withdraw`].
    pub async fn unstage(&self, id: &str) -> Result<(), Fault> {
        self.remove_label(STAGED, id).await
    }

    async fn remove_label(&self, label: &str, id: &str) -> Result<(), Fault> {
        let call = self.client.update_secret_version_stage().secret_id(&self.arns.signing);
        let call = call.version_stage(label).remove_from_version_id(id);
        let Err(error) = call.send().await else { return Ok(()) };
        match self.id_of(label).await? {
            Some(labelled) if labelled == id => Err(fault(error)),
            Some(_) | None => Ok(()),
        }
    }

    async fn id_of(&self, label: &str) -> Result<Option<String>, Fault> {
        let found = self.find(&self.arns.signing, VersionChoice::Label(label)).await?;
        Ok(found.and_then(|answer| answer.version_id))
    }

    /// Reports whether a copy is that of `secrets`.
    ///
    /// # Errors
    /// [`Fault::DeploymentSecret`] if it cannot be read.
    pub async fn is_copy_of(&self, copy: SecretCopy, secrets: &Secrets) -> Result<bool, Fault> {
        let present = self.current_of(self.arn(copy)).await?.secrets;
        Ok(json(&copy.of(secrets, &present))? == json(&present)?)
    }

    /// Makes the copies those of `secrets`. If one is that already, nothing is written.
    ///
    /// # Errors
    /// [`Fault::DeploymentSecret`] if one cannot be read or written.
    pub async fn write_copies(&self, secrets: &Secrets) -> Result<(), Fault> {
        for copy in SecretCopy::ALL {
            let arn = self.arn(copy);
            let present = self.current_of(arn).await?.secrets;
            let wanted = json(&copy.of(secrets, &present))?;
            if wanted != json(&present)? {
                let call = self.client.put_secret_value().secret_id(arn).secret_string(wanted);
                call.send().await.map_err(fault)?;
            }
        }
        Ok(())
    }

    fn arn(&self, copy: SecretCopy) -> &str {
        match copy {
            SecretCopy::Verification => &self.arns.verification,
            SecretCopy::Public => &self.arns.public,
        }
    }
}

fn json(secrets: &Secrets) -> Result<String, Fault> {
    serde_json::to_string(secrets).map_err(|error| Fault::Serialization(error.into()))
}

fn fault<E, R>(error: SdkError<E, R>) -> Fault
where
    E: std::error::Error + Send + Sync + 'static,
    R: fmt::Debug + Send + Sync + 'static,
{
    Fault::DeploymentSecret(DisplayErrorContext(error).to_string())
}
