//! Standalone mode: the objects as files, one binary, a local Envoy; no cluster.
//!
//! | module | what it is |
//! |---|---|
//! | [`watch`] | which files may be read now, and which are being written |
//! | [`places`] | what the paths of `-f` mean on disk, and where that could change |
//! | [`files`] | what was last good of every file |
//! | [`contents`] | which object stands in which file, and what of that the index gets |
//! | [`enforce`] | compiles and publishes the one firewall |
//! | [`proxy`] | runs Envoy |
//!
//! [`run`] connects them and holds no rule.

mod contents;
mod enforce;
mod files;
mod places;
mod proxy;
mod watch;

use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch as signal;

use crate::compile::envoy::{Bootstrap, Proxy, Tls, Upstream, XdsServer};
use crate::limits::Limits;
use crate::policy::VaultId;
use crate::xds::{self, SnapshotStore};

use enforce::Enforcer;
use files::Files;
use proxy::{Envoy, ProxyError};
use watch::{WatchError, Watcher};

/// What standalone mode is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Files and folders of objects.
    pub paths: Vec<PathBuf>,
    /// The vault to protect; none: the one that the policies name.
    pub vault: Option<VaultId>,
    /// The vault's address.
    pub upstream: Upstream,
    /// Where the data listener listens.
    pub data: SocketAddrV4,
    /// Where the management listener listens.
    pub management: SocketAddrV4,
    /// File that the access log is appended to.
    pub access_log: String,
    /// The Envoy binary.
    pub envoy: PathBuf,
    /// Folder for sockets, bootstrap and Envoy's process id. An Envoy that outlived an earlier run is found by it.
    pub state: PathBuf,
    /// Limits of rules.
    pub limits: Limits,
}

/// Why standalone mode could not start, or ended.
#[derive(thiserror::Error, Debug)]
pub enum StandaloneError {
    /// The files name several vaults.
    #[error(
        "the files protect several vaults ({0}); say which one is behind --upstream with --vault NAMESPACE/SERVICE"
    )]
    SeveralVaults(String),
    /// The state folder cannot be used.
    #[error("{path}: {problem}; give another folder with --state-dir", path = path.display())]
    State {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A listener's address cannot be used.
    #[error(
        "cannot listen on {address}: {source}; choose another address with {option}, or stop what uses it"
    )]
    Listen {
        /// The address.
        address: SocketAddrV4,
        /// The option that chooses it.
        option: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Envoy cannot be run.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// The xDS server.
    #[error(transparent)]
    Serve(#[from] xds::ServeError),
    /// A path of `-f` cannot be read at all.
    #[error("{0}")]
    Unreadable(String),
    /// The files cannot be watched.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// The access log cannot be written.
    #[error(
        "{path}: cannot be opened for the access log: {source}; give another file with --access-log"
    )]
    AccessLog {
        /// The file.
        path: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Signals cannot be received.
    #[error("cannot wait for signals: {0}")]
    Signals(std::io::Error),
}

impl StandaloneError {
    fn several_vaults(vaults: &[VaultId]) -> Self {
        let names: Vec<String> = vaults.iter().map(ToString::to_string).collect();
        Self::SeveralVaults(names.join(", "))
    }
}

