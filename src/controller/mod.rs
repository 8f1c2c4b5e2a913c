//! The operator: watches a Kubernetes API server, keeps every vault's proxies at the firewall of now, applies what belongs
//! to a firewall and tells the truth in status.
//!
//! Data flows one way: watches → index → resolved firewalls → xDS snapshots (every replica) → children and status (the
//! leader alone writes).
//!
//! | module | what it is |
//! |---|---|
//! | `run` | starts and ends all parts |
//! | `engine` | facts → firewalls → snapshots, on every replica |
//! | [`firewall`] | the reconcile of a vault's firewall, by the leader |
//! | `part` | work of a replica that does not lead |

mod engine;
pub mod firewall;
mod part;
mod run;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use kube::Client;

pub use self::run::run;

use crate::clock::Clock;
use crate::compile::envoy::Upstream;
use crate::limits::Limits;
use crate::policy::VaultId;
use crate::runtime::authority::AuthorityError;
use crate::runtime::leader::{Lost, Timing};
use crate::runtime::operations::ListenError;
use crate::runtime::permissions::PermissionsError;
use crate::xds::ServeError;

/// What the operator is told.
#[derive(Clone)]
pub struct Options {
    /// Of the API server.
    pub client: Client,
    /// The operator's own namespace: its lease and its certificate authority are there.
    pub namespace: String,
    /// Name of this replica: its pod's, or the machine's.
    pub name: String,
    /// Where proxies and other replicas connect.
    pub xds_listen: SocketAddr,
    /// Host and port at which proxies find that.
    pub xds_address: (String, u16),
    /// Host and port at which other replicas find this one.
    pub advertise: String,
    /// Where health and metrics are served.
    pub operations_listen: SocketAddr,
    /// Envoy's image.
    pub proxy_image: String,
    /// Most rules of a vault.
    pub limits: Limits,
    /// Vaults whose proxies run beside the operator, not in pods.
    pub local: BTreeMap<VaultId, LocalProxy>,
    /// Lengths of the lease.
    pub lease: Timing,
    /// The time.
    pub clock: Clock,
}

/// How the proxies of a vault run that are no pods: to try the operator on a machine that is no node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalProxy {
    /// Where they listen.
    pub listen: Ipv4Addr,
    /// Where they find the vault, whose pods they may not reach; none: its pods.
    pub upstream: Option<Upstream>,
}

/// Why the operator could not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// It may not do what it has to.
    #[error(transparent)]
    Permissions(#[from] PermissionsError),
    /// There is no certificate authority.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// Health and metrics cannot be served.
    #[error(transparent)]
    Operations(#[from] ListenError),
    /// The address for proxies cannot be used.
    #[error(
        "cannot listen on {address} for proxies: {source}; choose another address with --xds-listen, or stop what uses it"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The xDS server ended.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// A part of it ended that never should.
    #[error(
        "{0} ended by itself: a defect of this program, whose log says more; starting again is the way to go on"
    )]
    Panicked(&'static str),
    /// It led and leads no longer; starting again is the way to go on.
    #[error("{0}")]
    Lost(Lost),
}
