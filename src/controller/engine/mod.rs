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
use crate::index::{Endpoints, Index, ObjectName, VaultResolution};
use crate::limits::Limits;
use crate::objects::{Object, Refused};
use crate::policy::{Firewall, VaultId};
use crate::publish::Compiler;
use crate::runtime::operations::metrics::number;
use crate::runtime::operations::{Condition, Metrics, Pulse};
use crate::runtime::watch::{Event, Fact, Kind, Seen, StoredPolicy};
use crate::xds::{Resource, SnapshotStore};

/// Most events that are taken together. What comes while a change is compiled is compiled with the next one; alone, a
/// change goes out at once.
const MOST_AT_ONCE: usize = 512;

/// Phase of a namespace that is being deleted.
const TERMINATING: &str = "Terminating";

/// How long an acknowledgement is waited for.
const CONFIRMED: Duration = Duration::from_secs(10);

/// Keeps every vault's snapshot at the firewall of now.
pub(super) struct Engine {
    index: Index,
    endpoints: Endpoints,
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
    /// Vaults whose addresses may have changed.
    moved: BTreeSet<VaultId>,
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
            endpoints: Endpoints::default(),
            local,
            store,
            state,
            metrics,
            not_listed: Kind::ALL.into_iter().collect(),
            firewalls: HashMap::new(),
            accepted: HashSet::new(),
            networks: HashMap::new(),
            moved: BTreeSet::new(),
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
            Seen::Applied(fact) => self.is(*fact),
            Seen::Deleted(kind, id) => self.gone(kind, &id),
            Seen::Listed(kind) => {
                self.not_listed.remove(&kind);
            }
        }
    }

    fn is(&mut self, fact: Fact) {
        match fact {
            Fact::Policy(stored) => self.policy(*stored),
            Fact::VirtualNetwork { name, uid, read } => self.virtual_network(&name, &uid, *read),
            Fact::Namespace { fact, phase } => {
                let terminating = phase.as_deref() == Some(TERMINATING);
                self.state.set_terminating(&fact.name, terminating);
                self.index.apply_namespace(fact);
            }
            Fact::Pod(pod) => self.index.apply_pod(pod),
            Fact::Service(service) => self.index.apply_service(service),
            Fact::EndpointSlice(slice) => {
                let touched = self.endpoints.apply(slice);
                self.moved.extend(touched.into_iter().map(VaultId::from));
            }
        }
    }

    fn gone(&mut self, kind: Kind, id: &ObjectName) {
        match kind {
            Kind::Policy => {
                self.delta.policies.insert(id.clone(), None);
                self.index.delete_policy(id);
            }
            Kind::VirtualNetwork => {
                self.networks.remove(&id.name);
                self.index.delete_virtual_network(&id.name);
            }
            Kind::Namespace => {
                self.state.set_terminating(&id.name, false);
                self.index.delete_namespace(&id.name);
            }
            Kind::Pod => self.index.delete_pod(id),
            Kind::Service => self.index.delete_service(id),
            Kind::EndpointSlice => {
                let touched = self.endpoints.delete(id);
                self.moved.extend(touched.into_iter().map(VaultId::from));
            }
        }
    }

    fn virtual_network(&mut self, name: &str, uid: &str, read: Result<Object, Refused>) {
        let known = self.networks.insert(name.to_owned(), uid.to_owned());
        if known.is_some_and(|known| known != uid) {
            // Deleted and made anew while nobody looked: nothing of the former one stays.
            self.index.delete_virtual_network(name);
        }
        match read {
            Ok(Object::VirtualNetwork(network)) => self.index.apply_virtual_network(network),
            Ok(_) => {}
            Err(refused) => {
                for violation in refused.violations {
                    tracing::error!(
                        "VirtualNetwork {name}: {}: {}; its last valid form stays in force",
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
            self.gone(Kind::Policy, &stored.id);
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
            Ok(Object::Policy(policy)) => self.index.apply_policy(policy.clone()),
            Ok(_) => return,
            Err(refused) => {
                let Some(policy) = &refused.policy else {
                    tracing::error!(
                        "VaultNetworkPolicy {}: does not say which vault it is for; what it was before stays in force",
                        stored.id
                    );
                    return;
                };
                self.index
                    .apply_invalid_policy(&policy.name, policy.vault.clone(), policy.port);
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
        let mut changed = self.index.take_changed();
        let moved = std::mem::take(&mut self.moved);
        changed.extend(
            moved
                .into_iter()
                .filter(|vault| self.firewalls.contains_key(vault)),
        );
        for vault in &changed {
            self.publish(vault, seen);
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
        let addresses = self.addresses(vault, firewall.port);
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

    /// Where the vault's pods listen.
    fn addresses(&self, vault: &VaultId, port: u16) -> BTreeSet<SocketAddrV4> {
        let port = self.index.service(vault).and_then(|service| {
            let mut ports = service.ports.iter();
            ports.find(|fact| fact.port == port)
        });
        let service = vault.service_name();
        port.map(|port| self.endpoints.addresses(&service, port.name.as_deref()))
            .unwrap_or_default()
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
