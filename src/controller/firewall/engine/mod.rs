//! Applies events to the index, publishes the firewalls that changed, and commits the result to the state.
//!
//! Every replica runs one engine. An event affects only the firewalls that refer to its object. Nothing is published
//! before every kind was listed once: an incomplete list would deny clients that the missing objects allow. This module
//! contains no rule and writes no object.

mod keys;
mod status_only;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, watch};

pub(crate) use self::status_only::StatusOnlyKinds;
use super::state::{Delta, FirewallState, Stage, StoredPolicy, Target, VaultEntry};
use super::status::{TargetProblem, target_of};
use crate::api::proxy_labels;
use crate::clock::Clock;
use crate::compile::envoy::{Proxy, Tls};
use crate::compile::firewall_name;
use crate::compile::kubernetes::protected_service::ProtectedServiceError;
use crate::compile::kubernetes::proxies;
use crate::controller::account_labels::PodLabels;
use crate::controller::options::LocalProxy;
use crate::index::{Index, Key, Kind, Object, ObjectName, Protected, VaultResolution};
use crate::limits::Limits;
use crate::objects::infos;
use crate::policy::{Diagnostic, Firewall, Http2, Mode, Resolution, VaultId};
use crate::publish::{Desired, Outcome, Publisher};
use crate::runtime::issuer_keys::IssuerKeyFetcher;
use crate::runtime::label_guard::LabelGuard;
use crate::runtime::operations::metrics::number;
use crate::runtime::operations::{Condition, Metrics, Pulse};
use crate::runtime::watch::{Event, Observed, Seen};
use crate::xds::SnapshotStore;

/// Most events of one batch. Events that arrive while a batch is compiled form the next one; a single change is
/// published at once.
const BATCH: usize = 512;
/// Keeps every vault's snapshot and state up to date with the watches.
pub(crate) struct Engine {
    index: Index,
    local: BTreeMap<VaultId, LocalProxy>,
    publisher: Publisher,
    state: Arc<FirewallState>,
    metrics: Arc<Metrics>,
    /// Kinds that the API server has not listed completely yet.
    not_listed: BTreeSet<Kind>,
    /// Vaults of which this process has accepted a policy. For the others it is unknown what was in force before it
    /// started.
    accepted: HashSet<VaultId>,
    /// Vaults with `mode: Audit`.
    audited: HashSet<VaultId>,
    /// Vaults by the Service of their firewall; without those whose proxies run next to the operator.
    services: HashMap<ObjectName, VaultId>,
    status_only: StatusOnlyKinds,
    labels: Arc<PodLabels>,
    /// Changes that are not committed yet.
    delta: Delta,
    synced: watch::Sender<bool>,
}

