//! Requests that HTTP itself can read in two ways: two lengths, no host, an upgrade, a second request hidden in a
//! body. `decide` does not see these, so they are held to less: what is denied stays denied, and nothing passes
//! without a decision.

use std::net::SocketAddrV4;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use vaultwall::policy::{Firewall, Listener, ManagementAccess};

use crate::differential::envoy::Envoy;
use crate::differential::firewalls::vault;
use crate::differential::hop::Hop;

/// Head and body after the first line; `SECRET` is a request that must not arrive.
const SMUGGLED: &[&str] = &[
    "POST /v1/sys/mounts HTTP/1.1\r\nHost: v\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nSECRET",
    "POST /v1/sys/mounts HTTP/1.1\r\nHost: v\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\nSECRET",
    "POST /v1/sys/mounts HTTP/1.1\r\nHost: v\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\nSECRET",
    "POST /v1/sys/mounts HTTP/1.1\r\nHost: v\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\nSECRET",
    "POST /v1/sys/mounts HTTP/1.1\r\nHost: v\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\nSECRET",
    "POST /v1/sys/mounts HTTP/1.1\r\nHost: v\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\nSECRET",
    "POST /v1/sys/mounts HTTP/1.1\r\nHost: v\r\nContent-Length: +0\r\n\r\nSECRET",
    "POST /v1/sys/mounts HTTP/1.1\r\nHost: v\r\nContent-Length: -1\r\n\r\nSECRET",
    "GET /v1/sys/mounts HTTP/1.1\r\nHost: v\r\nContent-Length: 0\r\n\r\nSECRET",
    "GET /v1/sys/mounts HTTP/1.1\r\nHost: v\r\nX-Vault-Namespace: a\r\n folded\r\n\r\nSECRET",
    "GET /v1/sys/mounts HTTP/1.1\r\nHost: v\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: \
        AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\nSECRET",
    "GET /v1/sys/mounts HTTP/1.1\r\nHost: v\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nSECRET",
    "GET /v1/sys/mounts HTTP/1.1\r\nHost: v\r\nConnection: X-Vault-Namespace, keep-alive\r\nX-Vault-Namespace: \
        ns1\r\n\r\nSECRET",
    "GET /v1/sys/mounts HTTP/1.1\r\nHost: v\r\nExpect: 100-continue\r\n\r\nSECRET",
    "GET /v1/sys/mounts HTTP/1.1\r\n\r\nSECRET",
    "GET /v1/sys/mounts HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\nSECRET",
    "GET /v1/sys/mounts HTTP/1.0\r\nHost: v\r\n\r\nSECRET",
    "GET /v1/sys/mounts HTTP/1.0\r\n\r\nSECRET",
    "GET /v1/sys/mounts HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 4\r\n\r\nabcdSECRET",
    "POST /v1/sys/mounts HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nSECRET",
    "POST /v1/sys/mounts HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 4\r\nTransfer-Encoding: \
        chunked\r\n\r\n0\r\n\r\nSECRET",
    "GET /v1/sys/mounts HTTP/0.9\r\n\r\nSECRET",
    "GET /v1/sys/mounts\nHost: v\r\n\r\nSECRET",
    "GET /v1/sys/mounts HTTP/1.1\r\nHost: v\r\nConnection: Upgrade\r\nUpgrade: TLS/1.2, \
        foo\r\nContent-Length: 0\r\n\r\nSECRET",
    "OPTIONS /v1/sys/mounts HTTP/1.1\r\nHost: v\r\nOrigin: http://x\r\nAccess-Control-Request-Method: \
        GET\r\n\r\nSECRET",
    "GET /v1/sys/mounts HTTP/2.0\r\nHost: v\r\n\r\nSECRET",
    "GET /v1/sys/mounts\r\n\r\nSECRET",
    "GET  /v1/sys/mounts HTTP/1.1\r\nHost: v\r\n\r\nSECRET",
    "GET\t/v1/sys/mounts HTTP/1.1\r\nHost: v\r\n\r\nSECRET",
    "CONNECT /v1/secret/data/a HTTP/1.1\r\nHost: v\r\n\r\nSECRET",
    "CONNECT v:8200 HTTP/1.1\r\nHost: v:8200\r\n\r\nSECRET",
    "GET /v1/sys/mounts HTTP/1.1\nHost: v\n\nSECRET",
    "\r\n\r\nGET /v1/sys/mounts HTTP/1.1\r\nHost: v\r\n\r\nSECRET",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nSECRET",
];
/// Path of the hidden request: denied on the management listener.
const SECRET: &str =
    "GET /v1/secret/data/a HTTP/1.1\r\nHost: v\r\nuser-agent: hidden\r\nConnection: close\r\n\r\n";

/// No hidden request passes, and every request that arrives was decided under the path that it arrives with.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_hides_in_another() {
    let firewall = Firewall {
        policies: vec!["p".into()],
        namespaces: vec!["ns1".into()],
        management: ManagementAccess::Unrestricted,
        ..Firewall::deny_all(vault(), 8200)
    };
    let hop = Hop::start().await;
    let envoy = Envoy::start(&firewall, hop.address);
    let mut conversations = JoinSet::new();
    for listener in [Listener::Management, Listener::Data] {
        for shape in SMUGGLED {
            let bytes = shape.replace("SECRET", SECRET);
            conversations.spawn(converse(envoy.address(listener), bytes));
        }
    }
    conversations.join_all().await;
    envoy.log().await;
    let mut arrived = hop.arrived();
    arrived.remove("last");
    assert!(
        !arrived.is_empty(),
        "not even the harmless part of a shape arrived"
    );
    for request in arrived.values().flatten() {
        let line = String::from_utf8_lossy(&request.line);
        let (_, rest) = line.split_once(' ').unwrap();
        assert_eq!(rest, "/v1/sys/mounts HTTP/1.1", "{line} arrived");
        assert!(
            request.values("upgrade").is_empty() && request.values("transfer-encoding").len() <= 1,
            "{request:?}"
        );
    }
    assert!(!arrived.contains_key("hidden"));
}

/// Sends everything at once, as an attacker would, and reads until the other side sends nothing more. Some shapes
/// leave Envoy waiting for the rest of a body; so this ends after a while.
async fn converse(to: SocketAddrV4, bytes: String) {
    let mut stream = TcpStream::connect(to).await.unwrap();
    let mut answers = Vec::new();
    let both = async {
        let _ = stream.write_all(bytes.as_bytes()).await;
        let _ = stream.read_to_end(&mut answers).await;
    };
    let _ = tokio::time::timeout(Duration::from_secs(3), both).await;
}
