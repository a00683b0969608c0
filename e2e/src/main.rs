//! Runs the built functions under AWS's runtime interface emulator.
//!
//! `just e2e` compares their answers with those of the handlers and of the local program;
//! `just measure` measures starts, memory and sizes. `e2e/run` installs the tools, builds the
//! artifacts and starts this program.
#![expect(clippy::print_stdout, reason = "a program for a terminal")]

mod answer;
mod bus;
mod emulator;
mod environment;
mod explained;
mod measure;
mod process;
mod publishing;
mod rotation;
mod samples;
mod scenario;
mod target;
mod transformed;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};

/// Tests and measures the built functions under AWS's runtime interface emulator.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Compare the answers of the built functions with those of the handlers and the local program.
    Test(Tools),
    /// Measure the built functions, and other implementations of the authorizer.
    Measure {
        #[command(flatten)]
        tools: Tools,
        /// How often to start each function.
        #[arg(long, default_value_t = 20)]
        runs: usize,
        /// The folder of the other implementations, installed and built: node/, python/.
        #[arg(long)]
        rivals: Option<PathBuf>,
        /// The page whose table to replace.
        #[arg(long)]
        page: Option<PathBuf>,
    },
    /// Run a command with a second implementation of the store, whose URL is in POSTERN_TEST_STORE.
    Store {
        /// MiniStack, which serves a second implementation of DynamoDB.
        #[arg(long)]
        ministack: PathBuf,
        /// The folder for logs.
        #[arg(long)]
        logs: PathBuf,
        /// The command and its arguments.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Check the template after SAM's transform.
    Template {
        /// The transformed template, as JSON.
        transformed: PathBuf,
    },
    /// Print a token of AWS's STS for this audience, as workloads in Rust request it. The SDK reads
    /// AWS's variables, such as AWS_ENDPOINT_URL_STS.
    WebIdentityToken {
        /// The audience.
        #[arg(long)]
        audience: String,
        /// The algorithm.
        #[arg(long)]
        algorithm: String,
    },
}

/// The paths of the tools.
#[derive(Args, Clone, Debug)]
pub(crate) struct Tools {
    /// The folder of the artifacts: `{function}/bootstrap`.
    #[arg(long)]
    artifacts: PathBuf,
    /// AWS's runtime interface emulator.
    #[arg(long)]
    emulator: PathBuf,
    /// MiniStack, which serves Secrets Manager and a second implementation of DynamoDB.
    #[arg(long)]
    ministack: PathBuf,
    /// The local program, `postern-local`.
    #[arg(long)]
    program: PathBuf,
    /// The folder for logs.
    #[arg(long)]
    logs: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    // On a signal, returns from `main` so that every started process is dropped and killed.
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
            measure::run(&tools, runs, rivals.as_deref(), page.as_deref()).await
        }
        Command::Store { ministack, logs, command } => {
            environment::run_with_second_store(&ministack, &logs, &command).await
        }
        Command::Template { transformed } => transformed::check(&transformed),
        Command::WebIdentityToken { audience, algorithm } => {
            println!("{}", web_identity_token(audience, algorithm).await?);
            Ok(())
        }
    }
}

async fn web_identity_token(audience: String, algorithm: String) -> anyhow::Result<String> {
    let sdk = aws_config::load_from_env().await;
    let request = aws_sdk_sts::Client::new(&sdk)
        .get_web_identity_token()
        .audience(audience)
        .signing_algorithm(algorithm)
        .duration_seconds(120);
    let response = request
        .send()
        .await
        .map_err(|error| anyhow::anyhow!("{}", aws_sdk_sts::error::DisplayErrorContext(error)))?;
    response.web_identity_token.context("the response has no token")
}

/// Waits for Ctrl-C or SIGTERM.
async fn interrupted() {
    if let Ok(stop) = local::http_server::Shutdown::on_signal() {
        stop.wait().await;
    }
}

/// Sends the sample events and the scenario to the handlers, the local program and the emulator, on
/// each engine.
async fn test(tools: &Tools) -> anyhow::Result<()> {
    let mut passed = 0;
    for engine in [environment::StoreKind::Embedded, environment::StoreKind::MiniStack] {
        println!("\n-- store: {engine}");
        let environment = environment::Environment::start(tools, engine).await?;
        passed += samples::compare(tools, &environment).await?;
        passed += scenario::compare(tools, &environment).await?;
        passed += rotation::check(&environment).await?;
        passed += publishing::check(&environment).await?;
        passed += explained::check(tools, &environment).await?;
        passed += environment.emulators.check_log_lines()?;
    }
    println!("\n{passed} passed, 0 failed");
    Ok(())
}
