//! Packets from one address to another, and those that arrived: every first packet has a port of its own, so that none
//! is taken for a part of an earlier connection, and each arrival names its packet.

use std::collections::BTreeSet;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol as IpProtocol, SockAddr, Socket, Type};

use crate::inside::Inside;
use enforcer::policy::{Packet, Protocol};

/// Where TCP and UDP are served. SCTP, which the kernel need not know, is taken as it comes, on every port.
pub const SERVED: [u16; 2] = [80, 81];
/// Numbers of protocols: SCTP, and one for experiments that has no ports.
const SCTP: i32 = 132;
const PORTLESS: i32 = 253;
/// First of the ports that packets are sent from.
const FIRST_PORT: u16 = 2000;
/// Longer than any allowed packet takes; only a test that fails waits for it.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How much later than the last allowed packet a denied one would have come, at most.
const GRACE: Duration = Duration::from_millis(30);

/// One packet, by where it is from and to. The port that it is from is its own; where there are no ports, `to` has 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Probe {
    pub protocol: Option<Protocol>,
    pub from: SocketAddrV4,
    pub to: SocketAddrV4,
}

/// Packets that arrived at any address.
#[derive(Clone, Default)]
pub struct Arrivals(Arc<Mutex<BTreeSet<Probe>>>);

impl Arrivals {
    fn add(&self, protocol: Option<Protocol>, from: SocketAddr, to: SocketAddrV4) {
        let SocketAddr::V4(from) = from else { return };
        self.0.lock().unwrap().insert(Probe { protocol, from, to });
    }

    pub fn all(&self) -> BTreeSet<Probe> {
        self.0.lock().unwrap().clone()
    }

    /// Returns the packets of `sent` that arrived, once all of `expected` have, and for long enough after that.
    pub fn of(&self, sent: &BTreeSet<Probe>, expected: &BTreeSet<Probe>) -> BTreeSet<Probe> {
        let end = Instant::now() + TIMEOUT;
        while Instant::now() < end && !self.0.lock().unwrap().is_superset(expected) {
            thread::sleep(Duration::from_millis(2));
        }
        thread::sleep(GRACE);
        sent.intersection(&self.0.lock().unwrap())
            .copied()
            .collect()
    }
}

/// One address: it serves, and sends.
pub struct Sender {
    pub inside: Inside,
    address: Ipv4Addr,
    next_port: Mutex<u16>,
}

impl Sender {
    pub fn new(inside: Inside, address: Ipv4Addr, arrivals: &Arrivals) -> Self {
        let arrivals = arrivals.clone();
        inside.run(move || serve(address, &arrivals));
        Self {
            inside,
            address,
            next_port: Mutex::new(FIRST_PORT),
        }
    }

    /// Sends first packets to these; connections are open as long as what is returned.
    pub fn send(&self, packets: &[Packet]) -> (Vec<Probe>, Vec<Socket>) {
        let mut next = self.next_port.lock().unwrap();
        let probe = |packet: &Packet| {
            let from = SocketAddrV4::new(self.address, *next);
            // A port is used again long after its last connection has left the table.
            *next = next.checked_add(1).unwrap_or(FIRST_PORT);
            Probe {
                protocol: packet.transport.map(|(protocol, _)| protocol),
                from,
                to: SocketAddrV4::new(
                    packet.destination,
                    packet.transport.map_or(0, |(_, port)| port),
                ),
            }
        };
        let probes: Vec<Probe> = packets.iter().map(probe).collect();
        let sent = probes.clone();
        let sockets = self.inside.run(move || sent.iter().map(send).collect());
        (probes, sockets)
    }
}

