//! Which nodes there is news of: each node once, however much happened to it, and none is ever lost.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;

/// Tells any number of readers.
#[derive(Debug, Default)]
pub struct Announcer {
    readers: Mutex<Vec<Weak<Unread>>>,
}

/// One reader's view: the nodes that it has not heard of yet. No larger than the number of nodes.
#[derive(Debug)]
pub struct Changes(Arc<Unread>);

#[derive(Debug, Default)]
struct Unread {
    nodes: Mutex<BTreeSet<Arc<str>>>,
    news: Notify,
}

impl Announcer {
    /// There is news of a node.
    pub fn announce(&self, node: &Arc<str>) {
        let mut gone = false;
        let mut readers = lock(&self.readers);
        for reader in readers.iter() {
            match reader.upgrade() {
                Some(reader) => reader.add([Arc::clone(node)]),
                None => gone = true,
            }
        }
        if gone {
            readers.retain(|reader| reader.strong_count() > 0);
        }
    }

    /// A new reader, who hears of all these nodes first. `known` is called when nothing can be announced unheard.
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
        self.news.notify_one();
    }
}

impl Changes {
    /// Waits for news, and returns the nodes that it is of, at least one.
    pub async fn next(&mut self) -> BTreeSet<Arc<str>> {
        loop {
            let nodes = std::mem::take(&mut *lock(&self.0.nodes));
            if !nodes.is_empty() {
                return nodes;
            }
            self.0.news.notified().await;
        }
    }
}

/// What is behind these locks is whole at every moment, so a panic elsewhere while one was held does no harm.
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
    async fn every_node_is_heard_of_once_however_late_the_reader_is() {
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
            "who is gone is forgotten"
        );
    }

    #[tokio::test]
    async fn news_wakes_a_reader_that_waits() {
        let announcer = Arc::new(Announcer::default());
        let mut changes = announcer.subscribe(Vec::new);
        let waiting = tokio::spawn(async move { changes.next().await });
        tokio::task::yield_now().await;
        announcer.announce(&"a".into());
        assert_eq!(waiting.await.ok(), Some(names(&["a"])));
    }
}
