//! Processes that are killed with all their descendants when dropped.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

/// How long a program can take until it listens.
const PATIENCE: Duration = Duration::from_secs(60);
const EVERY: Duration = Duration::from_millis(5);

/// A running program, in its own process group.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
}

impl Process {
    /// Starts `command` under the name `name`, with its output in `log`.
    pub(crate) fn start(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        use std::os::unix::process::CommandExt as _;
        let log = File::create(log).with_context(|| format!("writing {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        let child = command.spawn().with_context(|| format!("starting {name}"))?;
        Ok(Self { name: name.to_owned(), child })
    }

    /// Waits until something listens at `address`.
    pub(crate) async fn wait_for_listener(&mut self, address: SocketAddr) -> Result<()> {
        let connected = async {
            while tokio::net::TcpStream::connect(address).await.is_err() {
                self.alive()?;
                tokio::time::sleep(EVERY).await;
            }
            Ok(())
        };
        tokio::time::timeout(PATIENCE, connected)
            .await
            .with_context(|| format!("nothing listens at {address}"))?
    }

    /// Waits until `file` exists; returns its content.
    pub(crate) async fn wait_for_file(&mut self, file: &Path) -> Result<String> {
        let written = async {
            while !file.exists() {
                self.alive()?;
                tokio::time::sleep(EVERY).await;
            }
            Ok(fs::read_to_string(file)?)
        };
        tokio::time::timeout(PATIENCE, written)
            .await
            .with_context(|| format!("{} is missing", file.display()))?
    }

    fn alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended: {status}", self.name),
        }
    }

    /// Returns the ids of all descendants of this process.
    pub(crate) fn descendants(&self) -> Vec<u32> {
        fn children(pid: u32) -> Vec<u32> {
            let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
            let lists =
                tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
            let pids: Vec<u32> = lists
                .flat_map(|list| {
                    list.split(' ').filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()
                })
                .collect();
            pids.iter().flat_map(|pid| std::iter::once(*pid).chain(children(*pid))).collect()
        }
        children(self.child.id())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let strays = self.descendants();
        drop(self.child.kill());
        drop(self.child.wait());
        let pids = strays.iter().map(ToString::to_string);
        drop(Command::new("kill").arg("-KILL").args(pids).stderr(Stdio::null()).status());
    }
}

/// Returns a free address on loopback.
pub(crate) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
