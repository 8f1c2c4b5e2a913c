//! Leader election: leases of three seconds, so that a test need not wait long.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::{oneshot, watch};
use vaultwall::clock::Clock;
use vaultwall::runtime::leader::{
    Leadership, LeaseOptions, Lost, State, Term, Timing, campaign, is_alive,
};

use crate::operations::forwarder::Forwarder;
use testkit::ApiServer;
use testkit::wait::TIMEOUT;

/// A replica that is a candidate for the lease of its test.
struct Replica {
    leadership: Leadership,
    state: watch::Receiver<State>,
    stop: oneshot::Sender<()>,
}

fn short() -> Timing {
    Timing::of_duration(Duration::from_secs(3))
}

fn start(client: Client, lease: &str, identity: &str, timing: Timing) -> Replica {
    let (stop, stopped) = oneshot::channel();
    let options = LeaseOptions {
        name: lease.into(),
        namespace: "default".into(),
        identity: identity.into(),
        address: format!("{identity}.test:8443"),
        timing,
    };
    let leadership = campaign(client, options, Clock::system(), async {
        let _ = stopped.await;
    });
    let state = leadership.state();
    Replica {
        leadership,
        state,
        stop,
    }
}

impl Replica {
    async fn state(&self, is_so: impl FnMut(&State) -> bool) -> State {
        let mut state = self.state.clone();
        let waited = tokio::time::timeout(TIMEOUT, state.wait_for(is_so)).await;
        waited
            .unwrap_or_else(|_| panic!("stays {:?}", self.state.borrow()))
            .unwrap()
            .clone()
    }

    async fn leads(&self) -> Term {
        match self.state(|state| matches!(state, State::Leading(_))).await {
            State::Leading(term) => term,
            other => panic!("{other:?}"),
        }
    }

    async fn follows(&self, identity: &str) {
        let follows =
            |state: &State| matches!(state, State::Following { identity: i, .. } if i == identity);
        let State::Following { address, .. } = self.state(follows).await else {
            panic!();
        };
        assert_eq!(address, format!("{identity}.test:8443"));
    }

    async fn lost(&self) -> Lost {
        match self.state(|state| matches!(state, State::Lost(_))).await {
            State::Lost(lost) => lost,
            other => panic!("{other:?}"),
        }
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        tokio::time::timeout(TIMEOUT, self.leadership.ended())
            .await
            .unwrap();
    }
}

