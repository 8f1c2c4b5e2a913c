//! A client of the vault with a source address of its own, on one connection that is kept open.

use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::wait::TIMEOUT;

/// Path of the secret that the vault holds for the tests.
pub const SECRET: &str = "/v1/secret/data/app";
/// Root token of the development server; no log may contain it ([`tokens`](crate::tokens)).
pub const TOKEN: &str = "root-never-to-be-logged";

/// A client with one connection, which is opened with the first request.
pub struct Client {
    /// Address that it connects from.
    pub source: Ipv4Addr,
    server: SocketAddrV4,
    /// Header lines, each with CR LF at its end.
    pub headers: String,
    connection: Option<BufReader<TcpStream>>,
}

/// Response to a request.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status code.
    pub status: u16,
    /// Body as text.
    pub body: String,
}

/// Outcome of a request for the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The vault returned it.
    Allowed,
    /// Vaultwall denied it.
    Denied,
    /// Nothing listens, or the connection ended.
    Refused,
    /// Another response, in full.
    Other(String),
}

impl fmt::Display for Answer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.status, self.body.trim_end())
    }
}

impl Answer {
    fn verdict(&self) -> Verdict {
        match self.status {
            200 => Verdict::Allowed,
            403 if self.body.contains("Vaultwall") => Verdict::Denied,
            _ => Verdict::Other(self.to_string()),
        }
    }
}

/// Connects from an address. The timeout is that of the connection, and of each read and write.
pub fn connect(source: Ipv4Addr, server: SocketAddrV4, timeout: Duration) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddrV4::new(source, 0).into())?;
    socket.connect_timeout(&server.into(), timeout)?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    Ok(stream)
}

impl Client {
    /// Returns a client that has not connected yet and sends [`TOKEN`].
    pub fn new(source: Ipv4Addr, server: SocketAddrV4) -> Self {
        Self {
            source,
            server,
            headers: format!("X-Vault-Token: {TOKEN}\r\n"),
            connection: None,
        }
    }

    /// Sends a request on the open connection, or on a new one if there is none yet. An error ends the connection. A
    /// server may close a connection with the first response, if its listener is replaced in that moment, but not a
    /// later one.
    pub fn send(&mut self, method: &str, path: &str, body: &str) -> io::Result<Answer> {
        let was_open = self.connection.is_some();
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => BufReader::new(connect(self.source, self.server, TIMEOUT)?),
        };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: vault\r\n{}Content-Length: {}\r\n\r\n{body}",
            self.headers,
            body.len()
        );
        connection.get_mut().write_all(request.as_bytes())?;
        let (answer, closes) = read_answer(&mut connection)?;
        assert!(
            !(was_open && closes),
            "the connection is not kept open: {answer}"
        );
        self.connection = Some(connection).filter(|_| !closes);
        Ok(answer)
    }

    /// Asks for the secret on this connection.
    pub fn verdict(&mut self) -> Verdict {
        match self.send("GET", SECRET, "") {
            Ok(answer) => answer.verdict(),
            Err(_) => Verdict::Refused,
        }
    }
}

/// Number of times in a row that [`wait_for_verdicts`] wants the verdicts. Each of Envoy's workers takes over a new
/// rule at a moment of its own, and a new connection may be any worker's.
const IN_A_ROW: usize = 8;

/// Waits until clients, each on a new connection, get these verdicts, several times in a row.
///
/// # Panics
///
/// After [`TIMEOUT`], with the last verdicts.
pub fn wait_for_verdicts(server: SocketAddrV4, expected: &[(Ipv4Addr, Verdict)]) {
    let mut last = Vec::new();
    let mut in_a_row = 0;
    let end = Instant::now() + TIMEOUT;
    while Instant::now() < end {
        last = expected
            .iter()
            .map(|(source, _)| (*source, Client::new(*source, server).verdict()))
            .collect();
        in_a_row = if last == expected { in_a_row + 1 } else { 0 };
        if in_a_row == IN_A_ROW {
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    panic!("the verdicts should be {expected:?} and are {last:?}");
}

fn read_line(connection: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if connection.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}

/// Reads a response; true if the server closes the connection after it.
fn read_answer(connection: &mut impl BufRead) -> io::Result<(Answer, bool)> {
    let bad = |line: &str| io::Error::other(format!("not HTTP: {line}"));
    let line = read_line(connection)?;
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| bad(&line))?;
    let (mut length, mut chunked, mut closes) = (0, false, false);
    loop {
        let line = read_line(connection)?.to_ascii_lowercase();
        match line.split_once(':') {
            None => break,
            Some(("content-length", value)) => {
                length = value.trim().parse().map_err(|_| bad(&line))?;
            }
            Some(("transfer-encoding", value)) => chunked = value.trim() == "chunked",
            Some(("connection", value)) => closes = value.trim() == "close",
            Some(_) => {}
        }
    }
    let mut body = Vec::new();
    if chunked {
        loop {
            let line = read_line(connection)?;
            let size = usize::from_str_radix(&line, 16).map_err(|_| bad(&line))?;
            let mut chunk = vec![0; size];
            connection.read_exact(&mut chunk)?;
            body.extend(chunk);
            read_line(connection)?;
            if size == 0 {
                break;
            }
        }
    } else {
        body.resize(length, 0);
        connection.read_exact(&mut body)?;
    }
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok((Answer { status, body }, closes))
}
