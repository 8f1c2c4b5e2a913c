//! Runs the local Envoy: starts it, finds one of an earlier run, and restarts it when it ends.

use std::net::SocketAddrV4;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use prost::Message;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::process::{Child, Command};
use tokio::sync::{Notify, watch};

use super::options::Options;
use crate::compile::envoy::{ARGUMENTS, Bootstrap};

/// Shortest and longest delay before Envoy is restarted.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// Uptime after which the delay is the shortest again.
const STABLE: Duration = Duration::from_secs(30);
/// Grace period between `SIGTERM` and `SIGKILL`.
const GRACE_PERIOD: Duration = Duration::from_secs(5);

/// Why Envoy cannot be run.
#[derive(thiserror::Error, Debug)]
pub enum ProxyError {
    /// A listener's address cannot be used.
    #[error(
        "cannot listen on {address}: {source}; choose another address with {option}, or stop what uses it; the Envoy \
         of a Vaultwall that was killed is taken over by a run with the same --state-dir"
    )]
    Listen {
        /// The address.
        address: SocketAddrV4,
        /// The command-line option that sets it.
        option: &'static str,
        /// The error of the system call.
        source: std::io::Error,
    },
    /// The program does not exist.
    #[error(
        "{path}: Envoy was not found; install Envoy 1.40 or later, or give its path with --envoy",
        path = path.display()
    )]
    NotFound {
        /// Path of the program.
        path: PathBuf,
    },
    /// The system refuses to run the program.
    #[error("{path}: cannot be run: {source}; give another Envoy with --envoy", path = path.display())]
    Run {
        /// Path of the program.
        path: PathBuf,
        /// The error of the system call.
        source: std::io::Error,
    },
    /// Envoy's bootstrap cannot be written.
    #[error("{path}: cannot be written: {source}; give another folder with --state-dir", path = path.display())]
    Bootstrap {
        /// Path of the bootstrap.
        path: PathBuf,
        /// The error of the system call.
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
    /// An Envoy of an earlier run. It is not a child of this process, so its process descriptor signals its end.
    Found(AsyncFd<OwnedFd>),
}

impl Envoy {
    /// Finds the Envoy of an earlier run. Stops it if its bootstrap differs.
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
        tracing::warn!(
            "the Envoy of an earlier run is still enforcing, because that run was killed: changes of the files since \
             then were not in force; it is kept, and follows the files again"
        );
        Some(Self {
            options: options.clone(),
            bootstrap: path,
            process_id,
            running,
        })
    }

    /// Starts Envoy.
    pub(super) fn start(options: &Options, bootstrap: &Bootstrap) -> Result<Self, ProxyError> {
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

    /// Restarts Envoy whenever it ends, until `stopped` is true, then stops it. Notifies `restarts` of each restart.
    /// Each notification of `reopen` makes Envoy open its access log again.
    pub(super) async fn supervise(
        mut self,
        mut stopped: watch::Receiver<bool>,
        reopen: Arc<Notify>,
        restarts: watch::Sender<()>,
    ) {
        let mut wait = BACKOFF.0;
        loop {
            let started = tokio::time::Instant::now();
            let ended = loop {
                tokio::select! {
                    ended = self.running.ended() => break ended,
                    () = reopen.notified() => self.running.send(Signal::USR1),
                    () = is_stopped(&mut stopped) => {
                        stop(self.running).await;
                        let _ = std::fs::remove_file(&self.process_id);
                        return;
                    }
                }
            };
            tracing::error!(
                "Envoy ended ({ended}); nothing reaches the vault until it runs again, in {wait:?}"
            );
            if started.elapsed() > STABLE {
                wait = BACKOFF.0;
            }
            self.running = loop {
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = is_stopped(&mut stopped) => return,
                }
                wait = (wait * 2).min(BACKOFF.1);
                match self.start_again() {
                    Ok(child) => {
                        // A new Envoy opens the log by itself, and until it handles the signal, that would end it.
                        let _ = reopen.notified().now_or_never();
                        restarts.send_replace(());
                        break Running::Child(child);
                    }
                    Err(error) => tracing::error!("{error}; trying again in {wait:?}"),
                }
            };
        }
    }

    /// Starts Envoy again, unless another program uses its ports: Envoy would never retry such a listener.
    fn start_again(&self) -> Result<Child, ProxyError> {
        check_free(&self.options)?;
        spawn(&self.options.envoy, &self.bootstrap, &self.process_id)
    }
}

