//! xDS over mutual TLS, with a real Envoy and the bootstrap that a proxy in the cluster has: who is given what, what becomes of
//! replaced certificates, when a proxy is ready, and what replicas tell each other.
//!
//! `VAULTWALL_ENVOY` names another binary than the one that `dev/tools install` puts in place.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod believed;
mod endpoints;
#[path = "../loopback/mod.rs"]
mod loopback;
mod operator;
mod proxy;
#[path = "../real_envoy/mod.rs"]
mod real_envoy;
mod replicas;
#[path = "../tool/mod.rs"]
mod tool;

use std::future::Future;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use vaultwall::clock::after;
use vaultwall::policy::VaultId;
use vaultwall::transport::certificates::{Authority, Issued, LEAF_LIFE};
use vaultwall::xds::{NotProgrammed, Snapshot, State};

use loopback::own_address;
use operator::{Operator, credentials};
use proxy::{Proxy, secret};

/// Longer than anything here takes; only a test that fails waits for it.
const PATIENCE: Duration = Duration::from_secs(40);

pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("{what}: did not happen"))
}

/// Waits for something that nobody announces.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let held = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon(what, held).await;
}

fn vault(service: &str) -> VaultId {
    VaultId {
        namespace: "team-a".into(),
        service: service.into(),
    }
}

fn authority() -> Authority {
    Authority::generate(Timestamp::now()).unwrap()
}

