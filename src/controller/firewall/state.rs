//! Current state of every policy and vault, and the queue of vaults to reconcile. The engine commits deltas, the
//! reconciler reads. It makes no decision and calls no API.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::api::VaultNetworkPolicyStatus;
use crate::compile::ProxyPorts;
use crate::compile::kubernetes::protected_service::ProtectedService;
use crate::controller::firewall::status::TargetProblem;
use crate::index::{Object, ObjectName, VaultResolution};
use crate::objects::Refused;
use crate::policy::{ValidatedPolicy, VaultId, Violation};

/// Age of the removal of a firewall after which a new leader does not announce it: the former one did.
const ANNOUNCED: Duration = Duration::from_mins(1);

/// Ports and selector of a vault's Service, or the reason why it cannot be protected.
pub(crate) type Target = Result<ProtectedService, TargetProblem>;

/// Stored form of a policy, with the data that its status is written from.
#[derive(Clone, Debug)]
pub(crate) struct StoredPolicy {
    pub(crate) id: ObjectName,
    pub(crate) uid: String,
    /// Resource version as a number: a later write has a greater one.
    pub(crate) version: u64,
    pub(crate) generation: i64,
    /// Status that was written last; none if it never had one.
    pub(crate) status: Option<VaultNetworkPolicyStatus>,
    /// Decoded and validated form, or the reasons why there is none.
    pub(crate) read: Result<Object, Refused>,
}

impl StoredPolicy {
    /// The policy, if it is valid.
    pub(crate) fn valid(&self) -> Option<&ValidatedPolicy> {
        self.read.as_ref().ok().and_then(Object::policy)
    }

    pub(crate) fn violations(&self) -> &[Violation] {
        match &self.read {
            Ok(_) => &[],
            Err(refused) => &refused.violations,
        }
    }
}

/// A vault that at least one policy names.
#[derive(Clone, Debug)]
pub(crate) struct VaultEntry {
    pub(crate) resolution: Arc<VaultResolution>,
    pub(crate) target: Target,
    /// Problem of the target of the policies. If `target` is usable all the same, it has the port that was in force
    /// before.
    pub(crate) problem: Option<TargetProblem>,
    /// Version of its newest snapshot, to compare with what proxies acknowledge.
    pub(crate) version: String,
    /// Whether that is a cold-start snapshot, which only proxies without configuration receive.
    pub(crate) cold_start: bool,
    /// Number of proxies that the firewall's Service sends clients to; none for proxies that run next to the operator.
    pub(crate) ready: Option<usize>,
    /// Names of `NetworkPolicies` of others that open its pods past the firewall.
    pub(crate) openings: Vec<String>,
    /// Its policies, valid or not, sorted by name.
    pub(crate) policies: Vec<ObjectName>,
}

impl VaultEntry {
    pub(crate) fn ports(&self) -> ProxyPorts {
        ProxyPorts::of(self.port())
    }

    /// Port of the vault's Service that the firewall is in front of.
    pub(crate) fn port(&self) -> u16 {
        self.resolution.resolution.firewall.port
    }

    /// The port that was in force before and stays, because the Service does not have that of the policies.
    pub(crate) fn kept_port(&self) -> Option<u16> {
        (self.problem.is_some() && self.target.is_ok()).then(|| self.port())
    }
}

/// Stages of the reconcile of one vault, the most urgent first. A vault is enqueued with its first stage; the later
/// ones follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// The `NetworkPolicies`: without them, clients can bypass the proxies.
    Isolation,
    /// The other objects that are generated for the firewall.
    Objects,
    /// Status of the policies.
    Status,
}

impl Stage {
    pub(crate) const ALL: &'static [Self] = &[Self::Isolation, Self::Objects, Self::Status];
}

/// Changes that are committed together: a reader that sees a policy's new generation with the resolution of its former
/// one would report the wrong result for it. `None` means that the object was deleted.
#[derive(Debug, Default)]
pub(crate) struct Delta {
    pub(crate) policies: BTreeMap<ObjectName, Option<Arc<StoredPolicy>>>,
    pub(crate) vaults: BTreeMap<VaultId, Option<VaultEntry>>,
    /// Vaults to reconcile although neither they nor their policies changed, each with its first stage.
    pub(crate) queued: BTreeMap<VaultId, Stage>,
}

impl Delta {
    fn is_empty(&self) -> bool {
        self.policies.is_empty() && self.vaults.is_empty() && self.queued.is_empty()
    }
}

#[derive(Debug, Default)]
struct Entries {
    policies: BTreeMap<ObjectName, Arc<StoredPolicy>>,
    vaults: BTreeMap<VaultId, VaultEntry>,
    /// How many of the stored policies each vault accepts, and all together.
    accepted: BTreeMap<VaultId, usize>,
    all_accepted: usize,
    /// Vaults that had a firewall when their last policy was deleted, and the time of that, for [`ANNOUNCED`].
    unprotected: BTreeMap<VaultId, Instant>,
    /// Namespaces that are being deleted: nothing can be created in them.
    terminating: BTreeSet<String>,
    queue: BTreeMap<VaultId, Stage>,
}

impl Entries {
    fn enqueue(&mut self, vault: VaultId, first: Stage) {
        let queued = self.queue.entry(vault).or_insert(first);
        *queued = (*queued).min(first);
    }

