//! Options of the operator, and the reasons why it does not start or ends.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use kube::Client;

use crate::clock::Clock;
use crate::compile::envoy::Upstream;
use crate::limits::Limits;
use crate::policy::VaultId;
use crate::runtime::authority::AuthorityError;
use crate::runtime::issuer_keys::KeyOptions;
use crate::runtime::leader::{Lost, Timing};
use crate::runtime::operations::ListenError;
use crate::runtime::permissions::PermissionsError;
use crate::transport::ServeError;

/// Options of the operator.
#[derive(Clone)]
pub struct Options {
    /// Client of the API server.
    pub client: Client,
    /// The operator's own namespace, which has its lease and its certificate authority.
    pub namespace: String,
    /// Name of this replica: that of its pod or of the machine.
    pub name: String,
    /// Address to listen on for proxies and other replicas.
    pub xds_listen: SocketAddr,
    /// Host and port at which proxies connect to the operator.
    pub xds_address: (String, u16),
    /// Host and port at which other replicas connect to this one.
    pub advertise: String,
    /// Address to listen on for health and metrics.
    pub operations_listen: SocketAddr,
    /// Reference of Envoy's image.
    pub proxy_image: String,
    /// Limits of a vault's rules.
    pub limits: Limits,
    /// Vaults whose proxies run on the operator's machine and not in pods.
    pub local: BTreeMap<VaultId, LocalProxy>,
    /// Durations of the leader election.
    pub lease: Timing,
    /// Whether pods are labelled with their service account, for trusted services of vaults with `denial: Drop`.
    pub account_labels: bool,
    /// How keys of token issuers are fetched.
    pub keys: KeyOptions,
    /// Clock of all parts.
    pub clock: Clock,
}

/// Settings of a vault's proxies that are not pods, to try the operator on a machine that is not a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalProxy {
    /// Address that the proxies listen on.
    pub listen: Ipv4Addr,
    /// Address of the vault, for proxies that cannot connect to its pods; none: the pods.
    pub upstream: Option<Upstream>,
}

/// Reason why the operator did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// Permissions or CRDs are missing.
    #[error(transparent)]
    Permissions(#[from] PermissionsError),
    /// The certificate authority cannot be read or created.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The address for health and metrics cannot be used.
    #[error(transparent)]
    Operations(#[from] ListenError),
    /// The address for proxies cannot be used.
    #[error(
        "cannot listen on {address} for proxies: {source}; choose another address with --xds-listen, or stop the \
         program that uses it"
    )]
    Listen {
        /// Address of the listener.
        address: SocketAddr,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// The xDS server failed.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// A part ended unexpectedly.
    #[error(
        "{0} ended unexpectedly, which is a defect of this program; see the log, and restart the operator"
    )]
    Panicked(&'static str),
    /// This replica was the leader and lost the lease; the process must restart.
    #[error("{0}")]
    Lost(Lost),
}
