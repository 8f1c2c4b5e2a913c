//! Requeue queue of a reconciler: merges keys, limits concurrency, delays what can wait and retries failures with
//! backoff.
//!
//! It is not specific to a kind: a key identifies the object to reconcile, and a scope selects the part to
//! reconcile. [`Queue`] is a state machine without I/O; [`run`] drives it.

use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, pending};
use std::time::{Duration, Instant};

use futures::stream::{FuturesUnordered, StreamExt};

/// First wait after a failure; every further failure doubles it.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// Longest wait after a failure.
const LONGEST_RETRY: Duration = Duration::from_mins(1);

/// Result of a reconcile that did not lose the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome<S> {
    /// The object is as desired. It is reconciled again after the next change.
    Done,
    /// Everything urgent is done. It is reconciled again at this time, in this scope.
    Requeue(Instant, S),
    /// A step failed and was logged. The object is retried in full, with backoff.
    Failed,
}

/// Keys to reconcile, with the scope of each.
#[derive(Debug)]
pub(crate) struct Queue<K, S> {
    /// Most keys that are reconciled at a time.
    concurrency: usize,
    /// Scope that includes all others, for retries.
    full: S,
    ready: BTreeMap<K, S>,
    active: BTreeSet<K>,
    delayed: BTreeMap<K, (Instant, S)>,
    /// Last wait of each key whose last reconcile failed.
    backoff: BTreeMap<K, Duration>,
}

impl<K: Clone + Ord, S: Copy + Ord> Queue<K, S> {
    /// Creates an empty queue. `full` is the scope that includes all others.
    pub(crate) fn new(concurrency: usize, full: S) -> Self {
        Self {
            concurrency,
            full,
            ready: BTreeMap::new(),
            active: BTreeSet::new(),
            delayed: BTreeMap::new(),
            backoff: BTreeMap::new(),
        }
    }

    /// Adds keys. A key that is queued already gets the greater scope; one that is being reconciled waits for the end.
    fn add(&mut self, keys: impl IntoIterator<Item = (K, S)>) {
        for (key, scope) in keys {
            let queued = self.ready.entry(key).or_insert(scope);
            *queued = (*queued).max(scope);
        }
    }

    /// Returns the keys whose reconcile starts now. A key that failed is reconciled in full: a smaller scope would not
    /// find the failure.
    fn start(&mut self) -> Vec<(K, S)> {
        let free = self.concurrency.saturating_sub(self.active.len());
        let ready = self.ready.keys().filter(|key| !self.active.contains(*key));
        let starting: Vec<K> = ready.take(free).cloned().collect();
        let mut started = Vec::with_capacity(starting.len());
        for key in starting {
            let Some(scope) = self.ready.remove(&key) else {
                continue;
            };
            let failed = self.backoff.contains_key(&key);
            self.active.insert(key.clone());
            started.push((key, if failed { self.full } else { scope }));
        }
        started
    }

    /// Ends the reconcile of a key.
    fn finish(&mut self, key: K, outcome: Outcome<S>, now: Instant) {
        self.active.remove(&key);
        match outcome {
            Outcome::Done => {
                self.backoff.remove(&key);
                self.delayed.remove(&key);
            }
            Outcome::Requeue(due, scope) => {
                self.backoff.remove(&key);
                self.delayed.insert(key, (due, scope));
            }
            Outcome::Failed => {
                let last = self.backoff.get(&key);
                let wait = last.map_or(FIRST_RETRY, |last| (*last * 2).min(LONGEST_RETRY));
                self.backoff.insert(key.clone(), wait);
                self.delayed.insert(key, (now + wait, self.full));
            }
        }
    }

    /// Time at which the first delayed key is due.
    fn next_due(&self) -> Option<Instant> {
        self.delayed.values().map(|(due, _)| *due).min()
    }

    /// Moves the keys that are due to the ready ones.
    fn promote(&mut self, now: Instant) {
        let is_due = |_: &K, (due, _): &mut (Instant, S)| *due <= now;
        let due: Vec<(K, S)> = self
            .delayed
            .extract_if(.., is_due)
            .map(|(key, (_, scope))| (key, scope))
            .collect();
        self.add(due);
    }
}

