//! What is known now of every policy and vault, for whoever writes: the engine enters, the writer reads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::api::VaultNetworkPolicyStatus;
use crate::compile::{ProtectedService, ProxyPorts};
use crate::controller::firewall::status::TargetProblem;
use crate::index::{ObjectName, VaultResolution};
use crate::policy::{VaultId, Violation};
use crate::runtime::watch::StoredPolicy;

/// What a vault's Service says.
pub(crate) type Target = Result<ProtectedService, TargetProblem>;

/// A policy, as far as writing its status needs it.
#[derive(Clone, Debug)]
pub(crate) struct PolicyEntry {
    pub(crate) stored: Arc<StoredPolicy>,
}

impl PolicyEntry {
    pub(crate) fn violations(&self) -> &[Violation] {
        match &self.stored.read {
            Ok(_) => &[],
            Err(refused) => &refused.violations,
        }
    }
}

/// A vault that some policy is about.
#[derive(Clone, Debug)]
pub(crate) struct VaultEntry {
    pub(crate) resolution: Arc<VaultResolution>,
    pub(crate) ports: ProxyPorts,
    pub(crate) target: Target,
    /// Version of its newest snapshot.
    pub(crate) version: String,
    /// Whether that is for proxies only that have nothing.
    pub(crate) stopgap: bool,
    /// Its policies, valid or not, sorted by name.
    pub(crate) policies: Vec<ObjectName>,
}

/// What whoever writes has to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Look {
    /// What status says: proxies have said something.
    Status,
    /// That, and the objects that belong to the firewall.
    Objects,
}

/// What was seen together. Nobody sees a part of it: a policy's new generation beside what its former one came to would be
/// taken for its own.
#[derive(Debug, Default)]
pub(crate) struct News {
    pub(crate) policies: BTreeMap<ObjectName, Option<PolicyEntry>>,
    pub(crate) vaults: BTreeMap<VaultId, Option<VaultEntry>>,
    pub(crate) marked: BTreeSet<VaultId>,
}

impl News {
    fn is_empty(&self) -> bool {
        self.policies.is_empty() && self.vaults.is_empty() && self.marked.is_empty()
    }
}

#[derive(Debug, Default)]
struct Entries {
    policies: BTreeMap<ObjectName, PolicyEntry>,
    vaults: BTreeMap<VaultId, VaultEntry>,
    /// How many of the stored policies each vault accepts, and all together.
    accepted: BTreeMap<VaultId, usize>,
    all_accepted: usize,
    /// Namespaces that are being deleted, in which nothing can be created any more.
    terminating: BTreeSet<String>,
    marked: BTreeMap<VaultId, Look>,
}

impl Entries {
    fn mark(&mut self, vault: VaultId, look: Look) {
        let marked = self.marked.entry(vault).or_insert(look);
        *marked = (*marked).max(look);
    }

    /// Counts anew what a vault accepts. An earlier form that stays in force is not what is stored.
    fn count(&mut self, vault: &VaultId) {
        let accepted = self.vaults.get(vault).map_or(0, |entry| {
            let names = &entry.resolution.resolution.accepted;
            let is_accepted = |id: &&ObjectName| {
                let policy = self.policies.get(*id);
                policy.is_some_and(|policy| policy.stored.read.is_ok()) && names.contains(&id.name)
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

/// The book.
#[derive(Debug, Default)]
pub(crate) struct Book {
    entries: Mutex<Entries>,
    news: Notify,
}

impl Book {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        // Whole at every moment, so a panic elsewhere while it was held does no harm.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters all of it at once. Whoever writes will look at the vaults.
    pub(crate) fn enter(&self, news: News) {
        if news.is_empty() {
            return;
        }
        let mut entries = self.entries();
        for (id, entry) in news.policies {
            match entry {
                Some(entry) => entries.policies.insert(id, entry),
                None => entries.policies.remove(&id),
            };
        }
        let mut touched = news.marked;
        for (vault, entry) in news.vaults {
            match entry {
                Some(entry) => entries.vaults.insert(vault.clone(), entry),
                None => entries.vaults.remove(&vault),
            };
            touched.insert(vault);
        }
        for vault in touched {
            entries.count(&vault);
            entries.mark(vault, Look::Objects);
        }
        drop(entries);
        self.news.notify_one();
    }

    /// A policy.
    pub(crate) fn policy(&self, id: &ObjectName) -> Option<PolicyEntry> {
        self.entries().policies.get(id).cloned()
    }

    /// The policy with this UID.
    pub(crate) fn policy_of_uid(&self, uid: &str) -> Option<PolicyEntry> {
        let entries = self.entries();
        let mut policies = entries.policies.values();
        policies.find(|policy| policy.stored.uid == uid).cloned()
    }

    /// A status was written, which made this version of the policy; the watch will say so a little later.
    pub(crate) fn status_written(
        &self,
        policy: &StoredPolicy,
        status: Option<VaultNetworkPolicyStatus>,
        version: u64,
    ) {
        let mut entries = self.entries();
        if let Some(entry) = entries.policies.get_mut(&policy.id)
            && entry.stored.uid == policy.uid
            && entry.stored.version < version
        {
            let mut stored = StoredPolicy::clone(&entry.stored);
            stored.status = status;
            stored.version = version;
            entry.stored = Arc::new(stored);
        }
    }

    /// Accepted policies, and those that are not.
    pub(crate) fn count_policies(&self) -> (usize, usize) {
        let entries = self.entries();
        let all = entries.policies.len();
        (
            entries.all_accepted,
            all.saturating_sub(entries.all_accepted),
        )
    }

    /// A vault.
    pub(crate) fn vault(&self, vault: &VaultId) -> Option<VaultEntry> {
        self.entries().vaults.get(vault).cloned()
    }

    /// Whether a namespace is being deleted.
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
                entries.mark(vault, Look::Objects);
            }
            drop(entries);
            self.news.notify_one();
        }
    }

    pub(crate) fn is_terminating(&self, namespace: &str) -> bool {
        self.entries().terminating.contains(namespace)
    }

    /// Something about a vault is to be looked at.
    pub(crate) fn mark(&self, vault: VaultId, look: Look) {
        self.entries().mark(vault, look);
        self.news.notify_one();
    }

    /// Everything is to be looked at.
    pub(crate) fn mark_all(&self) {
        let mut entries = self.entries();
        let all: Vec<VaultId> = entries.vaults.keys().cloned().collect();
        for vault in all {
            entries.mark(vault, Look::Objects);
        }
        drop(entries);
        self.news.notify_one();
    }

    /// Waits for vaults to look at.
    pub(crate) async fn take_marked(&self) -> BTreeMap<VaultId, Look> {
        loop {
            let marked = std::mem::take(&mut self.entries().marked);
            if !marked.is_empty() {
                return marked;
            }
            self.news.notified().await;
        }
    }
}
