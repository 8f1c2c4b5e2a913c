//! One HTTPS request without an async runtime, because a server is also started and waited for where a runtime runs.

use std::io::{Error, Read, Result, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// Longer than a response takes; the caller repeats the request.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Response of the API server.
#[derive(Debug)]
pub struct Response {
    /// HTTP status code.
    pub status: u16,
    /// JSON, or text of a health check.
    pub body: String,
}

/// Sends a request of a method and a path with a bearer token, over a connection of its own.
pub(super) fn send(
    server: SocketAddrV4,
    authority: &CertificateDer<'static>,
    token: &str,
    [method, path]: [&str; 2],
    body: &str,
) -> Result<Response> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone()).map_err(Error::other)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::from(std::net::IpAddr::from(*server.ip()));
    let connection = ClientConnection::new(Arc::new(config), name).map_err(Error::other)?;
    let stream = TcpStream::connect_timeout(&server.into(), TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut stream = StreamOwned::new(connection, stream);
    let content = match method {
        "PATCH" => "application/merge-patch+json",
        _ => "application/json",
    };
    // HTTP/1.0, so that the body is not sent in chunks.
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: {server}\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: {content}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    let (head, body) = response
        .split_once("\r\n\r\n")
        .ok_or_else(|| Error::other("no HTTP response"))?;
    let status = head.split(' ').nth(1).and_then(|text| text.parse().ok());
    Ok(Response {
        status: status.ok_or_else(|| Error::other("no HTTP status"))?,
        body: body.to_owned(),
    })
}