    /// Removes a vault without a policy.
    fn remove_vault(&mut self, vault: &VaultId) {
        self.unprotected
            .retain(|_, since| since.elapsed() < ANNOUNCED);
        let removed = self.vaults.remove(vault);
        if removed.is_some_and(|entry| entry.target.is_ok()) {
            self.unprotected.insert(vault.clone(), Instant::now());
        }
    }

    /// Updates the count of accepted policies of a vault. A policy whose earlier valid form stays in force is not
    /// accepted: what is stored now is invalid.
    fn count(&mut self, vault: &VaultId) {
        let accepted = self.vaults.get(vault).map_or(0, |entry| {
            let names = &entry.resolution.resolution.accepted;
            let is_accepted = |id: &&ObjectName| {
                let policy = self.policies.get(*id);
                policy.is_some_and(|policy| policy.read.is_ok()) && names.contains(&id.name)
            };
            entry.policies.iter().filter(is_accepted).count()
        });
        let before = if accepted == 0 {
            self.accepted.remove(vault)
        } else {
            self.accepted.insert(vault.clone(), accepted)
        };
        self.all_accepted = self.all_accepted + accepted - before.unwrap_or_default();
    }
}

/// State of all policies and vaults that this replica watches, and the queue of vaults to reconcile.
#[derive(Debug, Default)]
pub(crate) struct FirewallState {
    entries: Mutex<Entries>,
    queued: Notify,
}

impl FirewallState {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        // Every update leaves consistent entries, so a poisoned lock is safe to use.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commits a delta as a whole and enqueues its vaults.
    pub(crate) fn commit(&self, delta: Delta) {
        if delta.is_empty() {
            return;
        }
        let mut entries = self.entries();
        for (id, entry) in delta.policies {
            match entry {
                Some(entry) => entries.policies.insert(id, entry),
                None => entries.policies.remove(&id),
            };
        }
        let mut touched = delta.queued;
        for (vault, entry) in delta.vaults {
            match entry {
                Some(entry) => {
                    entries.vaults.insert(vault.clone(), entry);
                }
                None => entries.remove_vault(&vault),
            }
            touched.insert(vault, Stage::Isolation);
        }
        for (vault, first) in touched {
            entries.count(&vault);
            entries.enqueue(vault, first);
        }
        drop(entries);
        self.queued.notify_one();
    }

    /// A policy by namespace and name.
    pub(crate) fn policy(&self, id: &ObjectName) -> Option<Arc<StoredPolicy>> {
        self.entries().policies.get(id).cloned()
    }

    /// Records a status that was written and the resource version that the write returned, before the watch reports it.
    pub(crate) fn status_written(
        &self,
        policy: &StoredPolicy,
        status: Option<VaultNetworkPolicyStatus>,
        version: u64,
    ) {
        let mut entries = self.entries();
        if let Some(stored) = entries.policies.get_mut(&policy.id)
            && stored.uid == policy.uid
            && stored.version < version
        {
            let stored = Arc::make_mut(stored);
            stored.status = status;
            stored.version = version;
        }
    }

    /// Numbers of policies: accepted, and not accepted.
    pub(crate) fn count_policies(&self) -> (usize, usize) {
        let entries = self.entries();
        let all = entries.policies.len();
        (
            entries.all_accepted,
            all.saturating_sub(entries.all_accepted),
        )
    }

    /// A vault, if a policy names it.
    pub(crate) fn vault(&self, vault: &VaultId) -> Option<VaultEntry> {
        self.entries().vaults.get(vault).cloned()
    }

    /// Whether a vault had a firewall until a moment ago; true once for each removal. Replicas that do not lead see
    /// removals too, which the leader announces.
    pub(crate) fn take_unprotected(&self, vault: &VaultId) -> bool {
        let since = self.entries().unprotected.remove(vault);
        since.is_some_and(|since| since.elapsed() < ANNOUNCED)
    }

    /// Records whether a namespace is being deleted; a change enqueues its vaults.
    pub(crate) fn set_terminating(&self, namespace: &str, terminating: bool) {
        let mut entries = self.entries();
        let changed = if terminating {
            entries.terminating.insert(namespace.to_owned())
        } else {
            entries.terminating.remove(namespace)
        };
        if changed {
            let inside = entries.vaults.keys();
            let inside = inside.filter(|vault| vault.namespace == namespace);
            let inside: Vec<VaultId> = inside.cloned().collect();
            for vault in inside {
                entries.enqueue(vault, Stage::Isolation);
            }
            drop(entries);
            self.queued.notify_one();
        }
    }

    /// Whether a namespace is being deleted.
    pub(crate) fn is_terminating(&self, namespace: &str) -> bool {
        self.entries().terminating.contains(namespace)
    }

    /// Adds a vault to the queue, with its first stage.
    pub(crate) fn enqueue(&self, vault: VaultId, first: Stage) {
        self.entries().enqueue(vault, first);
        self.queued.notify_one();
    }

    /// Adds all vaults to the queue.
    pub(crate) fn enqueue_all(&self) {
        let mut entries = self.entries();
        let all: Vec<VaultId> = entries.vaults.keys().cloned().collect();
        for vault in all {
            entries.enqueue(vault, Stage::Isolation);
        }
        drop(entries);
        self.queued.notify_one();
    }

    /// Waits until the queue is not empty, and empties it.
    pub(crate) async fn next_queued(&self) -> BTreeMap<VaultId, Stage> {
        loop {
            let queue = std::mem::take(&mut self.entries().queue);
            if !queue.is_empty() {
                return queue;
            }
            self.queued.notified().await;
        }
    }
}
