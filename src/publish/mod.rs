//! Resolved firewall → compiled → published → confirmed: gives each node's proxies their snapshot, for the operator and
//! for standalone mode alike.
//!
//! A caller resolves the vaults that its index reports as changed and passes each result to [`Publisher::publish`].
//! Work that becomes due later than an event, such as a missing confirmation, belongs here, by the [`Clock`]. This
//! module uses no client, metrics or status: it returns what it did and calls back with confirmations.

mod compiler;
mod confirmation;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use compiler::Compiler;
pub use confirmation::{Confirmation, Outcome, report_rejections};

use crate::clock::Clock;
use crate::compile::envoy::{self, Proxy};
use crate::index::VaultResolution;
use crate::policy::{Firewall, VaultId};
use crate::xds::{Resource, SnapshotStore};

/// All inputs of a node's snapshot.
#[derive(Clone, Debug)]
pub struct Desired {
    /// The vault's resolution; its firewall is compiled.
    pub resolution: Arc<VaultResolution>,
    /// How the node's proxies run.
    pub proxy: Proxy,
    /// The vault's addresses, if its proxies discover them (EDS); `None` if [`Proxy::upstream`] names the vault.
    pub endpoints: Option<BTreeSet<SocketAddrV4>>,
    /// Whether only proxies without configuration receive the snapshot ([`crate::xds::Snapshot::as_cold_start`]).
    pub cold_start: bool,
}

impl Desired {
    fn firewall(&self) -> &Firewall {
        &self.resolution.resolution.firewall
    }

    /// Whether the other inputs result in the same snapshot.
    fn has_same_snapshot(&self, other: &Self) -> bool {
        self.firewall() == other.firewall()
            && self.proxy == other.proxy
            && self.endpoints == other.endpoints
            && self.cold_start == other.cold_start
    }
}

/// Result of [`Publisher::publish`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Version of the node's newest snapshot.
    pub version: String,
    /// Time to compile and publish it; `None` if its inputs did not change, so that nothing was published.
    pub compiled_in: Option<Duration>,
}

/// Keeps the snapshots of all nodes up to date.
pub struct Publisher {
    store: Arc<SnapshotStore>,
    clock: Clock,
    on_confirmation: Arc<dyn Fn(&Confirmation) + Send + Sync>,
    nodes: HashMap<String, Node>,
}

#[derive(Default)]
struct Node {
    compiler: Compiler,
    /// Inputs and version of the newest snapshot.
    newest: Option<(Desired, String)>,
}

impl Publisher {
    /// A publisher to this store. `on_confirmation` is called once for each published version, in a task of its own.
    pub fn new(
        store: Arc<SnapshotStore>,
        clock: Clock,
        on_confirmation: impl Fn(&Confirmation) + Send + Sync + 'static,
    ) -> Self {
        Self {
            store,
            clock,
            on_confirmation: Arc::new(on_confirmation),
            nodes: HashMap::new(),
        }
    }

    /// Number of nodes that have a snapshot.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// Compiles and publishes the snapshot of a node if its inputs changed. `seen` is the time when the change was
    /// first seen, from which its delay is measured. Must be called within a tokio runtime.
    pub fn publish(&mut self, node: &str, desired: Desired, seen: Instant) -> Published {
        let known = self.nodes.entry(node.to_owned()).or_default();
        if let Some((newest, version)) = &mut known.newest
            && newest.has_same_snapshot(&desired)
        {
            // Holds the newest resolution, so that the earlier one is freed.
            *newest = desired;
            return Published {
                version: version.clone(),
                compiled_in: None,
            };
        }
        self.compile(node, desired, seen)
    }

    fn compile(&mut self, node: &str, desired: Desired, seen: Instant) -> Published {
        let started = Instant::now();
        let now = self.clock.uptime();
        let known = self.nodes.entry(node.to_owned()).or_default();
        let firewall = desired.firewall();
        let endpoints = desired.endpoints.iter().flat_map(envoy::endpoints);
        let endpoints = endpoints.map(|endpoints| Resource::new(&endpoints));
        let snapshot = known
            .compiler
            .snapshot(firewall, &desired.proxy, endpoints.collect(), now);
        let snapshot = if desired.cold_start {
            snapshot.as_cold_start()
        } else {
            snapshot
        };
        let version = self.store.publish(node, snapshot);
        let compiled_in = started.elapsed();
        tracing::info!(
            policies = ?firewall.policies,
            virtual_network_prefixes = firewall.virtual_networks.len(),
            ip_prefixes = firewall.ip_rules.len(),
            mode = ?firewall.mode,
            default_action = ?firewall.default_action,
            vault = %firewall.vault,
            version,
            listeners_wait = known.compiler.due().is_some(),
            compiled_in = ?compiled_in,
            after = ?seen.elapsed(),
            "firewall of {} changed",
            firewall.vault
        );
        tokio::spawn(confirmation::confirm(
            Arc::clone(&self.store),
            self.clock.clone(),
            node.to_owned(),
            version.clone(),
            Confirmation {
                vault: firewall.vault.clone(),
                seen,
                outcome: Outcome::TimedOut,
            },
            Arc::clone(&self.on_confirmation),
        ));
        known.newest = Some((desired, version.clone()));
        Published {
            version,
            compiled_in: Some(compiled_in),
        }
    }

    /// Publishes again what had to wait and is due, from the inputs of the newest snapshots. Returns the new versions.
    pub fn publish_due(&mut self) -> Vec<(VaultId, String)> {
        let now = self.clock.uptime();
        let nodes = self.nodes.iter();
        let due = nodes.filter(|(_, node)| node.compiler.due().is_some_and(|due| due <= now));
        let due = due.filter_map(|(name, node)| Some((name.clone(), node.newest.clone()?.0)));
        let due: Vec<(String, Desired)> = due.collect();
        let publish = |(node, desired): (String, Desired)| {
            let vault = desired.firewall().vault.clone();
            let published = self.compile(&node, desired, Instant::now());
            (vault, published.version)
        };
        due.into_iter().map(publish).collect()
    }

    /// Waits until [`Self::publish_due`] has something to do.
    pub async fn wait_due(&self) {
        let first = self
            .nodes
            .values()
            .filter_map(|node| node.compiler.due())
            .min();
        match first {
            Some(first) => {
                let left = first.saturating_sub(self.clock.uptime());
                self.clock.sleep(left).await;
            }
            None => std::future::pending().await,
        }
    }

    /// Removes the snapshot of a node. Connected proxies keep what they have.
    pub fn withdraw(&mut self, node: &str) {
        self.store.withdraw(node);
        self.nodes.remove(node);
    }
}
