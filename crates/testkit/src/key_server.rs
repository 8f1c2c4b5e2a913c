//! An https server for the keys of an issuer, which can also behave badly.

use std::io::{BufRead, BufReader, Result, Write};
use std::net::{SocketAddrV4, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::address::own_address;

/// Answer to every request.
#[derive(Clone, Debug)]
pub enum Behaviour {
    /// This document.
    Document(String),
    /// A redirect to this URL.
    Redirect(String),
    /// This status code, without a body.
    Status(u16),
    /// None.
    Hang,
    /// A document without an end.
    Endless,
    /// The connection is closed before the TLS handshake.
    Close,
}

/// The server. It runs until the process ends.
pub struct KeyServer {
    /// Certificate of the authority that clients have to trust, in PEM.
    pub authority: String,
    address: SocketAddrV4,
    behaviour: Arc<Mutex<Behaviour>>,
    requests: Arc<AtomicUsize>,
}

impl KeyServer {
    /// Starts one on an address of its own.
    pub fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind((own_address(), 0)).unwrap();
        let std::net::SocketAddr::V4(address) = listener.local_addr().unwrap() else {
            unreachable!("it listens on an IPv4 address")
        };
        let made = rcgen::generate_simple_self_signed([address.ip().to_string()]).unwrap();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], PrivateKeyDer::Pkcs8(key))
            .unwrap();
        let server = Self {
            authority: made.cert.pem(),
            address,
            behaviour: Arc::new(Mutex::new(behaviour)),
            requests: Arc::default(),
        };
        let (config, behaviour) = (Arc::new(config), Arc::clone(&server.behaviour));
        let requests = Arc::clone(&server.requests);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let behaviour = behaviour.lock().unwrap().clone();
                let (config, requests) = (Arc::clone(&config), Arc::clone(&requests));
                // A client that closes the connection early ends its thread alone.
                std::thread::spawn(move || answer(stream, config, &behaviour, &requests));
            }
        });
        server
    }

    /// URL of the key set.
    pub fn url(&self) -> String {
        format!("https://{}/keys", self.address)
    }

    /// Changes the answer to later connections.
    pub fn set(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    /// Number of requests that arrived.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

fn answer(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    behaviour: &Behaviour,
    requests: &AtomicUsize,
) -> Result<()> {
    if matches!(behaviour, Behaviour::Close) {
        return Ok(());
    }
    let connection = ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut stream = BufReader::new(StreamOwned::new(connection, stream));
    let mut line = String::new();
    while stream.read_line(&mut line)? > 2 {
        line.clear();
    }
    requests.fetch_add(1, Ordering::Relaxed);
    let stream = stream.get_mut();
    match behaviour {
        Behaviour::Document(text) => write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}",
            text.len()
        ),
        Behaviour::Redirect(url) => write!(
            stream,
            "HTTP/1.1 301 Moved Permanently\r\nLocation: {url}\r\nContent-Length: 0\r\n\r\n"
        ),
        Behaviour::Status(status) => {
            write!(
                stream,
                "HTTP/1.1 {status} Status\r\nContent-Length: 0\r\n\r\n"
            )
        }
        // Waits until the client closes the connection.
        Behaviour::Hang | Behaviour::Close => std::io::copy(stream, &mut std::io::sink()).map(drop),
        Behaviour::Endless => {
            write!(stream, "HTTP/1.1 200 OK\r\n\r\n")?;
            loop {
                stream.write_all(&[b' '; 4096])?;
            }
        }
    }
}
