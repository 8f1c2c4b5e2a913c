//! Service accounts, their pods, the vaults that depend on them, and subscriptions.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::net::Ipv4Addr;

use super::ObjectName;
use crate::policy::{ExistingAccount, VaultId};

/// Service accounts and subscriptions.
#[derive(Debug, Default)]
pub(super) struct AccountIndex {
    /// Service accounts that exist.
    pub(super) existing: BTreeMap<ObjectName, ExistingAccount>,
    /// Counted pods by the account that they run under, which need not exist.
    pub(super) pods: Sets<ObjectName, ObjectName>,
    /// Vaults whose resolution depends on an account.
    pub(super) vaults: Sets<ObjectName, VaultId>,
    /// Trusted services by the names, without namespaces, of the accounts of their identities.
    pub(super) services: Sets<String, String>,
    /// Namespaces that are being deleted.
    pub(super) terminating: BTreeSet<String>,
    /// Namespaces by their subscription.
    pub(super) subscriptions: Sets<String, String>,
}

/// Sets by key; no set is empty.
#[derive(Debug)]
pub(super) struct Sets<K, V>(HashMap<K, BTreeSet<V>>);

impl<K, V> Default for Sets<K, V> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash, V: Ord> Sets<K, V> {
    /// Members of a set, sorted.
    pub(super) fn get<'s>(&'s self, key: &K) -> impl Iterator<Item = &'s V> + use<'s, K, V> {
        self.0.get(key).into_iter().flatten()
    }

    /// Members of all sets.
    #[cfg(test)]
    pub(super) fn members(&self) -> impl Iterator<Item = &V> {
        self.0.values().flatten()
    }

    pub(super) fn insert(&mut self, key: K, member: V) {
        self.0.entry(key).or_default().insert(member);
    }

    pub(super) fn remove(&mut self, key: &K, member: &V) {
        if let Some(members) = self.0.get_mut(key) {
            members.remove(member);
            if members.is_empty() {
                self.0.remove(key);
            }
        }
    }
}

/// Accounts and ids of the pods that have an address.
pub(super) type PodsAt = BTreeMap<Ipv4Addr, Vec<(ObjectName, Option<String>)>>;
