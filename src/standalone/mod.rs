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
//! | [`rotation`] | makes Envoy open its access log again |
//! | [`state`] | the state folder, and the file with the id of this process |
//! | [`vault`] | warns if the vault cannot be used |
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
mod rotation;
mod state;
mod vault;
mod watch;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::{Stream, StreamExt};
use tokio::sync::{Notify, watch as signal};

use crate::clock::Clock;
use crate::compile::envoy::{Bootstrap, Proxy, Tls, XdsServer};
use crate::policy::VaultId;
use crate::publish::report_rejections;
use crate::runtime::issuer_keys::IssuerKeyFetcher;
use crate::runtime::operations::Metrics;
use crate::transport::{bind_unix, serve_unix};
use crate::xds::SnapshotStore;

pub use error::StandaloneError;
pub use options::{Control, Options};

use enforce::Enforcer;
use files::Files;
use proxy::Envoy;
use rotation::Rotation;
use state::ProcessId;
use watch::{WatchError, Watcher, wait_until};

/// Longest wait for the first keys of token issuers, so that a start removes no identity whose keys can be fetched.
const FIRST_KEYS: Duration = Duration::from_secs(5);

/// Runs until `controls` has [`Control::Stop`] or ends, or an error, then stops Envoy. If this process is killed, Envoy
/// keeps its configuration, and the next run finds it.
///
/// # Errors
/// It cannot start, or cannot watch the files any longer.
pub async fn run(
    options: Options,
    controls: impl Stream<Item = Control> + Unpin,
) -> Result<(), StandaloneError> {
    if options.data == options.management {
        return Err(StandaloneError::SameAddress);
    }
    // Envoy inherits it: it may create the access log again after a rotation, and that contains the names of secrets.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    state::prepare(&options.state)?;
    rotation::check(&options.access_log)?;
    let mut watcher = Watcher::start()?;
    let mut files = Files::new(options.paths.clone(), options.limits);
    files.load(&mut watcher)?;
    let unreadable = files.unreadable_paths();
    if !unreadable.is_empty() {
        return Err(StandaloneError::Unreadable(unreadable.join("; ")));
    }
    let protected = protected_vault(&options, &files)?;
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
    let _process_id = ProcessId::write(&options.state);
    let store = Arc::new(SnapshotStore::new());
    let mut enforcer = Enforcer::new(node.clone(), protected, proxy(&options), store.clone());
    let found = Envoy::find(&options, &bootstrap).await;
    if found.is_some() {
        enforcer.keep_running_envoy(&files);
    }
    let metrics = Arc::new(Metrics::new().0);
    let mut keys = IssuerKeyFetcher::start(&options.keys, None, &Clock::system(), &metrics);
    keys.set_urls(files.index().key_urls());
    keys.wait_for_first(FIRST_KEYS, false).await;
    files.index_mut().set_keys(keys.states().keys());
    enforcer.enforce(&mut files, Instant::now());

    let (stop, stopped) = signal::channel(false);
    let mut stop_server = stopped.clone();
    let server = tokio::spawn(serve_unix(listener, store.clone(), async move {
        let _ = stop_server.wait_for(|stop| *stop).await;
    }));
    let reports = tokio::spawn(report_rejections(store.clone(), enforce::log_rejection));
    let silent = tokio::spawn(vault::warn_if_unusable(options.upstream.clone()));
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
    let (restarts, restarted) = signal::channel(());
    let reopen = Arc::new(Notify::new());
    let supervised = tokio::spawn(envoy.supervise(stopped, reopen.clone(), restarts));

    let follower = Follower {
        files,
        watcher,
        keys,
        enforcer,
        rotation: Rotation::new(options.access_log.clone(), node, store.clone(), reopen),
    };
    let ended = follower.follow(controls, restarted).await;
    tracing::info!("stopping");
    let _ = stop.send(true);
    let _ = supervised.await;
    reports.abort();
    silent.abort();
    ended?;
    match server.await {
        Ok(ended) => Ok(ended?),
        Err(_) => Ok(()),
    }
}

/// Keeps Envoy up to date.
struct Follower {
    files: Files,
    watcher: Watcher,
    keys: IssuerKeyFetcher,
    enforcer: Enforcer,
    rotation: Rotation,
}

impl Follower {
    /// Follows the files until `controls` has [`Control::Stop`] or ends. `restarted` has the restarts of Envoy.
    async fn follow(
        mut self,
        mut controls: impl Stream<Item = Control> + Unpin,
        mut restarted: signal::Receiver<()>,
    ) -> Result<(), WatchError> {
        loop {
            let deadline = self.files.deadline();
            let seen = tokio::select! {
                control = controls.next() => match control {
                    None | Some(Control::Stop) => return Ok(()),
                    Some(Control::ReopenAccessLog) => {
                        self.rotation.request();
                        continue;
                    }
                    Some(Control::Reload) => {
                        tracing::info!("every file in the paths of -f is read again");
                        self.rotation.request();
                        self.watcher.changed_everywhere();
                        Instant::now()
                    }
                },
                () = self.rotation.is_due() => {
                    self.rotation.signal();
                    continue;
                }
                Ok(()) = restarted.changed() => {
                    self.enforcer.restarted();
                    Instant::now()
                }
                () = self.keys.changed() => {
                    let keys = self.keys.states().keys();
                    self.files.index_mut().set_keys(keys);
                    Instant::now()
                }
                seen = self.watcher.changed() => seen?,
                () = wait_until(deadline) => Instant::now(),
                () = self.enforcer.wait_due() => {
                    self.enforcer.publish_due();
                    continue;
                }
            };
            let changes = self.watcher.take();
            if let Err(error) = self.files.update(&mut self.watcher, changes) {
                tracing::error!("{error}; what was in force stays in force");
            }
            self.keys.set_urls(self.files.index().key_urls());
            self.enforcer.enforce(&mut self.files, seen);
        }
    }
}

/// The local proxy.
fn proxy(options: &Options) -> Proxy {
    Proxy {
        data: options.data,
        management: options.management,
        upstream: Some(options.upstream.clone()),
        access_log: options.access_log.clone(),
        tls: Tls::default(),
        streams_denials: false,
        http2: None,
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
