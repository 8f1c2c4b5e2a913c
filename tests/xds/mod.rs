//! The xDS server and a real Envoy: what Envoy acknowledges, refuses, keeps and asks for again.
//!
//! `VAULTWALL_ENVOY` names another binary than the one that `dev/tools install` puts in place.

mod envoy;
mod resources;

use std::path::Path;
use std::sync::Arc;

use testkit::wait::{becomes_true, in_time};
use tokio::sync::{broadcast, oneshot};
use tokio::task::JoinHandle;
use vaultwall::transport::{ServeError, bind_unix, serve_unix};
use vaultwall::xds::{
    Event, NotProgrammed, Outcome, Report, ResourceType, Snapshot, SnapshotStore, State,
};

use envoy::{Envoy, NODE};
use resources::{allowing, bad_cluster, bad_listener, bad_ranges, bad_routes, bad_rules};

struct Server {
    store: Arc<SnapshotStore>,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Result<(), ServeError>>,
}

impl Server {
    fn start(socket: &Path) -> Self {
        let store = Arc::new(SnapshotStore::new());
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(serve_unix(
            bind_unix(socket).unwrap(),
            Arc::clone(&store),
            async {
                let _ = stopped.await;
            },
        ));
        Self {
            store,
            stop,
            served,
        }
    }

    async fn publish(&self, snapshot: Snapshot) -> Result<(), NotProgrammed> {
        let version = self.store.publish(NODE, snapshot);
        in_time(
            "Envoy answers to the snapshot",
            self.store.wait_programmed(NODE, &version),
        )
        .await
    }

    async fn is_connected(&self) {
        let mut seen = self.store.status(NODE);
        while seen.connected == 0 {
            seen = in_time("Envoy connects", self.store.status_changed(NODE, &seen)).await;
        }
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        in_time("the server stops", self.served)
            .await
            .unwrap()
            .unwrap();
    }
}

/// Returns the resources that Envoy acknowledged since the last call, sorted.
fn acknowledged(reports: &mut broadcast::Receiver<Report>) -> Vec<(ResourceType, String)> {
    let mut names: Vec<_> = std::iter::from_fn(|| reports.try_recv().ok())
        .filter_map(|report| match report.event {
            Event::Answered {
                kind,
                name,
                outcome: Outcome::Acknowledged,
                ..
            } => Some((kind, name)),
            _ => None,
        })
        .collect();
    names.sort_unstable();
    names
}

fn rules_alone() -> Vec<(ResourceType, String)> {
    vec![(ResourceType::ExtensionConfig, "rules".to_owned())]
}

#[tokio::test]
async fn a_changed_cluster_is_used_at_once() {
    let envoy = Envoy::start();
    let server = Server::start(&envoy.socket());
    for timeout in [1, 2, 3] {
        let snapshot = envoy.snapshot_with_discovery(timeout);
        server.publish(snapshot).await.unwrap();
        becomes_true("no cluster waits for its endpoints", || {
            envoy.statistic("cluster_manager.warming_clusters") == 0
        })
        .await;
    }
    assert_eq!(envoy.statistic("cluster_manager.cluster_modified"), 2);
    server.stop().await;
}

#[tokio::test]
async fn changes_arrive_one_by_one_and_a_bad_one_is_refused() {
    let envoy = Envoy::start();
    let server = Server::start(&envoy.socket());
    let mut reports = server.store.reports();

    server
        .publish(envoy.snapshot(Some(allowing("/a"))))
        .await
        .unwrap();
    envoy.wait_for_answers([Some(200), Some(403)]).await;
    let everything = [
        (ResourceType::Cluster, "vault".to_owned()),
        (ResourceType::ExtensionConfig, "rules".to_owned()),
        (ResourceType::Listener, "data".to_owned()),
        (ResourceType::RouteConfiguration, "routes".to_owned()),
    ];
    assert_eq!(
        acknowledged(&mut reports),
        everything,
        "each resource is sent once"
    );

    server
        .publish(envoy.snapshot(Some(allowing("/b"))))
        .await
        .unwrap();
    envoy.wait_for_answers([Some(403), Some(200)]).await;
    assert_eq!(
        acknowledged(&mut reports),
        rules_alone(),
        "only what changed is sent"
    );

    let refusal = server
        .publish(envoy.snapshot(Some(bad_rules())))
        .await
        .unwrap_err();
    let NotProgrammed::Rejected { rejections, .. } = &refusal else {
        panic!("{refusal}")
    };
    assert_eq!(rejections.len(), 1);
    assert_eq!(rejections[0].name, "rules");
    assert!(
        rejections[0]
            .message
            .contains("Permissions: value must contain at least 1 item"),
        "{refusal}"
    );
    assert_eq!(server.store.status(NODE).state(), State::Rejected);
    assert_eq!(
        envoy.verdicts(),
        [Some(403), Some(200)],
        "what was in force stays in force"
    );

    server
        .publish(envoy.snapshot(Some(allowing("/a"))))
        .await
        .unwrap();
    envoy.wait_for_answers([Some(200), Some(403)]).await;
    assert_eq!(acknowledged(&mut reports), rules_alone());
    assert_eq!(server.store.status(NODE).state(), State::Programmed);
}

