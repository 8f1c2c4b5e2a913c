//! Renders the model as a ruleset for `nft -f -`: the whole table, in one transaction.
//!
//! The chains stay and only their rules are replaced: a packet in that moment meets the old rules or the new ones. If
//! the table were deleted and created again, it could meet the new chain before the change and the old one after it,
//! both empty, and pass.
//!
//! Established connections go on after a policy changes, as with kind's own network: a test that passes here does not
//! depend on closed connections. The egress of a source and the ingress of a destination are checked one after the
//! other: `return` leads from the first check to the second, and `drop` is at the end of a chain.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};
use std::net::Ipv4Addr;

use super::model::{Isolated, Model, Ports, Protocol, Rule};
use super::ranges::Ranges;

/// All ports of a protocol.
const EVERY_PORT: (u32, u32) = (0, 65_535);

/// The kind of rules in a chain.
#[derive(Clone, Copy)]
enum Direction {
    Ingress,
    Egress,
}

/// The text that replaces the content of `table`.
pub fn render(model: &Model, table: &str) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write_table(&mut text, model, table);
    text
}

fn write_table(text: &mut String, model: &Model, table: &str) -> fmt::Result {
    let base = "type filter hook forward priority -10; policy accept;";
    writeln!(text, "table ip {table} {{")?;
    writeln!(text, "\tchain egress {{\n\t}}\n\tchain ingress {{\n\t}}")?;
    writeln!(text, "\tchain forward {{\n\t\t{base}\n\t}}\n}}")?;
    writeln!(text, "flush table ip {table}\ntable ip {table} {{")?;
    Direction::Egress.write(text, &model.egress)?;
    Direction::Ingress.write(text, &model.ingress)?;
    writeln!(text, "\tchain forward {{")?;
    writeln!(text, "\t\tct state established,related accept")?;
    // Traffic of a pod to itself through a Service.
    let isolated: BTreeSet<_> = model.egress.keys().chain(model.ingress.keys()).collect();
    let itself = isolated
        .iter()
        .map(|address| format!("{address} . {address}"));
    let itself = itself.collect::<Vec<_>>().join(", ");
    if !itself.is_empty() {
        writeln!(text, "\t\tip saddr . ip daddr {{ {itself} }} accept")?;
    }
    writeln!(text, "\t\tjump egress\n\t\tjump ingress\n\t}}\n}}")
}

impl Direction {
    fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }

    /// The field of the isolated pod, and that of its peer.
    fn fields(self) -> (&'static str, &'static str) {
        match self {
            Self::Ingress => ("ip daddr", "ip saddr"),
            Self::Egress => ("ip saddr", "ip daddr"),
        }
    }

    fn write(self, text: &mut String, isolated: &Isolated) -> fmt::Result {
        writeln!(text, "\tchain {} {{", self.name())?;
        if !isolated.is_empty() {
            let (field, _) = self.fields();
            let all = set(&addresses(isolated.keys()), address);
            writeln!(text, "\t\t{field} != {all} return")?;
            // Pods with the same allowed traffic share a rule.
            let mut pods: BTreeMap<&Rule, Vec<&Ipv4Addr>> = BTreeMap::new();
            for (pod, rules) in isolated {
                for rule in rules {
                    pods.entry(rule).or_default().push(pod);
                }
            }
            for (rule, pods) in pods {
                let pods = addresses(pods.into_iter());
                self.write_rule(text, &pods, rule)?;
            }
            writeln!(text, "\t\tdrop")?;
        }
        writeln!(text, "\t}}")
    }

    fn write_rule(self, text: &mut String, pods: &Ranges, rule: &Rule) -> fmt::Result {
        let (field, peer_field) = self.fields();
        let mut ends = format!("{field} {}", set(pods, address));
        if rule.peers != Ranges::everything() {
            write!(ends, " {peer_field} {}", set(&rule.peers, address))?;
        }
        match &rule.ports {
            Ports::All => writeln!(text, "\t\t{ends} return"),
            Ports::Only(protocols) => protocols.iter().try_for_each(|(protocol, ports)| {
                writeln!(text, "\t\t{ends} {} return", transport(*protocol, ports))
            }),
        }
    }
}

fn addresses<'a>(addresses: impl Iterator<Item = &'a Ipv4Addr>) -> Ranges {
    addresses
        .map(|address| (u32::from(*address), u32::from(*address)))
        .collect()
}

fn address(number: u32) -> String {
    Ipv4Addr::from(number).to_string()
}

fn transport(protocol: Protocol, ports: &Ranges) -> String {
    let name = match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    };
    if ports.iter().eq([EVERY_PORT]) {
        return format!("meta l4proto {name}");
    }
    format!("{name} dport {}", set(ports, |number| number.to_string()))
}

fn set(ranges: &Ranges, show: impl Fn(u32) -> String) -> String {
    let elements: Vec<_> = ranges
        .iter()
        .map(|(first, last)| {
            if first == last {
                show(first)
            } else {
                format!("{}-{}", show(first), show(last))
            }
        })
        .collect();
    format!("{{ {} }}", elements.join(", "))
}
