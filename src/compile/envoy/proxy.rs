//! Settings of one proxy that do not follow from the firewall alone.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::tls::Tls;
use crate::compile::ports::ProxyPorts;
pub use crate::policy::Http2;
use crate::policy::{Firewall, VaultId};

/// Settings of one proxy in addition to its firewall: addresses, log file and TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Address of the data listener.
    pub data: SocketAddrV4,
    /// Address of the management listener.
    pub management: SocketAddrV4,
    /// The vault. `None`: the vault's addresses are discovered, as [`endpoints`](super::endpoints).
    pub upstream: Option<Upstream>,
    /// File that the access log is appended to; `/dev/stdout` for the proxy's own output.
    pub access_log: String,
    /// Whether denials also go to the operator, in a stream to the xDS server.
    pub streams_denials: bool,
    /// TLS towards clients and towards the vault; by default none.
    pub tls: Tls,
    /// HTTP/2 with clients, next to HTTP/1.1; `None`: HTTP/1.1 only.
    pub http2: Option<Http2>,
}

impl Proxy {
    /// A proxy in the vault's cluster: it listens on every address and forwards to the vault's Service.
    pub fn in_cluster(firewall: &Firewall, tls: Tls, http2: Option<Http2>) -> Self {
        let ports = ProxyPorts::of(firewall.port);
        let everywhere = |port| SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
        let VaultId { namespace, service } = &firewall.vault;
        Self {
            data: everywhere(ports.data),
            management: everywhere(ports.management),
            upstream: Some(Upstream {
                host: format!("{service}.{namespace}.svc"),
                port: firewall.port,
            }),
            access_log: "/dev/stdout".to_owned(),
            streams_denials: false,
            tls,
            http2,
        }
    }
}

/// Address of a server: the vault's, or the operator's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// IPv4 address or DNS name.
    pub host: String,
    /// TCP port, from 1.
    pub port: u16,
}