async fn leases(server: &ApiServer) -> Api<Lease> {
    Api::default_namespaced(server.client().await)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_leads_the_other_knows_where_and_takes_over_at_once_when_it_stops() {
    let server = ApiServer::shared();
    let one = start(server.client().await, "handover", "one", short());
    let term = one.leads().await;
    assert_eq!(term.still_valid(), Ok(()));
    let two = start(server.client().await, "handover", "two", short());
    two.follows("one").await;

    let leases = leases(server).await;
    let lease = leases.get("handover").await.unwrap();
    let spec = lease.spec.unwrap();
    assert_eq!(spec.holder_identity.as_deref(), Some("one"));
    assert_eq!(spec.lease_duration_seconds, Some(3));
    assert_eq!(spec.lease_transitions, Some(0));
    let annotations = lease.metadata.annotations.unwrap();
    assert_eq!(annotations["vaultwall.dev/address"], "one.test:8443");

    let stopped = Instant::now();
    one.stop().await;
    assert_eq!(term.still_valid(), Err(Lost::Released));
    two.leads().await;
    let gap = stopped.elapsed();
    eprintln!("handed over in {gap:?}");
    assert!(gap < short().duration(), "{gap:?}");
    let spec = leases.get("handover").await.unwrap().spec.unwrap();
    assert_eq!(spec.lease_transitions, Some(1));
    two.stop().await;
    let spec = leases.get("handover").await.unwrap().spec.unwrap();
    assert_eq!(spec.holder_identity.as_deref().unwrap_or_default(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_cut_off_stops_before_the_next_begins() {
    let server = ApiServer::shared();
    let way = Forwarder::start(server).await;
    let one = start(way.client(server).await, "cut-off", "one", short());
    let first = one.leads().await;
    let two = start(server.client().await, "cut-off", "two", short());
    two.follows("one").await;

    way.block();
    let blocked = Instant::now();
    let mut ended = None;
    let second = loop {
        // In this order: the second term may begin between the two looks, never the first one end.
        let second = match &*two.state.borrow() {
            State::Leading(term) => Some(term.clone()),
            _ => None,
        };
        let second_valid = second
            .as_ref()
            .is_some_and(|term| term.still_valid().is_ok());
        let first_valid = first.still_valid().is_ok();
        assert!(!(first_valid && second_valid), "two valid terms");
        if !first_valid && ended.is_none() {
            ended = Some(blocked.elapsed());
        }
        if let Some(second) = second {
            break second;
        }
        assert!(blocked.elapsed() < TIMEOUT);
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    let began = blocked.elapsed();
    eprintln!("cut off: the term ended after {ended:?}, the next began after {began:?}");
    let ended = ended.unwrap();
    assert!(
        began.saturating_sub(ended) > short().duration() / 6,
        "{ended:?} {began:?}"
    );
    assert_eq!(one.lost().await, Lost::Expired(Duration::from_secs(2)));
    assert!(one.lost().await.to_string().contains("2 s"));

    // The request without a response arrives now, and changes nothing.
    way.open();
    tokio::time::timeout(TIMEOUT, one.leadership.ended())
        .await
        .unwrap();
    let leases = leases(server).await;
    let renewed = |lease: &Lease| lease.spec.as_ref().unwrap().renew_time.clone();
    let before = renewed(&leases.get("cut-off").await.unwrap());
    let end = Instant::now() + TIMEOUT;
    while renewed(&leases.get("cut-off").await.unwrap()) == before {
        assert!(Instant::now() < end, "no renewal");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(second.still_valid(), Ok(()));
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_the_lease_by_others() {
    let server = ApiServer::shared();
    let one = start(server.client().await, "meddled", "one", short());
    let term = one.leads().await;
    let two = start(server.client().await, "meddled", "two", short());
    two.follows("one").await;
    let leases = leases(server).await;

    // A label of another user stays, and ends no term.
    let label = Patch::Merge(json!({"metadata": {"labels": {"theirs": "yes"}}}));
    leases
        .patch("meddled", &PatchParams::default(), &label)
        .await
        .unwrap();
    let version = |lease: &Lease| lease.metadata.resource_version.clone();
    let labelled = leases.get("meddled").await.unwrap();
    let renewed = wait_for(&leases, |lease| version(lease) != version(&labelled)).await;
    assert_eq!(renewed.metadata.labels.unwrap()["theirs"], "yes");
    assert_eq!(term.still_valid(), Ok(()));

    // Deleted: its leader creates it again, and no other replica takes it.
    leases
        .delete("meddled", &DeleteParams::default())
        .await
        .unwrap();
    let again = wait_for(&leases, |lease| lease.metadata.uid != labelled.metadata.uid).await;
    assert_eq!(again.spec.unwrap().holder_identity.as_deref(), Some("one"));
    assert_eq!(term.still_valid(), Ok(()));

    // Given to another holder: the term ends at the next renewal.
    let given = Patch::Merge(json!({"spec": {"holderIdentity": "three"}}));
    leases
        .patch("meddled", &PatchParams::default(), &given)
        .await
        .unwrap();
    assert_eq!(one.lost().await, Lost::Taken("three".into()));
    assert_eq!(term.still_valid(), Err(Lost::Taken("three".into())));
    two.leads().await;
    two.stop().await;
}

async fn wait_for(leases: &Api<Lease>, is_so: impl Fn(&Lease) -> bool) -> Lease {
    let end = Instant::now() + TIMEOUT;
    loop {
        if let Some(lease) = leases.get_opt("meddled").await.unwrap()
            && is_so(&lease)
        {
            return lease;
        }
        assert!(Instant::now() < end, "the lease does not change");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_api_server_costs_no_term() {
    let server = ApiServer::start();
    let long = Timing::of_duration(Duration::from_secs(90));
    let one = start(server.client().await, "restart", "one", long);
    let term = one.leads().await;
    let before = server.writes("admin").len();
    server.stop();
    server.restart();
    let end = Instant::now() + TIMEOUT;
    while server.writes("admin").len() == before {
        assert!(Instant::now() < end, "no renewal after the restart");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(term.still_valid(), Ok(()));
    assert!(is_alive(&one.state));
    one.stop().await;
}

/// With the permissions in the table, and no others.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_at_rest_writes_the_lease_alone_and_a_follower_nothing() {
    let server = ApiServer::shared();
    let users = [
        "system:serviceaccount:default:first",
        "system:serviceaccount:default:second",
    ];
    for user in users {
        crate::operations::permissions::allow_lease(server, user);
    }
    let one = start(
        server.client_for(users[0], &[]).await,
        "rest",
        "one",
        short(),
    );
    one.leads().await;
    let two = start(
        server.client_for(users[1], &[]).await,
        "rest",
        "two",
        short(),
    );
    two.follows("one").await;
    let begin = Instant::now();
    let before = server.writes(users[0]).len();
    // Ten renewals.
    let end = Instant::now() + TIMEOUT;
    while server.writes(users[0]).len() < before + 10 {
        assert!(Instant::now() < end, "no renewals");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let took = begin.elapsed();
    eprintln!("ten renewals in {took:?}");
    assert!(took > short().retry() * 9, "{took:?}");
    for record in &server.writes(users[0])[before..] {
        let seen = (
            record.verb.as_str(),
            record.resource.as_str(),
            record.status,
        );
        assert_eq!(seen, ("update", "leases", 200), "{record:?}");
        assert!(record.uri.contains("fieldManager=vaultwall-lease"));
    }
    assert_eq!(server.writes(users[1]), []);
    one.stop().await;
    two.stop().await;
}
