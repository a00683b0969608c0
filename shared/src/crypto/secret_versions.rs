//! The versions of the deployment's secret and its copies in Secrets Manager, for the function that
//! replaces keys.

use std::fmt;

use aws_config::SdkConfig;
use aws_sdk_secretsmanager::{
    Client,
    error::{DisplayErrorContext, SdkError},
};

use super::secrets::{Secrets, client, parse};
use crate::core::error::Fault;

/// The label of the version that is in force.
const CURRENT: &str = "AWSCURRENT";
/// The label of the version that a rotation prepares.
const PENDING: &str = "AWSPENDING";

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
    /// need, and they stay as they are.
    fn of(self, secrets: &Secrets, present: &Secrets) -> Secrets {
        match self {
            Self::Verification => {
                Secrets { refs: present.refs.clone(), ..secrets.verification(&[]) }
            }
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

/// The version of the secret that is in force.
#[derive(Debug)]
pub struct CurrentVersion {
    /// Its id.
    pub id: String,
    /// Its value.
    pub secrets: Secrets,
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

    /// Reads the secret that is in force.
    ///
    /// # Errors
    /// [`Fault::DeploymentSecret`] if it cannot be read.
    pub async fn current(&self) -> Result<CurrentVersion, Fault> {
        self.current_of(&self.arns.signing).await
    }

    async fn current_of(&self, arn: &str) -> Result<CurrentVersion, Fault> {
        let call = self.client.get_secret_value().secret_id(arn).version_stage(CURRENT);
        let answer = call.send().await.map_err(fault)?;
        let secrets = parse(&answer.secret_string.unwrap_or_default())?;
        Ok(CurrentVersion { id: answer.version_id.unwrap_or_default(), secrets })
    }

    /// Reads the version `id` of the secret; `None` if it has no value yet.
    ///
    /// # Errors
    /// [`Fault::DeploymentSecret`] if it cannot be read.
    pub async fn version(&self, id: &str) -> Result<Option<Secrets>, Fault> {
        let call = self.client.get_secret_value().secret_id(&self.arns.signing).version_id(id);
        match call.send().await {
            Ok(answer) => parse(&answer.secret_string.unwrap_or_default()).map(Some),
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

    /// Puts the version `id` of the secret in force, in place of `current`.
    ///
    /// # Errors
    /// [`Fault::DeploymentSecret`] if Secrets Manager does not, or another version is in force.
    pub async fn put_in_force(&self, id: &str, current: &str) -> Result<(), Fault> {
        let call = self.client.update_secret_version_stage().secret_id(&self.arns.signing);
        let call = call.version_stage(CURRENT).move_to_version_id(id);
        call.remove_from_version_id(current).send().await.map(drop).map_err(fault)
    }

    /// Replaces the secret that is in force.
    ///
    /// # Errors
    /// [`Fault::DeploymentSecret`] if it cannot be written.
    pub async fn replace(&self, secrets: &Secrets) -> Result<(), Fault> {
        self.put(&self.arns.signing, secrets).await
    }

    async fn put(&self, arn: &str, secrets: &Secrets) -> Result<(), Fault> {
        let call = self.client.put_secret_value().secret_id(arn);
        call.secret_string(json(secrets)?).send().await.map(drop).map_err(fault)
    }

    /// Reports whether a copy is that of `secrets`.
    ///
    /// # Errors
    /// [`Fault::DeploymentSecret`] if it cannot be read.
    pub async fn is_copy_of(&self, copy: SecretCopy, secrets: &Secrets) -> Result<bool, Fault> {
        let present = self.current_of(self.arn(copy)).await?.secrets;
        Ok(json(&copy.of(secrets, &present))? == json(&present)?)
    }

    /// Makes a copy that of `secrets`. If it is that already, nothing is written.
    ///
    /// # Errors
    /// [`Fault::DeploymentSecret`] if it cannot be read or written.
    pub async fn write_copy(&self, copy: SecretCopy, secrets: &Secrets) -> Result<(), Fault> {
        let arn = self.arn(copy);
        let present = self.current_of(arn).await?.secrets;
        let wanted = copy.of(secrets, &present);
        if json(&wanted)? == json(&present)? { Ok(()) } else { self.put(arn, &wanted).await }
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
