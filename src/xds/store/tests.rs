#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::future::Future;
use std::task::{Context, Poll, Waker};

use super::*;
use crate::xds::resource::ResourceType;
use crate::xds::testing::{filter, snapshot};

fn store() -> Arc<SnapshotStore> {
    Arc::new(SnapshotStore::new())
}

fn progress(version: &str, pending: &[&str], refused: &[&str]) -> Progress {
    let kind = ResourceType::ExtensionConfig;
    Progress {
        version: Some(version.to_owned()),
        pending: pending
            .iter()
            .map(|name| (kind, (*name).to_owned()))
            .collect(),
        rejections: refused
            .iter()
            .map(|name| Rejection {
                kind,
                name: (*name).to_owned(),
                version: None,
                message: "no".to_owned(),
            })
            .collect(),
    }
}

/// Polls a future once.
fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    std::pin::Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn the_state_summarises_the_status() {
    let rejections = || progress("v", &[], &["f"]).rejections;
    for (version, connected, programmed, rejections, expected) in [
        (None, 0, 0, vec![], State::NoSnapshot),
        (None, 1, 0, vec![], State::NoSnapshot),
        (Some("v"), 0, 0, vec![], State::NoProxies),
        (Some("v"), 2, 0, vec![], State::Pending),
        (Some("v"), 2, 1, vec![], State::Pending),
        (Some("v"), 2, 1, rejections(), State::Rejected),
        (Some("v"), 2, 2, vec![], State::Programmed),
    ] {
        let status = Status {
            version: version.map(str::to_owned),
            connected,
            programmed,
            rejections,
            pending: 0,
        };
        assert_eq!(status.state(), expected, "{status:?}");
    }
}

#[test]
fn a_snapshot_wakes_its_own_node_alone() {
    let store = store();
    let mut one = store.connect("one");
    let mut two = store.connect("two");
    assert_eq!(
        poll(&mut Box::pin(one.next_snapshot())).map(|s| s.is_none()),
        Poll::Ready(true)
    );
    assert_eq!(
        poll(&mut Box::pin(two.next_snapshot())).map(|s| s.is_none()),
        Poll::Ready(true)
    );

    let version = store.publish("one", snapshot([filter("f", 1)]));
    let given = poll(&mut Box::pin(one.next_snapshot()));
    assert_eq!(
        given.map(|snapshot| snapshot.unwrap().version().to_owned()),
        Poll::Ready(version.clone())
    );
    assert!(
        poll(&mut Box::pin(two.next_snapshot())).is_pending(),
        "another node's snapshot"
    );

    store.publish("one", snapshot([filter("f", 1)]));
    assert!(
        poll(&mut Box::pin(one.next_snapshot())).is_pending(),
        "the same snapshot again"
    );
    assert_eq!(store.snapshot("one").unwrap().version(), version);
    assert!(store.snapshot("two").is_none());
}

#[test]
fn an_earlier_snapshot_is_received_at_once() {
    let store = store();
    store.publish("one", snapshot([filter("f", 1)]));
    let mut late = store.connect("one");
    assert!(poll(&mut Box::pin(late.next_snapshot())).map(|s| s.is_some()) == Poll::Ready(true));
}

#[test]
fn programmed_means_every_connected_proxy() {
    let store = store();
    let version = store.publish("one", snapshot([filter("f", 1)]));
    let mut wait = Box::pin(store.wait_programmed("one", &version));
    assert!(poll(&mut wait).is_pending(), "no proxy is connected");

    let first = store.connect("one");
    let second = store.connect("one");
    first.report(progress(&version, &[], &[]), Vec::new());
    assert!(poll(&mut wait).is_pending(), "the second has not reported");
    assert_eq!(store.status("one").state(), State::Pending);
    second.report(progress("an older one", &[], &[]), Vec::new());
    assert!(
        poll(&mut wait).is_pending(),
        "an acknowledgement of an older snapshot"
    );
    second.report(progress(&version, &["f"], &[]), Vec::new());
    assert!(poll(&mut wait).is_pending(), "something is pending");
    assert_eq!(store.status("one").pending, 1);
    second.report(progress(&version, &[], &[]), Vec::new());
    assert_eq!(poll(&mut wait), Poll::Ready(Ok(())));
    assert_eq!(store.status("one").state(), State::Programmed);
}