#[tokio::test]
async fn without_the_server_everything_stays_and_after_it_only_changes_are_sent() {
    let envoy = Envoy::start();
    let server = Server::start(&envoy.socket());
    server
        .publish(envoy.snapshot(Some(allowing("/a"))))
        .await
        .unwrap();
    envoy.wait_for_answers([Some(200), Some(403)]).await;

    server.stop().await;
    assert_eq!(
        envoy.verdicts(),
        [Some(200), Some(403)],
        "the server is gone"
    );

    let server = Server::start(&envoy.socket());
    let mut reports = server.store.reports();
    server.is_connected().await;
    assert_eq!(
        envoy.verdicts(),
        [Some(200), Some(403)],
        "the server is back and has nothing to say yet"
    );

    server
        .publish(envoy.snapshot(Some(allowing("/a"))))
        .await
        .unwrap();
    assert_eq!(
        acknowledged(&mut reports),
        [],
        "Envoy said what it has, and nothing is sent again"
    );
    assert_eq!(envoy.verdicts(), [Some(200), Some(403)]);

    server
        .publish(envoy.snapshot(Some(allowing("/b"))))
        .await
        .unwrap();
    assert_eq!(acknowledged(&mut reports), rules_alone());
    envoy.wait_for_answers([Some(403), Some(200)]).await;
}

#[tokio::test]
async fn a_missing_resource_closes() {
    let envoy = Envoy::start();
    let server = Server::start(&envoy.socket());
    server
        .store
        .publish("another/node", envoy.snapshot(Some(allowing("/a"))));
    server.is_connected().await;
    assert_eq!(
        envoy.verdicts(),
        [None, None],
        "nothing was published for this node"
    );

    server.store.publish(NODE, envoy.snapshot(None));
    envoy.wait_for_answers([Some(403), Some(403)]).await;
    assert_eq!(
        server.store.status(NODE).state(),
        State::Pending,
        "Envoy asked for rules and there are none"
    );

    server
        .publish(envoy.snapshot(Some(allowing("/a"))))
        .await
        .unwrap();
    envoy.wait_for_answers([Some(200), Some(403)]).await;

    server.publish(envoy.snapshot(None)).await.unwrap();
    envoy.wait_for_answers([Some(403), Some(403)]).await;

    server.publish(Snapshot::default()).await.unwrap();
    envoy.wait_for_answers([None, None]).await;
}

/// Envoy 1.40 acknowledges a filter that it refused before if it receives the same bytes again.
#[tokio::test]
async fn what_was_refused_before_a_restart_is_refused_again() {
    let envoy = Envoy::start();
    let mut server = Server::start(&envoy.socket());
    let good = || envoy.snapshot(Some(allowing("/a")));
    server.publish(good()).await.unwrap();
    envoy.wait_for_answers([Some(200), Some(403)]).await;

    let refused = [
        (
            ResourceType::ExtensionConfig,
            envoy.snapshot(Some(bad_rules())),
        ),
        (
            ResourceType::ExtensionConfig,
            envoy.snapshot(Some(bad_ranges())),
        ),
        (
            ResourceType::RouteConfiguration,
            envoy.snapshot_with(bad_routes()),
        ),
        (
            ResourceType::Listener,
            envoy.snapshot_with(bad_listener(envoy.address())),
        ),
        (ResourceType::Cluster, envoy.snapshot_with(bad_cluster())),
    ];
    for (kind, snapshot) in refused {
        // By the same server, by another process, and by one that follows it.
        for attempt in 0..3 {
            let refusal = server.publish(snapshot.clone()).await.unwrap_err();
            let NotProgrammed::Rejected { rejections, .. } = &refusal else {
                panic!("{kind}, attempt {attempt}: {refusal}")
            };
            let kinds: Vec<_> = rejections.iter().map(|rejection| rejection.kind).collect();
            assert_eq!(kinds, [kind], "{refusal}");
            assert_eq!(server.store.status(NODE).state(), State::Rejected);
            assert_eq!(envoy.verdicts(), [Some(200), Some(403)], "the earlier one");
            server.stop().await;
            server = Server::start(&envoy.socket());
            server.is_connected().await;
        }
        // The resources in force are not sent again.
        let mut reports = server.store.reports();
        server.publish(good()).await.unwrap();
        assert_eq!(acknowledged(&mut reports), [], "{kind}");
    }
}
