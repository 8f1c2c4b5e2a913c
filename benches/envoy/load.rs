//! Clients that keep their connections, and a server in place of the vault that sends the same response to every
//! request.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use futures::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::MOST;
use crate::configurations::{Filters, SOME, identity_address, pod_address, token};

/// Connections to each Envoy, each from an address of its own, with one request under way.
const CONNECTIONS: usize = 4;
/// Longer than anything here takes; only a run that fails waits for it.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A read of a secret as the command line of the vault sends it, without the line that ends it.
const REQUEST: &str = "GET /v1/secret/data/team/app HTTP/1.1\r\n\
    Host: vault:8200\r\n\
    User-Agent: Go-http-client/1.1\r\n\
    X-Vault-Request: true\r\n\
    X-Vault-Token: s.iyNUhq8Ov4hIAx6snw5mB2nL\r\n";

/// Response of the vault.
const SECRET: &str = concat!(
    r#"{"request_id":"80c53a11-2f3a-4b5c-9d6e-7f8091a2b3c4","lease_id":"","renewable":false,"lease_duration":0,"#,
    r#""data":{"data":{"password":"correct horse"},"#,
    r#""metadata":{"created_time":"2026-01-01T00:00:00Z","custom_metadata":null,"#,
    r#""deletion_time":"","destroyed":false,"version":3}},"#,
    r#""wrap_info":null,"warnings":null,"auth":null}"#,
);

/// Address of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// Pods, spread over all that are let in.
    Pods,
    /// Addresses next to the pods' that are not let in.
    Strangers,
    /// Pods of trusted services that no rule lets in.
    TrustedPods,
    /// The same addresses as `Strangers`, each with the token of a trusted service.
    TokenHolders,
}

impl From {
    fn address(self, number: usize, filters: Filters) -> Ipv4Addr {
        match (self, filters.addresses()) {
            (Self::Strangers | Self::TokenHolders, _) => pod_address(MOST + number),
            (Self::TrustedPods, _) => identity_address(spread(number, SOME)),
            // Any client.
            (Self::Pods, 0) => pod_address(spread(number, MOST)),
            (Self::Pods, addresses) => pod_address(spread(number, addresses)),
        }
    }

    fn request(self, number: usize) -> String {
        match self {
            Self::TokenHolders => {
                let token = token(spread(number, SOME));
                format!("{REQUEST}X-Vaultwall-Token: {token}\r\n\r\n")
            }
            Self::Pods | Self::Strangers | Self::TrustedPods => format!("{REQUEST}\r\n"),
        }
    }

    fn status(self) -> u16 {
        match self {
            Self::Pods | Self::TrustedPods | Self::TokenHolders => 200,
            Self::Strangers => 403,
        }
    }
}

/// The member of a connection, among so many.
fn spread(connection: usize, members: usize) -> usize {
    (2 * connection + 1) * members / (2 * CONNECTIONS)
}

/// Open connections to one Envoy.
pub(crate) struct Clients {
    connections: Vec<Connection>,
    status: u16,
}

impl Clients {
    pub(crate) async fn connect(from: From, filters: Filters, envoy: SocketAddrV4) -> Self {
        let mut connections = Vec::new();
        for number in 0..CONNECTIONS {
            let source = from.address(number, filters);
            connections.push(
                Connection::open(source, envoy, from.request(number))
                    .await
                    .unwrap(),
            );
        }
        let status = from.status();
        let mut clients = Self {
            connections,
            status,
        };
        clients.come_to_it().await;
        clients
    }

    /// Envoy acknowledges before its workers have taken everything over; that takes a moment more.
    async fn come_to_it(&mut self) {
        let all = self.connections.iter_mut().map(async |connection| {
            while connection.ask().await.unwrap() != self.status {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        tokio::time::timeout(TIMEOUT, join_all(all))
            .await
            .unwrap_or_else(|_| panic!("not every client is answered with {}", self.status));
    }

    /// Sends so many requests, shared among the connections, and reads the answers.
    pub(crate) async fn ask(&mut self, requests: usize) {
        let status = self.status;
        let all = self
            .connections
            .iter_mut()
            .enumerate()
            .map(async |(number, connection)| {
                for _ in (number..requests).step_by(CONNECTIONS) {
                    let got = connection.ask().await.unwrap();
                    assert_eq!(got, status, "{:?}", connection.stream);
                }
            });
        join_all(all).await;
    }
}

struct Connection {
    stream: TcpStream,
    request: String,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(source: Ipv4Addr, server: SocketAddrV4, request: String) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddrV4::new(source, 0).into())?;
        let stream = socket.connect(server.into()).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            request,
            buffer: Vec::new(),
        })
    }

    /// The status of one answer, which is read whole.
    async fn ask(&mut self) -> io::Result<u16> {
        self.stream.write_all(self.request.as_bytes()).await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some((status, length)) = answer(&self.buffer)
                && self.buffer.len() >= length
            {
                assert_eq!(self.buffer.len(), length, "one answer to one request");
                return Ok(status);
            }
        }
    }
}

/// Status and length of an answer whose head is there.
fn answer(bytes: &[u8]) -> Option<(u16, usize)> {
    let end = end_of_head(bytes)?;
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().unwrap();
    let length: usize = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map(|(_, value)| value.trim().parse().unwrap())
        .expect("an answer that says how long it is");
    Some((status, end + length))
}

/// Where a head ends, if it is there.
fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some(end + 4)
}

/// Listens in the vault's place until the process ends.
pub(crate) async fn serve(address: SocketAddrV4) {
    let listener = TcpListener::bind(address).await.unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(answer_all(stream));
        }
    });
}

/// Requests have no body.
async fn answer_all(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let answer = format!(
        "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Type: application/json\r\nContent-Length: \
            {}\r\n\r\n{SECRET}",
        SECRET.len()
    );
    let mut requests = Vec::new();
    while stream.read_buf(&mut requests).await? > 0 {
        while let Some(end) = end_of_head(&requests) {
            requests.drain(..end);
            stream.write_all(answer.as_bytes()).await?;
        }
    }
    Ok(())
}
