//! Search for tokens in everything that a cluster writes while a command runs: the command's output, the log of every
//! container from its first line, and each version of the objects that are not Secrets.
//!
//! It follows logs and watches objects from the beginning, because tests delete namespaces, and upgrades replace pods:
//! in the end, their logs and statuses no longer exist.

mod containers;
mod found;
mod objects;

use std::collections::HashSet;
use std::io::{self, BufRead, BufReader, Write};
use std::pin::pin;
use std::process::{Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use futures::AsyncBufReadExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::LogParams;
use kube::{Api, Client};
use tokio::runtime::Builder;
use tokio::task::JoinSet;

pub use self::containers::{Log, Program};
pub use self::found::Found;
use crate::cluster;
use crate::wait::{PAUSE, TIMEOUT};

/// Resources whose objects are searched, as API group, if any, version and plural: Vaultwall's kinds, those of the
/// objects that it creates except Secrets, and Events.
const RESOURCES: [&str; 13] = [
    "vaultwall.dev/v1alpha1/trustedservices",
    "vaultwall.dev/v1alpha1/vaultnetworkpolicies",
    "vaultwall.dev/v1alpha1/virtualnetworks",
    "events.k8s.io/v1/events",
    PODS,
    "v1/configmaps",
    "v1/namespaces",
    "v1/services",
    "v1/serviceaccounts",
    "apps/v1/deployments",
    "coordination.k8s.io/v1/leases",
    "networking.k8s.io/v1/networkpolicies",
    "policy/v1/poddisruptionbudgets",
];
const PODS: &str = "v1/pods";

/// A running search on one cluster.
pub struct TokenSearch {
    client: Client,
    found: Arc<Mutex<Found>>,
    watches: JoinSet<()>,
}

impl TokenSearch {
    /// Starts to watch all objects, and to follow the logs of all containers. Must be called within a tokio runtime.
    pub fn start(client: &Client) -> Self {
        let found: Arc<Mutex<Found>> = Arc::default();
        let followed = Arc::new(Followed {
            client: client.clone(),
            found: Arc::clone(&found),
            ids: Mutex::default(),
        });
        let mut watches = JoinSet::new();
        for resource in RESOURCES {
            let (client, followed) = (client.clone(), Arc::clone(&followed));
            watches.spawn(async move {
                objects::watch(&client, resource, |object| {
                    lock(&followed.found).object(resource, object);
                    if resource == PODS {
                        for log in containers::logs_of(object) {
                            followed.follow(log);
                        }
                    }
                })
                .await;
            });
        }
        Self {
            client: client.clone(),
            found,
            watches,
        }
    }

    /// The result so far.
    pub fn found(&self) -> MutexGuard<'_, Found> {
        lock(&self.found)
    }

    /// Searches everything that exists now, so that the result does not depend on a watch that is late, and ends.
    ///
    /// # Errors
    ///
    /// If objects cannot be listed.
    pub async fn finish(mut self) -> kube::Result<Found> {
        for resource in RESOURCES {
            for object in objects::list_defined(&self.client, resource).await? {
                lock(&self.found).object(resource, &object);
                if resource == PODS {
                    for log in containers::logs_of(&object) {
                        // A log that cannot be read stays one that was not read to its end.
                        let _ = read(&self.client, &log, false, &self.found).await;
                    }
                }
            }
        }
        // A container that was deleted meanwhile is not listed, and its log ends soon.
        let end = Instant::now() + TIMEOUT;
        while lock(&self.found).has_open_log() && Instant::now() < end {
            tokio::time::sleep(PAUSE).await;
        }
        self.watches.shutdown().await;
        Ok(std::mem::take(&mut *lock(&self.found)))
    }
}

/// Containers whose logs are followed.
struct Followed {
    client: Client,
    found: Arc<Mutex<Found>>,
    /// Identities of the containers, without those whose logs could not be read.
    ids: Mutex<HashSet<String>>,
}

impl Followed {
    /// Follows a log, unless that has started already.
    fn follow(self: &Arc<Self>, log: Log) {
        if lock(&self.ids).insert(log.id.clone()) {
            let followed = Arc::clone(self);
            tokio::spawn(async move {
                if let Err(error) = read(&followed.client, &log, true, &followed.found).await {
                    // The next change of its pod starts it again.
                    lock(&followed.ids).remove(&log.id);
                    lock(&followed.found).log_failed(&log, &error.to_string());
                }
            });
        }
    }
}

/// Reads a log from its first line, to the end of the container if it is followed.
async fn read(
    client: &Client,
    log: &Log,
    follow: bool,
    found: &Mutex<Found>,
) -> Result<(), kube::Error> {
    lock(found).log_opened(log);
    let pods: Api<Pod> = Api::namespaced(client.clone(), &log.namespace);
    let parameters = LogParams {
        container: Some(log.container.clone()),
        follow,
        previous: log.is_previous,
        ..LogParams::default()
    };
    let mut stream = pin!(pods.log_stream(&log.pod, &parameters).await?);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let read = stream.read_until(b'\n', &mut line).await;
        if read.map_err(|error| kube::Error::Service(error.into()))? == 0 {
            break;
        }
        lock(found).log_line(log, number, &String::from_utf8_lossy(&line));
    }
    lock(found).log_ended(log);
    Ok(())
}

/// Runs a command, passes its output on, and searches that and the cluster of `KUBECONFIG` meanwhile.
///
/// # Errors
///
/// If the command cannot be started, or the cluster cannot be read when it has ended.
pub fn during(command: Command) -> io::Result<(ExitStatus, Found)> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let search = TokenSearch::start(&cluster::connect().await);
        let found = Arc::clone(&search.found);
        let ran = tokio::task::spawn_blocking(move || run(command, &found)).await;
        let status = ran.map_err(io::Error::other)??;
        let found = search.finish().await.map_err(io::Error::other)?;
        Ok((status, found))
    })
}

fn run(mut command: Command, found: &Mutex<Found>) -> io::Result<ExitStatus> {
    let (output, input) = io::pipe()?;
    let mut child = command.stdout(input.try_clone()?).stderr(input).spawn()?;
    // It holds the other end, too.
    drop(command);
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    while output.read_until(b'\n', &mut line)? > 0 {
        io::stdout().write_all(&line)?;
        lock(found).output(&String::from_utf8_lossy(&line));
        line.clear();
    }
    child.wait()
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