async fn publish(
    operator: &Operator,
    vault: &VaultId,
    snapshot: Snapshot,
) -> Result<(), NotProgrammed> {
    let node = vault.to_string();
    let version = operator.store.publish(&node, snapshot);
    let answered = operator.store.wait_programmed(&node, &version);
    soon("Envoy answers to the snapshot", answered).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_leaves_sends_its_clients_away_and_serves_who_still_comes() {
    let (authority, own, address) = (authority(), vault("openbao"), own_address());
    let issued = authority.proxy(&own, Timestamp::now()).unwrap();
    let proxy = Proxy::start(address, &own, &secret(&issued, authority.ca_pem()));
    let operator = Operator::start(address, &authority);
    publish(&operator, &own, proxy.snapshot(&own))
        .await
        .unwrap();
    until("it is ready", || proxy.ready() == Some(200)).await;

    for (method, path) in [
        ("GET", "/"),
        ("POST", "/leave"),
        ("GET", "/leave/"),
        ("POST", "/drain_listeners?graceful&skip_exit"),
    ] {
        assert_eq!(proxy.asks(8600, method, path), Some(404), "{method} {path}");
    }
    assert!(!proxy.sends_away(), "nobody has told it to leave");

    let answer = proxy.leave();
    until("every worker sends its clients away", || {
        (0..20).all(|_| proxy.sends_away())
    })
    .await;
    assert_eq!(proxy.ready(), Some(200), "others may still be sent here");
    // Whoever asked waits as long: Envoy is stopped when there is an answer.
    answer.set_nonblocking(true).unwrap();
    let early = answer.peek(&mut [0]).unwrap_err();
    assert_eq!(early.kind(), std::io::ErrorKind::WouldBlock);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_is_ready_once_its_data_listener_is_there() {
    let (authority, own, address) = (authority(), vault("openbao"), own_address());
    let issued = authority.proxy(&own, Timestamp::now()).unwrap();
    let proxy = Proxy::start(address, &own, &secret(&issued, authority.ca_pem()));

    until("Envoy asks in vain", || {
        proxy.figure("cluster.vaultwall-xds.upstream_cx_connect_fail") > 2
    })
    .await;
    assert_eq!(proxy.ready(), None, "without an operator");
    assert_eq!(proxy.asks(8200, "GET", "/v1/sys/health"), None);

    let operator = Operator::start(address, &authority);
    let node = own.to_string();
    let mut seen = operator.store.status(&node);
    while seen.connected == 0 {
        let changed = operator.store.status_changed(&node, &seen);
        seen = soon("Envoy connects", changed).await;
    }
    assert_eq!(proxy.ready(), None, "with nothing to enforce");

    let refusal = publish(&operator, &own, proxy.refused_snapshot(&own)).await;
    assert!(matches!(refusal, Err(NotProgrammed::Rejected { .. })));
    until("the port for probes opens", || proxy.ready().is_some()).await;
    assert_eq!(
        proxy.ready(),
        Some(503),
        "with listeners that Envoy refused"
    );
    assert_eq!(proxy.asks(8400, "GET", "/live"), Some(200));

    publish(&operator, &own, proxy.snapshot(&own))
        .await
        .unwrap();
    until("it is ready", || proxy.ready() == Some(200)).await;
    assert_eq!(proxy.asks(8200, "GET", "/v1/secret/data/app"), Some(403));

    let figures = proxy.hears(8400, "GET", "/stats/prometheus").unwrap();
    assert!(figures.contains("envoy_server_live"), "{figures}");
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/config_dump"),
        ("GET", "/certs"),
        ("GET", "/ready/"),
        ("POST", "/ready"),
        ("POST", "/live"),
        ("POST", "/stats/prometheus"),
        ("POST", "/quitquitquit"),
        ("GET", "/stats"),
        ("GET", "/stats/prometheus/../../config_dump"),
    ] {
        assert_eq!(proxy.asks(8400, method, path), Some(404), "{method} {path}");
    }

    publish(&operator, &own, Snapshot::default()).await.unwrap();
    until("without a listener it is not ready", || {
        proxy.ready() == Some(503)
    })
    .await;

    publish(&operator, &own, proxy.snapshot(&own))
        .await
        .unwrap();
    until("it is ready again", || proxy.ready() == Some(200)).await;
    operator.stop().await;
    until("the operator is gone", || {
        proxy.figure("control_plane.connected_state") == 0
    })
    .await;
    assert_eq!(proxy.ready(), Some(200), "it goes on enforcing");
    assert_eq!(proxy.asks(8200, "GET", "/v1/secret/data/app"), Some(403));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_given_what_is_not_theirs() {
    let (authority, own, address) = (authority(), vault("openbao"), own_address());
    let operator = Operator::start(address, &authority);
    let now = Timestamp::now();
    let long_ago = "2020-01-01T00:00:00Z".parse().unwrap();
    let stranger = Authority::generate(now).unwrap();
    let good = authority.proxy(&own, now).unwrap();
    let others = authority.proxy(&vault("other"), now).unwrap();
    let operators = authority.replica(&[], now).unwrap();
    let strangers = stranger.proxy(&own, now).unwrap();
    let expired = authority.proxy(&own, long_ago).unwrap();
    let proxies = [
        ("another vault's", &others),
        ("the operator's", &operators),
        ("one of another authority", &strangers),
        ("one that has expired", &expired),
    ]
    .map(|(what, issued)| {
        let secret = secret(issued, authority.ca_pem());
        (what, Proxy::start(address, &own, &secret))
    });
    // It has a good certificate, and does not believe the server.
    let credulous = Proxy::start(address, &own, &secret(&good, stranger.ca_pem()));
    operator
        .store
        .publish(&own.to_string(), credulous.snapshot(&own));
    // Some are refused in the handshake, some when they ask.
    let attempts = |proxy: &Proxy| {
        proxy.figure("cluster.vaultwall-xds.upstream_cx_total")
            + proxy.figure("cluster.vaultwall-xds.upstream_rq_total")
    };
    for (what, proxy) in &proxies {
        until(what, || attempts(proxy) > 5).await;
        assert_eq!(proxy.asks(8200, "GET", "/v1/sys/health"), None, "{what}");
        assert_eq!(proxy.ready(), None, "{what}");
    }
    until("the server is not believed", || {
        credulous.figure("cluster.vaultwall-xds.ssl.fail_verify_error") > 2
    })
    .await;
    let store = &operator.store;
    assert_eq!(store.status(&own.to_string()).connected, 0);
    assert_eq!(store.status("team-a/other").connected, 0);
    assert!(after(long_ago, LEAF_LIFE) < now);
    let other = &proxies[0].1;

    // With its own certificate, the same proxy is let in.
    other.mount(&secret(&good, authority.ca_pem()));
    publish(&operator, &own, other.snapshot(&own))
        .await
        .unwrap();
    until("it enforces", || {
        other.asks(8200, "GET", "/v1/secret/data/app") == Some(403)
    })
    .await;
}

#[test]
fn envoy_takes_the_bootstrap_with_a_name() {
    let (authority, own) = (authority(), vault("openbao"));
    let issued = authority.proxy(&own, Timestamp::now()).unwrap();
    let secret = secret(&issued, authority.ca_pem());
    assert_eq!(proxy::objection_to_a_name(&own, &secret), None);
}

/// What a bare TLS client hears first from the server: of HTTP/2, its settings; nothing when it is refused.
async fn hears(address: Ipv4Addr, roots: &Authority, own: Option<(&str, &str)>) -> usize {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut trusted = RootCertStore::empty();
    trusted
        .add(CertificateDer::from_pem_slice(roots.ca_pem().as_bytes()).unwrap())
        .unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(trusted);
    let mut client = match own {
        None => client.with_no_client_auth(),
        Some((certificate, key)) => client
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            )
            .unwrap(),
    };
    client.alpn_protocols = vec![b"h2".to_vec()];
    let stream = tokio::net::TcpStream::connect((address, operator::PORT))
        .await
        .unwrap();
    let connector = TlsConnector::from(Arc::new(client));
    let name = ServerName::try_from("vaultwall").unwrap();
    let Ok(mut stream) = connector.connect(name, stream).await else {
        return 0;
    };
    let _ = stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    let heard = soon("an answer", stream.read(&mut [0; 64])).await;
    heard.unwrap_or(0)
}

#[tokio::test]
async fn without_a_certificate_of_the_authority_nothing_is_said() {
    let (authority, own, address) = (authority(), vault("openbao"), own_address());
    let _operator = Operator::start(address, &authority);
    let now = Timestamp::now();
    let good = authority.proxy(&own, now).unwrap();
    let pair = |issued: &'_ Issued| (issued.certificate_pem.clone(), issued.key_pem.clone());
    let (certificate, key) = pair(&good);
    assert!(hears(address, &authority, Some((&certificate, &key))).await > 0);
    assert_eq!(hears(address, &authority, None).await, 0, "no certificate");
    let stranger = Authority::generate(now).unwrap();
    let (certificate, key) = pair(&stranger.proxy(&own, now).unwrap());
    let heard = hears(address, &authority, Some((&certificate, &key))).await;
    assert_eq!(heard, 0, "another authority");
    let self_signed = stranger.secret_data();
    let text = |key: &str| String::from_utf8(self_signed[key].0.clone()).unwrap();
    let heard = hears(
        address,
        &authority,
        Some((&text("ca.crt"), &text("ca.key"))),
    )
    .await;
    assert_eq!(heard, 0, "self-signed");
    let (certificate, key) = pair(
        &authority
            .proxy(&own, "2020-01-01T00:00:00Z".parse().unwrap())
            .unwrap(),
    );
    let heard = hears(address, &authority, Some((&certificate, &key))).await;
    assert_eq!(heard, 0, "expired");
}

#[tokio::test(flavor = "multi_thread")]
async fn replaced_certificates_are_used_without_a_restart() {
    let (authority, own, address) = (authority(), vault("openbao"), own_address());
    let operator = Operator::start(address, &authority);
    let first = authority.proxy(&own, Timestamp::now()).unwrap();
    let proxy = Proxy::start(address, &own, &secret(&first, authority.ca_pem()));
    publish(&operator, &own, proxy.snapshot(&own))
        .await
        .unwrap();
    let shown = |operator: &Operator| operator.seen.lock().unwrap().last().cloned();
    let before = shown(&operator).unwrap();

    // The server's certificate: nothing happens to who is connected.
    operator.credentials.send_replace(credentials(&authority));
    let second = authority.proxy(&own, Timestamp::now()).unwrap();
    proxy.mount(&secret(&second, authority.ca_pem()));
    until("Envoy has read the new files", || {
        proxy.figure("sds.identity.update_success") >= 2
            || proxy
                .figure("cluster.vaultwall-xds.client_ssl_socket_factory.ssl_context_update_by_sds")
                >= 3
    })
    .await;
    assert_eq!(operator.store.status(&own.to_string()).connected, 1);
    assert_eq!(
        shown(&operator).as_ref(),
        Some(&before),
        "it stays connected"
    );

    let store = operator.stop().await;
    let operator = Operator::start_with(address, &authority, store);
    until("Envoy comes again", || shown(&operator).is_some()).await;
    assert_ne!(
        shown(&operator).unwrap(),
        before,
        "with the new certificate"
    );
    publish(&operator, &own, proxy.snapshot(&own))
        .await
        .unwrap();

    // Another authority: whoever came with a certificate of the old one has to go.
    let new = self::authority();
    operator.credentials.send_replace(credentials(&new));
    let node = own.to_string();
    let mut seen = operator.store.status(&node);
    while seen.connected > 0 {
        let changed = operator.store.status_changed(&node, &seen);
        seen = soon("the stream ends", changed).await;
    }
    assert_eq!(proxy.asks(8200, "GET", "/v1/secret/data/app"), Some(403));
    let third = new.proxy(&own, Timestamp::now()).unwrap();
    proxy.mount(&secret(&third, new.ca_pem()));
    while seen.connected == 0 {
        let changed = operator.store.status_changed(&node, &seen);
        seen = soon("Envoy comes with the new one", changed).await;
    }
    while seen.state() != State::Programmed {
        println!("{seen:?}");
        let changed = operator.store.status_changed(&node, &seen);
        seen = soon("it is programmed", changed).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_says_nothing_holds_up_nobody() {
    let (authority, own, address) = (authority(), vault("openbao"), own_address());
    let operator = Operator::start(address, &authority);
    let silent: Vec<_> = (0..100)
        .map(|_| std::net::TcpStream::connect((address, operator::PORT)).unwrap())
        .collect();
    let issued = authority.proxy(&own, Timestamp::now()).unwrap();
    let proxy = Proxy::start(address, &own, &secret(&issued, authority.ca_pem()));
    publish(&operator, &own, proxy.snapshot(&own))
        .await
        .unwrap();
    until("it is ready", || proxy.ready() == Some(200)).await;
    // And it is not kept for ever.
    let mut one = &silent[0];
    one.set_read_timeout(Some(PATIENCE)).unwrap();
    let ended = std::io::Read::read(&mut one, &mut [0; 1]);
    assert!(
        matches!(ended, Ok(0)) || ended.is_err_and(|e| e.kind() != std::io::ErrorKind::WouldBlock)
    );
}
