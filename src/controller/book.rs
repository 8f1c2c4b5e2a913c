//! What is known now of every policy and vault, for whoever writes: the engine enters, the writer reads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::status::TargetProblem;
use super::watch::StoredPolicy;
use crate::api::VaultNetworkPolicyStatus;
use crate::compile::{ProtectedService, ProxyPorts};
use crate::index::{ObjectName, VaultResolution};
use crate::policy::{VaultId, Violation};

/// What a vault's Service says.
pub(super) type Target = Result<ProtectedService, TargetProblem>;

/// A policy, as far as writing its status needs it.
#[derive(Clone, Debug)]
pub(super) struct PolicyEntry {
    pub(super) stored: Arc<StoredPolicy>,
}

impl PolicyEntry {
    pub(super) fn violations(&self) -> &[Violation] {
        match &self.stored.read {
            Ok(_) => &[],
            Err(refused) => &refused.violations,
        }
    }
}

/// A vault that some policy is about.
#[derive(Clone, Debug)]
pub(super) struct VaultEntry {
    pub(super) resolution: Arc<VaultResolution>,
    pub(super) ports: ProxyPorts,
    pub(super) target: Target,
    /// Version of its newest snapshot.
    pub(super) version: String,
    /// Its policies, valid or not, sorted by name.
    pub(super) policies: Vec<ObjectName>,
}

#[derive(Debug, Default)]
struct Entries {
    policies: BTreeMap<ObjectName, PolicyEntry>,
    vaults: BTreeMap<VaultId, VaultEntry>,
    /// Namespaces that are being deleted, in which nothing can be created any more.
    terminating: BTreeSet<String>,
    dirty: BTreeSet<VaultId>,
}

/// The book.
#[derive(Debug, Default)]
pub(super) struct Book {
    entries: Mutex<Entries>,
    news: Notify,
}

impl Book {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        // Whole at every moment, so a panic elsewhere while it was held does no harm.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A policy is there, changed, or gone.
    pub(super) fn set_policy(&self, id: &ObjectName, entry: Option<PolicyEntry>) {
        let mut entries = self.entries();
        match entry {
            Some(entry) => entries.policies.insert(id.clone(), entry),
            None => entries.policies.remove(id),
        };
    }

    /// A policy.
    pub(super) fn policy(&self, id: &ObjectName) -> Option<PolicyEntry> {
        self.entries().policies.get(id).cloned()
    }

    /// Whether a policy with this UID is there.
    pub(super) fn has_policy(&self, uid: &str) -> bool {
        let entries = self.entries();
        let mut policies = entries.policies.values();
        policies.any(|policy| policy.stored.uid == uid)
    }

    /// A status was written; the watch will say so a little later.
    pub(super) fn status_written(
        &self,
        policy: &StoredPolicy,
        status: Option<VaultNetworkPolicyStatus>,
    ) {
        let mut entries = self.entries();
        if let Some(entry) = entries.policies.get_mut(&policy.id)
            && entry.stored.uid == policy.uid
        {
            let mut stored = StoredPolicy::clone(&entry.stored);
            stored.status = status;
            entry.stored = Arc::new(stored);
        }
    }

    /// Accepted policies, and those that are not valid.
    pub(super) fn count_policies(&self) -> (usize, usize) {
        let entries = self.entries();
        let valid = entries
            .policies
            .values()
            .filter(|policy| policy.stored.read.is_ok())
            .count();
        (valid, entries.policies.len() - valid)
    }

    /// A vault changed, or no policy is about it any more. Whoever writes will look at it.
    pub(super) fn set_vault(&self, vault: &VaultId, entry: Option<VaultEntry>) {
        let mut entries = self.entries();
        match entry {
            Some(entry) => entries.vaults.insert(vault.clone(), entry),
            None => entries.vaults.remove(vault),
        };
        drop(entries);
        self.mark(vault.clone());
    }

    /// A vault.
    pub(super) fn vault(&self, vault: &VaultId) -> Option<VaultEntry> {
        self.entries().vaults.get(vault).cloned()
    }

    /// All vaults.
    pub(super) fn vaults(&self) -> Vec<VaultId> {
        self.entries().vaults.keys().cloned().collect()
    }

    /// Whether a namespace is being deleted.
    pub(super) fn set_terminating(&self, namespace: &str, terminating: bool) {
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
            entries.dirty.extend(inside);
            drop(entries);
            self.news.notify_one();
        }
    }

    pub(super) fn is_terminating(&self, namespace: &str) -> bool {
        self.entries().terminating.contains(namespace)
    }

    /// Something about a vault is to be looked at.
    pub(super) fn mark(&self, vault: VaultId) {
        self.entries().dirty.insert(vault);
        self.news.notify_one();
    }

    /// Everything is to be looked at.
    pub(super) fn mark_all(&self) {
        let mut entries = self.entries();
        let all: Vec<VaultId> = entries.vaults.keys().cloned().collect();
        entries.dirty.extend(all);
        drop(entries);
        self.news.notify_one();
    }

    /// Waits for vaults to look at.
    pub(super) async fn take_marked(&self) -> BTreeSet<VaultId> {
        loop {
            let marked = std::mem::take(&mut self.entries().dirty);
            if !marked.is_empty() {
                return marked;
            }
            self.news.notified().await;
        }
    }
}
