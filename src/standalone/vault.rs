//! Checks once, at the start, whether the vault can be used. It changes nothing: Envoy connects for itself.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use crate::compile::envoy::Upstream;

/// Time for a connection, and for an answer.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Most bytes of the answer that are read. That of a wrong protocol is short, and one write of the server.
const READ: usize = 512;
/// Part of the answer of a Go server that expects TLS, as `OpenBao` and Vault are.
const EXPECTS_TLS: &str = "HTTP request to an HTTPS server";

/// Logs why requests to the vault will fail, if they will.
pub(super) async fn warn_if_unusable(upstream: Upstream) {
    let Upstream { host, port } = &upstream;
    let problem = match timeout(TIMEOUT, connect(&upstream)).await {
        Ok(Ok(connection)) => {
            if expects_tls(connection, host).await {
                tracing::warn!(
                    "the vault at {host}:{port} (--upstream) expects TLS, and standalone mode sends plain HTTP: every \
                     request fails with 400; give the vault a listener without TLS on loopback, or protect it on a \
                     cluster, where spec.proxy.upstreamTls enables TLS"
                );
            }
            return;
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer in {} s", TIMEOUT.as_secs()),
    };
    tracing::warn!(
        "the vault at {host}:{port} (--upstream) does not answer: {problem}; allowed requests get 503 until it does"
    );
}

/// Connects as Envoy does: to an IPv4 address.
async fn connect(upstream: &Upstream) -> io::Result<TcpStream> {
    let found = lookup_host((upstream.host.as_str(), upstream.port)).await?;
    let addresses: Vec<SocketAddr> = found.filter(SocketAddr::is_ipv4).collect();
    if addresses.is_empty() {
        return Err(io::Error::other("the name has no IPv4 address"));
    }
    TcpStream::connect(addresses.as_slice()).await
}

/// Whether a request of plain HTTP is answered that the server expects TLS.
async fn expects_tls(mut connection: TcpStream, host: &str) -> bool {
    let request =
        format!("GET /v1/sys/health HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let mut answer = Vec::with_capacity(READ);
    let asked = async {
        connection.write_all(request.as_bytes()).await?;
        connection.read_buf(&mut answer).await
    };
    // A vault that does not answer in time, or closes the connection, gives no information.
    let _ = timeout(TIMEOUT, asked).await;
    String::from_utf8_lossy(&answer).contains(EXPECTS_TLS)
}