/// Runs until the process is told to stop. Envoy is then stopped as well; were this process killed instead, Envoy would
/// go on with what it has, and the next run would find it.
pub async fn run(options: Options) -> Result<(), StandaloneError> {
    let mut signals = Signals::new().map_err(StandaloneError::Signals)?;
    prepare_state(&options.state)?;
    check_access_log(&options.access_log)?;
    let mut watcher = Watcher::start()?;
    let mut files = Files::new(options.paths.clone(), options.limits);
    files.load(&mut watcher)?;
    let unreadable = files.unreadable_paths();
    if !unreadable.is_empty() {
        return Err(StandaloneError::Unreadable(unreadable.join("; ")));
    }
    let vault = protected_vault(&options, &files)?;
    let proxy = Proxy {
        data: options.data,
        management: options.management,
        upstream: Some(options.upstream.clone()),
        access_log: options.access_log.clone(),
        tls: Tls::default(),
    };
    // The vault behind an address stays the same, whatever the policies call it.
    let node = format!("{}:{}", options.upstream.host, options.upstream.port);
    let socket = options.state.join("xds.sock");
    let bootstrap = Bootstrap {
        node_id: node.clone(),
        xds: XdsServer::Socket(socket.display().to_string()),
        admin_socket: options.state.join("admin.sock").display().to_string(),
        metrics: None,
    };
    // Who has the socket has the state folder, and its Envoy.
    let listener = xds::bind_unix(&socket)?;
    let store = Arc::new(SnapshotStore::new());
    let mut enforcer = Enforcer::new(node, vault, proxy, store.clone());
    let found = Envoy::find(&options, &bootstrap).await;
    if found.is_some() {
        enforcer.found_running(&files);
    }
    enforcer.enforce(&mut files, Instant::now());

    let (stop, stopped) = signal::channel(false);
    let mut stop_server = stopped.clone();
    let server = tokio::spawn(xds::serve_unix(listener, store.clone(), async move {
        let _ = stop_server.wait_for(|stop| *stop).await;
    }));
    let reports = tokio::spawn(enforce::report_rejections(store.clone()));
    let silent = tokio::spawn(warn_of_silent_vault(options.upstream.clone()));
    let envoy = match found {
        Some(envoy) => envoy,
        None => Envoy::start(&options, &bootstrap)?,
    };
    tracing::warn!(
        "{} and {} speak plain HTTP, and so does the vault's side: keep all three on loopback or on links you trust",
        options.data,
        options.management
    );
    let (restarts, mut restarted) = signal::channel(());
    let supervised = tokio::spawn(envoy.supervise(stopped, restarts));

    loop {
        let deadline = files.deadline();
        let seen = tokio::select! {
            () = signals.stop() => break,
            Ok(()) = restarted.changed() => {
                enforcer.restarted();
                Instant::now()
            }
            seen = watcher.changed() => seen.map_err(WatchError::from)?,
            () = until(deadline) => Instant::now(),
        };
        let noticed = watcher.take();
        if let Err(error) = files.update(&mut watcher, noticed) {
            tracing::error!("{error}; what was in force stays in force");
        }
        enforcer.enforce(&mut files, seen);
    }
    tracing::info!("stopping");
    let _ = stop.send(true);
    let _ = supervised.await;
    reports.abort();
    silent.abort();
    match server.await {
        Ok(ended) => Ok(ended?),
        Err(_) => Ok(()),
    }
}

/// Waits for a moment, or for ever.
async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// The vault behind `--upstream`; none until a policy says which.
fn protected_vault(options: &Options, files: &Files) -> Result<Option<VaultId>, StandaloneError> {
    if let Some(vault) = &options.vault {
        return Ok(Some(vault.clone()));
    }
    let vaults: Vec<VaultId> = files.index().vaults().cloned().collect();
    match vaults.as_slice() {
        [vault] => Ok(Some(vault.clone())),
        [] => {
            tracing::warn!(
                "no policy was found in the paths of -f: everything but health probes is denied until there is one"
            );
            Ok(None)
        }
        several => Err(StandaloneError::several_vaults(several)),
    }
}

/// Envoy would only refuse the listeners, later.
fn check_access_log(path: &str) -> Result<(), StandaloneError> {
    let opened = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(path);
    opened
        .map(drop)
        .map_err(|source| StandaloneError::AccessLog {
            path: path.to_owned(),
            source,
        })
}

/// A folder that only this user can use: whoever could write there could replace the configuration.
fn prepare_state(path: &std::path::Path) -> Result<(), StandaloneError> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};
    let failed = |problem: String| StandaloneError::State {
        path: path.to_owned(),
        problem,
    };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|e| failed(e.to_string()))?;
    let metadata = std::fs::symlink_metadata(path).map_err(|e| failed(e.to_string()))?;
    if !metadata.is_dir() || metadata.uid() != rustix::process::getuid().as_raw() {
        return Err(failed("it is not a folder of this user's own".into()));
    }
    if metadata.mode() & 0o022 != 0 {
        return Err(failed("other users can write in it".into()));
    }
    Ok(())
}

async fn warn_of_silent_vault(upstream: Upstream) {
    let address = (upstream.host.as_str(), upstream.port);
    let connect = tokio::net::TcpStream::connect(address);
    let problem = match tokio::time::timeout(std::time::Duration::from_secs(3), connect).await {
        Ok(Ok(_)) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer in 3 s".into(),
    };
    tracing::warn!(
        "the vault at {}:{} (--upstream) does not answer: {problem}; allowed requests get 503 until it does",
        upstream.host,
        upstream.port
    );
}

struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
