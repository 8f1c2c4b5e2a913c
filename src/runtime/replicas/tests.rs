#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use tokio::io::AsyncWriteExt;

use super::*;
use crate::xds::{Rejection, ResourceType, Snapshot, State};

/// Longer than anything here takes; only a test that fails waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

const NODE: &str = "team-a/openbao";

fn refusal(message: &str) -> Rejection {
    Rejection {
        kind: ResourceType::ExtensionConfig,
        name: "rules".into(),
        version: Some("1".into()),
        message: message.into(),
    }
}

fn status(version: &str, connected: usize, programmed: usize, refused: &[&str]) -> Status {
    Status {
        version: Some(version.into()),
        connected,
        programmed,
        pending: connected - programmed,
        rejections: refused.iter().map(|message| refusal(message)).collect(),
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
    let in_time = tokio::time::timeout(PATIENCE, reached).await.is_ok();
    assert!(in_time, "the status is {:?}", replicas.status(NODE));
}

#[test]
fn what_replicas_say_adds_up() {
    let own = status("1", 1, 1, &["b"]);
    for (why, other, expected) in [
        (
            "the same version",
            status("1", 2, 1, &["a", "b"]),
            status("1", 3, 2, &["b", "a", "b"]),
        ),
        (
            "another version: connected, and no word about this one",
            status("2", 2, 2, &["a"]),
            Status {
                pending: 0,
                ..status("1", 3, 1, &["b"])
            },
        ),
        ("nothing", Status::default(), own.clone()),
    ] {
        let mut merged = own.clone();
        add(&mut merged, &other);
        assert_eq!(merged, expected, "{why}");
    }
    let mut nothing = Status::default();
    add(&mut nothing, &status("1", 2, 2, &[]));
    assert_eq!(
        nothing.state(),
        State::NoSnapshot,
        "nothing was published here"
    );
    assert_eq!(nothing.connected, 2);
}

#[tokio::test]
async fn a_replica_counts_once_it_said_everything_and_until_it_is_gone() {
    let (store, replicas) = replicas();
    let version = store.publish(NODE, Snapshot::default());
    let mut changes = replicas.changes();
    let (mut follower, leader) = tokio::io::duplex(1 << 16);
    let hearing = tokio::spawn({
        let replicas = Arc::clone(&replicas);
        async move { replicas.hear(leader).await }
    });
    let begin = [
        Frame::Replica("one".into()),
        node(status(&version, 2, 1, &[])),
    ];
    follower.write_all(&frames(&begin)).await.unwrap();
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
    assert!(hearing.await.unwrap().is_ok());
    assert_eq!(replicas.reporting(), BTreeSet::new());
}

#[tokio::test]
async fn a_replica_that_comes_again_counts_once() {
    let (store, replicas) = replicas();
    let version = store.publish(NODE, Snapshot::default());
    let report = |connected| Report {
        replica: "one".into(),
        nodes: HashMap::from([(Arc::from(NODE), status(&version, connected, connected, &[]))]),
    };
    let first = replicas.enter(report(1));
    let second = replicas.enter(report(2));
    assert_eq!(replicas.status(NODE).connected, 2);
    first.set(&Arc::from(NODE), status(&version, 9, 9, &[]));
    drop(first);
    assert_eq!(
        replicas.status(NODE).connected,
        2,
        "the old connection says nothing any more"
    );
    drop(second);
    assert_eq!(replicas.status(NODE).connected, 0);
}

#[tokio::test]
async fn who_is_silent_is_forgotten() {
    let (store, replicas) = replicas();
    let version = store.publish(NODE, Snapshot::default());
    let mut changes = replicas.changes();
    let (mut follower, leader) = tokio::io::duplex(1 << 16);
    let hearing = tokio::spawn({
        let replicas = Arc::clone(&replicas);
        async move { replicas.hear(leader).await }
    });
    let all = [
        Frame::Replica("one".into()),
        node(status(&version, 1, 1, &[])),
        Frame::Complete,
    ];
    follower.write_all(&frames(&all)).await.unwrap();
    until(&replicas, &mut changes, |status| status.connected == 1).await;
    let began = tokio::time::Instant::now();
    until(&replicas, &mut changes, |status| status.connected == 0).await;
    assert!(began.elapsed() < SILENCE * 2);
    let error = hearing.await.unwrap().unwrap_err().to_string();
    assert!(error.contains("silent"), "{error}");
}

#[tokio::test]
async fn what_is_not_the_protocol_ends_the_connection() {
    let (_, replicas) = replicas();
    let again = [
        Frame::Replica("one".into()),
        Frame::Complete,
        Frame::Replica("two".into()),
    ];
    let long = vec![b'"'; 2 << 20];
    for (bytes, words) in [
        (frames(&[Frame::Alive]), "did not say who"),
        (frames(&again), "twice"),
        (
            b"{\"replica\":\"one\"}\n{\"nonsense\":1}\n".to_vec(),
            "cannot be read",
        ),
        (b"{\"replica\":\"one\"}\n\"compl".to_vec(), "cut off"),
        (long, "too long"),
    ] {
        let error = replicas
            .hear(bytes.as_slice())
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
    let (follower, leader) = tokio::io::duplex(64);
    let telling = tokio::spawn({
        let theirs = Arc::clone(&theirs);
        async move { report::tell(follower, &theirs, "one").await }
    });
    let hearing = tokio::spawn({
        let replicas = Arc::clone(&replicas);
        async move { replicas.hear(leader).await }
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
    tokio::time::timeout(PATIENCE, arrived).await.unwrap();
    assert_eq!(seen(&replicas), Some(version));

    theirs.withdraw(NODE);
    let forgotten = async {
        while seen(&replicas).is_some() {
            changes.next().await;
        }
    };
    tokio::time::timeout(PATIENCE, forgotten).await.unwrap();
    hearing.abort();
    let _ = hearing.await;
    assert!(telling.await.unwrap().is_err(), "the leader is gone");
}
