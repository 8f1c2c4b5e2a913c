//! The model: isolated addresses, and the packets that each may receive and send.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::ranges::Ranges;

/// The protocols of networking.k8s.io/v1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// `TCP`, the default.
    Tcp,
    /// `UDP`.
    Udp,
    /// `SCTP`, which few kernels of test machines support.
    Sctp,
}

/// Ports at the destination.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ports {
    /// Every port of every protocol, and protocols without ports.
    All,
    /// Port numbers of each protocol in the map, and nothing else.
    Only(BTreeMap<Protocol, Ranges>),
}

/// Peers and ports that are allowed together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// Addresses of the other end, as numbers.
    pub peers: Ranges,
    /// Ports of the connection's destination.
    pub ports: Ports,
}

/// Isolated pods by address, with the rules of each. An empty set allows nothing.
pub type Isolated = BTreeMap<Ipv4Addr, BTreeSet<Rule>>;

/// Isolated pods of both directions. An address that is not listed is not isolated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    /// Packets that may enter a pod.
    pub ingress: Isolated,
    /// Packets that may leave a pod.
    pub egress: Isolated,
}

/// The first packet of a connection, after a Service's address was translated to a pod's.
#[derive(Clone, Copy, Debug)]
pub struct Packet {
    /// Address of the sender.
    pub source: Ipv4Addr,
    /// Address of the receiver.
    pub destination: Ipv4Addr,
    /// Protocol and port at the destination; none for a protocol without ports, such as ICMP.
    pub transport: Option<(Protocol, u16)>,
}

impl Model {
    /// Whether the packet passes. A pod always reaches itself: Kubernetes says that a pod cannot block access to
    /// itself.
    pub fn allows(&self, packet: &Packet) -> bool {
        packet.source == packet.destination || (self.may_leave(packet) && self.may_enter(packet))
    }

    /// Whether the source's policies let it out.
    pub fn may_leave(&self, packet: &Packet) -> bool {
        admits(
            self.egress.get(&packet.source),
            packet.destination,
            packet.transport,
        )
    }

    /// Whether the destination's policies let it in.
    pub fn may_enter(&self, packet: &Packet) -> bool {
        admits(
            self.ingress.get(&packet.destination),
            packet.source,
            packet.transport,
        )
    }
}

fn admits(
    rules: Option<&BTreeSet<Rule>>,
    peer: Ipv4Addr,
    transport: Option<(Protocol, u16)>,
) -> bool {
    rules.is_none_or(|rules| {
        rules
            .iter()
            .any(|rule| rule.peers.contains(peer.into()) && rule.ports.admit(transport))
    })
}

impl Ports {
    fn admit(&self, transport: Option<(Protocol, u16)>) -> bool {
        match (self, transport) {
            (Self::All, _) => true,
            (Self::Only(_), None) => false,
            (Self::Only(ports), Some((protocol, port))) => ports
                .get(&protocol)
                .is_some_and(|ports| ports.contains(port.into())),
        }
    }
}
