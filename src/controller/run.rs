//! Starts the operator's parts in their order, and ends them.
//!
//! Nothing is served before everything was listed and compiled once: a proxy that asks earlier would lose what it has.

use std::collections::HashMap;
use std::future::{Future, pending};
use std::sync::Arc;
use std::time::Duration;

use kube::runtime::events::{Recorder, Reporter};
use tokio::net::TcpListener;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinHandle};

use super::engine::Engine;
use super::part::Part;
use super::{ControllerError, Options};
use crate::controller::firewall::desired::FleetMaker;
use crate::controller::firewall::state::{FirewallState, Scope};
use crate::controller::firewall::writer::Writer;
use crate::policy::VaultId;
use crate::runtime::authority::{self, AuthorityStore};
use crate::runtime::generated::Children;
use crate::runtime::leader::{self, Leadership, LeaseOptions};
use crate::runtime::operations::metrics::number;
use crate::runtime::operations::{self, Health, Metrics};
use crate::runtime::permissions;
use crate::runtime::replicas::{self, Replicas};
use crate::transport::certificates::{self, Authority};
use crate::transport::{Credentials, TlsServer, serve_tls};
use crate::xds::{Event, Outcome, Report, ServeError, SnapshotStore};

/// Name of the lease.
const LEASE: &str = "vaultwall";
/// Who posts events.
const REPORTER: &str = "vaultwall.dev/operator";
/// How long the other tasks may take to end.
const STOPPING: Duration = Duration::from_secs(3);
/// Connections of other replicas that wait to be heard.
const REPLICAS_WAITING: usize = 16;

/// Runs until `stop` is done.
pub async fn run(
    options: Options,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ControllerError> {
    let stopping = watch::Sender::new(false);
    let stopped = stopping.subscribe();
    tokio::spawn({
        let stopping = stopping.clone();
        async move {
            stop.await;
            stopping.send_replace(true);
        }
    });
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
        // Until everything else has stopped.
        pending(),
    )));
    let begin = async {
        permissions::check(&options.client, &options.namespace).await?;
        Known::of(&options, &metrics, &mut tasks).await
    };
    let known = tokio::select! {
        known = begin => known?,
        () = done(stopped.clone()) => return Ok(()),
    };

    let store = Arc::new(SnapshotStore::new());
    let firewall_state = Arc::new(FirewallState::default());
    let children = Children::watch(
        options.client.clone(),
        Arc::clone(&firewall_state),
        Arc::clone(&metrics),
    );
    let (engine, mut synced) = engine(&options, &store, &firewall_state, &metrics, &health);
    tasks.add(&engine);
    tokio::select! {
        _ = synced.wait_for(|synced| *synced) => {}
        () = done(stopped.clone()) => return Ok(()),
    }
    tracing::info!(
        "everything was listed; serving proxies on {}",
        options.xds_listen
    );

    let replicas = Arc::new(Replicas::new(Arc::clone(&store)));
    let mut proxies = serve(&options, &known, &replicas, &store, &stopped, &mut tasks).await?;
    serving.met();
    let rejections = count_rejections(store.reports(), Arc::clone(&metrics));
    tasks.add(&tokio::spawn(rejections));
    tasks.add(&tokio::spawn(mark_changes(
        Arc::clone(&replicas),
        Arc::clone(&firewall_state),
        Arc::clone(&metrics),
    )));

    let identity = leader::unique_identity(&options.name);
    let leadership = campaign(&options, &identity, &stopped);
    let state = leadership.state();
    let alive = state.clone();
    health.task("lease", move || leader::is_alive(&alive));
    let (leader, leader_address) = watch::channel(None);
    let reporting = replicas::report(store, identity, leader_address, known.credentials.clone());
    tasks.add(&tokio::spawn(reporting));
    let writer = writer(
        &options,
        known,
        firewall_state,
        children,
        replicas,
        &metrics,
    );
    let part = Part {
        state,
        leader,
        metrics,
    };
    let result = tokio::select! {
        lost = part.take(&writer) => Err(ControllerError::Lost(lost)),
        ended = &mut proxies => match ended {
            Ok(ended) => ended.map_err(ControllerError::from),
            Err(_) => Err(ControllerError::Panicked("the server for proxies")),
        },
        () = done(stopped.clone()) => Ok(()),
    };
    let was_told = *stopped.borrow();
    tracing::info!("stopping; proxies go on with what they have");
    serving.unmet("this replica is stopping");
    stopping.send_replace(true);
    // Gives the lease back, if it is held.
    let _ = tokio::time::timeout(STOPPING, leadership.ended()).await;
    // It is told to stop as well, and may have been the first to end: then its result was taken above.
    if !proxies.is_finished() {
        let _ = tokio::time::timeout(STOPPING, proxies).await;
    }
    // Told to stop, it ends well, whichever part noticed first.
    if was_told { Ok(()) } else { result }
}

