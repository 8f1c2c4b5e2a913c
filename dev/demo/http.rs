//! A small HTTP/1.1 client: one kept-alive connection from a chosen source address; it sends the bytes as they are.
//!
//! A client library would normalise paths and hide lost connections, and the demo shows both.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};

/// Timeout for an answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A caller's connection to one endpoint. It is opened when it is needed, and kept.
pub struct Client {
    source: Ipv4Addr,
    server: SocketAddrV4,
    connection: Option<BufReader<TcpStream>>,
    opened: u64,
}

/// Request that is sent.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub method: String,
    /// Path and query, sent as they are.
    pub target: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

/// Response that was received.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub body: String,
}

impl Client {
    pub fn new(source: Ipv4Addr, server: SocketAddrV4) -> Self {
        Self {
            source,
            server,
            connection: None,
            opened: 0,
        }
    }

    /// Number of connections opened; more than one means that a connection was lost.
    pub fn opened(&self) -> u64 {
        self.opened
    }

    /// Sends a request once. After an error the next request opens a new connection.
    pub async fn send(&mut self, request: &Request) -> io::Result<Response> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let (response, keep) = tokio::time::timeout(TIMEOUT, exchange(&mut connection, request))
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer in time"))??;
        if keep {
            self.connection = Some(connection);
        }
        Ok(response)
    }

    async fn connect(&mut self) -> io::Result<BufReader<TcpStream>> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddrV4::new(self.source, 0).into())?;
        let stream = socket.connect(self.server.into()).await?;
        stream.set_nodelay(true)?;
        self.opened += 1;
        Ok(BufReader::new(stream))
    }
}

/// Sends a request. Returns the response, and whether the connection may be used again.
async fn exchange(
    connection: &mut BufReader<TcpStream>,
    request: &Request,
) -> io::Result<(Response, bool)> {
    let headers = request.headers.iter();
    let headers: Vec<String> = headers
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let bytes = format!(
        "{} {} HTTP/1.1\r\nhost: vault\r\n{}content-length: {}\r\n\r\n{}",
        request.method,
        request.target,
        headers.concat(),
        request.body.len(),
        request.body
    );
    connection.get_mut().write_all(bytes.as_bytes()).await?;

    let first = line(connection).await?;
    let status = first
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .ok_or_else(|| broken(&format!("{first:?} is no status line")))?;
    let (mut length, mut chunked, mut keep) = (0, false, true);
    loop {
        let header = line(connection).await?.to_ascii_lowercase();
        let Some((name, value)) = header.split_once(':') else {
            break;
        };
        match (name, value.trim()) {
            ("content-length", value) => {
                length = value.parse().map_err(|_| broken("bad content-length"))?;
            }
            ("transfer-encoding", "chunked") => chunked = true,
            ("connection", "close") => keep = false,
            _ => {}
        }
    }
    let body = if chunked {
        chunks(connection).await?
    } else {
        exactly(connection, length).await?
    };
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok((Response { status, body }, keep))
}

async fn chunks(connection: &mut BufReader<TcpStream>) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let size = line(connection).await?;
        let size = usize::from_str_radix(&size, 16).map_err(|_| broken("bad chunk size"))?;
        body.extend(exactly(connection, size).await?);
        line(connection).await?;
        if size == 0 {
            return Ok(body);
        }
    }
}

async fn exactly(connection: &mut BufReader<TcpStream>, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    connection.read_exact(&mut bytes).await?;
    Ok(bytes)
}

async fn line(connection: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    if connection.read_line(&mut line).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
