//! Names of nodes whose status changed. A reader receives each name once, however often the status changed, and misses
//! none.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;

/// Sends the names of changed nodes to any number of readers.
#[derive(Debug, Default)]
pub struct Announcer {
    readers: Mutex<Vec<Weak<Unread>>>,
}

/// Receiver of one reader. Its queue is never longer than the number of nodes.
#[derive(Debug)]
pub struct Changes(Arc<Unread>);

#[derive(Debug, Default)]
struct Unread {
    nodes: Mutex<BTreeSet<Arc<str>>>,
    added: Notify,
}

impl Announcer {
    /// Adds a node to the queue of each reader.
    pub fn announce(&self, node: &Arc<str>) {
        let mut has_dropped = false;
        let mut readers = lock(&self.readers);
        for reader in readers.iter() {
            match reader.upgrade() {
                Some(reader) => reader.add([Arc::clone(node)]),
                None => has_dropped = true,
            }
        }
        if has_dropped {
            readers.retain(|reader| reader.strong_count() > 0);
        }
    }

    /// Adds a reader, which receives the nodes of `known` first. `known` is called after the reader was added, so that
    /// no change is missed.
    pub fn subscribe<I: IntoIterator<Item = Arc<str>>>(
        &self,
        known: impl FnOnce() -> I,
    ) -> Changes {
        let reader = Arc::new(Unread::default());
        lock(&self.readers).push(Arc::downgrade(&reader));
        reader.add(known());
        Changes(reader)
    }
}

impl Unread {
    fn add(&self, nodes: impl IntoIterator<Item = Arc<str>>) {
        lock(&self.nodes).extend(nodes);
        self.added.notify_one();
    }
}

impl Changes {
    /// Waits for changed nodes, and returns at least one.
    pub async fn next(&mut self) -> BTreeSet<Arc<str>> {
        loop {
            let nodes = std::mem::take(&mut *lock(&self.0.nodes));
            if !nodes.is_empty() {
                return nodes;
            }
            self.0.added.notified().await;
        }
    }
}

/// The values behind these locks are consistent at every moment, so a lock remains usable after a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<Arc<str>> {
        names.iter().map(|name| Arc::from(*name)).collect()
    }

    #[tokio::test]
    async fn a_late_reader_receives_every_node_once() {
        let announcer = Announcer::default();
        let mut early = announcer.subscribe(Vec::new);
        for _ in 0..5000 {
            announcer.announce(&"a".into());
        }
        announcer.announce(&"b".into());
        let mut late = announcer.subscribe(|| names(&["b", "c"]));
        assert_eq!(early.next().await, names(&["a", "b"]));
        assert_eq!(late.next().await, names(&["b", "c"]));
        drop(late);
        announcer.announce(&"c".into());
        assert_eq!(early.next().await, names(&["c"]));
        assert_eq!(
            lock(&announcer.readers).len(),
            1,
            "a dropped reader is removed"
        );
    }

    #[tokio::test]
    async fn a_change_wakes_a_waiting_reader() {
        let announcer = Arc::new(Announcer::default());
        let mut changes = announcer.subscribe(Vec::new);
        let waiting = tokio::spawn(async move { changes.next().await });
        tokio::task::yield_now().await;
        announcer.announce(&"a".into());
        assert_eq!(waiting.await.ok(), Some(names(&["a"])));
    }
}
