//! Why standalone mode cannot start, or ended.

use std::path::PathBuf;

use super::proxy::ProxyError;
use super::watch::WatchError;
use crate::policy::VaultId;
use crate::transport::ServeError;

/// Why standalone mode cannot start, or ended.
#[derive(thiserror::Error, Debug)]
pub enum StandaloneError {
    /// The files name several vaults.
    #[error(
        "the files protect several vaults ({0}); say which one is behind --upstream with --vault NAMESPACE/SERVICE"
    )]
    SeveralVaults(String),
    /// Both endpoints have one address.
    #[error(
        "--data-listen and --management-listen are the same address; choose another port for one"
    )]
    SameAddress,
    /// The state folder cannot be used.
    #[error("{path}: {problem}; give another folder with --state-dir", path = path.display())]
    State {
        /// Path of the folder.
        path: PathBuf,
        /// Description of the problem, in lower case.
        problem: String,
    },
    /// Envoy cannot be run.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// The xDS server cannot start, or ended.
    #[error(transparent)]
    Serve(#[from] ServeError),
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
        /// Path of the file.
        path: String,
        /// The error of the system call.
        source: std::io::Error,
    },
}

impl StandaloneError {
    /// The files name several vaults, and `--vault` does not choose one.
    pub(super) fn several_vaults(vaults: &[VaultId]) -> Self {
        let names: Vec<String> = vaults.iter().map(ToString::to_string).collect();
        Self::SeveralVaults(names.join(", "))
    }
}
