//! `postern exec`, `config` and `trust`: another program takes the place of this one.

use std::{env, ffi::OsString, io, process::Command};

use postern_client::{ExposeSecret as _, TokenRequest};

use crate::{
    credentials::{Caller, VARIABLES},
    failure::Failure,
};

/// The variable in which a command finds its token.
const TOKEN: &str = "POSTERN_TOKEN";
const LOCAL_PROGRAM: &str = "postern-local";
/// What shells return for a command that cannot be run, or does not exist.
const CANNOT_RUN: u8 = 126;
const NOT_FOUND: u8 = 127;

/// Runs a command with a token in its environment, in place of the credential that gave it.
pub(crate) async fn run(
    caller: &Caller,
    wanted: &TokenRequest,
    command: &[OsString],
) -> Result<(), Failure> {
    let token = caller.session.access_token(wanted).await?;
    let [program, arguments @ ..] = command else {
        return Err(Failure::usage("There is no command. Write it after --."));
    };
    let mut command = Command::new(program);
    command.args(arguments).env(TOKEN, token.value.expose_secret());
    for name in VARIABLES {
        command.env_remove(name);
    }
    Err(replace_with(command))
}

/// Becomes the local program, which has the code of a deployment and can judge its configuration.
pub(crate) fn local_program(command: &str, arguments: &[OsString]) -> Failure {
    let file = format!("{LOCAL_PROGRAM}{}", env::consts::EXE_SUFFIX);
    let beside = env::current_exe().ok().map(|own| own.with_file_name(file));
    let program = beside.filter(|path| path.is_file()).unwrap_or_else(|| LOCAL_PROGRAM.into());
    let mut run = Command::new(program);
    run.arg(command).args(arguments);
    let failure = replace_with(run);
    if failure.exit_code == NOT_FOUND {
        return Failure::new(
            NOT_FOUND,
            format!(
                "postern {command} needs the program {LOCAL_PROGRAM}, which is not here. Install \
                 it from an archive of a release, or with: cargo install --locked --path local."
            ),
        );
    }
    failure
}

/// Becomes another program, which gets the terminal, the signals and the exit code of this one.
/// Returns only if that fails.
#[cfg(unix)]
pub(crate) fn replace_with(mut command: Command) -> Failure {
    use std::os::unix::process::CommandExt as _;

    let error = command.exec();
    cannot_run(&command, &error)
}

/// Runs another program, and ends with its exit code.
#[cfg(not(unix))]
pub(crate) fn replace_with(mut command: Command) -> Failure {
    match command.status() {
        Ok(status) => {
            let code = status.code().and_then(|code| u8::try_from(code).ok());
            Failure::new(code.unwrap_or(crate::failure::FAILED), "")
        }
        Err(error) => cannot_run(&command, &error),
    }
}

fn cannot_run(command: &Command, error: &io::Error) -> Failure {
    let program = command.get_program().to_string_lossy();
    if error.kind() == io::ErrorKind::NotFound {
        let message = format!("There is no command {program}. Check its name, or install it.");
        return Failure::new(NOT_FOUND, message);
    }
    Failure::new(CANNOT_RUN, format!("{program} cannot be run: {error}."))
}
