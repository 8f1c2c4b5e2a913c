//! Standalone mode: objects from files and a local Envoy, without a cluster.
//!
//! | module | what it is |
//! |---|---|
//! | [`watch`] | which files can be read now, and which are being written |
//! | [`paths`] | resolves the paths of `-f` to files, folders and symbolic links |
//! | [`files`] | reads changed files; the last valid contents of each stay in force |
//! | [`file_set`] | the objects of each file; commits changed files to the index |
//! | [`enforce`] | decides which firewall is published, and logs the result |
//! | [`proxy`] | runs Envoy |
//! | [`options`], [`error`] | options, and why standalone mode ends |
//!
//! [`run`] connects them and holds no rule.

mod enforce;
mod error;
mod file_set;
mod files;
mod options;
mod paths;
mod proxy;
mod watch;

use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch as signal;

use crate::compile::envoy::{Bootstrap, Proxy, Tls, Upstream, XdsServer};
use crate::policy::VaultId;
use crate::publish::report_rejections;
use crate::transport::{bind_unix, serve_unix};
use crate::xds::SnapshotStore;

pub use error::StandaloneError;
pub use options::Options;

use enforce::Enforcer;
use files::Files;
use proxy::Envoy;
use watch::{WatchError, Watcher, wait_until};

/// Runs until `end` completes, then stops Envoy. If this process is killed, Envoy keeps its configuration, and the next
/// run finds it.
///
/// # Errors
/// It cannot start, or cannot watch the files any longer.
pub async fn run(options: Options, end: impl Future<Output = ()>) -> Result<(), StandaloneError> {
    // Envoy inherits it: it may create the access log again after a rotation, and that contains the names of secrets.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
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
        http2: None,
    };
    // The node is the vault's address, which stays the same if policies change the vault's name.
    let node = format!("{}:{}", options.upstream.host, options.upstream.port);
    let socket = options.state.join("xds.sock");
    let bootstrap = Bootstrap {
        node_id: node.clone(),
        xds: XdsServer::Socket(socket.display().to_string()),
        admin_socket: options.state.join("admin.sock").display().to_string(),
        metrics: None,
        memory: None,
    };
    // The socket also locks the state folder and its Envoy against another process.
    let listener = bind_unix(&socket)?;
    let store = Arc::new(SnapshotStore::new());
    let mut enforcer = Enforcer::new(node, vault, proxy, store.clone());
    let found = Envoy::find(&options, &bootstrap).await;
    if found.is_some() {
        enforcer.keep_running_envoy(&files);
    }
    enforcer.enforce(&mut files, Instant::now());

    let (stop, stopped) = signal::channel(false);
    let mut stop_server = stopped.clone();
    let server = tokio::spawn(serve_unix(listener, store.clone(), async move {
        let _ = stop_server.wait_for(|stop| *stop).await;
    }));
    let reports = tokio::spawn(report_rejections(store.clone(), enforce::log_rejection));
    let silent = tokio::spawn(warn_of_silent_vault(options.upstream.clone()));
    let envoy = match found {
        Some(envoy) => envoy,
        None => Envoy::start(&options, &bootstrap)?,
    };
    tracing::warn!(
        "{} and {} serve plain HTTP, and the connection to the vault is plain HTTP too: keep all three on loopback or \
         on trusted links",
        options.data,
        options.management
    );
    let (restarts, mut restarted) = signal::channel(());
    let supervised = tokio::spawn(envoy.supervise(stopped, restarts));

    let mut end = pin!(end);
    loop {
        let deadline = files.deadline();
        let seen = tokio::select! {
            () = &mut end => break,
            Ok(()) = restarted.changed() => {
                enforcer.restarted();
                Instant::now()
            }
            seen = watcher.changed() => seen.map_err(WatchError::from)?,
            () = wait_until(deadline) => Instant::now(),
            () = enforcer.wait_due() => {
                enforcer.publish_due();
                continue;
            }
        };
        let changes = watcher.take();
        if let Err(error) = files.update(&mut watcher, changes) {
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

/// The vault behind `--upstream`; `None` until a policy names it.
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

/// Checks that the access log can be opened: otherwise Envoy would refuse the listeners later.
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

/// Creates the state folder, which only this user may write: another user could replace the configuration.
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
