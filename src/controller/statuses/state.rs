//! Current state of every object of a kind, and the queue of those to reconcile. The engine stores what it saw, the
//! reconciler reads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::StatusOnly;
use crate::controller::debounce::Debounce;
use crate::index::ObjectName;
use crate::policy::Violation;

/// Stages of the reconcile of one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Its status.
    Status,
}

/// Stored form of an object, with the data that its status is written from.
#[derive(Clone, Debug)]
pub(crate) struct Stored<K: StatusOnly> {
    pub(crate) uid: String,
    /// Resource version as a number: a later write has a greater one.
    pub(crate) version: u64,
    pub(crate) generation: i64,
    /// Status that was written last; none if it never had one.
    pub(crate) status: Option<K::Status>,
    /// Facts about the valid generation, or the reasons why it is invalid.
    pub(crate) read: Result<K::Facts, Vec<Violation>>,
    /// Whether an earlier, valid generation is in force.
    pub(crate) has_earlier: bool,
}

#[derive(Debug)]
struct Entries<K: StatusOnly> {
    objects: BTreeMap<ObjectName, Arc<Stored<K>>>,
    queue: BTreeSet<ObjectName>,
    /// Status changes that wait.
    waiting: BTreeMap<ObjectName, Debounce>,
}

/// State of all objects of a kind that this replica watches.
#[derive(Debug)]
pub(crate) struct States<K: StatusOnly> {
    entries: Mutex<Entries<K>>,
    queued: Notify,
}

impl<K: StatusOnly> Default for States<K> {
    fn default() -> Self {
        Self {
            entries: Mutex::new(Entries {
                objects: BTreeMap::new(),
                queue: BTreeSet::new(),
                waiting: BTreeMap::new(),
            }),
            queued: Notify::new(),
        }
    }
}

impl<K: StatusOnly> States<K> {
    fn entries(&self) -> MutexGuard<'_, Entries<K>> {
        // Every update leaves consistent entries, so a poisoned lock is safe to use.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores what a watch saw of an object, and adds it to the queue.
    pub(crate) fn set(&self, id: &ObjectName, mut object: Stored<K>) {
        let mut entries = self.entries();
        if let Some(known) = entries.objects.get(id)
            && known.uid == object.uid
            && known.version > object.version
        {
            // The response to the writer is newer than the event of the watch.
            object.status.clone_from(&known.status);
            object.version = known.version;
        }
        entries.objects.insert(id.clone(), Arc::new(object));
        entries.queue.insert(id.clone());
        drop(entries);
        self.queued.notify_one();
    }

    /// Replaces the facts about a valid object, and adds it to the queue if they differ.
    pub(crate) fn set_facts(&self, id: &ObjectName, facts: K::Facts) {
        let mut entries = self.entries();
        let Some(stored) = entries.objects.get_mut(id) else {
            return;
        };
        if stored.read.as_ref().is_ok_and(|known| *known != facts) {
            Arc::make_mut(stored).read = Ok(facts);
            entries.queue.insert(id.clone());
            drop(entries);
            self.queued.notify_one();
        }
    }

    /// Removes a deleted object.
    pub(crate) fn remove(&self, id: &ObjectName) {
        let mut entries = self.entries();
        entries.objects.remove(id);
        entries.waiting.remove(id);
    }

    pub(crate) fn get(&self, id: &ObjectName) -> Option<Arc<Stored<K>>> {
        self.entries().objects.get(id).cloned()
    }

    /// Status changes of an object that wait.
    pub(super) fn waiting(&self, id: &ObjectName) -> Debounce {
        self.entries().waiting.get(id).copied().unwrap_or_default()
    }

    pub(super) fn set_waiting(&self, id: &ObjectName, waiting: Debounce) {
        let mut entries = self.entries();
        if waiting == Debounce::default() {
            entries.waiting.remove(id);
        } else if entries.objects.contains_key(id) {
            entries.waiting.insert(id.clone(), waiting);
        }
    }

    /// Records a status that was written and the resource version that the write returned, before the watch reports it.
    pub(super) fn status_written(
        &self,
        id: &ObjectName,
        uid: &str,
        status: Option<K::Status>,
        version: u64,
    ) {
        let mut entries = self.entries();
        if let Some(stored) = entries.objects.get_mut(id)
            && stored.uid == uid
            && stored.version < version
        {
            let stored = Arc::make_mut(stored);
            stored.status = status;
            stored.version = version;
        }
    }

    /// Adds all objects to the queue.
    pub(super) fn enqueue_all(&self) {
        let mut entries = self.entries();
        entries.queue = entries.objects.keys().cloned().collect();
        drop(entries);
        self.queued.notify_one();
    }

    /// Waits until the queue is not empty, and empties it.
    #[expect(
        clippy::zero_sized_map_values,
        reason = "a queue has a stage for each key, and these objects have one stage"
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
