//! The model: which addresses are isolated, and what they may exchange with whom.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::ranges::Ranges;

/// The protocols of networking.k8s.io/v1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

/// Ports at the destination.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ports {
    /// Every port of every protocol, and protocols without ports.
    All,
    Only(BTreeMap<Protocol, Ranges>),
}

/// One thing that is allowed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// Who is at the other end.
    pub peers: Ranges,
    pub ports: Ports,
}

/// Isolated pods by address, and all that is allowed to each. An empty set allows nothing.
pub type Isolated = BTreeMap<Ipv4Addr, BTreeSet<Rule>>;

/// All that is enforced. An address that is not in here is not isolated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    /// What may enter a pod.
    pub ingress: Isolated,
    /// What may leave a pod.
    pub egress: Isolated,
}

/// The first packet of a connection, after a Service's address has become a pod's.
#[derive(Clone, Copy, Debug)]
pub struct Packet {
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    /// Protocol and port at the destination; none for what has no ports, as ICMP.
    pub transport: Option<(Protocol, u16)>,
}

impl Model {
    /// Whether the packet passes. A pod always reaches itself: "a Pod cannot block access to itself".
    #[allow(dead_code, reason = "the agent leaves verdicts to the kernel")]
    pub fn allows(&self, packet: &Packet) -> bool {
        packet.source == packet.destination || (self.may_leave(packet) && self.may_enter(packet))
    }

    /// Whether the source's policies let it out.
    #[allow(dead_code, reason = "the agent leaves verdicts to the kernel")]
    pub fn may_leave(&self, packet: &Packet) -> bool {
        admits(
            self.egress.get(&packet.source),
            packet.destination,
            packet.transport,
        )
    }

    /// Whether the destination's policies let it in.
    #[allow(dead_code, reason = "the agent leaves verdicts to the kernel")]
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