/// Reconciles the keys that `changes` returns, until a reconcile returns an error. One key is never reconciled twice at
/// the same time.
pub(crate) async fn run<K, S, E, C, R>(
    mut queue: Queue<K, S>,
    changes: impl Fn() -> C,
    reconcile: impl Fn(K, S) -> R,
) -> E
where
    K: Clone + Ord,
    S: Copy + Ord,
    C: Future<Output = BTreeMap<K, S>>,
    R: Future<Output = Result<Outcome<S>, E>>,
{
    let mut running = FuturesUnordered::new();
    loop {
        for (key, scope) in queue.start() {
            let reconciled = reconcile(key.clone(), scope);
            running.push(async move { (key, reconciled.await) });
        }
        let due = queue.next_due();
        tokio::select! {
            keys = changes() => queue.add(keys),
            Some((key, outcome)) = running.next() => match outcome {
                Ok(outcome) => queue.finish(key, outcome, Instant::now()),
                Err(error) => return error,
            },
            () = until(due) => queue.promote(Instant::now()),
        }
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    enum Scope {
        Status,
        All,
    }

    fn queue() -> Queue<&'static str, Scope> {
        Queue::new(2, Scope::All)
    }

    #[test]
    fn keys_are_merged_and_concurrency_is_limited() {
        let mut queue = queue();
        queue.add([
            ("a", Scope::Status),
            ("b", Scope::Status),
            ("c", Scope::Status),
        ]);
        queue.add([("a", Scope::All), ("a", Scope::Status)]);
        assert_eq!(queue.start(), [("a", Scope::All), ("b", Scope::Status)]);
        assert_eq!(queue.start(), [], "two at a time");
        queue.add([("a", Scope::Status)]);
        queue.finish("b", Outcome::Done, Instant::now());
        assert_eq!(
            queue.start(),
            [("c", Scope::Status)],
            "not `a` twice at a time"
        );
        queue.finish("a", Outcome::Done, Instant::now());
        assert_eq!(queue.start(), [("a", Scope::Status)]);
    }

    #[test]
    fn a_failure_is_retried_in_full_until_it_succeeds() {
        let mut queue = queue();
        let now = Instant::now();
        queue.add([("a", Scope::Status)]);
        queue.start();
        queue.finish("a", Outcome::Failed, now);
        assert_eq!(queue.next_due(), Some(now + FIRST_RETRY));
        queue.promote(now);
        assert_eq!(queue.start(), [], "it is not due yet");
        queue.add([("a", Scope::Status)]);
        assert_eq!(
            queue.start(),
            [("a", Scope::All)],
            "a change comes before the retry"
        );
        queue.finish("a", Outcome::Failed, now);
        assert_eq!(queue.next_due(), Some(now + FIRST_RETRY * 2));
        queue.promote(now + FIRST_RETRY * 2);
        assert_eq!(queue.start(), [("a", Scope::All)]);
        queue.finish("a", Outcome::Done, now);
        assert_eq!(queue.next_due(), None);
        queue.add([("a", Scope::Status)]);
        assert_eq!(queue.start(), [("a", Scope::Status)]);
    }

    #[test]
    fn the_backoff_has_a_limit() {
        let mut queue = queue();
        let now = Instant::now();
        for _ in 0..20 {
            queue.finish("a", Outcome::Failed, now);
        }
        assert_eq!(queue.next_due(), Some(now + LONGEST_RETRY));
    }

    #[test]
    fn a_requeue_is_due_once_in_its_scope() {
        let mut queue = queue();
        let due = Instant::now() + Duration::from_secs(10);
        queue.finish("a", Outcome::Requeue(due, Scope::Status), Instant::now());
        assert_eq!(queue.next_due(), Some(due));
        queue.promote(due);
        assert_eq!(
            (queue.next_due(), queue.start()),
            (None, vec![("a", Scope::Status)])
        );
    }
}
