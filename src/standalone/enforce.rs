//! From the index to the proxy: resolves, compiles and publishes the one firewall, and says what came of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::broadcast::error::RecvError;

use super::files::Files;
use crate::compile::envoy::{self, Configuration, Proxy};
use crate::index::VaultResolution;
use crate::policy::{AddressRules, Firewall, VaultId};
use crate::xds::{Event, NotProgrammed, Outcome, Resource, Snapshot, SnapshotStore};

/// How long a proxy may take before its silence is worth a word.
const PATIENCE: Duration = Duration::from_secs(10);

/// Keeps one vault's proxies at the firewall of now.
pub(super) struct Enforcer {
    vault: VaultId,
    proxy: Proxy,
    store: Arc<SnapshotStore>,
    /// The part that rules do not touch, and the shape that it was compiled for.
    fixed: Option<(Firewall, Vec<Resource>)>,
    published: Option<Firewall>,
}

impl Enforcer {
    pub(super) fn new(vault: VaultId, proxy: Proxy, store: Arc<SnapshotStore>) -> Self {
        Self {
            vault,
            proxy,
            store,
            fixed: None,
            published: None,
        }
    }

    /// Publishes the firewall if it changed. `seen` is when the change was seen.
    pub(super) fn enforce(&mut self, files: &mut Files, seen: Instant) {
        let changed = files.index_mut().take_changed();
        for other in changed.iter().filter(|vault| **vault != self.vault) {
            tracing::warn!(
                "policies of {other} are passed over: this Vaultwall protects {}",
                self.vault
            );
        }
        if self.published.is_some() && !changed.contains(&self.vault) {
            return;
        }
        let firewall = match files.index_mut().resolve(&self.vault) {
            Some(resolved) => {
                say(&resolved);
                resolved.resolution.firewall
            }
            None => match &self.published {
                Some(_) => return,
                None => Firewall::deny_all(self.vault.clone(), 0),
            },
        };
        if self.published.as_ref() == Some(&firewall) {
            return;
        }
        let started = Instant::now();
        let snapshot = self.compile(&firewall);
        let version = self.store.publish(&self.vault.to_string(), snapshot);
        tracing::info!(
            policies = ?firewall.policies,
            virtual_network_prefixes = firewall.virtual_networks.len(),
            ip_prefixes = firewall.ip_rules.len(),
            default_action = ?firewall.default_action,
            compiled_in = ?started.elapsed(),
            "firewall of {} changed",
            self.vault
        );
        self.published = Some(firewall);
        tokio::spawn(confirm(
            self.store.clone(),
            self.vault.clone(),
            version,
            seen,
        ));
    }

    fn compile(&mut self, firewall: &Firewall) -> Snapshot {
        let shape = shape(firewall);
        let fixed = match self.fixed.take() {
            Some((of, resources)) if of == shape => resources,
            _ => fixed(&envoy::configuration(
                firewall,
                &firewall.table(),
                &self.proxy,
            )),
        };
        let rules = envoy::extensions(firewall)
            .iter()
            .map(Resource::new)
            .collect::<Vec<_>>();
        let snapshot = Snapshot::new(fixed.iter().cloned().chain(rules).collect());
        self.fixed = Some((shape, fixed));
        snapshot
    }
}

/// A firewall without what only its rules say.
fn shape(firewall: &Firewall) -> Firewall {
    Firewall {
        virtual_networks: AddressRules::default(),
        ip_rules: AddressRules::default(),
        peers: Vec::new(),
        policies: Vec::new(),
        default_action: crate::policy::DefaultAction::Deny,
        ..firewall.clone()
    }
}

fn fixed(configuration: &Configuration) -> Vec<Resource> {
    let clusters = configuration.clusters.iter().map(Resource::new);
    let listeners = configuration.listeners.iter().map(Resource::new);
    clusters
        .chain(listeners)
        .chain(configuration.routes.iter().map(Resource::new))
        .collect()
}

/// Says what the resolution found, for the owner of the policies.
fn say(resolved: &VaultResolution) {
    let resolution = &resolved.resolution;
    for refused in &resolution.refused {
        let violation = &refused.violation;
        tracing::error!(
            "policy {} is not accepted: {}: {}",
            refused.policy,
            violation.field,
            violation.message
        );
    }
    if resolved.kept {
        tracing::error!(
            "no policy of {} is accepted: what was in force stays in force",
            resolution.firewall.vault
        );
    }
    let remarks = resolution
        .unresolved
        .iter()
        .chain(&resolution.conflicts)
        .chain(&resolution.warnings);
    for remark in remarks {
        tracing::warn!(
            "policy {}: {}: {}",
            remark.policy,
            remark.field,
            remark.message
        );
    }
}

/// Says when a version is in force, or why it is not.
async fn confirm(store: Arc<SnapshotStore>, vault: VaultId, version: String, seen: Instant) {
    let node = vault.to_string();
    let waiting = store.wait_programmed(&node, &version);
    match tokio::time::timeout(PATIENCE, waiting).await {
        Ok(Ok(())) => tracing::info!(after = ?seen.elapsed(), "in force at {vault}"),
        // A newer version took its place, and speaks for itself; a rejection is reported in Envoy's words.
        Ok(Err(NotProgrammed::NotNewest { .. } | NotProgrammed::Rejected { .. })) => {}
        Err(_) => tracing::warn!(
            "Envoy has not confirmed the newest rules of {vault} in {PATIENCE:?}; what was in force stays in force"
        ),
    }
}

/// Says what Envoy refuses, in Envoy's words.
pub(super) async fn report_rejections(store: Arc<SnapshotStore>) {
    let mut reports = store.reports();
    loop {
        match reports.recv().await {
            Ok(report) => {
                if let Event::Answered {
                    kind,
                    name,
                    outcome: Outcome::Rejected { message },
                    ..
                } = report.event
                {
                    tracing::error!(
                        "Envoy refuses {kind:?} {name}: {message}; what was in force stays in force"
                    );
                }
            }
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}
