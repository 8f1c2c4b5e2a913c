//! Current state of every virtual network, and the queue of those to reconcile. The engine stores what it saw, the
//! reconciler reads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::api::VirtualNetworkStatus;
use crate::index::ObjectName;
use crate::policy::{ValidatedVirtualNetwork, Violation};

/// Stages of the reconcile of one network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Its status.
    Status,
}

/// Stored form of a network, with the data that its status is written from.
#[derive(Clone, Debug)]
pub(crate) struct StoredNetwork {
    pub(crate) uid: String,
    /// Resource version as a number: a later write has a greater one.
    pub(crate) version: u64,
    pub(crate) generation: i64,
    /// Status that was written last; none if it never had one.
    pub(crate) status: Option<VirtualNetworkStatus>,
    /// Subnets of the valid generation, or the reasons why it is invalid.
    pub(crate) read: Result<SubnetCounts, Vec<Violation>>,
    /// Whether an earlier, valid generation is in force.
    pub(crate) has_earlier: bool,
}

/// Numbers of a network's subnets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SubnetCounts {
    pub(crate) all: usize,
    /// Subnets with the vaults' service endpoint.
    pub(crate) enabled: usize,
}

impl SubnetCounts {
    /// Counts the subnets of a valid network.
    pub(crate) fn of(network: &ValidatedVirtualNetwork) -> Self {
        let subnets = &network.subnets;
        let enabled = subnets.iter().filter(|subnet| subnet.service_endpoint);
        Self {
            all: subnets.len(),
            enabled: enabled.count(),
        }
    }
}

#[derive(Debug, Default)]
struct Entries {
    networks: BTreeMap<ObjectName, Arc<StoredNetwork>>,
    queue: BTreeSet<ObjectName>,
}

/// State of all virtual networks that this replica watches.
#[derive(Debug, Default)]
pub(crate) struct NetworkState {
    entries: Mutex<Entries>,
    queued: Notify,
}

impl NetworkState {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        // Every update leaves consistent entries, so a poisoned lock is safe to use.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores what a watch saw of a network, and adds it to the queue.
    pub(crate) fn set(&self, id: &ObjectName, mut network: StoredNetwork) {
        let mut entries = self.entries();
        if let Some(known) = entries.networks.get(id)
            && known.uid == network.uid
            && known.version > network.version
        {
            // The response to the writer is newer than the event of the watch.
            network.status.clone_from(&known.status);
            network.version = known.version;
        }
        entries.networks.insert(id.clone(), Arc::new(network));
        entries.queue.insert(id.clone());
        drop(entries);
        self.queued.notify_one();
    }

    /// Removes a deleted network.
    pub(crate) fn remove(&self, id: &ObjectName) {
        self.entries().networks.remove(id);
    }

    pub(crate) fn get(&self, id: &ObjectName) -> Option<Arc<StoredNetwork>> {
        self.entries().networks.get(id).cloned()
    }

    /// Records a status that was written and the resource version that the write returned, before the watch reports it.
    pub(super) fn status_written(
        &self,
        id: &ObjectName,
        uid: &str,
        status: Option<VirtualNetworkStatus>,
        version: u64,
    ) {
        let mut entries = self.entries();
        if let Some(stored) = entries.networks.get_mut(id)
            && stored.uid == uid
            && stored.version < version
        {
            let stored = Arc::make_mut(stored);
            stored.status = status;
            stored.version = version;
        }
    }

    /// Adds all networks to the queue.
    pub(super) fn enqueue_all(&self) {
        let mut entries = self.entries();
        entries.queue = entries.networks.keys().cloned().collect();
        drop(entries);
        self.queued.notify_one();
    }

    /// Waits until the queue is not empty, and empties it.
    #[expect(
        clippy::zero_sized_map_values,
        reason = "a queue has a stage for each key, and networks have one stage"
    )]
    pub(super) async fn next_queued(&self) -> BTreeMap<ObjectName, Stage> {
        loop {
            let queue = std::mem::take(&mut self.entries().queue);
            if !queue.is_empty() {
                return queue.into_iter().map(|id| (id, Stage::Status)).collect();
            }
            self.queued.notified().await;
        }
    }
}
