//! Runs the local Envoy: starts it, finds the one that an earlier run left behind, starts it again when it ends.

use std::net::SocketAddrV4;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use prost::Message;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::{Options, StandaloneError};
use crate::compile::envoy::{ARGUMENTS, Bootstrap};

/// Shortest and longest wait before Envoy is started again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// An Envoy that ran this long was well; the next wait is the shortest again.
const WELL: Duration = Duration::from_secs(30);
/// How long Envoy may take to end before it is killed.
const STOPPING: Duration = Duration::from_secs(5);

/// Why Envoy cannot be run.
#[derive(thiserror::Error, Debug)]
pub enum ProxyError {
    /// There is no such program.
    #[error("{path}: Envoy was not found; install Envoy 1.40 or later, or give its path with --envoy", path = path.display())]
    NotFound {
        /// The path that was tried.
        path: PathBuf,
    },
    /// The system refuses to run it.
    #[error("{path}: cannot be run: {source}; give another Envoy with --envoy", path = path.display())]
    Run {
        /// The path that was tried.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Its bootstrap cannot be written.
    #[error("{path}: cannot be written: {source}; give another folder with --state-dir", path = path.display())]
    Bootstrap {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}

/// A running Envoy.
pub(super) struct Envoy {
    options: Options,
    bootstrap: PathBuf,
    process_id: PathBuf,
    running: Running,
}

enum Running {
    Child(Child),
    /// An Envoy of an earlier run. It has no parent here, so its process descriptor tells when it ends.
    Found(AsyncFd<OwnedFd>),
}

impl Envoy {
    /// The Envoy of an earlier run, if it asks here for the same vault; another one is stopped.
    pub(super) async fn find(options: &Options, bootstrap: &Bootstrap) -> Option<Self> {
        let (path, process_id) = files(options);
        let running = find(&process_id, &path)?;
        let written = std::fs::read(&path).unwrap_or_default();
        if written != bootstrap.message().encode_to_vec() {
            tracing::info!(
                "the Envoy of an earlier run was started for another vault or another version of Vaultwall; stopping it"
            );
            stop(running).await;
            return None;
        }
        tracing::info!("the Envoy of an earlier run is still enforcing; going on with it");
        Some(Self {
            options: options.clone(),
            bootstrap: path,
            process_id,
            running,
        })
    }

    /// Starts one.
    pub(super) fn start(options: &Options, bootstrap: &Bootstrap) -> Result<Self, StandaloneError> {
        let (path, process_id) = files(options);
        check_free(options)?;
        std::fs::write(&path, bootstrap.message().encode_to_vec()).map_err(|source| {
            ProxyError::Bootstrap {
                path: path.clone(),
                source,
            }
        })?;
        let child = spawn(&options.envoy, &path, &process_id)?;
        Ok(Self {
            options: options.clone(),
            bootstrap: path,
            process_id,
            running: Running::Child(child),
        })
    }

    /// Keeps Envoy running until told to stop, then stops it. `restarts` hears of every new one.
    pub(super) async fn supervise(
        mut self,
        mut stopped: watch::Receiver<bool>,
        restarts: watch::Sender<()>,
    ) {
        let mut wait = BACKOFF.0;
        loop {
            let started = tokio::time::Instant::now();
            tokio::select! {
                ended = self.running.ended() => {
                    tracing::error!("Envoy ended ({ended}); nothing reaches the vault until it runs again, in {wait:?}");
                }
                () = told_to_stop(&mut stopped) => {
                    stop(self.running).await;
                    let _ = std::fs::remove_file(&self.process_id);
                    return;
                }
            }
            if started.elapsed() > WELL {
                wait = BACKOFF.0;
            }
            self.running = loop {
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = told_to_stop(&mut stopped) => return,
                }
                wait = (wait * 2).min(BACKOFF.1);
                match self.start_again() {
                    Ok(child) => {
                        restarts.send_replace(());
                        break Running::Child(child);
                    }
                    Err(error) => tracing::error!("{error}; trying again in {wait:?}"),
                }
            };
        }
    }

    /// Not while something else has its ports: Envoy would give that listener up for good.
    fn start_again(&self) -> Result<Child, StandaloneError> {
        check_free(&self.options)?;
        Ok(spawn(
            &self.options.envoy,
            &self.bootstrap,
            &self.process_id,
        )?)
    }
}

async fn told_to_stop(stopped: &mut watch::Receiver<bool>) {
    // An error means that whoever would tell is gone, which is the same.
    let _ = stopped.wait_for(|stop| *stop).await;
}

impl Running {
    /// Waits for the end, and says how it ended.
    async fn ended(&mut self) -> String {
        match self {
            Self::Child(child) => match child.wait().await {
                Ok(status) => describe(status),
                Err(error) => error.to_string(),
            },
            Self::Found(descriptor) => {
                // Readable means ended; that it cannot be waited for, too.
                let _ = descriptor.readable().await;
                "started by an earlier run".into()
            }
        }
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown".into(),
    }
}

fn spawn(binary: &Path, bootstrap: &Path, process_id: &Path) -> Result<Child, ProxyError> {
    let child = Command::new(binary)
        .arg("-c")
        .arg(bootstrap)
        .args(ARGUMENTS)
        .stdin(Stdio::null())
        // A group of its own: a signal to this process's group must not end what enforces.
        .process_group(0)
        .spawn()
        .map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => ProxyError::NotFound {
                path: binary.to_owned(),
            },
            _ => ProxyError::Run {
                path: binary.to_owned(),
                source,
            },
        })?;
    if let Some(id) = child.id() {
        let written = std::fs::write(process_id, id.to_string());
        if let Err(error) = written {
            tracing::warn!(
                "{}: cannot be written: {error}; a later run will not find this Envoy",
                process_id.display()
            );
        }
    }
    Ok(child)
}

