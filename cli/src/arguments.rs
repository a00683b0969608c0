//! The options of the command line.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use postern_client::{Issuer, ProfileName, Storage, TokenRequest};

use crate::{
    git_credential::{HelperArgs, Operation},
    profiles::ProfilesCommand,
    records::RecordsCommand,
};

/// Log in once, and call APIs with tokens that stay current.
#[derive(Parser)]
#[command(name = "postern", version, max_term_width = 100, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// The profile: by default $POSTERN_PROFILE, else the default profile.
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) profile: Option<ProfileName>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 login required, 4 server \
                          unavailable, 130 interrupted.";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Log in, with the browser of this machine or of any other device.
    Login(LoginArgs),
    /// End the session, here and at the server.
    Logout,
    /// Show who the server says that you are.
    Whoami {
        /// Print the server's JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        credential: CredentialArgs,
    },
    /// Show the session of the profile, without asking the server.
    Status {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print an access token, for a program.
    Token {
        /// Print it even to a terminal.
        #[arg(long)]
        print: bool,
        #[command(flatten)]
        access: AccessArgs,
        #[command(flatten)]
        credential: CredentialArgs,
    },
    /// Run a command that finds an access token in the variable POSTERN_TOKEN.
    Exec {
        #[command(flatten)]
        access: AccessArgs,
        #[command(flatten)]
        credential: CredentialArgs,
        /// The command and its arguments.
        #[arg(required = true, last = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
    /// Print the headers of a request as a JSON object, for MCP clients.
    Headers {
        /// Print them even to a terminal.
        #[arg(long)]
        print: bool,
        #[command(flatten)]
        access: AccessArgs,
        #[command(flatten)]
        credential: CredentialArgs,
    },
    /// Run curl with an access token.
    Curl {
        /// Sign the request with the API key.
        #[arg(long)]
        sign: bool,
        #[command(flatten)]
        access: AccessArgs,
        #[command(flatten)]
        credential: CredentialArgs,
        /// The arguments of curl.
        #[arg(
            required = true,
            trailing_var_arg = true,
            allow_hyphen_values = true,
            value_name = "ARGUMENT"
        )]
        arguments: Vec<OsString>,
    },
    /// Give git an access token as a password. Git calls it, as a credential helper.
    GitCredential {
        /// What git asks for.
        operation: Operation,
        #[command(flatten)]
        helper: HelperArgs,
        #[command(flatten)]
        access: AccessArgs,
        #[command(flatten)]
        credential: CredentialArgs,
    },
    #[command(flatten)]
    Records(RecordsCommand),
    /// Profiles, one for each deployment that you log in to.
    Profiles {
        #[command(subcommand)]
        command: ProfilesCommand,
    },
    /// Check a configuration, with the program postern-local: config check.
    #[command(disable_help_flag = true)]
    Config {
        /// The command and its options.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
        arguments: Vec<OsString>,
    },
    /// Check and try rules about workloads, with postern-local: trust lint, trust try TOKEN.
    #[command(disable_help_flag = true)]
    Trust {
        /// The command and its options.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
        arguments: Vec<OsString>,
    },
    /// Print the completions of a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// How to log in. What is given is kept in the profile, for the next login.
#[derive(Args)]
pub(crate) struct LoginArgs {
    /// The authorization server: by default that of the profile, else $POSTERN_ISSUER, else
    /// http://127.0.0.1:9000.
    #[arg(long, value_name = "URL")]
    pub(crate) issuer: Option<Issuer>,
    /// The id of the client: by default postern-cli.
    #[arg(long, value_name = "ID")]
    pub(crate) client_id: Option<String>,
    /// The scopes to ask for, separated by spaces.
    #[arg(long)]
    pub(crate) scope: Option<String>,
    /// The API that the tokens are for.
    #[arg(long, value_name = "URI")]
    pub(crate) resource: Option<String>,
    /// Where the refresh token goes: by default to the keyring of the operating system, if there
    /// is one.
    #[arg(long, value_enum, value_name = "PLACE")]
    pub(crate) storage: Option<StorageArg>,
    /// Log in at another device. This is the default over SSH and without a display.
    #[arg(long, conflicts_with = "browser")]
    pub(crate) device: bool,
    /// Log in with the browser of this machine.
    #[arg(long)]
    pub(crate) browser: bool,
}

/// Where a refresh token goes.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum StorageArg {
    /// The keyring of the operating system.
    Keyring,
    /// A file that only you can read.
    File,
}

impl From<StorageArg> for Storage {
    fn from(storage: StorageArg) -> Self {
        match storage {
            StorageArg::Keyring => Self::Keyring,
            StorageArg::File => Self::File,
        }
    }
}

/// What the token is for.
#[derive(Args)]
pub(crate) struct AccessArgs {
    /// The API that the token is for: by default what the login asked for.
    #[arg(long, value_name = "URI")]
    resource: Option<String>,
    /// Only these scopes, separated by spaces.
    #[arg(long)]
    scope: Option<String>,
}

impl From<AccessArgs> for TokenRequest {
    fn from(AccessArgs { resource, scope }: AccessArgs) -> Self {
        Self { resource, scope }
    }
}

/// Which credential is used: that of a workload with --from, else the session of --profile, else
/// POSTERN_API_KEY, else POSTERN_AGENT_ID with POSTERN_AGENT_SECRET, else the session of the
/// default profile.
#[derive(Args)]
#[command(next_help_heading = "Credential")]
pub(crate) struct CredentialArgs {
    /// Use the token of this workload: no login is needed.
    #[arg(long, global = true, value_enum, value_name = "PLATFORM")]
    pub(crate) from: Option<Platform>,
    /// The authorization server, where it is not that of the session.
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) issuer: Option<Issuer>,
    /// The audience of the workload's token, for github and aws: by default the issuer.
    #[arg(long, global = true, value_name = "AUDIENCE", requires = "from")]
    pub(crate) audience: Option<String>,
    /// The file of the workload's token, for file and kubernetes.
    #[arg(long, global = true, value_name = "FILE", requires = "from")]
    pub(crate) token_file: Option<PathBuf>,
    /// The variable of the workload's token, for gitlab: by default POSTERN_ID_TOKEN.
    #[arg(long, global = true, value_name = "NAME", requires = "from")]
    pub(crate) token_variable: Option<String>,
}

/// What gives a workload its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Platform {
    /// A job of GitHub Actions.
    Github,
    /// A job of GitLab CI.
    Gitlab,
    /// A pod of Kubernetes.
    Kubernetes,
    /// A role of AWS.
    Aws,
    /// A file.
    File,
}
