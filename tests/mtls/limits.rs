//! Limits of connections: of the certificates of one vault, and of all clients.

use std::sync::Arc;

use jiff::Timestamp;
use vaultwall::transport::{ConnectionLimits, Refusal};
use vaultwall::xds::SnapshotStore;

use crate::mtls::operator::{Operator, PORT};
use crate::mtls::proxy::{Proxy, secret};
use crate::mtls::{PREFACE, authority, connect, vault};
use testkit::own_address;
use testkit::wait::{becomes_true, in_time};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

/// Unfinished handshakes that one address may have.
const MOST: usize = 64;

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_with_too_many_proxies_leaves_connections_to_others() {
    let (authority, address) = (authority(), own_address());
    let limits = ConnectionLimits { each: 1, all: 2 };
    let store = Arc::new(SnapshotStore::new());
    let operator = Operator::start_limited(address, &authority, store, limits);
    let start = |service: &str| {
        let vault = vault(service);
        let issued = authority.proxy(&vault, Timestamp::now()).unwrap();
        Proxy::start(address, &vault, &secret(&issued, authority.ca_pem()))
    };
    let connected = |service: &str| operator.store.status(&vault(service).to_string()).connected;
    let refused = |refusal: Refusal| operator.refused.lock().unwrap().contains(&refusal);
    // Envoy logs the status as it is encoded.
    let received = |proxy: &Proxy, reason: &str| proxy.log().replace("%20", " ").contains(reason);
    let first = start("greedy");
    becomes_true("the first proxy is connected", || connected("greedy") == 1).await;
    let second = start("greedy");
    becomes_true("the second one receives the reason", || {
        received(
            &second,
            "too many connections with this client certificate's identity",
        )
    })
    .await;
    assert!(refused(Refusal::TooManyOfClient));
    assert_eq!(connected("greedy"), 1);

    let other = start("modest");
    becomes_true("another vault's proxy is connected", || {
        connected("modest") == 1
    })
    .await;
    let third = start("late");
    becomes_true("the server is full", || {
        received(&third, "too many connections in all")
    })
    .await;
    assert!(refused(Refusal::TooMany));

    drop((first, other));
    becomes_true("their slots are free again", || {
        connected("greedy") == 1 && connected("late") == 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_a_stream_does_not_keep_its_slot() {
    let (authority, own, address) = (authority(), vault("openbao"), own_address());
    let limits = ConnectionLimits { each: 1, all: 1 };
    let store = Arc::new(SnapshotStore::new());
    let operator = Operator::start_limited(address, &authority, store, limits);
    let issued = authority.proxy(&own, Timestamp::now()).unwrap();
    let pair = (issued.certificate_pem.as_str(), issued.key_pem.as_str());
    let mut idle = connect(address, &authority, Some(pair)).await.unwrap();
    idle.write_all(PREFACE).await.unwrap();
    // Reads the settings of HTTP/2, and waits for the end of the connection.
    let mut received = Vec::new();
    let ended = idle.read_to_end(&mut received);
    in_time("the server closes the connection", ended)
        .await
        .ok();
    let _proxy = Proxy::start(address, &own, &secret(&issued, authority.ca_pem()));
    becomes_true("a proxy has the slot", || {
        operator.store.status(&own.to_string()).connected == 1
    })
    .await;
    assert_eq!(*operator.refused.lock().unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn unfinished_handshakes_of_one_address_leave_others_to_the_rest() {
    let (authority, own, address) = (authority(), vault("openbao"), own_address());
    let operator = Operator::start(address, &authority);
    let source = own_address();
    let slow = || async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((source, 0).into()).unwrap();
        socket.connect((address, PORT).into()).await.unwrap()
    };
    let mut held = Vec::new();
    for _ in 0..=MOST {
        held.push(slow().await);
    }
    becomes_true("one is refused", || {
        !operator.refused.lock().unwrap().is_empty()
    })
    .await;
    assert_eq!(
        *operator.refused.lock().unwrap(),
        [Refusal::TooManyHandshakes]
    );
    let issued = authority.proxy(&own, Timestamp::now()).unwrap();
    let _proxy = Proxy::start(address, &own, &secret(&issued, authority.ca_pem()));
    becomes_true("a proxy at another address is connected", || {
        operator.store.status(&own.to_string()).connected == 1
    })
    .await;
    for mut slow in held {
        let ended = async { slow.read(&mut [0]).await };
        in_time("the server closes it", ended).await.ok();
    }
}
