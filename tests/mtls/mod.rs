//! xDS over mutual TLS, with a real Envoy and the bootstrap of a proxy in the cluster: configuration by certificate,
//! replaced certificates, readiness of a proxy, and reports between replicas.
//!
//! `VAULTWALL_ENVOY` names another binary than the one that `dev/tools install` puts in place.

mod denials;
mod endpoints;
mod limits;
mod operator;
mod proxy;
mod replicas;
mod trust;

use std::net::Ipv4Addr;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use vaultwall::clock::after;
use vaultwall::policy::VaultId;
use vaultwall::transport::certificates::{Authority, Issued, LEAF_LIFE};
use vaultwall::xds::{NotProgrammed, Snapshot, State};

use operator::{Operator, credentials};
use proxy::{Proxy, secret};
use testkit::own_address;
use testkit::wait::{TIMEOUT, becomes_true, in_time};

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
    in_time("Envoy answers to the snapshot", answered).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_proxy_closes_connections_and_serves_new_ones() {
    let (authority, own, address) = (authority(), vault("openbao"), own_address());
    let issued = authority.proxy(&own, Timestamp::now()).unwrap();
    let proxy = Proxy::start(address, &own, &secret(&issued, authority.ca_pem()));
    let operator = Operator::start(address, &authority);
    publish(&operator, &own, proxy.snapshot(&own))
        .await
        .unwrap();
    becomes_true("it is ready", || proxy.ready() == Some(200)).await;

    for (method, path) in [
        ("GET", "/"),
        ("POST", "/leave"),
        ("GET", "/leave/"),
        ("POST", "/drain_listeners?graceful&skip_exit"),
    ] {
        assert_eq!(
            proxy.status_of(8600, method, path),
            Some(404),
            "{method} {path}"
        );
    }
    assert!(!proxy.closes_connections(), "it has no request to drain");

    let answer = proxy.drain();
    becomes_true("every worker sends its clients away", || {
        (0..20).all(|_| proxy.closes_connections())
    })
    .await;
    assert_eq!(proxy.ready(), Some(200), "others may still be sent here");
    // The request for it waits as long: Envoy is stopped after the response.
    answer.set_nonblocking(true).unwrap();
    let early = answer.peek(&mut [0]).unwrap_err();
    assert_eq!(early.kind(), std::io::ErrorKind::WouldBlock);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_is_ready_once_its_data_listener_is_there() {
    let (authority, own, address) = (authority(), vault("openbao"), own_address());
    let issued = authority.proxy(&own, Timestamp::now()).unwrap();
    let proxy = Proxy::start(address, &own, &secret(&issued, authority.ca_pem()));

    becomes_true("Envoy asks in vain", || {
        proxy.figure("cluster.vaultwall-xds.upstream_cx_connect_fail") > 2
    })
    .await;
    assert_eq!(proxy.ready(), None, "without an operator");
    assert_eq!(proxy.status_of(8200, "GET", "/v1/sys/health"), None);

    let operator = Operator::start(address, &authority);
    let node = own.to_string();
    let mut seen = operator.store.status(&node);
    while seen.connected == 0 {
        let changed = operator.store.status_changed(&node, &seen);
        seen = in_time("Envoy connects", changed).await;
    }
    assert_eq!(proxy.ready(), None, "with nothing to enforce");

    let refusal = publish(&operator, &own, proxy.refused_snapshot(&own)).await;
    assert!(matches!(refusal, Err(NotProgrammed::Rejected { .. })));
    becomes_true("the port for probes opens", || proxy.ready().is_some()).await;
    assert_eq!(
        proxy.ready(),
        Some(503),
        "with listeners that Envoy refused"
    );
    assert_eq!(proxy.status_of(8600, "GET", "/live"), Some(200));

    publish(&operator, &own, proxy.snapshot(&own))
        .await
        .unwrap();
    becomes_true("it is ready", || proxy.ready() == Some(200)).await;
    assert_eq!(
        proxy.status_of(8200, "GET", "/v1/secret/data/app"),
        Some(403)
    );

    let figures = proxy.response(8400, "GET", "/stats/prometheus").unwrap();
    assert!(figures.contains("envoy_server_live"), "{figures}");
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/config_dump"),
        ("GET", "/certs"),
        ("GET", "/ready"),
        ("GET", "/live"),
        ("POST", "/stats/prometheus"),
        ("POST", "/quitquitquit"),
        ("GET", "/stats"),
        ("GET", "/stats/prometheus/../../config_dump"),
    ] {
        assert_eq!(
            proxy.status_of(8400, method, path),
            Some(404),
            "{method} {path}"
        );
    }

    publish(&operator, &own, Snapshot::default()).await.unwrap();
    becomes_true("without a listener it is not ready", || {
        proxy.ready() == Some(503)
    })
    .await;

    publish(&operator, &own, proxy.snapshot(&own))
        .await
        .unwrap();
    becomes_true("it is ready again", || proxy.ready() == Some(200)).await;
    operator.stop().await;
    becomes_true("the operator is gone", || {
        proxy.figure("control_plane.connected_state") == 0
    })
    .await;
    assert_eq!(proxy.ready(), Some(200), "it goes on enforcing");
    assert_eq!(
        proxy.status_of(8200, "GET", "/v1/secret/data/app"),
        Some(403)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_receives_the_configuration_of_its_own_vault_alone() {
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
    // It has a valid certificate, and does not trust the server.
    let mistrusting = Proxy::start(address, &own, &secret(&good, stranger.ca_pem()));
    operator
        .store
        .publish(&own.to_string(), mistrusting.snapshot(&own));
    // Some are refused in the handshake, some when they ask.
    let attempts = |proxy: &Proxy| {
        proxy.figure("cluster.vaultwall-xds.upstream_cx_total")
            + proxy.figure("cluster.vaultwall-xds.upstream_rq_total")
    };
    for (what, proxy) in &proxies {
        becomes_true(what, || attempts(proxy) > 5).await;
        assert_eq!(
            proxy.status_of(8200, "GET", "/v1/sys/health"),
            None,
            "{what}"
        );
        assert_eq!(proxy.ready(), None, "{what}");
    }
    becomes_true("the server is not trusted", || {
        mistrusting.figure("cluster.vaultwall-xds.ssl.fail_verify_error") > 2
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
    becomes_true("it enforces", || {
        other.status_of(8200, "GET", "/v1/secret/data/app") == Some(403)
    })
    .await;
}

#[test]
fn envoy_takes_the_bootstrap_with_a_name() {
    let (authority, own) = (authority(), vault("openbao"));
    let issued = authority.proxy(&own, Timestamp::now()).unwrap();
    let secret = secret(&issued, authority.ca_pem());
    assert_eq!(proxy::validation_error_with_a_name(&own, &secret), None);
}

/// First bytes of a client of HTTP/2.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Connects a bare TLS client.
async fn connect(
    address: Ipv4Addr,
    roots: &Authority,
    own: Option<(&str, &str)>,
) -> std::io::Result<TlsStream<TcpStream>> {
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
    let stream = TcpStream::connect((address, operator::PORT)).await.unwrap();
    let connector = TlsConnector::from(Arc::new(client));
    let name = ServerName::try_from("vaultwall").unwrap();
    connector.connect(name, stream).await
}

/// Returns the length of the server's first message to a bare TLS client: the settings of HTTP/2, or 0 when it is
/// refused.
async fn first_message(address: Ipv4Addr, roots: &Authority, own: Option<(&str, &str)>) -> usize {
    let Ok(mut stream) = connect(address, roots, own).await else {
        return 0;
    };
    let _ = stream.write_all(PREFACE).await;
    let received = in_time("an answer", stream.read(&mut [0; 64])).await;
    received.unwrap_or(0)
}

#[tokio::test]
async fn a_peer_without_a_certificate_of_the_authority_receives_nothing() {
    let (authority, own, address) = (authority(), vault("openbao"), own_address());
    let _operator = Operator::start(address, &authority);
    let now = Timestamp::now();
    let good = authority.proxy(&own, now).unwrap();
    let pair = |issued: &'_ Issued| (issued.certificate_pem.clone(), issued.key_pem.clone());
    let (certificate, key) = pair(&good);
    assert!(first_message(address, &authority, Some((&certificate, &key))).await > 0);
    assert_eq!(
        first_message(address, &authority, None).await,
        0,
        "no certificate"
    );
    let stranger = Authority::generate(now).unwrap();
    let (certificate, key) = pair(&stranger.proxy(&own, now).unwrap());
    let received = first_message(address, &authority, Some((&certificate, &key))).await;
    assert_eq!(received, 0, "another authority");
    let self_signed = stranger.secret_data();
    let text = |key: &str| String::from_utf8(self_signed[key].0.clone()).unwrap();
    let received = first_message(
        address,
        &authority,
        Some((&text("ca.crt"), &text("ca.key"))),
    )
    .await;
    assert_eq!(received, 0, "self-signed");
    let (certificate, key) = pair(
        &authority
            .proxy(&own, "2020-01-01T00:00:00Z".parse().unwrap())
            .unwrap(),
    );
    let received = first_message(address, &authority, Some((&certificate, &key))).await;
    assert_eq!(received, 0, "expired");
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

    // A new certificate of the server leaves open connections as they are.
    operator.credentials.send_replace(credentials(&authority));
    let second = authority.proxy(&own, Timestamp::now()).unwrap();
    proxy.mount(&secret(&second, authority.ca_pem()));
    becomes_true("Envoy has read the new files", || {
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
    becomes_true("Envoy comes again", || shown(&operator).is_some()).await;
    assert_ne!(
        shown(&operator).unwrap(),
        before,
        "with the new certificate"
    );
    publish(&operator, &own, proxy.snapshot(&own))
        .await
        .unwrap();

    // Another authority: a peer with a certificate of the old one is disconnected.
    let new = self::authority();
    operator.credentials.send_replace(credentials(&new));
    let node = own.to_string();
    let mut seen = operator.store.status(&node);
    while seen.connected > 0 {
        let changed = operator.store.status_changed(&node, &seen);
        seen = in_time("the stream ends", changed).await;
    }
    assert_eq!(
        proxy.status_of(8200, "GET", "/v1/secret/data/app"),
        Some(403)
    );
    let third = new.proxy(&own, Timestamp::now()).unwrap();
    proxy.mount(&secret(&third, new.ca_pem()));
    while seen.connected == 0 {
        let changed = operator.store.status_changed(&node, &seen);
        seen = in_time("Envoy comes with the new one", changed).await;
    }
    while seen.state() != State::Programmed {
        println!("{seen:?}");
        let changed = operator.store.status_changed(&node, &seen);
        seen = in_time("it is programmed", changed).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_peer_delays_no_other_peer() {
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
    becomes_true("it is ready", || proxy.ready() == Some(200)).await;
    // And it is not kept for ever.
    let mut one = &silent[0];
    one.set_read_timeout(Some(TIMEOUT)).unwrap();
    let ended = std::io::Read::read(&mut one, &mut [0; 1]);
    assert!(
        matches!(ended, Ok(0)) || ended.is_err_and(|e| e.kind() != std::io::ErrorKind::WouldBlock)
    );
}
