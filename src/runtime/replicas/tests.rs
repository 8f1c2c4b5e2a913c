#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::time::Duration;

use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;

use super::*;
use crate::xds::{Rejection, ResourceType, Snapshot, State};

/// Longer than any step here takes; only a failing test waits for it.
const TIMEOUT: Duration = Duration::from_secs(30);

const NODE: &str = "team-a/openbao";

fn rejection(message: &str) -> Rejection {
    Rejection {
        kind: ResourceType::ExtensionConfig,
        name: "rules".into(),
        version: Some("1".into()),
        message: message.into(),
    }
}

fn status(version: &str, connected: usize, programmed: usize, rejected: &[&str]) -> Status {
    Status {
        version: Some(version.into()),
        connected,
        programmed,
        pending: connected - programmed,
        rejections: rejected.iter().map(|message| rejection(message)).collect(),
    }
}

fn frames(frames: &[Frame]) -> Vec<u8> {
    frames
        .iter()
        .flat_map(|frame| {
            serde_json::to_vec(frame)
                .unwrap()
                .into_iter()
                .chain([b'\n'])
        })
        .collect()
}

fn node(status: Status) -> Frame {
    Frame::Node {
        name: NODE.into(),
        status,
    }
}

fn replicas() -> (Arc<SnapshotStore>, Arc<Replicas>) {
    let store = Arc::new(SnapshotStore::new());
    (Arc::clone(&store), Arc::new(Replicas::new(store)))
}

/// Connects a follower with a buffer of this length. Returns its side, and the result of the leader's.
fn connect(replicas: &Arc<Replicas>, length: usize) -> (DuplexStream, JoinHandle<io::Result<()>>) {
    let (follower, leader) = tokio::io::duplex(length);
    let replicas = Arc::clone(replicas);
    let receiver = tokio::spawn(async move { replicas.receive(leader).await });
    (follower, receiver)
}

async fn until(
    replicas: &Replicas,
    changes: &mut MergedChanges,
    expected: impl Fn(&Status) -> bool,
) {
    let reached = async {
        while !expected(&replicas.status(NODE)) {
            changes.next().await;
        }
    };
    let in_time = tokio::time::timeout(TIMEOUT, reached).await.is_ok();
    assert!(in_time, "the status is {:?}", replicas.status(NODE));
}

#[test]
fn reports_of_replicas_are_added_up() {
    let own = status("1", 1, 1, &["b"]);
    for (why, other, expected) in [
        (
            "the same version",
            status("1", 2, 1, &["a", "b"]),
            status("1", 3, 2, &["b", "a", "b"]),
        ),
        (
            "another version: connected, and nothing about this one",
            status("2", 2, 2, &["a"]),
            Status {
                pending: 0,
                ..status("1", 3, 1, &["b"])
            },
        ),
        ("nothing", Status::default(), own.clone()),
    ] {
        let mut merged = own.clone();
        merge(&mut merged, &other);
        assert_eq!(merged, expected, "{why}");
    }
    let mut nothing = Status::default();
    merge(&mut nothing, &status("1", 2, 2, &[]));
    assert_eq!(
        nothing.state(),
        State::NoSnapshot,
        "nothing was published here"
    );
    assert_eq!(nothing.connected, 2);
}

#[tokio::test]
async fn a_replica_counts_from_its_complete_report_to_its_disconnect() {
    let (store, replicas) = replicas();
    let version = store.publish(NODE, Snapshot::default());
    let mut changes = replicas.changes();
    let (mut follower, receiver) = connect(&replicas, 1 << 16);
    let first_frames = [
        Frame::Replica("one".into()),
        node(status(&version, 2, 1, &[])),
    ];
    follower.write_all(&frames(&first_frames)).await.unwrap();
    tokio::task::yield_now().await;
    assert_eq!(
        replicas.status(NODE).connected,
        0,
        "there may be more to come"
    );
    follower
        .write_all(&frames(&[Frame::Complete]))
        .await
        .unwrap();
    until(&replicas, &mut changes, |status| status.connected == 2).await;
    assert_eq!(replicas.status(NODE).state(), State::Pending);
    assert_eq!(replicas.reporting(), BTreeSet::from(["one".to_owned()]));

    follower
        .write_all(&frames(&[node(status(&version, 2, 2, &[]))]))
        .await
        .unwrap();
    until(&replicas, &mut changes, |status| {
        status.state() == State::Programmed
    })
    .await;

    drop(follower);
    until(&replicas, &mut changes, |status| status.connected == 0).await;
    assert!(receiver.await.unwrap().is_ok());
    assert_eq!(replicas.reporting(), BTreeSet::new());
}

