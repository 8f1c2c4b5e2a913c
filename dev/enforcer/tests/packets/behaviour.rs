//! Traffic that the cases of cyclonus do not cover: Services, the node, open connections, and the moment of a change.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::time::Duration;

use crate::net::{NODE, Net};
use crate::probe::Probe;
use enforcer::policy::{Model, Packet, Ports, Protocol, Ranges, Rule, render};

const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 10);
const SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 20);
/// Not a pod, and not on the bridge.
const FAR: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
/// A Service in front of the server.
const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
/// Rules of kube-proxy for it: the address becomes the pod's, and a pod that connects to itself is masqueraded.
const KUBE_PROXY: &str = "table ip services {
    chain before { type nat hook prerouting priority dstnat; ip daddr 10.96.0.10 dnat to 192.168.1.20; }
    chain after { type nat hook postrouting priority srcnat; ip saddr 192.168.1.20 ip daddr 192.168.1.20 masquerade; }
}
";
const KINDS: [Option<(Protocol, u16)>; 4] = [
    Some((Protocol::Tcp, 80)),
    Some((Protocol::Udp, 80)),
    Some((Protocol::Sctp, 80)),
    None,
];

fn net() -> Net {
    Net::new([CLIENT, SERVER, FAR])
}

/// The same with the Service, by which the server can also reach itself.
fn net_with_service() -> Net {
    let net = net();
    net.node.command("nft", &["-f", "-"], KUBE_PROXY);
    net.node.command(
        "ip",
        &["-batch", "-"],
        "link set port1 type bridge_slave hairpin on\n",
    );
    net
}

/// The server is isolated for ingress, but for this.
fn ingress(rules: impl IntoIterator<Item = Rule>) -> Model {
    Model {
        ingress: [(SERVER, rules.into_iter().collect())].into(),
        ..Model::default()
    }
}

fn from(peer: Ipv4Addr, ports: Ports) -> Rule {
    Rule {
        peers: [(peer.into(), peer.into())].into_iter().collect(),
        ports,
    }
}

/// Sends one packet of each kind, and returns those that arrived at `lands`.
fn arrive(net: &Net, source: Ipv4Addr, destination: Ipv4Addr, lands: [bool; 4]) -> Vec<bool> {
    let packets = KINDS.map(|transport| Packet {
        source,
        destination,
        transport,
    });
    let (sent, _open) = net.ends[&source].send(&packets);
    // By a Service it arrives at the pod; a pod that reaches itself so does it in the node's name.
    let is_itself = source == SERVER && destination == SERVICE;
    let landed: Vec<Probe> = sent
        .iter()
        .map(|probe| {
            let ip = if destination == SERVICE {
                SERVER
            } else {
                destination
            };
            let from = if is_itself { NODE } else { source };
            Probe {
                from: SocketAddrV4::new(from, probe.from.port()),
                to: SocketAddrV4::new(ip, probe.to.port()),
                ..*probe
            }
        })
        .collect();
    let expected = landed.iter().zip(lands).filter(|(_, lands)| *lands);
    let expected: BTreeSet<Probe> = expected.map(|(probe, _)| *probe).collect();
    let arrived = net
        .arrivals
        .of(&landed.iter().copied().collect(), &expected);
    landed.iter().map(|probe| arrived.contains(probe)).collect()
}

#[track_caller]
fn check(net: &Net, source: Ipv4Addr, destination: Ipv4Addr, lands: [bool; 4]) {
    let got = arrive(net, source, destination, lands);
    assert_eq!(
        got, lands,
        "{source} to {destination}: TCP, UDP, SCTP, a protocol without ports"
    );
}

#[test]
fn protocols_with_and_without_ports() {
    let net = net();
    net.apply(&ingress([]));
    check(&net, CLIENT, SERVER, [false; 4]);
    check(&net, FAR, SERVER, [false; 4]);
    let every = |protocol| (protocol, [(0, 65_535)].into_iter().collect::<Ranges>());
    let only_udp = Ports::Only([every(Protocol::Udp)].into());
    net.apply(&ingress([from(CLIENT, only_udp)]));
    check(&net, CLIENT, SERVER, [false, true, false, false]);
    let all_three = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].map(every);
    net.apply(&ingress([from(CLIENT, Ports::Only(all_three.into()))]));
    check(&net, CLIENT, SERVER, [true, true, true, false]);
    net.apply(&ingress([from(CLIENT, Ports::All)]));
    check(&net, CLIENT, SERVER, [true; 4]);
    check(&net, FAR, SERVER, [false; 4]);
    // Only the server is isolated, and only for what enters. Without ports, any packet back would be an answer from
    // here on.
    check(&net, SERVER, FAR, [true; 4]);
    check(&net, SERVER, CLIENT, [true; 4]);
}

