//! A request as bytes on a connection, the input of `decide`, and the response.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use vaultwall::policy::token::TokenProof;
use vaultwall::policy::{Caller, Decision, Firewall, Listener, client_address, decide};
use vaultwall::vault_api::{HEADER_ANNOUNCED, HEADER_NAMESPACE, HEADER_TOKEN, Request, Table};

/// A request to send.
#[derive(Clone)]
pub struct Sent {
    /// The listener it goes to.
    pub listener: Listener,
    /// The address it comes from.
    pub from: Ipv4Addr,
    /// Method, as bytes.
    pub method: Vec<u8>,
    /// Target, as bytes.
    pub target: Vec<u8>,
    /// Value of `Host`.
    pub host: &'static str,
    /// Further headers in order.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Version of HTTP/1.
    pub version: &'static str,
    /// The token among the headers, as Envoy must find it.
    pub proof: TokenProof,
}

/// Name of the header that identifies a request, in Envoy's log and at the hop.
pub const MARK: &str = "user-agent";

impl Sent {
    /// The bytes, with a mark of this request's own.
    pub fn bytes(&self, mark: &str) -> Vec<u8> {
        let mut bytes = self.method.clone();
        bytes.push(b' ');
        bytes.extend(&self.target);
        bytes.extend(
            format!(
                " HTTP/{}\r\nHost: {}\r\n{MARK}: {mark}\r\n{}",
                self.version,
                self.host,
                if self.upgrades() {
                    "connection: close, upgrade\r\n"
                } else {
                    "connection: close\r\n"
                }
            )
            .bytes(),
        );
        for (name, value) in &self.headers {
            bytes.extend(name.bytes());
            bytes.extend(b": ");
            bytes.extend(value);
            bytes.extend(b"\r\n");
        }
        bytes.extend(b"\r\n");
        bytes
    }

    /// Whether it offers another protocol.
    pub fn upgrades(&self) -> bool {
        !self.values("upgrade").is_empty()
    }

    /// Values of a header, in order, without the blanks around them that HTTP ignores. Bytes that are not UTF-8 become
    /// replacement characters, which no rule takes for anything else.
    pub fn values(&self, name: &str) -> Vec<String> {
        let lines = self
            .headers
            .iter()
            .filter(|(line, _)| line.eq_ignore_ascii_case(name));
        lines
            .map(|(_, value)| {
                String::from_utf8_lossy(value)
                    .trim_matches([' ', '\t'])
                    .to_owned()
            })
            .collect()
    }

    /// Value of a header. Envoy joins repeated lines that are not empty.
    fn joined(&self, name: &str) -> Option<String> {
        let mut values = self.values(name);
        values.retain(|value| !value.is_empty());
        (!values.is_empty()).then(|| values.join(","))
    }

    /// The target, without the blanks and bare carriage returns around it: they only part it from its neighbours in the
    /// first line (RFC 9112, section 3), and Envoy does not pass them on, as the hop shows.
    pub fn read_target(&self) -> String {
        String::from_utf8_lossy(&self.target)
            .trim_matches([' ', '\t', '\r'])
            .to_owned()
    }

    /// Whether Envoy answers the request as one of gRPC, if it answers itself.
    pub fn is_grpc(&self) -> bool {
        // It joins repeated lines that are not empty.
        let mut values = self.values("content-type");
        values.retain(|value| !value.is_empty());
        let value = values.join(",");
        value == "application/grpc" || value.starts_with("application/grpc+")
    }

    /// Returns the decision of `decide`.
    pub fn decided(&self, firewall: &Firewall, table: &Table) -> Decision {
        let peer = IpAddr::V4(self.from);
        let forwarded_for = self.values("x-forwarded-for");
        let forwarded_for: Vec<&str> = forwarded_for.iter().map(String::as_str).collect();
        let client = client_address::resolve(&firewall.client_address, peer, &forwarded_for);
        let namespaces = self.values(HEADER_NAMESPACE);
        let announced = self.joined(HEADER_ANNOUNCED);
        // Envoy keeps the lines of a header that it does not know itself, and a matcher joins also empty ones.
        let vault_tokens = self.values("x-vault-token");
        let vault_token = (!vault_tokens.is_empty()).then(|| vault_tokens.join(","));
        let tokens = self.values(HEADER_TOKEN);
        let request = Request {
            several_tokens: tokens.len() > 1 || tokens.iter().any(|token| token.contains(',')),
            method: &String::from_utf8_lossy(&self.method),
            target: &self.read_target(),
            namespace: namespaces.first().map(String::as_str),
            announced: announced.as_deref(),
            has_body: self
                .values("content-length")
                .iter()
                .any(|length| length.contains(|digit| ('1'..='9').contains(&digit)))
                || !self.values("transfer-encoding").is_empty(),
        };
        decide(
            firewall,
            table,
            self.listener,
            Caller {
                proof: &self.proof,
                peer,
                client,
                vault_token: Caller::carries_token(
                    firewall.api,
                    vault_token.as_deref(),
                    self.joined("authorization").as_deref(),
                ),
            },
            &request,
        )
    }
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} -> {} listener: {}",
            self.from,
            self.listener.name(),
            self.bytes("MARK").escape_ascii()
        )
    }
}

/// Response that was received.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Status code; none when the connection ended without an answer.
    pub status: Option<u16>,
    /// Everything that came, head and body.
    pub bytes: Vec<u8>,
}

/// Sends bytes from an address and reads the answer.
pub async fn exchange(from: Ipv4Addr, to: SocketAddrV4, bytes: &[u8]) -> Answer {
    let socket = TcpSocket::new_v4().unwrap();
    socket
        .bind((from, 0).into())
        .unwrap_or_else(|error| panic!("{from}: {error}"));
    let mut stream = socket.connect(to.into()).await.unwrap();
    let mut answer = Vec::new();
    let has_body = !bytes.starts_with(b"HEAD ");
    let both = async {
        // A refused request may end the connection before all of it was written.
        let _ = stream.write_all(bytes).await;
        while !is_complete(&answer, has_body)
            && stream
                .read_buf(&mut answer)
                .await
                .is_ok_and(|read| read > 0)
        {}
    };
    let _ = tokio::time::timeout(Duration::from_secs(15), both).await;
    let status = answer
        .strip_prefix(b"HTTP/1.1 ")
        .or_else(|| answer.strip_prefix(b"HTTP/1.0 "))
        .and_then(|rest| rest.get(..3));
    let status = status.and_then(|digits| str::from_utf8(digits).ok()?.parse().ok());
    Answer {
        status,
        bytes: answer,
    }
}

/// Whether a response has ended. Envoy keeps a connection open for a second after the last response, so its end comes
/// late.
fn is_complete(answer: &[u8], has_body: bool) -> bool {
    let Some(end) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
        return false;
    };
    let (head, body) = answer.split_at(end + 4);
    let head = String::from_utf8_lossy(head).to_lowercase();
    let header = |name: &str| {
        head.lines()
            .find_map(|line| line.strip_prefix(name))
            .map(str::trim)
    };
    match (header("content-length:"), header("transfer-encoding:")) {
        _ if !has_body => true,
        (Some(length), _) => length
            .parse()
            .is_ok_and(|length: usize| body.len() >= length),
        (None, Some(_)) => body.ends_with(b"0\r\n\r\n"),
        // Neither: there is none, or its end is the connection's.
        (None, None) => head.starts_with("http/1.1 204"),
    }
}
