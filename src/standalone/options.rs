//! Options of standalone mode, as the command line sets them.

use std::net::SocketAddrV4;
use std::path::PathBuf;

use crate::compile::envoy::Upstream;
use crate::limits::Limits;
use crate::policy::VaultId;
use crate::runtime::issuer_keys::KeyOptions;

/// Options of standalone mode.
#[derive(Clone, Debug)]
pub struct Options {
    /// Files and folders with objects (`-f`).
    pub paths: Vec<PathBuf>,
    /// The vault to protect; `None`: the one that the policies name.
    pub vault: Option<VaultId>,
    /// Address of the vault.
    pub upstream: Upstream,
    /// Address of the data listener.
    pub data: SocketAddrV4,
    /// Address of the management listener.
    pub management: SocketAddrV4,
    /// File to which the access log is appended.
    pub access_log: String,
    /// Path of the Envoy binary, or its name on `PATH`.
    pub envoy: PathBuf,
    /// Folder for sockets, the bootstrap and Envoy's process id. With it, an Envoy of an earlier run is found.
    pub state: PathBuf,
    /// How keys of token issuers are fetched.
    pub keys: KeyOptions,
    /// Most rules of a vault.
    pub limits: Limits,
}

/// An order to running standalone mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Stop, and stop Envoy.
    Stop,
    /// Make Envoy open its access log again: the file was renamed.
    ReopenAccessLog,
    /// The same, and read every file again.
    Reload,
}