#[test]
fn a_disconnected_proxy_is_not_waited_for() {
    let store = store();
    let version = store.publish("one", snapshot([filter("f", 1)]));
    let first = store.connect("one");
    let second = store.connect("one");
    first.report(progress(&version, &[], &[]), Vec::new());
    let mut wait = Box::pin(store.wait_programmed("one", &version));
    assert!(poll(&mut wait).is_pending());
    drop(second);
    assert_eq!(poll(&mut wait), Poll::Ready(Ok(())));
    drop(first);
    assert_eq!(store.status("one").state(), State::NoProxies);
}

#[test]
fn a_refusal_ends_the_wait_with_the_proxys_message() {
    let store = store();
    let version = store.publish("one", snapshot([filter("f", 1)]));
    let first = store.connect("one");
    let second = store.connect("one");
    first.report(progress(&version, &[], &["f"]), Vec::new());
    second.report(progress(&version, &[], &["f"]), Vec::new());
    let status = store.status("one");
    assert_eq!(
        (status.state(), status.connected, status.rejections.len()),
        (State::Rejected, 2, 1)
    );
    let Poll::Ready(Err(error)) = poll(&mut Box::pin(store.wait_programmed("one", &version)))
    else {
        panic!()
    };
    assert_eq!(
        error.to_string(),
        format!("a proxy of one refuses snapshot {version}: ExtensionConfig f: no")
    );
}

#[test]
fn a_newer_snapshot_ends_the_wait() {
    let store = store();
    let version = store.publish("one", snapshot([filter("f", 1)]));
    let mut wait = Box::pin(store.wait_programmed("one", &version));
    assert!(poll(&mut wait).is_pending());
    store.publish("one", snapshot([filter("f", 2)]));
    assert!(matches!(
        poll(&mut wait),
        Poll::Ready(Err(NotProgrammed::NotNewest { .. }))
    ));
    let mut never = Box::pin(store.wait_programmed("unknown", "v"));
    assert!(matches!(
        poll(&mut never),
        Poll::Ready(Err(NotProgrammed::NotNewest { .. }))
    ));
}

#[test]
fn a_changed_status_ends_the_wait() {
    let store = store();
    let seen = store.status("one");
    let mut change = Box::pin(store.status_changed("one", &seen));
    assert!(poll(&mut change).is_pending());
    let version = store.publish("one", snapshot([filter("f", 1)]));
    let Poll::Ready(status) = poll(&mut change) else {
        panic!()
    };
    assert_eq!(status.version, Some(version));
}

#[test]
fn reports_name_node_and_session() {
    let store = store();
    let mut reports = store.reports();
    let connection = store.connect("one");
    let event = Event::Missing {
        kind: ResourceType::ExtensionConfig,
        name: "f".to_owned(),
    };
    connection.report(Progress::default(), vec![event.clone()]);
    let report = reports.try_recv().unwrap();
    assert_eq!(
        (&*report.node, report.session, report.event),
        ("one", connection.id(), event)
    );
}

#[test]
fn unknown_nodes_are_removed() {
    let store = store();
    let connection = store.connect("unknown");
    assert!(!connection.has_snapshot());
    assert_eq!(store.nodes_known().len(), 1);
    drop(connection);
    assert_eq!(store.nodes_known().len(), 0);

    store.publish("one", Snapshot::default());
    drop(store.connect("one"));
    assert_eq!(store.nodes_known().len(), 1, "published nodes remain");
    store.withdraw("one");
    assert_eq!(store.nodes_known().len(), 0);
}
