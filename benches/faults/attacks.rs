//! Loads from clients that no rule allows and that have no token. They hold what they get until they are dropped.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::Request;
use hyper::body::Bytes;

use testkit::client::connect;

use crate::stage::{Build, TIMEOUT};

/// Address of the first of these clients.
const FIRST: Ipv4Addr = Ipv4Addr::new(127, 20, 0, 1);
/// Interval at which a slow client sends a byte.
const DRIP: Duration = Duration::from_millis(500);
/// Parts that the slow clients are in, each with its own time to send.
const PARTS: usize = 50;

/// A load.
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    endpoint: Endpoint,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Endpoint {
    Data,
    Management,
}

enum Kind {
    /// So many connections that send this and then a byte from time to time.
    Slow(usize, &'static str),
    /// So many connections that send this and then so many bytes at once, but not the end.
    Large(usize, &'static str, usize),
    /// So many connections that send nothing.
    Idle(usize),
    /// So many HTTP/2 connections, each with as many slow uploads as Envoy takes.
    Http2(usize),
    /// Requests with a path of this many bytes, from so many clients, each as soon as the last one is answered.
    Long(usize, usize),
}

const fn slow(name: &'static str, endpoint: Endpoint, head: &'static str) -> Attack {
    Attack {
        name,
        endpoint,
        kind: Kind::Slow(1_100, head),
    }
}

/// All loads.
pub(crate) const ATTACKS: &[Attack] = &[
    slow(
        "slow uploads, data path",
        Endpoint::Data,
        "POST /v1/secret/data/app HTTP/1.1\r\nHost: v\r\nContent-Length: 100000\r\n\r\n",
    ),
    slow(
        "slow uploads, probe path",
        Endpoint::Data,
        "GET /v1/sys/health HTTP/1.1\r\nHost: v\r\nContent-Length: 100000\r\n\r\n",
    ),
    slow(
        "slow uploads, login at the management endpoint",
        Endpoint::Management,
        "POST /v1/auth/approle/login HTTP/1.1\r\nHost: v\r\nContent-Length: 100000\r\n\r\n",
    ),
    slow(
        "slow uploads, control path at the management endpoint",
        Endpoint::Management,
        "POST /v1/sys/mounts/x HTTP/1.1\r\nHost: v\r\nTransfer-Encoding: chunked\r\n\r\n",
    ),
    slow(
        "slow uploads, probe path at the management endpoint",
        Endpoint::Management,
        "GET /v1/sys/health HTTP/1.1\r\nHost: v\r\nContent-Length: 100000\r\n\r\n",
    ),
    slow(
        "unfinished headers",
        Endpoint::Data,
        "GET /v1/secret/data/app HTTP/1.1\r\nHost: v\r\nX-Slow: ",
    ),
    Attack {
        name: "unfinished headers of 50 KB",
        endpoint: Endpoint::Data,
        kind: Kind::Large(
            1_100,
            "GET /v1/secret/data/app HTTP/1.1\r\nHost: v\r\nX-Long: ",
            50_000,
        ),
    },
    Attack {
        name: "bodies of 120 KB that do not end",
        endpoint: Endpoint::Management,
        kind: Kind::Large(
            1_100,
            "POST /v1/auth/approle/login HTTP/1.1\r\nHost: v\r\nContent-Length: 130000\r\n\r\n",
            120_000,
        ),
    },
    Attack {
        name: "40 HTTP/2 connections",
        endpoint: Endpoint::Management,
        kind: Kind::Http2(40),
    },
    Attack {
        name: "idle connections",
        endpoint: Endpoint::Data,
        kind: Kind::Idle(10_000),
    },
    Attack {
        name: "more idle connections than the data endpoint takes",
        endpoint: Endpoint::Data,
        kind: Kind::Idle(13_000),
    },
    Attack {
        name: "more idle connections than the management endpoint takes",
        endpoint: Endpoint::Management,
        kind: Kind::Idle(2_500),
    },
    Attack {
        name: "paths of 58 KB",
        endpoint: Endpoint::Data,
        kind: Kind::Long(58_000, 4),
    },
];

/// A running load; it ends when it is dropped.
pub(crate) struct Held {
    stop: Arc<AtomicBool>,
    count: usize,
    threads: Vec<JoinHandle<()>>,
    idle: Vec<TcpStream>,
}

impl Held {
    /// Connections that were made.
    pub(crate) fn count(&self) -> usize {
        self.count
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

impl Attack {
    /// Whether it only holds what it got, so that Envoy can rest.
    pub(crate) fn is_passive(&self) -> bool {
        !matches!(self.kind, Kind::Long(..))
    }

    /// Begins the load against a build, and returns when it holds all connections that it can get.
    pub(crate) fn begin(&self, build: &Build) -> Held {
        let to = match self.endpoint {
            Endpoint::Data => build.data,
            Endpoint::Management => build.management,
        };
        let stop = Arc::new(AtomicBool::new(false));
        let mut held = Held {
            stop: Arc::clone(&stop),
            count: 0,
            threads: Vec::new(),
            idle: Vec::new(),
        };
        match self.kind {
            Kind::Slow(count, start) => {
                let mut streams = open(count, to);
                for stream in &mut streams {
                    let _ = stream.write_all(start.as_bytes());
                }
                held.count = streams.len();
                held.threads
                    .push(std::thread::spawn(move || drip(streams, &stop)));
            }
            Kind::Large(count, start, bytes) => {
                let body = vec![b' '; bytes];
                held.idle = open(count, to);
                for stream in &mut held.idle {
                    let sent = stream.write_all(start.as_bytes());
                    held.count += usize::from(sent.and_then(|()| stream.write_all(&body)).is_ok());
                }
            }
            Kind::Idle(count) => {
                held.idle = open(count, to);
                held.count = held.idle.len();
            }
            Kind::Http2(count) => {
                let (ready, started) = std::sync::mpsc::channel();
                held.threads.push(std::thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_all()
                        .build()
                        .unwrap();
                    runtime.block_on(upload(count, to, &ready, &stop));
                }));
                held.count = started.recv().unwrap();
            }
            Kind::Long(bytes, clients) => {
                held.count = clients;
                for _ in 0..clients {
                    let stop = Arc::clone(&stop);
                    held.threads
                        .push(std::thread::spawn(move || ask_long(bytes, to, &stop)));
                }
            }
        }
        held
    }
}

/// Opens connections from several addresses.
fn open(count: usize, to: SocketAddrV4) -> Vec<TcpStream> {
    let from =
        |number: usize| Ipv4Addr::from_bits(FIRST.to_bits() + u32::try_from(number % 8).unwrap());
    (0..count)
        .filter_map(|number| connect(from(number), to, TIMEOUT).ok())
        .collect()
}

/// Sends a byte on each connection every [`DRIP`], a part of them at a time: slow clients are not in step.
fn drip(mut streams: Vec<TcpStream>, stop: &AtomicBool) {
    for stream in &streams {
        stream.set_nonblocking(true).unwrap();
    }
    let mut turn = 0;
    while !stop.load(Ordering::Relaxed) {
        for stream in streams.iter_mut().skip(turn).step_by(PARTS) {
            // An error means that Envoy has closed it.
            let _ = stream.write(b"1");
        }
        turn = (turn + 1) % PARTS;
        std::thread::sleep(DRIP / u32::try_from(PARTS).unwrap());
    }
}

/// Opens HTTP/2 connections, each with many requests whose bodies do not end. Reports the number of connections that
/// Envoy took.
async fn upload(
    count: usize,
    to: SocketAddrV4,
    ready: &std::sync::mpsc::Sender<usize>,
    stop: &AtomicBool,
) {
    let mut uploads = Vec::new();
    let mut connections = 0;
    for _ in 0..count {
        let Ok(stream) = connect(FIRST, to, TIMEOUT) else {
            continue;
        };
        stream.set_nonblocking(true).unwrap();
        let stream = tokio::net::TcpStream::from_std(stream).unwrap();
        let Ok((client, mut connection)) = h2::client::handshake(stream).await else {
            continue;
        };
        let mut ping = connection.ping_pong().unwrap();
        tokio::spawn(connection);
        if ping.ping(h2::Ping::opaque()).await.is_err() {
            continue;
        }
        let Ok(mut client) = client.ready().await else {
            continue;
        };
        let mut sent = 0;
        for _ in 0..100 {
            let request = Request::post("http://v/v1/auth/approle/login").body(());
            let Ok((_, mut body)) = client.send_request(request.unwrap(), false) else {
                break;
            };
            if body.send_data(Bytes::from_static(b"{"), false).is_ok() {
                uploads.push(body);
                sent += 1;
            }
            let ready = tokio::time::timeout(Duration::from_secs(1), client.clone().ready()).await;
            match ready {
                Ok(Ok(next)) => client = next,
                _ => break,
            }
        }
        connections += usize::from(sent > 1);
    }
    ready.send(connections).unwrap();
    while !stop.load(Ordering::Relaxed) {
        tokio::time::sleep(DRIP / 5).await;
    }
}

/// Sends denied requests with a long path, one after the other.
fn ask_long(bytes: usize, to: SocketAddrV4, stop: &AtomicBool) {
    let path = "a".repeat(bytes);
    let request = format!("GET /v1/secret/data/{path} HTTP/1.1\r\nHost: v\r\n\r\n");
    let mut stream = None;
    while !stop.load(Ordering::Relaxed) {
        let Some(mut open) = stream.take().or_else(|| connect(FIRST, to, TIMEOUT).ok()) else {
            continue;
        };
        let mut answer = [0; 4096];
        if open.write_all(request.as_bytes()).is_ok()
            && open.read(&mut answer).is_ok_and(|read| read > 0)
        {
            stream = Some(open);
        }
    }
}
