//! Where allowed requests go while the vault's pods come and go.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpListener};
use std::thread;

use jiff::Timestamp;

use crate::mtls::operator::Operator;
use crate::mtls::proxy::{Proxy, secret};
use crate::mtls::{authority, publish, vault};
use testkit::own_address;
use testkit::wait::becomes_true;

/// A pod of the vault, which answers everything with its name.
fn pod(name: &'static str) -> SocketAddrV4 {
    let listener = TcpListener::bind((own_address(), 0)).unwrap();
    let SocketAddr::V4(address) = listener.local_addr().unwrap() else {
        unreachable!("bound to an IPv4 address")
    };
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut head = BufReader::new(stream.try_clone().unwrap()).lines();
            while head
                .next()
                .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
            {}
            let length = name.len();
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{name}"
            );
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_follow_the_vaults_pods() {
    let (authority, own, address) = (authority(), vault("openbao"), own_address());
    let issued = authority.proxy(&own, Timestamp::now()).unwrap();
    let proxy = Proxy::start(address, &own, &secret(&issued, authority.ca_pem()));
    let operator = Operator::start(address, &authority);
    let (first, second) = (pod("first"), pod("second"));
    let answered_by = |name: &str| {
        let answer = proxy.response(8200, "GET", "/v1/secret/data/app");
        answer.is_some_and(|answer| answer.contains(" 200 ") && answer.ends_with(name))
    };

    let of = |pods: &[SocketAddrV4]| {
        let pods: BTreeSet<SocketAddrV4> = pods.iter().copied().collect();
        proxy.open_snapshot(&own, &pods)
    };
    publish(&operator, &own, of(&[first])).await.unwrap();
    becomes_true("the first pod answers", || answered_by("first")).await;
    publish(&operator, &own, of(&[first, second]))
        .await
        .unwrap();
    becomes_true("the second pod answers as well", || answered_by("second")).await;
    assert!(
        (0..20).any(|_| answered_by("first")),
        "and so does the first"
    );
    publish(&operator, &own, of(&[second])).await.unwrap();
    becomes_true("only the second pod answers", || {
        (0..20).all(|_| answered_by("second"))
    })
    .await;
    publish(&operator, &own, of(&[])).await.unwrap();
    becomes_true("without a pod nobody answers", || {
        proxy.status_of(8200, "GET", "/v1/secret/data/app") == Some(503)
    })
    .await;
    assert_eq!(proxy.ready(), Some(200), "which is the vault's matter");
    publish(&operator, &own, of(&[first])).await.unwrap();
    becomes_true("the first pod answers again", || answered_by("first")).await;

    // Without the operator, the pods stay those that it named last.
    operator.stop().await;
    becomes_true("the operator is gone", || {
        proxy.figure("control_plane.connected_state") == 0
    })
    .await;
    assert!((0..20).all(|_| answered_by("first")));
}
