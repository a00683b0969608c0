//! The functions as they are deployed, under AWS's own runtime interface emulator: `just e2e` holds their answers against those of a
//! laptop, `just measure` says what they take. `e2e/run` installs the tools, builds the artifacts and starts this program.
#![expect(clippy::print_stdout, reason = "a program for a terminal")]

mod answer;
mod emulator;
mod environment;
mod measure;
mod process;
mod samples;
mod scenario;
mod target;
mod transformed;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

/// The functions as they are deployed, under AWS's runtime interface emulator.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Hold the answers of the built functions against those of the handlers and of the local program.
    Test(Tools),
    /// Measure the built functions, and what others would write in place of the authorizer.
    Measure {
        #[command(flatten)]
        tools: Tools,
        /// How often each function is started.
        #[arg(long, default_value_t = 20)]
        runs: usize,
        /// A folder with the programs to compare with, installed and built: node/, python/.
        #[arg(long)]
        rivals: PathBuf,
        /// The page whose tables are written anew.
        #[arg(long)]
        page: PathBuf,
    },
    /// Check the template as SAM's transform leaves it.
    Template {
        /// The transformed template, as JSON.
        transformed: PathBuf,
    },
}

/// Where the tools are.
#[derive(Args, Clone, Debug)]
pub(crate) struct Tools {
    /// The folder of the artifacts: `{function}/bootstrap`.
    #[arg(long)]
    artifacts: PathBuf,
    /// AWS's runtime interface emulator.
    #[arg(long)]
    emulator: PathBuf,
    /// MiniStack: Secrets Manager, and a second DynamoDB.
    #[arg(long)]
    ministack: PathBuf,
    /// The local program.
    #[arg(long)]
    program: PathBuf,
    /// A folder for what the functions log.
    #[arg(long)]
    logs: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    // Whatever was started ends with this program, however it ends.
    let outcome = tokio::select! {
        outcome = run(Cli::parse().command) => outcome,
        () = interrupted() => Err(anyhow::anyhow!("interrupted")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("e2e: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Test(tools) => test(&tools).await,
        Command::Measure { tools, runs, rivals, page } => {
            measure::run(&tools, runs, &rivals, &page).await
        }
        Command::Template { transformed } => transformed::check(&transformed),
    }
}

/// At Ctrl-C or SIGTERM.
async fn interrupted() {
    if let Ok(stop) = local::serve::Stop::at_signal() {
        stop.wait().await;
    }
}

/// The same events and the same scenario, on each engine: in-process, through the local program, and under the emulator.
async fn test(tools: &Tools) -> anyhow::Result<()> {
    let mut passed = 0;
    for engine in [environment::Engine::Embedded, environment::Engine::MiniStack] {
        println!("\n-- the store is {engine}");
        let environment = environment::Environment::open(tools, engine).await?;
        passed += samples::compare(tools, &environment).await?;
        passed += scenario::compare(tools, &environment).await?;
        passed += environment.fleet.check_lines()?;
    }
    println!("\n{passed} passed, 0 failed");
    Ok(())
}
