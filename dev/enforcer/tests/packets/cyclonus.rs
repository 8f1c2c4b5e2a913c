//! All of cyclonus' conformance cases, each cell a packet.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use crate::net::Net;
use crate::probe::{Probe, SERVED};
use enforcer::policy::{Packet, Protocol, resolve};
use testkit::cyclonus::{Step, steps};

/// How many differences are shown.
const SHOWN: usize = 20;

#[test]
fn all_cases() {
    let steps = steps();
    let addresses: BTreeSet<Ipv4Addr> = steps
        .iter()
        .flat_map(|step| &step.rows)
        .map(|row| row.from)
        .collect();
    let net = Net::new(addresses);
    let (mut cases, mut failed) = (BTreeSet::new(), BTreeSet::new());
    let (mut packets, mut passed) = (0, BTreeSet::new());
    let mut wrong = Vec::new();
    for step in &steps {
        net.apply(&resolve(&step.policies, &step.pods, &step.namespaces));
        let before = wrong.len();
        let (sent, expected) = compare(step, &net, &mut wrong);
        packets += sent;
        passed.extend(expected);
        cases.insert(step.case);
        if wrong.len() > before {
            failed.insert(step.case);
        }
    }
    // A packet that came after its step was looked at.
    for late in net.arrivals.all().difference(&passed) {
        wrong.push(format!("came though denied: {late:?}"));
    }
    println!(
        "cyclonus, with packets: {} of {} cases ({} steps), {packets} packets of which {} denied",
        cases.len() - failed.len(),
        cases.len(),
        steps.len(),
        packets - passed.len(),
    );
    let shown = wrong.len().min(SHOWN);
    assert!(
        wrong.is_empty(),
        "{} packets fared differently:\n{}",
        wrong.len(),
        wrong[..shown].join("\n")
    );
    assert_eq!(cases.len(), 230);
}

/// Sends every packet of a step: how many, and which should pass.
fn compare(step: &Step, net: &Net, wrong: &mut Vec<String>) -> (usize, BTreeSet<Probe>) {
    let ports = step.ports();
    let mut cells: BTreeMap<Ipv4Addr, Vec<(Packet, bool)>> = BTreeMap::new();
    // Packets from a pod to itself do not pass the node.
    for row in step.rows.iter().filter(|row| row.from != row.to) {
        for ((protocol, port), letter) in ports.iter().zip(row.letters.chars()) {
            let protocol = match *protocol {
                "TCP" => Protocol::Tcp,
                "UDP" => Protocol::Udp,
                _ => Protocol::Sctp,
            };
            if protocol == Protocol::Sctp || SERVED.contains(port) {
                let packet = Packet {
                    source: row.from,
                    destination: row.to,
                    transport: Some((protocol, *port)),
                };
                cells
                    .entry(row.from)
                    .or_default()
                    .push((packet, letter == '.'));
            }
        }
    }
    let (mut sent, mut expected, mut open) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    for (from, cells) in &cells {
        let packets: Vec<Packet> = cells.iter().map(|(packet, _)| *packet).collect();
        let (probes, sockets) = net.ends[from].send(&packets);
        open.push(sockets);
        sent.extend(probes.iter().copied());
        let allowed = probes
            .iter()
            .zip(cells)
            .filter(|(_, (_, allowed))| *allowed);
        expected.extend(allowed.map(|(probe, _)| *probe));
    }
    let arrived = net.arrivals.of(&sent, &expected);
    for probe in arrived.symmetric_difference(&expected) {
        let did = if arrived.contains(probe) {
            "passed"
        } else {
            "did not pass"
        };
        wrong.push(format!("{}: {did}: {probe:?}", step.name()));
    }
    (sent.len(), expected)
}
