//! Two replicas that serve proxies, one of which leads.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::watch;
use vaultwall::runtime::replicas::{MergedChanges, Replicas, report};
use vaultwall::xds::{NotProgrammed, State, Status};

use crate::mtls::operator::{Operator, PORT, credentials};
use crate::mtls::proxy::{Proxy, secret};
use crate::mtls::{authority, publish, vault};
use testkit::own_address;
use testkit::wait::{becomes_true, in_time};

async fn comes_to(
    replicas: &Replicas,
    changes: &mut MergedChanges,
    node: &str,
    expected: impl Fn(&Status) -> bool,
) {
    let reached = async {
        while !expected(&replicas.status(node)) {
            changes.next().await;
        }
    };
    if tokio::time::timeout(testkit::wait::TIMEOUT, reached)
        .await
        .is_err()
    {
        panic!("the status is {:?}", replicas.status(node));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_knows_of_every_proxy() {
    let (authority, own) = (authority(), vault("openbao"));
    let node = own.to_string();
    let (leader_at, follower_at) = (own_address(), own_address());
    let leader = Operator::start(leader_at, &authority);
    let follower = Operator::start(follower_at, &authority);
    let issued = authority.proxy(&own, Timestamp::now()).unwrap();
    let secret = secret(&issued, authority.ca_pem());
    let proxy = Proxy::start(leader_at, &own, &secret);
    let other = Proxy::start(follower_at, &own, &secret);
    let (leading, address) = watch::channel(None);
    let reporting = tokio::spawn(report(
        Arc::clone(&follower.store),
        "follower".into(),
        address,
        follower.credentials.subscribe(),
    ));
    let mut changes = leader.replicas.changes();
    publish(&leader, &own, proxy.snapshot(&own)).await.unwrap();
    // Both at the same version; which of the two proxies can open these ports does not matter here.
    leading.send_replace(Some(format!("{leader_at}:{PORT}")));
    comes_to(&leader.replicas, &mut changes, &node, |status| {
        status.connected == 2
    })
    .await;
    assert_eq!(
        leader.replicas.status(&node).state(),
        State::Pending,
        "nothing was published at the follower"
    );
    let own_status = leader.store.status(&node);
    assert_eq!((own_status.connected, own_status.programmed), (1, 1));

    let same = follower.store.publish(&node, proxy.snapshot(&own));
    assert_eq!(Some(same), own_status.version, "the same on every replica");
    comes_to(&leader.replicas, &mut changes, &node, |status| {
        status.pending == 0 && status.programmed + status.rejections.len() >= 2
    })
    .await;

    let refused = proxy.refused_snapshot(&own);
    follower.store.publish(&node, refused.clone());
    let refusal = publish(&leader, &own, refused).await;
    assert!(matches!(refusal, Err(NotProgrammed::Rejected { .. })));
    comes_to(&leader.replicas, &mut changes, &node, |status| {
        status.state() == State::Rejected && status.connected == 2
    })
    .await;

    // It dies without a word: its proxies no longer count.
    let began = tokio::time::Instant::now();
    reporting.abort();
    comes_to(&leader.replicas, &mut changes, &node, |status| {
        status.connected == 1
    })
    .await;
    println!("a dead replica was forgotten after {:?}", began.elapsed());
    drop(other);

    // A proxy's certificate does not make it a replica.
    let impostor = Arc::new(
        vaultwall::transport::Credentials::from_pem(
            &issued.certificate_pem,
            &issued.key_pem,
            authority.ca_pem(),
        )
        .unwrap(),
    );
    let (_keep, impostor) = watch::channel(impostor);
    let reporting = tokio::spawn(report(
        Arc::clone(&follower.store),
        "impostor".into(),
        leading.subscribe(),
        impostor,
    ));
    let (credentials_of, again) = watch::channel(credentials(&authority));
    let honest = tokio::spawn(report(
        Arc::clone(&follower.store),
        "honest".into(),
        leading.subscribe(),
        again,
    ));
    becomes_true("the honest one reports", || {
        leader.replicas.reporting().contains("honest")
    })
    .await;
    assert!(!leader.replicas.reporting().contains("impostor"));

    // The leader restarts: everything is reported again.
    let store = in_time("the leader stops", leader.stop()).await;
    let leader = Operator::start_with(leader_at, &authority, store);
    becomes_true("the follower comes again", || {
        leader.replicas.reporting().contains("honest")
    })
    .await;
    drop(credentials_of);
    leading.send_replace(None);
    becomes_true("who leads itself reports to nobody", || {
        leader.replicas.reporting().is_empty()
    })
    .await;
    reporting.abort();
    honest.abort();
}