impl Engine {
    pub(crate) fn new(
        limits: Limits,
        local: BTreeMap<VaultId, LocalProxy>,
        store: Arc<SnapshotStore>,
        state: Arc<FirewallState>,
        status_only: StatusOnlyKinds,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Self {
        let confirmed = Arc::clone(&metrics);
        Self {
            index: Index::new(limits),
            local,
            publisher: Publisher::new(store, clock, move |confirmation| {
                // A newer version, a refusal and missing proxies do not measure a delay.
                if confirmation.outcome == Outcome::InForce {
                    confirmed.change_acknowledged(confirmation.seen);
                }
            }),
            state,
            metrics,
            not_listed: infos().map(|info| info.kind).collect(),
            accepted: HashSet::new(),
            audited: HashSet::new(),
            services: HashMap::new(),
            status_only,
            labels: Arc::default(),
            delta: Delta::default(),
            synced: watch::Sender::new(false),
        }
    }

    /// Becomes true when every kind was listed once and its firewalls are published.
    pub(crate) fn synced(&self) -> watch::Receiver<bool> {
        self.synced.subscribe()
    }

    /// Pods whose label with their service account has to be set.
    pub(crate) fn pod_labels(&self) -> Arc<PodLabels> {
        Arc::clone(&self.labels)
    }

    /// Runs until the watches end. The condition `listed` is met when every kind was listed once and published.
    pub(crate) async fn run(
        mut self,
        mut events: mpsc::Receiver<Event>,
        mut keys: IssuerKeyFetcher,
        mut guard: LabelGuard,
        mut pulse: Pulse,
        listed: Condition,
    ) {
        let mut batch = Vec::with_capacity(BATCH);
        self.index.keep_labels(guard.state());
        loop {
            let received = tokio::select! {
                received = events.recv_many(&mut batch, BATCH) => received,
                () = keys.changed() => {
                    self.use_keys(&mut keys).await;
                    if *self.synced.borrow() {
                        self.publish_batch(Instant::now());
                    }
                    continue;
                }
                () = guard.changed() => {
                    self.index.keep_labels(guard.state());
                    if *self.synced.borrow() {
                        self.publish_batch(Instant::now());
                    }
                    continue;
                }
                () = pulse.beat() => continue,
                () = self.publisher.wait_due() => {
                    self.publish_due();
                    self.state.commit(std::mem::take(&mut self.delta));
                    continue;
                }
            };
            if received == 0 {
                return;
            }
            let first = batch.first().map_or_else(Instant::now, |event| event.at);
            let needs_keys = keys::are_concerned(&batch);
            for event in batch.drain(..) {
                self.handle(event.seen);
            }
            if needs_keys {
                keys.set_urls(self.index.key_urls());
            }
            if self.not_listed.is_empty() {
                if !*self.synced.borrow() {
                    self.use_keys(&mut keys).await;
                    guard.wait_for_first(keys::FIRST).await;
                    self.index.keep_labels(guard.state());
                }
                self.publish_batch(first);
                self.synced.send_replace(true);
                listed.met();
            } else {
                let missing: Vec<&str> = self.not_listed.iter().map(|kind| kind.name()).collect();
                let missing = missing.join(", ");
                listed.unmet(&format!("not listed by the API server yet: {missing}"));
            }
        }
    }

    /// Publishes the firewalls that changed, and commits the changes to the state.
    fn publish_batch(&mut self, seen: Instant) {
        self.publish_changed(seen);
        self.status_only.commit(&mut self.index);
        self.labels.set(self.index.take_label_corrections());
        self.state.commit(std::mem::take(&mut self.delta));
        let (accepted, refused) = self.state.count_policies();
        self.metrics.set_policies(accepted, refused);
    }

    fn handle(&mut self, seen: Seen) {
        match seen {
            Seen::Applied(observed) => self.apply(*observed),
            Seen::Deleted(key) => self.delete(&key),
            Seen::Listed(kind) => {
                self.not_listed.remove(&kind);
            }
        }
    }

    fn apply(&mut self, observed: Observed) {
        let Some(observed) = self.status_only.apply(observed, &mut self.index) else {
            return;
        };
        match (observed.key.kind, observed.read) {
            (Kind::VaultNetworkPolicy, read) => {
                let status = observed.status;
                self.apply_policy(StoredPolicy {
                    id: observed.key.name,
                    uid: observed.uid,
                    version: observed.version,
                    generation: observed.generation,
                    status: status.and_then(|status| serde_json::from_value(status).ok()),
                    read,
                });
            }
            (_, Ok(object)) => {
                if let Object::Namespace(fact) = &object {
                    self.state.set_terminating(&fact.name, fact.terminating);
                }
                self.index.apply(object);
            }
            // The API server sends no such object, or one that no firewall needs.
            (_, Err(_)) => self.delete(&observed.key),
        }
    }

    fn delete(&mut self, key: &Key) {
        match key.kind {
            Kind::VaultNetworkPolicy => {
                self.delta.policies.insert(key.name.clone(), None);
            }
            Kind::Namespace => self.state.set_terminating(&key.name.name, false),
            _ => {}
        }
        self.status_only.remove(key);
        self.index.delete(key);
    }

    /// The newest form of a policy, committed or not.
    fn known(&self, id: &ObjectName) -> Option<Arc<StoredPolicy>> {
        match self.delta.policies.get(id) {
            Some(stored) => stored.clone(),
            None => self.state.policy(id),
        }
    }

    fn apply_policy(&mut self, mut stored: StoredPolicy) {
        let mut known = self.known(&stored.id);
        if known.as_ref().is_some_and(|known| known.uid != stored.uid) {
            // Deleted and created again between two events: nothing of the former one stays.
            self.delete(&Key::new(Kind::VaultNetworkPolicy, stored.id.clone()));
            known = None;
        }
        if let Some(known) = &known
            && known.version > stored.version
        {
            // The response to the writer is newer than the event of the watch.
            stored.status.clone_from(&known.status);
            stored.version = known.version;
        }
        match &stored.read {
            Ok(policy) => self.index.apply(policy.clone()),
            Err(refused) => {
                let Some(policy) = &refused.fallback else {
                    tracing::error!(
                        "VaultNetworkPolicy {}: names no vault; its last valid form stays in force",
                        stored.id
                    );
                    return;
                };
                self.index.apply(Object::clone(policy));
            }
        }
        let vault = self.index.vault_of(&stored.id).cloned();
        let id = stored.id.clone();
        let first = known.map_or(Some(Stage::Isolation), |known| {
            // The generation or status can change although the meaning of the policy does not.
            let is_same = known.generation == stored.generation && known.status == stored.status;
            if !is_same {
                return Some(Stage::Isolation);
            }
            // A status for an earlier version is not accepted; it is written for this one.
            (known.version != stored.version).then_some(Stage::Status)
        });
        self.delta.policies.insert(id, Some(Arc::new(stored)));
        if let Some((vault, first)) = vault.zip(first) {
            let queued = self.delta.queued.entry(vault).or_insert(first);
            *queued = (*queued).min(first);
        }
    }

    /// Publishes the firewalls that changed. `seen` is the time when the first of the changes was seen.
    fn publish_changed(&mut self, seen: Instant) {
        for vault in self.index.take_changed() {
            self.publish(&vault, seen);
        }
        for service in self.index.take_changed_endpoints() {
            self.count_ready(&service);
        }
        let firewalls = self.publisher.node_count();
        self.metrics.firewalls.set(number(firewalls));
        self.metrics.audit_firewalls.set(number(self.audited.len()));
    }

    /// Counts the proxies behind the Service of a firewall; any other Service is ignored.
    fn count_ready(&mut self, service: &ObjectName) {
        let Some(vault) = self.services.get(service) else {
            return;
        };
        let ready = Some(self.index.ready_pods(service));
        if let Some(entry) = self.entry(vault).filter(|entry| entry.ready != ready) {
            let entry = VaultEntry { ready, ..entry };
            self.delta.vaults.insert(vault.clone(), Some(entry));
        }
    }

    /// Publishes the parts of firewalls that had to wait.
    fn publish_due(&mut self) {
        for (vault, version) in self.publisher.publish_due() {
            if let Some(entry) = self.entry(&vault) {
                let entry = VaultEntry { version, ..entry };
                self.delta.vaults.insert(vault, Some(entry));
            }
        }
    }

    fn publish(&mut self, vault: &VaultId, seen: Instant) {
        let started = Instant::now();
        let node = vault.to_string();
        let service = firewall_service(vault);
        let Some(mut resolved) = self.index.resolve(vault) else {
            // Proxies keep what they have until they are deleted with the other objects of the vault.
            self.publisher.withdraw(&node);
            self.services.remove(&service);
            self.audited.remove(vault);
            self.delta.vaults.insert(vault.clone(), None);
            tracing::info!(%vault, "the last policy was deleted; the firewall is removed");
            return;
        };
        self.metrics.resolved(started.elapsed());
        let (target, problem) = self.target(vault, &mut resolved.resolution.firewall);
        let resolution = Arc::new(resolved);
        let VaultResolution {
            resolution: policies,
            ..
        } = &*resolution;
        let firewall = &policies.firewall;
        if !policies.accepted.is_empty() {
            self.accepted.insert(vault.clone());
        }
        match firewall.mode {
            Mode::Audit => self.audited.insert(vault.clone()),
            Mode::Enforced => self.audited.remove(vault),
        };
        self.log_new(vault, policies);
        let cold_start = !self.accepted.contains(vault);
        let tls = proxies::tls(vault, &policies.proxy);
        let proxy = proxy(firewall, tls, policies.proxy.http2, self.local.get(vault));
        // A snapshot contains only resources that proxies ask for.
        let discovers = proxy.upstream.is_none();
        let openings = target.as_ref().map_or_else(
            |_| Vec::new(),
            |service| {
                let protected = Protected {
                    selector: service.selector(),
                    proxies: &proxy_labels(&vault.service),
                    port: firewall.port,
                    api_port: service.api_port(),
                };
                self.index.openings(vault, protected)
            },
        );
        let has_service = !self.local.contains_key(vault);
        let ready = has_service.then(|| self.index.ready_pods(&service));
        if has_service {
            self.services.insert(service, vault.clone());
        }
        let desired = Desired {
            endpoints: discovers.then(|| self.index.addresses(vault, firewall.port)),
            resolution: Arc::clone(&resolution),
            proxy,
            cold_start,
        };
        let published = self.publisher.publish(&node, desired, seen);
        if let Some(duration) = published.compiled_in {
            self.metrics.compiled(duration);
        }
        let entry = VaultEntry {
            target,
            problem,
            version: published.version,
            cold_start,
            ready,
            openings,
            policies: self.index.policies_of(vault),
            resolution,
        };
        self.delta.vaults.insert(vault.clone(), Some(entry));
    }

    /// Returns the protected Service, and the problem of the target of the policies. If the Service does not have their
    /// port, the firewall keeps the one that it has, because that of a typing error would serve no client.
    fn target(&self, vault: &VaultId, firewall: &mut Firewall) -> (Target, Option<TargetProblem>) {
        let service = self.index.service(vault);
        let target = target_of(service, firewall.port);
        let problem = target.as_ref().err().cloned();
        let kept = match &problem {
            Some(TargetProblem::Unusable(ProtectedServiceError::NoPort { .. })) => {
                self.port_in_force(vault)
            }
            _ => None,
        };
        if let Some(port) = kept
            && let Ok(kept) = target_of(service, port)
        {
            firewall.port = port;
            return (Ok(kept), problem);
        }
        (target, problem)
    }

    /// Returns the port of a vault's firewall: that of its last usable target, or of a status that an earlier process
    /// wrote.
    fn port_in_force(&self, vault: &VaultId) -> Option<u16> {
        let of_status = || {
            let policies = self.index.policies_of(vault);
            policies.iter().find_map(|id| {
                let endpoint = self.known(id)?.status.as_ref()?.endpoint.clone()?;
                endpoint.rsplit_once(':')?.1.parse().ok()
            })
        };
        let entry = self.entry(vault).filter(|entry| entry.target.is_ok());
        entry.map(|entry| entry.port()).or_else(of_status)
    }

    /// The newest state of a vault, committed or not.
    fn entry(&self, vault: &VaultId) -> Option<VaultEntry> {
        match self.delta.vaults.get(vault) {
            Some(entry) => entry.clone(),
            None => self.state.vault(vault),
        }
    }

    /// Logs the diagnostics that a vault did not have before, with the details that its status does not show.
    fn log_new(&self, vault: &VaultId, resolution: &Resolution) {
        let known = self.entry(vault);
        let is_known = |diagnostic: &Diagnostic| {
            known.as_ref().is_some_and(|known| {
                let mut diagnostics = known.resolution.resolution.diagnostics();
                diagnostics.any(|known| known == diagnostic)
            })
        };
        for diagnostic in resolution.diagnostics() {
            if !is_known(diagnostic) {
                tracing::info!(%vault, "policy {diagnostic}");
            }
        }
    }
}

/// Returns the Service of a vault's proxies.
fn firewall_service(vault: &VaultId) -> ObjectName {
    ObjectName {
        namespace: vault.namespace.clone(),
        name: firewall_name(&vault.service),
    }
}

/// How the proxies of a vault run: pods discover the vault's endpoints, a local proxy is configured by the operator's
/// options.
fn proxy(firewall: &Firewall, tls: Tls, http2: Option<Http2>, local: Option<&LocalProxy>) -> Proxy {
    let mut proxy = Proxy {
        upstream: None,
        streams_denials: true,
        ..Proxy::in_cluster(firewall, tls, http2)
    };
    if let Some(local) = local {
        proxy.data.set_ip(local.listen);
        proxy.management.set_ip(local.listen);
        proxy.upstream.clone_from(&local.upstream);
    }
    proxy
}
