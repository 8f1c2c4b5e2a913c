//! From events to what the proxies are told: the index, the compilers, and the publication of what changed.
//!
//! Every replica runs one. An event touches only the firewalls that contain it. Nothing is published before everything was
//! listed once: half a list would cut off callers whom the other half lets in.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::options::LocalProxy;
use crate::compile::envoy::{self, Proxy, Tls};
use crate::compile::kubernetes::fleet;
use crate::compile::{ProtectedService, ProxyPorts};
use crate::controller::firewall::state::{Delta, FirewallState, PolicyEntry, Target, VaultEntry};
use crate::controller::firewall::status::TargetProblem;
use crate::index::{Index, Key, Kind, Object, ObjectName, VaultResolution};
use crate::limits::Limits;
use crate::objects::{Refused, infos};
use crate::policy::{Firewall, VaultId};
use crate::publish::Compiler;
use crate::runtime::operations::metrics::number;
use crate::runtime::operations::{Condition, Metrics, Pulse};
use crate::runtime::watch::{Event, Observed, Seen, StoredPolicy};
use crate::xds::{Resource, SnapshotStore};

/// Most events that are taken together. What comes while a change is compiled is compiled with the next one; alone, a
/// change goes out at once.
const MOST_AT_ONCE: usize = 512;

/// How long an acknowledgement is waited for.
const CONFIRMED: Duration = Duration::from_secs(10);

/// Keeps every vault's snapshot at the firewall of now.
pub(super) struct Engine {
    index: Index,
    local: BTreeMap<VaultId, LocalProxy>,
    store: Arc<SnapshotStore>,
    state: Arc<FirewallState>,
    metrics: Arc<Metrics>,
    not_listed: BTreeSet<Kind>,
    firewalls: HashMap<VaultId, Published>,
    /// Vaults of which this process ever accepted a policy. Of the others nobody knows what was in force before it began.
    accepted: HashSet<VaultId>,
    /// UIDs of the virtual networks.
    networks: HashMap<String, String>,
    /// Changes that are not committed yet.
    delta: Delta,
    synced: watch::Sender<bool>,
}

/// What the proxies of a vault were told.
#[derive(Default)]
struct Published {
    compiler: Compiler,
    resolution: Option<Arc<VaultResolution>>,
    addresses: BTreeSet<SocketAddrV4>,
    version: String,
}

