#![allow(clippy::unwrap_used, clippy::panic)]

use std::net::Ipv4Addr;

use jiff::Timestamp;
use tokio::sync::mpsc;

use super::*;
use crate::compile::envoy::Tls;
use crate::policy::{Resolution, VaultId};
use crate::xds;

/// Upper bound of every wait; only a failing test reaches it.
const TIMEOUT: Duration = Duration::from_secs(20);

fn vault() -> VaultId {
    VaultId {
        namespace: "vault".into(),
        service: "openbao".into(),
    }
}

/// Inputs of a firewall that denies everything, with discovered addresses.
fn desired(addresses: &[u8]) -> Desired {
    let resolution = Resolution::deny_all(vault(), 8200);
    let address = |last: &u8| SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, *last), 8200);
    Desired {
        proxy: Proxy {
            upstream: None,
            ..Proxy::in_cluster(&resolution.firewall, Tls::default(), None)
        },
        resolution: Arc::new(VaultResolution {
            resolution,
            kept: false,
        }),
        endpoints: Some(addresses.iter().map(address).collect()),
        cold_start: false,
    }
}

async fn next(confirmations: &mut mpsc::UnboundedReceiver<Confirmation>) -> Outcome {
    let next = tokio::time::timeout(TIMEOUT, confirmations.recv());
    next.await.unwrap().unwrap().outcome
}

#[tokio::test]
async fn only_changed_inputs_are_published() {
    let store = Arc::new(SnapshotStore::new());
    let mut publisher = Publisher::new(Arc::clone(&store), Clock::system(), |_| {});
    let mut publish = |desired| publisher.publish("node", desired, Instant::now());
    let first = publish(desired(&[1]));
    assert!(first.compiled_in.is_some());
    let again = publish(desired(&[1]));
    assert_eq!((&again.version, again.compiled_in), (&first.version, None));
    let moved = publish(desired(&[2]));
    assert!(moved.compiled_in.is_some() && moved.version != first.version);
    let cold_start = Desired {
        cold_start: true,
        ..desired(&[2])
    };
    assert!(publish(cold_start).compiled_in.is_some());
    assert!(store.snapshot("node").unwrap().is_cold_start());

    assert_eq!(publisher.node_count(), 1);
    publisher.withdraw("node");
    assert!(publisher.node_count() == 0 && store.snapshot("node").is_none());
    let back = publisher.publish("node", desired(&[1]), Instant::now());
    assert!(back.compiled_in.is_some() && back.version == first.version);
}

/// Filters follow an address at once, listeners at most once in a while.
#[tokio::test]
async fn listeners_follow_the_addresses_after_a_pause() {
    let (clock, hands) = Clock::settable(Timestamp::UNIX_EPOCH);
    let store = Arc::new(SnapshotStore::new());
    let mut publisher = Publisher::new(Arc::clone(&store), clock, |_| {});
    let listing = |address: &str| {
        let mut desired = desired(&[]);
        let mut resolution = VaultResolution::clone(&desired.resolution);
        let rules = &mut resolution.resolution.firewall.ip_rules;
        rules.claim(address.parse().unwrap(), &"rule".into());
        desired.resolution = Arc::new(resolution);
        desired
    };
    let versions = || {
        let snapshot = store.snapshot("node").unwrap();
        let version = |kind, name| snapshot.get(kind, name).unwrap().version.clone();
        (
            version(xds::ResourceType::Listener, "data"),
            version(xds::ResourceType::ExtensionConfig, "vaultwall.ip-rules"),
        )
    };
    publisher.publish("node", listing("203.0.113.1/32"), Instant::now());
    let (first_listener, first_filter) = versions();
    publisher.publish("node", listing("203.0.113.2/32"), Instant::now());
    let (listener, filter) = versions();
    assert!(listener == first_listener && filter != first_filter);
    assert_eq!(publisher.publish_due(), []);

    hands.advance(Duration::from_secs(5));
    publisher.wait_due().await;
    let due = publisher.publish_due();
    let newest = store.snapshot("node").unwrap().version().to_owned();
    assert_eq!(due, [(vault(), newest)]);
    assert_ne!(versions().0, first_listener);
    assert_eq!(versions().1, filter);
    assert_eq!(publisher.publish_due(), []);
    // Long after the last change, the next one does not wait.
    hands.advance(Duration::from_secs(5));
    publisher.publish("node", listing("203.0.113.1/32"), Instant::now());
    assert_eq!(versions(), (first_listener, first_filter));
}

#[tokio::test]
async fn a_confirmation_ends_with_a_newer_version_or_the_timeout() {
    let (clock, hands) = Clock::settable(Timestamp::UNIX_EPOCH);
    let (sender, mut confirmations) = mpsc::unbounded_channel();
    let on_confirmation = move |confirmation: &Confirmation| {
        let _ = sender.send(confirmation.clone());
    };
    let store = Arc::new(SnapshotStore::new());
    let mut publisher = Publisher::new(store, clock, on_confirmation);
    publisher.publish("node", desired(&[1]), Instant::now());
    tokio::task::yield_now().await;
    publisher.publish("node", desired(&[2]), Instant::now());
    let replaced = next(&mut confirmations).await;
    let Outcome::NotInForce(xds::NotProgrammed::NotNewest { .. }) = replaced else {
        panic!("{replaced:?}")
    };
    tokio::task::yield_now().await;
    hands.advance(confirmation::TIMEOUT);
    assert_eq!(next(&mut confirmations).await, Outcome::TimedOut);
}
