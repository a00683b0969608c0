//! Whose tokens a command uses.
//!
//! 1. With `--from`, those that a workload gets for its own token.
//! 2. With `--profile`, those of the session that is named.
//! 3. With `POSTERN_API_KEY`, the key itself.
//! 4. With `POSTERN_AGENT_ID` and `POSTERN_AGENT_SECRET`, those of the agent.
//! 5. Otherwise, those of the session of the default profile.

use postern_client::{Context, Issuer, Profile, SecretString, Session, WorkloadSource};

use crate::{
    arguments::{CredentialArgs, Platform},
    failure::Failure,
    invocation::Invocation,
};

pub(crate) const API_KEY: &str = "POSTERN_API_KEY";
const AGENT_ID: &str = "POSTERN_AGENT_ID";
const AGENT_SECRET: &str = "POSTERN_AGENT_SECRET";
/// The variables with a credential.
pub(crate) const VARIABLES: [&str; 3] = [API_KEY, AGENT_ID, AGENT_SECRET];

/// Who calls, and the deployment that is called.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) session: Session,
    pub(crate) issuer: Issuer,
    pub(crate) kind: CallerKind,
}

/// What a caller's credential is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallerKind {
    Agent,
    ApiKey,
    User,
    Workload,
}

/// A credential of the environment.
enum EnvironmentCredential {
    Agent { id: String, secret: SecretString },
    ApiKey(SecretString),
}

impl Caller {
    /// Finds the credential of a command.
    pub(crate) async fn find(
        invocation: &Invocation,
        arguments: &CredentialArgs,
    ) -> Result<Self, Failure> {
        let context = &invocation.context;
        let issuer = || arguments.issuer(invocation);
        if let Some(platform) = arguments.from {
            let source = arguments.source(platform)?;
            let issuer = issuer()?;
            let session = Session::federation(context, &issuer, source);
            return Ok(Self { session, issuer, kind: CallerKind::Workload });
        }
        let of_environment = match &invocation.profile_name {
            Some(_) => None,
            None => EnvironmentCredential::find(context)?,
        };
        match of_environment {
            Some(EnvironmentCredential::ApiKey(key)) => {
                let session = Session::api_key(context, key);
                Ok(Self { session, issuer: issuer()?, kind: CallerKind::ApiKey })
            }
            Some(EnvironmentCredential::Agent { id, secret }) => {
                let issuer = issuer()?;
                let session = Session::client_credentials(context, &issuer, id, secret);
                Ok(Self { session, issuer, kind: CallerKind::Agent })
            }
            None => Self::of_profile(context, &invocation.profile()?, arguments).await,
        }
    }

    async fn of_profile(
        context: &Context,
        profile: &Profile,
        arguments: &CredentialArgs,
    ) -> Result<Self, Failure> {
        let session = Session::open(context, profile).await?;
        let status = session.status().await?;
        let issuer: Issuer = match status {
            Some(status) => status.issuer.parse()?,
            None => profile.issuer.clone(),
        };
        match &arguments.issuer {
            Some(other) if *other != issuer => Err(Failure::usage(format!(
                "The session of the profile {} is at {issuer}, not at {other}. Log in there with \
                 another profile: postern login --profile NAME --issuer {other}.",
                profile.name
            ))),
            Some(_) | None => Ok(Self { session, issuer, kind: CallerKind::User }),
        }
    }
}

impl EnvironmentCredential {
    fn find(context: &Context) -> Result<Option<Self>, Failure> {
        if let Some(key) = context.variable(API_KEY) {
            return Ok(Some(Self::ApiKey(key.into())));
        }
        match (context.variable(AGENT_ID), context.variable(AGENT_SECRET)) {
            (Some(id), Some(secret)) => Ok(Some(Self::Agent { id, secret: secret.into() })),
            (None, None) => Ok(None),
            (Some(_), None) => Err(missing(AGENT_ID, AGENT_SECRET)),
            (None, Some(_)) => Err(missing(AGENT_SECRET, AGENT_ID)),
        }
    }
}

/// Returns the variable that is used in place of the session, if one is set.
pub(crate) fn variable_in_use(context: &Context) -> Option<&'static str> {
    [API_KEY, AGENT_ID].into_iter().find(|name| context.variable(name).is_some())
}

fn missing(given: &str, other: &str) -> Failure {
    Failure::usage(format!("{given} is set, but {other} is not. Set both, or none."))
}

impl CredentialArgs {
    /// Returns the issuer of a credential that has no session.
    fn issuer(&self, invocation: &Invocation) -> Result<Issuer, Failure> {
        let of_environment = invocation.context.variable("POSTERN_ISSUER");
        match (&self.issuer, &invocation.profile_name, of_environment) {
            (Some(issuer), _, _) => Ok(issuer.clone()),
            (None, None, Some(issuer)) => Ok(issuer.parse()?),
            (None, _, _) => Ok(invocation.profile()?.issuer),
        }
    }

    fn source(&self, platform: Platform) -> Result<WorkloadSource, Failure> {
        self.check_platform(platform)?;
        let audience = self.audience.clone();
        let path = self.token_file.clone();
        match platform {
            Platform::Github => Ok(WorkloadSource::Github { audience }),
            Platform::Gitlab => {
                Ok(WorkloadSource::Gitlab { token_variable: self.token_variable.clone() })
            }
            Platform::Kubernetes => Ok(WorkloadSource::Kubernetes { path }),
            Platform::Aws => Ok(WorkloadSource::Aws { audience }),
            Platform::File => path.map(|path| WorkloadSource::File { path }).ok_or_else(|| {
                Failure::usage("--from file needs the file of the token: add --token-file FILE.")
            }),
        }
    }

    /// Refuses options that the platform does not have: they would change nothing.
    fn check_platform(&self, platform: Platform) -> Result<(), Failure> {
        let options = [
            (self.audience.is_some(), "--audience", &[Platform::Github, Platform::Aws][..]),
            (self.token_file.is_some(), "--token-file", &[Platform::Kubernetes, Platform::File]),
            (self.token_variable.is_some(), "--token-variable", &[Platform::Gitlab]),
        ];
        let foreign = |(is_given, _, platforms): &&(bool, _, &[Platform])| {
            *is_given && !platforms.contains(&platform)
        };
        match options.iter().find(foreign) {
            Some((_, option, _)) => Err(Failure::usage(format!(
                "{option} means nothing for this platform. Remove it; see postern help token."
            ))),
            None => Ok(()),
        }
    }
}
