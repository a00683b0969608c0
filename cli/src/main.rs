//! The command `postern`: log in once, and call APIs with tokens that stay current.

mod api;
mod arguments;
mod credentials;
mod curl;
mod exec;
mod failure;
mod git_credential;
mod invocation;
mod login;
mod output;
mod profiles;
mod prompt;
mod records;
mod status;
mod token;
mod words;

use std::process::ExitCode;

use crate::{
    arguments::{Cli, Command},
    credentials::Caller,
    failure::Failure,
    invocation::Invocation,
};
use clap::{CommandFactory as _, Parser as _};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::failure(&failure);
            ExitCode::from(failure.exit_code)
        }
    }
}

async fn run(cli: Cli) -> Result<(), Failure> {
    let invocation = Invocation::new(cli.profile)?;
    let context = &invocation.context;
    let caller = async |credential| Caller::find(&invocation, credential).await;
    match cli.command {
        Command::Login(login) => login::log_in(&invocation, login).await,
        Command::Logout => login::log_out(context, &invocation.profile()?).await,
        Command::Whoami { json, credential } => {
            status::whoami(&caller(&credential).await?, json).await
        }
        Command::Status { json } => status::status(context, &invocation.profile()?, json).await,
        Command::Token { print, access, credential } => {
            token::print(&caller(&credential).await?, &access.into(), print).await
        }
        Command::Headers { print, access, credential } => {
            token::headers(&caller(&credential).await?, &access.into(), print).await
        }
        Command::Exec { command, access, credential } => {
            exec::run(&caller(&credential).await?, &access.into(), &command).await
        }
        Command::Curl { sign, arguments, access, credential } => {
            let caller = caller(&credential).await?;
            curl::run(context, &caller, &access.into(), sign, &arguments).await
        }
        Command::GitCredential { operation, helper, access, credential } => {
            let caller = caller(&credential);
            git_credential::run(operation, &helper, &access.into(), caller).await
        }
        Command::Records(command) => command.run(&invocation).await,
        Command::Profiles { command } => profiles::run(&invocation, command),
        Command::Config { arguments } => Err(exec::local_program("config", &arguments)),
        Command::Trust { arguments } => Err(exec::local_program("trust", &arguments)),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "postern", &mut script);
            output::print(&String::from_utf8_lossy(&script))
        }
    }
}
