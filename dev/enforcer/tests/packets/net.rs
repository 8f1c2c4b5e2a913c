//! A node with a bridge, and pods on it, as namespaces.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;

use crate::inside::Inside;
use crate::probe::{Arrivals, Sender};
use enforcer::policy::{Model, render};

/// The node on the bridge, the pods' gateway.
pub const NODE: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);
/// The node towards who is not on the bridge.
const EDGE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);

/// Settings of the kernel in the node.
const SETTINGS: [(&str, &str); 7] = [
    ("net/ipv4/ip_forward", "1"),
    // As in a real node; the agent does not start without.
    ("net/bridge/bridge-nf-call-iptables", "1"),
    // Half a million connections would not fit into the table if it kept them for minutes.
    ("net/netfilter/nf_conntrack_tcp_timeout_time_wait", "1"),
    ("net/netfilter/nf_conntrack_tcp_timeout_close", "1"),
    ("net/netfilter/nf_conntrack_udp_timeout", "1"),
    ("net/netfilter/nf_conntrack_sctp_timeout_cookie_wait", "1"),
    ("net/netfilter/nf_conntrack_generic_timeout", "1"),
];

pub struct Net {
    pub node: Inside,
    pub ends: BTreeMap<Ipv4Addr, Sender>,
    pub arrivals: Arrivals,
}

impl Net {
    /// A node with these around it: those of its bridge's network are on the bridge, one other is behind a router.
    pub fn new(addresses: impl IntoIterator<Item = Ipv4Addr>) -> Self {
        let node = Inside::new();
        node.command(
            "ip",
            &["-batch", "-"],
            &format!(
                "link set lo up\nlink add br0 type bridge\nlink set br0 up\n\
                 address add {NODE}/24 dev br0\n"
            ),
        );
        // Connections are tracked, and these settings are there, from the first rule on that asks for it.
        let mut net = Self {
            node,
            ends: BTreeMap::new(),
            arrivals: Arrivals::default(),
        };
        net.apply(&Model::default());
        net.node.run(|| {
            for (name, value) in SETTINGS {
                fs::write(format!("/proc/sys/{name}"), value)
                    .unwrap_or_else(|error| panic!("{name}: {error}: does this kernel have it?"));
            }
        });
        for address in addresses {
            net.add(address);
        }
        net
    }

    fn add(&mut self, address: Ipv4Addr) {
        let end = Inside::new();
        let port = format!("port{}", self.ends.len());
        let (on_node, gateway) = if address.octets()[..3] == NODE.octets()[..3] {
            (format!("link set {port} master br0 up\n"), NODE)
        } else {
            (
                format!("link set {port} up\naddress add {EDGE}/24 dev {port}\n"),
                EDGE,
            )
        };
        self.node.command(
            "ip",
            &["-batch", "-"],
            &format!(
                "link add {port} type veth peer name eth0 netns {}\n{on_node}",
                end.thread
            ),
        );
        end.command(
            "ip",
            &["-batch", "-"],
            &format!(
                "link set lo up\naddress add {address}/24 dev eth0\nlink set eth0 up\n\
                 route add default via {gateway}\n"
            ),
        );
        let sender = Sender::new(end, address, &self.arrivals);
        self.ends.insert(address, sender);
    }

    /// Puts the ruleset of a model in force, as the agent does.
    pub fn apply(&self, model: &Model) {
        self.node
            .command("nft", &["-f", "-"], &render(model, "vaultwall_dev"));
    }
}