#[tokio::test]
async fn a_replica_that_reconnects_counts_once() {
    let (store, replicas) = replicas();
    let version = store.publish(NODE, Snapshot::default());
    let report = |connected| Report {
        replica: "one".into(),
        nodes: HashMap::from([(Arc::from(NODE), status(&version, connected, connected, &[]))]),
    };
    let first = replicas.add(report(1));
    let second = replicas.add(report(2));
    assert_eq!(replicas.status(NODE).connected, 2);
    first.set(&Arc::from(NODE), status(&version, 9, 9, &[]));
    drop(first);
    assert_eq!(
        replicas.status(NODE).connected,
        2,
        "the old connection does not count any more"
    );
    drop(second);
    assert_eq!(replicas.status(NODE).connected, 0);
}

#[tokio::test]
async fn a_silent_replica_is_removed() {
    let (store, replicas) = replicas();
    let version = store.publish(NODE, Snapshot::default());
    let mut changes = replicas.changes();
    let (mut follower, receiver) = connect(&replicas, 1 << 16);
    let all = [
        Frame::Replica("one".into()),
        node(status(&version, 1, 1, &[])),
        Frame::Complete,
    ];
    follower.write_all(&frames(&all)).await.unwrap();
    until(&replicas, &mut changes, |status| status.connected == 1).await;
    let started = tokio::time::Instant::now();
    until(&replicas, &mut changes, |status| status.connected == 0).await;
    assert!(started.elapsed() < SILENCE * 2);
    let error = receiver.await.unwrap().unwrap_err().to_string();
    assert!(error.contains("no frame arrived in time"), "{error}");
}

#[tokio::test]
async fn frames_outside_the_protocol_end_the_connection() {
    let (_, replicas) = replicas();
    let again = [
        Frame::Replica("one".into()),
        Frame::Complete,
        Frame::Replica("two".into()),
    ];
    let long = vec![b'"'; 2 << 20];
    for (bytes, words) in [
        (frames(&[Frame::Alive]), "does not name the replica"),
        (frames(&again), "a second frame"),
        (
            b"{\"replica\":\"one\"}\n{\"nonsense\":1}\n".to_vec(),
            "cannot be decoded",
        ),
        (b"{\"replica\":\"one\"}\n\"compl".to_vec(), "incomplete"),
        (long, "too long"),
    ] {
        let error = replicas
            .receive(bytes.as_slice())
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(words), "{error}");
    }
    assert_eq!(replicas.reporting(), BTreeSet::new());
}

#[tokio::test]
async fn a_report_follows_the_store() {
    let (store, replicas) = replicas();
    let theirs = Arc::new(SnapshotStore::new());
    let version = store.publish(NODE, Snapshot::default());
    let mut changes = replicas.changes();
    theirs.publish("other/vault", Snapshot::default());
    let (follower, receiver) = connect(&replicas, 64);
    let sender = tokio::spawn({
        let theirs = Arc::clone(&theirs);
        async move { report::send_report(follower, &theirs, "one").await }
    });
    let seen = |replicas: &Replicas| {
        let reports = replicas.reports();
        let report = reports.values().next();
        report.and_then(|report| report.nodes.get(NODE)?.version.clone())
    };
    theirs.publish(NODE, Snapshot::default());
    let arrived = async {
        while seen(&replicas).is_none() {
            changes.next().await;
        }
    };
    tokio::time::timeout(TIMEOUT, arrived).await.unwrap();
    assert_eq!(seen(&replicas), Some(version));

    theirs.withdraw(NODE);
    let removed = async {
        while seen(&replicas).is_some() {
            changes.next().await;
        }
    };
    tokio::time::timeout(TIMEOUT, removed).await.unwrap();
    receiver.abort();
    let _ = receiver.await;
    assert!(
        sender.await.unwrap().is_err(),
        "the leader has closed the connection"
    );
}
