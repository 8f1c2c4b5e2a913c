//! Starts the operator's parts in their order, and stops them.
//!
//! Proxies are served only after every object was listed and compiled once: a proxy that connects earlier would lose
//! its rules.

use std::future::{Future, pending};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinHandle};
use tonic::service::Routes;

use super::account_labels;
use super::firewall::desired::DesiredObjects;
use super::firewall::engine::{Engine, StatusOnlyKinds};
use super::firewall::state::FirewallState;
use super::firewall::{self, changes};
use super::options::{ControllerError, Options};
use super::role::Role;
use super::statuses::networks::Networks;
use super::statuses::services::Services;
use super::statuses::state::States;
use super::statuses::{self, StatusOnly};
use crate::access_log::sink::{self, Sink};
use crate::api::LEASE;
use crate::runtime::apply::GeneratedObjects;
use crate::runtime::authority::{self, AuthorityStore};
use crate::runtime::events::EventWriter;
use crate::runtime::issuer_keys::IssuerKeyFetcher;
use crate::runtime::label_guard::LabelGuard;
use crate::runtime::leader::{self, Leadership, LeaseOptions};
use crate::runtime::operations::{self, Health, Metrics};
use crate::runtime::permissions;
use crate::runtime::replicas::{self, PROTOCOL, Replicas};
use crate::runtime::status::StatusWriter;
use crate::transport::certificates::{self, Authority};
use crate::transport::{
    ConnectionLimits, Credentials, Peer, Protocols, ServeError, TlsServer, serve_tls,
};
use crate::xds::{self, SnapshotStore};

/// Reporting controller of events.
const REPORTER: &str = "vaultwall.dev/operator";
/// Grace period in which the other tasks end.
const GRACE_PERIOD: Duration = Duration::from_secs(3);
/// Most connections of other replicas that wait to be received.
const WAITING_REPLICAS: usize = 16;

/// State of all objects that the reconcilers write a status of.
#[derive(Default)]
struct State {
    firewalls: Arc<FirewallState>,
    networks: Arc<States<Networks>>,
    services: Arc<States<Services>>,
}