/// Sends one packet from inside its namespace.
fn send(probe: &Probe) -> Socket {
    let (to, from) = (SockAddr::from(probe.to), SockAddr::from(probe.from));
    let socket = |kind, protocol| Socket::new(Domain::IPV4, kind, protocol).unwrap();
    // Raw sockets have no ports.
    let raw = |protocol: i32, bytes: &[u8]| {
        let socket = socket(Type::RAW, Some(IpProtocol::from(protocol)));
        let to = SockAddr::from(SocketAddrV4::new(*probe.to.ip(), 0));
        socket.send_to(bytes, &to).unwrap();
        socket
    };
    match probe.protocol {
        Some(Protocol::Tcp) => {
            let socket = socket(Type::STREAM, None);
            socket.set_nonblocking(true).unwrap();
            socket.set_reuse_address(true).unwrap();
            socket.bind(&from).unwrap();
            // The packet is on its way; the receiver reports it.
            let _ = socket.connect(&to);
            socket
        }
        Some(Protocol::Udp) => {
            let socket = socket(Type::DGRAM, None);
            socket.bind(&from).unwrap();
            socket.send_to(b"hello", &to).unwrap();
            socket
        }
        Some(Protocol::Sctp) => raw(SCTP, &sctp_init(probe.from.port(), probe.to.port())),
        None => raw(PORTLESS, &probe.from.port().to_be_bytes()),
    }
}

/// Starts to write down what arrives at an address.
fn serve(address: Ipv4Addr, arrivals: &Arrivals) {
    let start = |serve: Box<dyn FnOnce(Arrivals) + Send>| {
        let arrivals = arrivals.clone();
        thread::spawn(move || serve(arrivals));
    };
    for port in SERVED {
        let here = SocketAddrV4::new(address, port);
        let listener = TcpListener::bind(here).unwrap();
        start(Box::new(move |arrivals| {
            for connection in listener.incoming() {
                // A connection that ends before it is accepted has arrived, too, but its source is unknown.
                let from = connection.and_then(|connection| connection.peer_addr());
                arrivals.add(Some(Protocol::Tcp), from.unwrap(), here);
            }
        }));
        let socket = UdpSocket::bind(here).unwrap();
        start(Box::new(move |arrivals| {
            loop {
                let (_, from) = socket.recv_from(&mut [0; 64]).unwrap();
                arrivals.add(Some(Protocol::Udp), from, here);
            }
        }));
    }
    for (number, protocol) in [(SCTP, Some(Protocol::Sctp)), (PORTLESS, None)] {
        let mut socket =
            Socket::new(Domain::IPV4, Type::RAW, Some(IpProtocol::from(number))).unwrap();
        start(Box::new(move |arrivals| {
            let mut packet = [0; 128];
            loop {
                let length = socket.read(&mut packet).unwrap();
                let (from, to) = ends(&packet[..length], protocol.is_some());
                if *to.ip() == address {
                    arrivals.add(protocol, from.into(), to);
                }
            }
        }));
    }
}

/// From the IP header and the first bytes after it.
fn ends(packet: &[u8], has_ports: bool) -> (SocketAddrV4, SocketAddrV4) {
    let word = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    let address =
        |at: usize| Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]);
    let body = usize::from(packet[0] & 0x0f) * 4;
    let port = if has_ports { word(body + 2) } else { 0 };
    (
        SocketAddrV4::new(address(12), word(body)),
        SocketAddrV4::new(address(16), port),
    )
}

/// The packet that begins an association (RFC 9260, 3.3.2), so that the kernel's tracking sees it as one.
fn sctp_init(from: u16, to: u16) -> Vec<u8> {
    let mut packet = Vec::new();
    packet.extend(from.to_be_bytes());
    packet.extend(to.to_be_bytes());
    // Verification tag, which is 0 in INIT, and the checksum's place.
    packet.extend([0; 8]);
    // Type 1, no flags, length 20; tag, window, streams out and in, first number.
    packet.extend([1, 0, 0, 20]);
    packet.extend(u32::from(from).to_be_bytes());
    packet.extend([0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]);
    let checksum = crc32c(&packet).to_le_bytes();
    packet[8..12].copy_from_slice(&checksum);
    packet
}

/// SCTP's checksum (RFC 9260, appendix A).
fn crc32c(bytes: &[u8]) -> u32 {
    let byte = |sum: u32, byte: &u8| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            (sum >> 1) ^ (0x82f6_3b78 * (sum & 1))
        })
    };
    !bytes.iter().fold(!0, byte)
}

#[test]
fn the_checksum_is_that_of_the_standard() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
}