/// The Envoy of an earlier run: the process whose id was noted, if it still runs with our bootstrap.
#[expect(
    deprecated,
    reason = "an `OwnedFd` owns its descriptor for as long as it lives; what replaces `with_interest` needs unsafe code"
)]
fn find(process_id: &Path, bootstrap: &Path) -> Option<Running> {
    let id: i32 = std::fs::read_to_string(process_id)
        .ok()?
        .trim()
        .parse()
        .ok()?;
    let descriptor = pidfd_open(Pid::from_raw(id)?, PidfdFlags::NONBLOCK).ok()?;
    // Asked after the descriptor is open, so that it is about that very process.
    let command = std::fs::read(format!("/proc/{id}/cmdline")).ok()?;
    let named = command
        .split(|byte| *byte == 0)
        .any(|word| word == bootstrap.as_os_str().as_encoded_bytes());
    named.then_some(())?;
    Some(Running::Found(
        AsyncFd::with_interest(descriptor, Interest::READABLE).ok()?,
    ))
}

async fn stop(mut running: Running) {
    for signal in [Signal::TERM, Signal::KILL] {
        match &running {
            Running::Child(child) => {
                let id = child.id().and_then(|id| i32::try_from(id).ok());
                let Some(pid) = id.and_then(Pid::from_raw) else {
                    return;
                };
                let _ = kill_process(pid, signal);
            }
            Running::Found(descriptor) => {
                let _ = pidfd_send_signal(descriptor, signal);
            }
        }
        if tokio::time::timeout(STOPPING, running.ended())
            .await
            .is_ok()
        {
            return;
        }
    }
}

/// Its bootstrap, and the file that holds its process id.
fn files(options: &Options) -> (PathBuf, PathBuf) {
    let state = &options.state;
    (state.join("bootstrap.pb"), state.join("envoy.pid"))
}

/// Envoy would only say so in its log, later.
fn check_free(options: &Options) -> Result<(), StandaloneError> {
    let listen = |address: SocketAddrV4, option| {
        std::net::TcpListener::bind(address).map_err(|source| StandaloneError::Listen {
            address,
            option,
            source,
        })
    };
    // Both at once, so that they are not the same.
    let _data = listen(options.data, "--data-listen")?;
    let _management = listen(options.management, "--management-listen")?;
    Ok(())
}