async fn done(mut stopped: watch::Receiver<bool>) {
    // An error means that whoever would tell is gone, which is the same.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Tasks that end with this value.
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

/// By what the operator knows its proxies, and they know it.
struct Known {
    authority: watch::Receiver<Arc<Authority>>,
    credentials: watch::Receiver<Arc<Credentials>>,
}

impl Known {
    async fn of(
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

/// Starts what makes snapshots of events, and the watches that tell it of them.
fn engine(
    options: &Options,
    store: &Arc<SnapshotStore>,
    firewall_state: &Arc<FirewallState>,
    metrics: &Arc<Metrics>,
    health: &Health,
) -> (JoinHandle<()>, watch::Receiver<bool>) {
    let listed = health.condition("watches", "nothing was listed by the API server yet");
    let engine = Engine::new(
        options.limits,
        options.local.clone(),
        Arc::clone(store),
        Arc::clone(firewall_state),
        Arc::clone(metrics),
    );
    let synced = engine.synced();
    let events = crate::runtime::watch::start(&options.client, options.limits, metrics);
    let engine = tokio::spawn(engine.run(events, health.pulse("engine"), listed));
    let running = engine.abort_handle();
    health.task("engine", move || !running.is_finished());
    (engine, synced)
}

/// Serves proxies, and hears other replicas on the same port.
async fn serve(
    options: &Options,
    known: &Known,
    replicas: &Arc<Replicas>,
    store: &Arc<SnapshotStore>,
    stopped: &watch::Receiver<bool>,
    tasks: &mut Tasks,
) -> Result<JoinHandle<Result<(), ServeError>>, ControllerError> {
    let (others, connections) = mpsc::channel(REPLICAS_WAITING);
    tasks.add(&tokio::spawn(Arc::clone(replicas).listen(connections)));
    let listener = TcpListener::bind(options.xds_listen).await;
    let server = TlsServer {
        listener: listener.map_err(|source| ControllerError::Listen {
            address: options.xds_listen,
            source,
        })?,
        credentials: known.credentials.clone(),
        authorize: Arc::new(certificates::node_of),
        others: Some(others),
    };
    Ok(tokio::spawn(serve_tls(
        server,
        Arc::clone(store),
        done(stopped.clone()),
    )))
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

fn writer(
    options: &Options,
    known: Known,
    firewall_state: Arc<FirewallState>,
    children: Arc<Children>,
    replicas: Arc<Replicas>,
    metrics: &Arc<Metrics>,
) -> Writer {
    let reporter = Reporter {
        controller: REPORTER.to_owned(),
        instance: Some(options.name.clone()),
    };
    Writer {
        client: options.client.clone(),
        state: firewall_state,
        children,
        replicas,
        authority: known.authority,
        fleet: FleetMaker::new(
            options.proxy_image.clone(),
            options.xds_address.clone(),
            options.local.clone(),
        ),
        recorder: Recorder::new(options.client.clone(), reporter),
        clock: options.clock.clone(),
        metrics: Arc::clone(metrics),
    }
}

/// Counts what proxies refuse; in whose words is in the log and in status.
async fn count_rejections(mut reports: broadcast::Receiver<Report>, metrics: Arc<Metrics>) {
    loop {
        match reports.recv().await {
            Ok(report) => {
                if let Event::Answered {
                    outcome: Outcome::Rejected { .. },
                    ..
                } = report.event
                {
                    metrics.xds_rejections.inc();
                }
            }
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

/// Whatever a proxy says on any replica is a reason to look at its vault's status.
async fn mark_changes(
    replicas: Arc<Replicas>,
    firewall_state: Arc<FirewallState>,
    metrics: Arc<Metrics>,
) {
    let mut changes = replicas.changes();
    let mut counted = HashMap::new();
    let (mut connected, mut programmed) = (0, 0);
    loop {
        for node in changes.next().await {
            let status = replicas.status(&node);
            let now = (status.connected, status.programmed);
            let before = if now == (0, 0) {
                counted.remove(&node)
            } else {
                counted.insert(Arc::clone(&node), now)
            };
            let before = before.unwrap_or_default();
            connected = connected + now.0 - before.0;
            programmed = programmed + now.1 - before.1;
            if let Some((namespace, service)) = node.split_once('/') {
                let vault = VaultId {
                    namespace: namespace.to_owned(),
                    service: service.to_owned(),
                };
                firewall_state.enqueue(vault, Scope::Status);
            }
        }
        metrics.proxies_connected.set(number(connected));
        metrics.proxies_programmed.set(number(programmed));
    }
}
