//! The three targets of the scenario, all with the same functions.

use std::{net::IpAddr, process::Command, sync::Arc};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::{Request, Response};
use local::{
    gateway::Gateway,
    invoke::{self, Invoke},
};
use serde_json::Value;
use tempfile::TempDir;
use tests::{Setup, World};

use crate::{
    Tools,
    environment::{Environment, ISSUER},
    process::Process,
};

/// A target: a way to call the functions.
#[derive(Debug)]
pub(crate) enum Target {
    /// The handlers, in this process.
    Handlers(Box<World>),
    /// The local program, over HTTP.
    Program(Program),
    /// The artifacts, under the emulator.
    Emulator { gateway: Gateway, operator_key: String },
}

/// The local program.
#[derive(Debug)]
pub(crate) struct Program {
    url: String,
    operator_key: String,
    client: reqwest::Client,
    _process: Process,
    _folder: TempDir,
}

impl Target {
    /// Starts all three, with the same keys.
    pub(crate) async fn all(tools: &Tools, environment: &Environment) -> Result<[Self; 3]> {
        let world =
            World::with(Setup { secrets: Some(environment.secrets.clone()), ..Setup::default() })
                .await;
        let emulator = Self::Emulator {
            gateway: environment.gateway.clone(),
            operator_key: environment.operator_key.clone(),
        };
        Ok([
            Self::Handlers(Box::new(world)),
            Self::Program(Program::start(tools, environment).await?),
            emulator,
        ])
    }

    /// Returns the operator key, which can create organizations.
    pub(crate) fn operator_key(&self) -> &str {
        match self {
            Self::Handlers(world) => &world.operator_key,
            Self::Program(program) => &program.operator_key,
            Self::Emulator { operator_key, .. } => operator_key,
        }
    }

    /// Sends a request.
    pub(crate) async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>> {
        let here = IpAddr::from([127, 0, 0, 1]);
        match self {
            Self::Handlers(world) => Ok(world.gateway.call(request, here).await),
            Self::Emulator { gateway, .. } => Ok(gateway.call(request, here).await),
            Self::Program(program) => program.send(request).await,
        }
    }

    /// Returns the authorizer of this target. The local program runs it only in front of other
    /// APIs.
    pub(crate) fn authorizer(&self, environment: &Environment) -> Option<Invoke> {
        match self {
            Self::Handlers(world) => invoke::in_process(&Arc::clone(&world.app), "authorizer"),
            Self::Program(_) => None,
            Self::Emulator { .. } => {
                environment.emulators.0.get("authorizer").map(|function| function.as_function())
            }
        }
    }
}

impl Program {
    async fn start(tools: &Tools, environment: &Environment) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let (ready, secret) =
            (folder.path().join("ready.json"), folder.path().join("secrets.json"));
        std::fs::write(&secret, serde_json::to_string(&environment.secrets)?)?;
        let mut command = Command::new(&tools.program);
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--data", ":memory:", "--ready-file"])
            .arg(&ready);
        command.env("POSTERN_ISSUER", ISSUER).env("POSTERN_SECRET_FILE", &secret);
        let mut process =
            Process::start("the local program", &mut command, &tools.logs.join("local.log"))?;
        let ready: Value = serde_json::from_str(&process.wait_for_file(&ready).await?)?;
        let text = |name: &str| {
            ready[name].as_str().map(str::to_owned).with_context(|| format!("no {name}"))
        };
        let never = reqwest::redirect::Policy::none(); // compare the responses themselves
        let client = reqwest::Client::builder().no_proxy().redirect(never).build()?;
        Ok(Self {
            url: text("url")?,
            operator_key: text("operator_key")?,
            client,
            _process: process,
            _folder: folder,
        })
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>> {
        let (parts, body) = request.into_parts();
        let answer = self
            .client
            .request(parts.method, format!("{}{}", self.url, parts.uri))
            .headers(parts.headers);
        let answer = answer.body(body).send().await?;
        let mut response = Response::builder().status(answer.status());
        if let Some(headers) = response.headers_mut() {
            headers.extend(answer.headers().clone());
        }
        Ok(response.body(answer.bytes().await?)?)
    }
}