#[test]
fn services_are_filtered_by_the_pod_behind_them() {
    let net = net_with_service();
    for end in [CLIENT, FAR] {
        check(&net, end, SERVICE, [true; 4]);
    }
    net.apply(&ingress([from(CLIENT, Ports::All)]));
    check(&net, CLIENT, SERVICE, [true; 4]);
    check(&net, FAR, SERVICE, [false; 4]);
    net.apply(&Model {
        egress: [(CLIENT, [from(FAR, Ports::All)].into())].into(),
        ..Model::default()
    });
    check(&net, CLIENT, SERVICE, [false; 4]);
    check(&net, FAR, SERVICE, [true; 4]);
    net.apply(&Model {
        egress: [(CLIENT, [from(SERVER, Ports::All)].into())].into(),
        ..Model::default()
    });
    check(&net, CLIENT, SERVICE, [true; 4]);
    check(&net, CLIENT, FAR, [false; 4]);
}

#[test]
fn a_pod_reaches_itself_by_a_service() {
    let net = net_with_service();
    let closed = Model {
        ingress: [(SERVER, [].into())].into(),
        egress: [(SERVER, [].into())].into(),
    };
    net.apply(&closed);
    check(&net, CLIENT, SERVICE, [false; 4]);
    check(&net, SERVER, SERVICE, [true; 4]);
}

#[test]
fn the_node_reaches_a_closed_pod_and_is_reached_by_it() {
    let net = net();
    net.apply(&Model {
        ingress: [(SERVER, [].into())].into(),
        egress: [(SERVER, [].into())].into(),
    });
    check(&net, CLIENT, SERVER, [false; 4]);
    let connect = |to: SocketAddrV4| {
        move || TcpStream::connect_timeout(&to.into(), Duration::from_secs(5)).map(drop)
    };
    let probed = net.node.run(connect(SocketAddrV4::new(SERVER, 80)));
    probed.expect("a probe of the kubelet's");
    let at_node = SocketAddrV4::new(NODE, 6443);
    let _listener = net.node.run(move || TcpListener::bind(at_node).unwrap());
    let reached = net.ends[&SERVER].inside.run(connect(at_node));
    reached.expect("an API server on the node");
}

#[test]
fn established_connections_go_on_and_new_ones_do_not_come() {
    let net = net();
    let at_server = SocketAddrV4::new(SERVER, 8200);
    let listener = net.ends[&SERVER]
        .inside
        .run(move || TcpListener::bind(at_server).unwrap());
    let mut client = net.ends[&CLIENT]
        .inside
        .run(move || TcpStream::connect(at_server).unwrap());
    let (mut server, _) = listener.accept().unwrap();
    net.apply(&ingress([]));
    let mut answer = [0; 4];
    client
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    server
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    client.write_all(b"ping").unwrap();
    server.read_exact(&mut answer).unwrap();
    server.write_all(b"pong").unwrap();
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"pong");
    check(&net, CLIENT, SERVER, [false; 4]);
}

#[test]
fn no_packet_slips_through_while_rules_are_replaced() {
    let net = net();
    // Both deny the client and differ in everything else.
    let model = |round: u32| {
        let peers = [
            (0, u32::from(CLIENT) - 1),
            (u32::from(CLIENT) + 1, u32::MAX - round),
        ];
        let rule = Rule {
            peers: peers.into_iter().collect(),
            ports: Ports::All,
        };
        ingress([rule])
    };
    net.apply(&model(0));
    let packets: Vec<Packet> = KINDS
        .map(|transport| Packet {
            source: CLIENT,
            destination: SERVER,
            transport,
        })
        .repeat(25);
    let (mut sent, mut count) = (BTreeSet::new(), 0);
    std::thread::scope(|scope| {
        let replaced = scope.spawn(|| (1..=200).for_each(|round| net.apply(&model(round))));
        while !replaced.is_finished() {
            let (probes, _open) = net.ends[&CLIENT].send(&packets);
            count += probes.len();
            sent.extend(probes);
        }
        replaced.join().unwrap();
    });
    assert!(count > 1000, "only {count} packets were sent");
    let came = net.arrivals.of(&sent, &BTreeSet::new());
    assert!(came.is_empty(), "{} of {count} came", came.len());
    println!("{count} denied packets during 200 replacements");
    check(&net, FAR, SERVER, [true; 4]);
}

#[test]
fn a_ruleset_that_the_kernel_refuses_changes_nothing() {
    let net = net();
    net.apply(&ingress([]));
    let mut open = render(&Model::default(), "vaultwall_dev");
    // A chain that is not there: nft reads it, the kernel does not take it.
    open.push_str("add rule ip vaultwall_dev forward jump nowhere\n");
    let refused = net.node.attempt("nft", &["-f", "-"], &open);
    assert!(refused.is_err_and(|error| error.contains("nowhere")));
    check(&net, CLIENT, SERVER, [false; 4]);
}