async fn is_stopped(stopped: &mut watch::Receiver<bool>) {
    // An error means that the sender is dropped, which stops Envoy as well.
    let _ = stopped.wait_for(|stop| *stop).await;
}

impl Running {
    /// Sends a signal, unless the process has ended.
    fn send(&self, signal: Signal) {
        let _ = match self {
            Self::Child(child) => {
                let id = child.id().and_then(|id| i32::try_from(id).ok());
                id.and_then(Pid::from_raw)
                    .map_or(Ok(()), |pid| kill_process(pid, signal))
            }
            Self::Found(descriptor) => pidfd_send_signal(descriptor, signal),
        };
    }

    /// Waits for the end of the process, and describes it.
    async fn ended(&mut self) -> String {
        match self {
            Self::Child(child) => match child.wait().await {
                Ok(status) => describe(status),
                Err(error) => error.to_string(),
            },
            Self::Found(descriptor) => {
                // The descriptor is readable when the process has ended; an error means the same.
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
        // A separate process group: a signal to this process's group must not end Envoy.
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

/// Finds the process with the stored id, if it runs with this bootstrap.
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
    // Read after the descriptor is open, so that it belongs to the same process.
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
        running.send(signal);
        if tokio::time::timeout(GRACE_PERIOD, running.ended())
            .await
            .is_ok()
        {
            return;
        }
    }
}

/// Paths of Envoy's bootstrap and of the file with its process id.
fn files(options: &Options) -> (PathBuf, PathBuf) {
    let state = &options.state;
    (state.join("bootstrap.pb"), state.join("envoy.pid"))
}

/// Checks that the ports are free: otherwise Envoy would report it later, in its log only.
fn check_free(options: &Options) -> Result<(), ProxyError> {
    let listen = |address: SocketAddrV4, option| {
        std::net::TcpListener::bind(address).map_err(|source| ProxyError::Listen {
            address,
            option,
            source,
        })
    };
    // Both at once, so that equal addresses are refused.
    let _data = listen(options.data, "--data-listen")?;
    let _management = listen(options.management, "--management-listen")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::net::Ipv4Addr;

    use testkit::wait::wait_for;

    use super::*;
    use crate::compile::envoy::Upstream;
    use crate::limits::Limits;
    use crate::runtime::issuer_keys::{Authorities, KeyOptions};

    /// A shell takes the path of the bootstrap as its command, and has no handler of the signal either.
    #[tokio::test]
    async fn a_request_while_no_envoy_runs_does_not_end_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        let (ready, process_id) = (folder.path().join("ready"), folder.path().join("envoy.pid"));
        let free = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
        let options = Options {
            paths: Vec::new(),
            vault: None,
            upstream: Upstream {
                host: "127.0.0.1".into(),
                port: 8200,
            },
            data: free,
            management: free,
            access_log: "/dev/null".into(),
            envoy: "/bin/sh".into(),
            state: folder.path().to_owned(),
            keys: KeyOptions::new(Authorities::new(None).unwrap()),
            limits: Limits::default(),
        };
        let mut ended = Command::new("/bin/false").spawn().unwrap();
        ended.wait().await.unwrap();
        let envoy = Envoy {
            options,
            bootstrap: format!("echo $$ > {}; exec sleep 600", ready.display()).into(),
            process_id: process_id.clone(),
            running: Running::Child(ended),
        };
        let (stop, stopped) = watch::channel(false);
        let (restarts, mut restarted) = watch::channel(());
        let reopen = Arc::new(Notify::new());
        let supervised = tokio::spawn(envoy.supervise(stopped, reopen.clone(), restarts));
        // On the one thread of this runtime, it runs until it waits for the delay.
        tokio::task::yield_now().await;
        reopen.notify_one();
        restarted.changed().await.unwrap();
        let started = std::fs::read_to_string(process_id).unwrap();
        let running = wait_for("the next one runs", || {
            let text = std::fs::read_to_string(&ready).unwrap_or_default();
            text.ends_with('\n').then_some(text)
        });
        assert_eq!(running.trim(), started);
        stop.send(true).unwrap();
        supervised.await.unwrap();
    }
}
