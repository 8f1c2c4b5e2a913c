//! One request to the API server without a runtime: a server is also started and waited for where a runtime runs already.

use std::io::{Error, Read, Result, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// Longer than an answer takes; the caller asks again.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

/// `request` is a method and a path.
pub(super) fn ask(
    to: SocketAddrV4,
    authority: &CertificateDer<'static>,
    token: &str,
    request: &str,
    body: &str,
) -> Result<Answer> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone()).map_err(Error::other)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::from(std::net::IpAddr::from(*to.ip()));
    let connection = ClientConnection::new(Arc::new(config), name).map_err(Error::other)?;
    let stream = TcpStream::connect_timeout(&to.into(), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut stream = StreamOwned::new(connection, stream);
    write!(
        stream,
        "{request} HTTP/1.1\r\nHost: {to}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .ok_or_else(|| Error::other("no HTTP answer"))?;
    let status = head.split(' ').nth(1).and_then(|text| text.parse().ok());
    Ok(Answer {
        status: status.ok_or_else(|| Error::other("no HTTP status"))?,
        body: body.to_owned(),
    })
}