/// Runs the operator until `stop` completes.
pub async fn run(
    options: Options,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ControllerError> {
    let (stopping, stopped) = stop_signal(stop);
    let (metrics, registry) = Metrics::new();
    let metrics = Arc::new(metrics);
    let health = Health::new();
    let serving = health.condition("xds", "proxies are not served yet");
    let listener = operations::listen(options.operations_listen).await?;
    let mut tasks = Tasks::default();
    tasks.add(&tokio::spawn(operations::serve(
        listener,
        health.clone(),
        registry,
        // Serves until every other part has stopped.
        pending(),
    )));
    let prepare = async {
        permissions::check(&options.client, &options.namespace, options.account_labels).await?;
        Certificates::load(&options, &metrics, &mut tasks).await
    };
    let certificates = tokio::select! {
        certificates = prepare => certificates?,
        () = done(stopped.clone()) => return Ok(()),
    };

    let store = Arc::new(SnapshotStore::new());
    let state = State::default();
    let objects = generated_objects(&options, &state.firewalls, &metrics);
    let (engine, mut synced, labels) = engine(&options, &store, &state, &metrics, &health);
    tasks.add(&engine);
    tokio::select! {
        _ = synced.wait_for(|synced| *synced) => {}
        () = done(stopped.clone()) => return Ok(()),
    }
    tracing::info!(
        "every object was listed; serving proxies on {}",
        options.xds_listen
    );

    let replicas = Arc::new(Replicas::new(Arc::clone(&store)));
    let mut proxies = serve(
        &options,
        &certificates,
        &replicas,
        &store,
        &metrics,
        &stopped,
        &mut tasks,
    )
    .await?;
    serving.met();
    tasks.add(&tokio::spawn(changes::count_rejections(
        Arc::clone(&store),
        Arc::clone(&metrics),
    )));
    tasks.add(&tokio::spawn(changes::enqueue_answered(
        Arc::clone(&replicas),
        Arc::clone(&state.firewalls),
        Arc::clone(&metrics),
    )));

    let identity = leader::unique_identity(&options.name);
    let leadership = campaign(&options, &identity, &stopped);
    let leading = leadership.state();
    let alive = leading.clone();
    health.task("lease", move || leader::is_alive(&alive));
    let (leader, leader_address) = watch::channel(None);
    let reporting = replicas::report(
        store,
        identity,
        leader_address,
        certificates.credentials.clone(),
    );
    tasks.add(&tokio::spawn(reporting));
    let networks = statuses(&options, state.networks, &metrics);
    let services = statuses(&options, state.services, &metrics);
    let firewalls = firewalls(
        &options,
        certificates,
        state.firewalls,
        objects,
        replicas,
        &metrics,
    );
    let role = Role {
        state: leading,
        leader,
        metrics,
    };
    let result = tokio::select! {
        lost = role.run(&firewalls, &networks, &services, &labels) => Err(ControllerError::Lost(lost)),
        ended = &mut proxies => match ended {
            Ok(ended) => ended.map_err(ControllerError::from),
            Err(_) => Err(ControllerError::Panicked("the server for proxies")),
        },
        () = done(stopped.clone()) => Ok(()),
    };
    let was_requested = *stopped.borrow();
    tracing::info!("stopping; proxies continue with their last rules");
    serving.unmet("this replica is stopping");
    stopping.send_replace(true);
    shut_down(leadership, proxies).await;
    // A requested stop is a success, whichever part ended first.
    if was_requested { Ok(()) } else { result }
}

/// Turns true when `stop` completes, or earlier when the sender sets it.
fn stop_signal(
    stop: impl Future<Output = ()> + Send + 'static,
) -> (watch::Sender<bool>, watch::Receiver<bool>) {
    let stopping = watch::Sender::new(false);
    let stopped = stopping.subscribe();
    let sender = stopping.clone();
    tokio::spawn(async move {
        stop.await;
        sender.send_replace(true);
    });
    (stopping, stopped)
}

/// Waits until the lease is released and the server for proxies has ended, each for at most [`GRACE_PERIOD`].
async fn shut_down(leadership: Leadership, proxies: JoinHandle<Result<(), ServeError>>) {
    let _ = tokio::time::timeout(GRACE_PERIOD, leadership.ended()).await;
    // If the server was the first part that ended, its result was taken before.
    if !proxies.is_finished() {
        let _ = tokio::time::timeout(GRACE_PERIOD, proxies).await;
    }
}

async fn done(mut stopped: watch::Receiver<bool>) {
    // An error means that the sender is gone, which is a stop as well.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Tasks that are aborted when this value is dropped.
#[derive(Default)]
struct Tasks(Vec<AbortHandle>);

impl Tasks {
    fn add<T>(&mut self, task: &JoinHandle<T>) {
        self.0.push(task.abort_handle());
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

/// Certificate authority, and this replica's own certificate.
struct Certificates {
    authority: watch::Receiver<Arc<Authority>>,
    credentials: watch::Receiver<Arc<Credentials>>,
}

impl Certificates {
    async fn load(
        options: &Options,
        metrics: &Arc<Metrics>,
        tasks: &mut Tasks,
    ) -> Result<Self, ControllerError> {
        let store = AuthorityStore::new(
            options.client.clone(),
            options.namespace.clone(),
            options.clock.clone(),
            Arc::clone(metrics),
        );
        let authority = store.load().await?;
        let names = vec![options.xds_address.0.clone()];
        let credentials = authority::credentials(&authority, &names, &options.clock)?;
        let (authority_sender, authority) = watch::channel(Arc::new(authority));
        let (credentials_sender, credentials) = watch::channel(Arc::new(credentials));
        tasks.add(&tokio::spawn(store.follow(authority_sender)));
        tasks.add(&tokio::spawn(authority::keep_credentials(
            authority.clone(),
            names,
            options.clock.clone(),
            credentials_sender,
        )));
        Ok(Self {
            authority,
            credentials,
        })
    }
}

/// Starts the watches of generated objects, whose changes enqueue their vault.
fn generated_objects(
    options: &Options,
    state: &Arc<FirewallState>,
    metrics: &Arc<Metrics>,
) -> Arc<GeneratedObjects> {
    let state = Arc::clone(state);
    GeneratedObjects::watch(
        options.client.clone(),
        firewall::OWNER,
        Box::new(move |change| changes::enqueue_generated(&state, change)),
        Arc::clone(metrics),
    )
}

/// Starts the engine, and the watches that feed it. Returns also the reconciler of the pods' labels.
fn engine(
    options: &Options,
    store: &Arc<SnapshotStore>,
    state: &State,
    metrics: &Arc<Metrics>,
    health: &Health,
) -> (
    JoinHandle<()>,
    watch::Receiver<bool>,
    account_labels::Reconciler,
) {
    let listed = health.condition("watches", "the API server has not listed any object yet");
    let engine = Engine::new(
        options.limits,
        options.local.clone(),
        Arc::clone(store),
        Arc::clone(&state.firewalls),
        StatusOnlyKinds::new(Arc::clone(&state.networks), Arc::clone(&state.services)),
        Arc::clone(metrics),
        options.clock.clone(),
    );
    let synced = engine.synced();
    let labels = account_labels::Reconciler {
        pods: engine.pod_labels(),
        client: options.client.clone(),
        metrics: Arc::clone(metrics),
    };
    let events = crate::runtime::watch::start(&options.client, options.limits, metrics);
    let client = options.client.clone();
    let keys = IssuerKeyFetcher::start(&options.keys, Some(client), &options.clock, metrics);
    let guard = if options.account_labels {
        LabelGuard::start(options.client.clone(), options.namespace.clone())
    } else {
        LabelGuard::off()
    };
    let engine = tokio::spawn(engine.run(events, keys, guard, health.pulse("engine"), listed));
    let running = engine.abort_handle();
    health.task("engine", move || !running.is_finished());
    (engine, synced, labels)
}

/// Serves proxies, receives their denials, and the reports of other replicas on the same port.
async fn serve(
    options: &Options,
    certificates: &Certificates,
    replicas: &Arc<Replicas>,
    store: &Arc<SnapshotStore>,
    metrics: &Arc<Metrics>,
    stopped: &watch::Receiver<bool>,
    tasks: &mut Tasks,
) -> Result<JoinHandle<Result<(), ServeError>>, ControllerError> {
    let observer: Arc<Metrics> = Arc::clone(metrics);
    let (denials, mut received) = Sink::new(observer, options.clock.clone());
    let counted = Arc::clone(metrics);
    tasks.add(&tokio::spawn(async move {
        while let Some(received) = received.recv().await {
            counted.denied(received.record.judged());
        }
    }));
    let (sender, connections) = mpsc::channel(WAITING_REPLICAS);
    tasks.add(&tokio::spawn(Arc::clone(replicas).listen(connections)));
    let listener = TcpListener::bind(options.xds_listen).await;
    let server = TlsServer {
        listener: listener.map_err(|source| ControllerError::Listen {
            address: options.xds_listen,
            source,
        })?,
        credentials: certificates.credentials.clone(),
        authorize: Arc::new(certificates::node_of),
        services: Routes::new(xds::service::<Peer>(Arc::clone(store), stopped.clone()))
            .add_service(sink::service::<Peer>(denials, stopped.clone())),
        protocols: Protocols::from([(PROTOCOL, sender)]),
        limits: ConnectionLimits::default(),
        on_refused: {
            let metrics = Arc::clone(metrics);
            Arc::new(move |refusal| metrics.connection_refused(refusal.name()))
        },
    };
    Ok(tokio::spawn(serve_tls(server, stopped.clone())))
}

fn campaign(options: &Options, identity: &str, stopped: &watch::Receiver<bool>) -> Leadership {
    leader::campaign(
        options.client.clone(),
        LeaseOptions {
            name: LEASE.to_owned(),
            namespace: options.namespace.clone(),
            identity: identity.to_owned(),
            address: options.advertise.clone(),
            timing: options.lease,
        },
        options.clock.clone(),
        done(stopped.clone()),
    )
}

/// Reconciler of the statuses of a kind.
fn statuses<K: StatusOnly>(
    options: &Options,
    states: Arc<States<K>>,
    metrics: &Arc<Metrics>,
) -> statuses::Reconciler<K> {
    let writer = StatusWriter::new(
        options.client.clone(),
        firewall::STATUS_MANAGER,
        K::METRIC,
        Arc::clone(metrics),
    );
    statuses::Reconciler::new(states, writer, options.clock.clone())
}

fn firewalls(
    options: &Options,
    certificates: Certificates,
    state: Arc<FirewallState>,
    objects: Arc<GeneratedObjects>,
    replicas: Arc<Replicas>,
    metrics: &Arc<Metrics>,
) -> firewall::Reconciler {
    let client = || options.client.clone();
    firewall::Reconciler {
        state,
        desired: DesiredObjects::new(
            options.proxy_image.clone(),
            options.xds_address.clone(),
            options.local.clone(),
        ),
        objects,
        statuses: StatusWriter::new(
            client(),
            firewall::STATUS_MANAGER,
            firewall::STATUS_METRIC,
            Arc::clone(metrics),
        ),
        events: EventWriter::new(client(), REPORTER, &options.name, Arc::clone(metrics)),
        replicas,
        authority: certificates.authority,
        clock: options.clock.clone(),
        metrics: Arc::clone(metrics),
    }
}
