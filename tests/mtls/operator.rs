//! The part of an operator that proxies and other replicas talk to, on an address of its own.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tonic::service::Routes;
use vaultwall::access_log::sink::{self, Observer, Outcome, Received, Sink};
use vaultwall::clock::Clock;
use vaultwall::runtime::replicas::{PROTOCOL, Replicas};
use vaultwall::transport::certificates::{Authority, Issued, node_of};
use vaultwall::transport::{
    ConnectionLimits, Credentials, Peer, Protocols, Refusal, ServeError, TlsServer, serve_tls,
};
use vaultwall::xds::{self, SnapshotStore};

use testkit::wait::in_time;

pub(crate) const PORT: u16 = 8500;

/// The denials that one operator receives, or several after one another.
pub(crate) struct Denials {
    pub(crate) sink: Arc<Sink>,
    received: Mutex<mpsc::Receiver<Received>>,
    outcomes: Arc<Outcomes>,
}

#[derive(Default)]
struct Outcomes(Mutex<Vec<Outcome>>);

impl Observer for Outcomes {
    fn record(&self, outcome: Outcome) {
        self.0.lock().unwrap().push(outcome);
    }

    fn missing(&self, _records: u64) {}
}

impl Denials {
    pub(crate) fn new() -> Self {
        let outcomes = Arc::new(Outcomes::default());
        let observer = Arc::clone(&outcomes) as Arc<dyn Observer>;
        let (sink, received) = Sink::new(observer, Clock::system());
        Self {
            sink,
            received: Mutex::new(received),
            outcomes,
        }
    }

    /// Returns the records that were taken since the last call.
    pub(crate) fn take(&self) -> Vec<Received> {
        let mut received = self.received.lock().unwrap();
        std::iter::from_fn(|| received.try_recv().ok()).collect()
    }

    /// Returns the outcomes of all records.
    pub(crate) fn outcomes(&self) -> Vec<Outcome> {
        self.outcomes.0.lock().unwrap().clone()
    }
}

pub(crate) struct Operator {
    pub(crate) store: Arc<SnapshotStore>,
    pub(crate) replicas: Arc<Replicas>,
    pub(crate) credentials: watch::Sender<Arc<Credentials>>,
    /// The certificates of the proxies that connected, in order.
    pub(crate) seen: Arc<Mutex<Vec<Vec<u8>>>>,
    /// Limits for which connections were refused, in order.
    pub(crate) refused: Arc<Mutex<Vec<Refusal>>>,
    stop: watch::Sender<bool>,
    served: JoinHandle<Result<(), ServeError>>,
    listening: JoinHandle<()>,
}

/// Listens as soon as one that was here before has gone: its connections close in the background.
fn listen(at: SocketAddrV4) -> TcpListener {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        match socket.bind(at.into()).and_then(|()| socket.listen(64)) {
            Ok(listener) => return listener,
            Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(error) => panic!("{at}: {error}"),
        }
    }
}

pub(crate) fn issue(authority: &Authority) -> Issued {
    authority.replica(&[], Timestamp::now()).unwrap()
}

pub(crate) fn credentials(authority: &Authority) -> Arc<Credentials> {
    Arc::new(authority.credentials(&issue(authority)).unwrap())
}

impl Operator {
    pub(crate) fn start(address: Ipv4Addr, authority: &Authority) -> Self {
        Self::start_with(address, authority, Arc::new(SnapshotStore::new()))
    }

    pub(crate) fn start_with(
        address: Ipv4Addr,
        authority: &Authority,
        store: Arc<SnapshotStore>,
    ) -> Self {
        Self::start_limited(address, authority, store, ConnectionLimits::default())
    }

    /// Starts one with these limits of connections.
    pub(crate) fn start_limited(
        address: Ipv4Addr,
        authority: &Authority,
        store: Arc<SnapshotStore>,
        limits: ConnectionLimits,
    ) -> Self {
        Self::start_receiving(address, authority, store, limits, &Denials::new())
    }

    /// Starts one that receives these denials.
    pub(crate) fn start_receiving(
        address: Ipv4Addr,
        authority: &Authority,
        store: Arc<SnapshotStore>,
        limits: ConnectionLimits,
        denials: &Denials,
    ) -> Self {
        let listener = listen(SocketAddrV4::new(address, PORT));
        let (sender, receiver) = watch::channel(credentials(authority));
        let (sender_of_replicas, connections) = mpsc::channel(8);
        let (stop, stopped) = watch::channel(false);
        let seen: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let refused: Arc<Mutex<Vec<Refusal>>> = Arc::default();
        let tls = TlsServer {
            listener,
            credentials: receiver,
            authorize: {
                let seen = Arc::clone(&seen);
                Arc::new(move |certificate| {
                    seen.lock().unwrap().push(certificate.to_vec());
                    node_of(certificate)
                })
            },
            services: Routes::new(xds::service::<Peer>(Arc::clone(&store), stopped.clone()))
                .add_service(sink::service::<Peer>(
                    Arc::clone(&denials.sink),
                    stopped.clone(),
                )),
            protocols: Protocols::from([(PROTOCOL, sender_of_replicas)]),
            limits,
            on_refused: {
                let refused = Arc::clone(&refused);
                Arc::new(move |refusal| refused.lock().unwrap().push(refusal))
            },
        };
        let replicas = Arc::new(Replicas::new(Arc::clone(&store)));
        let served = tokio::spawn(serve_tls(tls, stopped));
        let listening = tokio::spawn(Arc::clone(&replicas).listen(connections));
        Self {
            store,
            replicas,
            credentials: sender,
            seen,
            refused,
            stop,
            served,
            listening,
        }
    }

    /// Ends it, with its connections.
    pub(crate) async fn stop(self) -> Arc<SnapshotStore> {
        self.stop.send_replace(true);
        in_time("the server stops", self.served)
            .await
            .unwrap()
            .unwrap();
        self.listening.abort();
        self.store
    }
}