impl Engine {
    pub(super) fn new(
        limits: Limits,
        local: BTreeMap<VaultId, LocalProxy>,
        store: Arc<SnapshotStore>,
        state: Arc<FirewallState>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            index: Index::new(limits),
            local,
            store,
            state,
            metrics,
            not_listed: infos()
                .filter(|info| info.watched)
                .map(|info| info.kind)
                .collect(),
            firewalls: HashMap::new(),
            accepted: HashSet::new(),
            networks: HashMap::new(),
            delta: Delta::default(),
            synced: watch::Sender::new(false),
        }
    }

    /// Whether everything was listed once and published.
    pub(super) fn synced(&self) -> watch::Receiver<bool> {
        self.synced.subscribe()
    }

    /// Runs until there are no more events. `listed` is met as soon as everything was listed once and published.
    pub(super) async fn run(
        mut self,
        mut events: mpsc::Receiver<Event>,
        mut pulse: Pulse,
        listed: Condition,
    ) {
        let mut batch = Vec::with_capacity(MOST_AT_ONCE);
        loop {
            let taken = tokio::select! {
                taken = events.recv_many(&mut batch, MOST_AT_ONCE) => taken,
                () = pulse.beat() => continue,
            };
            if taken == 0 {
                return;
            }
            let first = batch.first().map_or_else(Instant::now, |event| event.at);
            for event in batch.drain(..) {
                self.take(event.seen);
            }
            if self.not_listed.is_empty() {
                self.publish_changed(first);
                self.state.commit(std::mem::take(&mut self.delta));
                let (accepted, refused) = self.state.count_policies();
                self.metrics.set_policies(accepted, refused);
                self.synced.send_replace(true);
                listed.met();
            } else {
                let missing: Vec<&str> = self.not_listed.iter().map(|kind| kind.name()).collect();
                let missing = missing.join(", ");
                listed.unmet(&format!("not listed by the API server yet: {missing}"));
            }
        }
    }

    fn take(&mut self, seen: Seen) {
        match seen {
            Seen::Applied(observed) => self.is(*observed),
            Seen::Deleted(key) => self.gone(&key),
            Seen::Listed(kind) => {
                self.not_listed.remove(&kind);
            }
        }
    }

    fn is(&mut self, observed: Observed) {
        let kind = observed.key.kind;
        match (kind, observed.read) {
            (Kind::VaultNetworkPolicy, read) => {
                let status = observed.status;
                self.policy(StoredPolicy {
                    id: observed.key.name,
                    uid: observed.uid,
                    version: observed.version,
                    generation: observed.generation,
                    status: status.and_then(|status| serde_json::from_value(status).ok()),
                    read,
                });
            }
            (Kind::VirtualNetwork, read) => {
                self.virtual_network(&observed.key, &observed.uid, read);
            }
            (_, Ok(object)) => {
                if let Object::Namespace(fact) = &object {
                    self.state.set_terminating(&fact.name, fact.terminating);
                }
                self.index.apply(object);
            }
            // The API server sends no such object, or one that no firewall needs.
            (_, Err(_)) => self.gone(&observed.key),
        }
    }

    fn gone(&mut self, key: &Key) {
        match key.kind {
            Kind::VaultNetworkPolicy => {
                self.delta.policies.insert(key.name.clone(), None);
            }
            Kind::VirtualNetwork => {
                self.networks.remove(&key.name.name);
            }
            Kind::Namespace => self.state.set_terminating(&key.name.name, false),
            _ => {}
        }
        self.index.delete(key);
    }

    fn virtual_network(&mut self, key: &Key, uid: &str, read: Result<Object, Refused>) {
        let known = self.networks.insert(key.name.name.clone(), uid.to_owned());
        if known.is_some_and(|known| known != uid) {
            // Deleted and created again between two events: nothing of the former one stays.
            self.index.delete(key);
        }
        match read {
            Ok(network) => self.index.apply(network),
            Err(refused) => {
                for violation in refused.violations {
                    tracing::error!(
                        "{key}: {}: {}; its last valid form stays in force",
                        violation.field,
                        violation.message
                    );
                }
            }
        }
    }

    /// The newest that is known of a policy, committed or not.
    fn known(&self, id: &ObjectName) -> Option<Arc<StoredPolicy>> {
        let entry = match self.delta.policies.get(id) {
            Some(news) => news.clone(),
            None => self.state.policy(id),
        };
        entry.map(|entry| entry.stored)
    }

    fn policy(&mut self, mut stored: StoredPolicy) {
        let mut known = self.known(&stored.id);
        if known.as_ref().is_some_and(|known| known.uid != stored.uid) {
            // Deleted and made anew while nobody looked: nothing of the former one stays.
            self.gone(&Key::new(Kind::VaultNetworkPolicy, stored.id.clone()));
            known = None;
        }
        if let Some(known) = &known
            && known.version > stored.version
        {
            // What the writer was answered is newer than what the watch tells.
            stored.status.clone_from(&known.status);
            stored.version = known.version;
        }
        match &stored.read {
            Ok(policy) => self.index.apply(policy.clone()),
            Err(refused) => {
                let Some(policy) = &refused.fallback else {
                    tracing::error!(
                        "VaultNetworkPolicy {}: does not say which vault it is for; what it was before stays in force",
                        stored.id
                    );
                    return;
                };
                self.index.apply(Object::clone(policy));
            }
        }
        let vault = self.index.vault_of(&stored.id).cloned();
        let id = stored.id.clone();
        // A policy whose meaning did not change may have another generation or status all the same.
        let same_object = known.is_some_and(|known| {
            known.generation == stored.generation && known.status == stored.status
        });
        let entry = PolicyEntry {
            stored: Arc::new(stored),
        };
        self.delta.policies.insert(id, Some(entry));
        self.delta.queued.extend(vault.filter(|_| !same_object));
    }

    /// Publishes what changed. `seen` is when the first of the changes was seen.
    fn publish_changed(&mut self, seen: Instant) {
        for vault in self.index.take_changed() {
            self.publish(&vault, seen);
        }
        self.metrics.firewalls.set(number(self.firewalls.len()));
    }

    fn publish(&mut self, vault: &VaultId, seen: Instant) {
        let started = Instant::now();
        let Some(resolved) = self.index.resolve(vault) else {
            // Proxies keep what they have until they are gone with the other objects of the vault.
            self.store.withdraw(&vault.to_string());
            self.firewalls.remove(vault);
            self.delta.vaults.insert(vault.clone(), None);
            tracing::info!(%vault, "no policy is left; its firewall is taken away");
            return;
        };
        self.metrics.resolved(started.elapsed());
        let firewall = &resolved.resolution.firewall;
        let ports = ProxyPorts::of(firewall.port);
        let target = self.target(vault, firewall.port);
        let addresses = self.index.addresses(vault, firewall.port);
        let known = self.firewalls.entry(vault.clone()).or_default();
        let tls = fleet::tls(vault, &resolved.resolution.proxy);
        let was = known.resolution.as_ref().map(|known| {
            let resolution = &known.resolution;
            (&resolution.firewall, fleet::tls(vault, &resolution.proxy))
        });
        let is_first =
            !resolved.resolution.accepted.is_empty() && self.accepted.insert(vault.clone());
        let cold_start = !self.accepted.contains(vault);
        let is_new =
            is_first || was != Some((firewall, tls.clone())) || known.addresses != addresses;
        if is_new {
            let started = Instant::now();
            let proxy = proxy(firewall, tls, self.local.get(vault));
            // A snapshot holds only what somebody asks for.
            let discovered = proxy.upstream.is_none();
            let endpoints = discovered.then(|| Resource::new(&envoy::endpoints(&addresses)));
            let endpoints = endpoints.into_iter().collect();
            let snapshot = known.compiler.snapshot(firewall, &proxy, endpoints);
            let snapshot = if cold_start {
                snapshot.as_cold_start()
            } else {
                snapshot
            };
            known.version = self.store.publish(&vault.to_string(), snapshot);
            self.metrics.compiled(started.elapsed());
            known.addresses = addresses;
            tracing::info!(
                %vault,
                policies = ?firewall.policies,
                virtual_network_prefixes = firewall.virtual_networks.len(),
                ip_prefixes = firewall.ip_rules.len(),
                default_action = ?firewall.default_action,
                version = known.version,
                after = ?seen.elapsed(),
                "firewall changed"
            );
            tokio::spawn(confirm(
                Arc::clone(&self.store),
                Arc::clone(&self.metrics),
                vault.to_string(),
                known.version.clone(),
                seen,
            ));
        }
        let resolution = Arc::new(resolved);
        known.resolution = Some(Arc::clone(&resolution));
        let entry = VaultEntry {
            ports,
            target,
            version: known.version.clone(),
            cold_start,
            policies: self.index.policies_of(vault),
            resolution,
        };
        self.delta.vaults.insert(vault.clone(), Some(entry));
    }

    fn target(&self, vault: &VaultId, port: u16) -> Target {
        let service = self.index.service(vault).ok_or(TargetProblem::NotFound)?;
        ProtectedService::of(service, port).map_err(TargetProblem::Unusable)
    }
}

/// Measures how long it took until every proxy of this replica had a version in force. A newer version, a refusal and
/// proxies that are not there are no answer to that.
async fn confirm(
    store: Arc<SnapshotStore>,
    metrics: Arc<Metrics>,
    node: String,
    version: String,
    seen: Instant,
) {
    let programmed = store.wait_programmed(&node, &version);
    if let Ok(Ok(())) = tokio::time::timeout(CONFIRMED, programmed).await {
        metrics.change_acknowledged(seen);
    }
}

/// A proxy that finds the vault's pods by what is discovered, unless it runs beside the operator.
fn proxy(firewall: &Firewall, tls: Tls, local: Option<&LocalProxy>) -> Proxy {
    let mut proxy = Proxy {
        upstream: None,
        ..Proxy::in_cluster(firewall, tls)
    };
    if let Some(local) = local {
        proxy.data.set_ip(local.listen);
        proxy.management.set_ip(local.listen);
        proxy.upstream.clone_from(&local.upstream);
    }
    proxy
}
