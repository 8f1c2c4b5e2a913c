//! Queue of a reconciler: each key has stages, the most urgent first; flows take turns; failures are retried with
//! backoff.
//!
//! It is not specific to a kind: a key identifies the object to reconcile, its flow the tenant that it belongs to.
//! Every stage has slots of its own, so that a less urgent one never occupies the slot that a more urgent one waits
//! for, and a flow cannot have all slots of a stage. [`Queue`] is a state machine without I/O; [`run`] drives it.

use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, pending};
use std::time::{Duration, Instant};

use futures::stream::{FuturesUnordered, StreamExt};

/// First wait after a failure; every further failure doubles it.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// Longest wait after a failure.
const LONGEST_RETRY: Duration = Duration::from_mins(1);

/// Result of one stage of a reconcile that did not lose the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The object is as desired. It is reconciled again after the next change.
    Done,
    /// Everything urgent is done. The stage runs again at this time.
    Requeue(Instant),
    /// A step failed and was logged. The stage is retried, with backoff.
    Failed,
}

/// Properties that all keys and stages of a queue have in common.
#[derive(Debug)]
pub(crate) struct Rules<K, S: 'static> {
    /// Stages in their order: a key is reconciled in one of them after the earlier ones.
    pub(crate) stages: &'static [S],
    /// Keys that are reconciled in each stage at a time, at least two. A flow can have all but one of them.
    pub(crate) slots: usize,
    /// Flow of a key.
    pub(crate) flow: fn(&K) -> &str,
}

/// Keys to reconcile, with the stages of each.
#[derive(Debug)]
pub(crate) struct Queue<K, S: 'static> {
    rules: Rules<K, S>,
    /// Stages that each key needs, and whether the key is in the lane of the stage.
    needed: BTreeMap<K, BTreeMap<S, bool>>,
    lanes: BTreeMap<S, Lane<K>>,
    active: BTreeMap<K, S>,
    delayed: BTreeMap<(K, S), Instant>,
    /// Last wait of each key and stage that failed the last time.
    backoff: BTreeMap<(K, S), Duration>,
}

impl<K: Clone + Ord, S: Copy + Ord> Queue<K, S> {
    /// Creates an empty queue.
    pub(crate) fn new(rules: Rules<K, S>) -> Self {
        Self {
            rules,
            needed: BTreeMap::new(),
            lanes: BTreeMap::new(),
            active: BTreeMap::new(),
            delayed: BTreeMap::new(),
            backoff: BTreeMap::new(),
        }
    }

    /// Adds keys, each with its first stage; the later stages follow. A key keeps its place in the lanes that it is
    /// already in; one that is being reconciled waits for the end.
    fn add(&mut self, keys: impl IntoIterator<Item = (K, S)>) {
        for (key, first) in keys {
            let needed = self.needed.entry(key.clone()).or_default();
            for stage in self.rules.stages.iter().filter(|stage| **stage >= first) {
                needed.entry(*stage).or_insert(false);
            }
            self.line_up(&key);
        }
    }

    /// Puts a key into the lane of the first stage that it needs.
    fn line_up(&mut self, key: &K) {
        let needed = self.needed.get_mut(key).and_then(BTreeMap::first_entry);
        if let Some(mut first) = needed
            && !first.insert(true)
        {
            let lane = self.lanes.entry(*first.key()).or_default();
            lane.push((self.rules.flow)(key), key.clone());
        }
    }

    /// Returns the keys whose reconcile starts now, each with its stage.
    fn start(&mut self) -> Vec<(K, S)> {
        let mut started = Vec::new();
        for stage in self.rules.stages.iter().copied() {
            while let Some(key) = self.take(stage) {
                self.active.insert(key.clone(), stage);
                started.push((key, stage));
            }
        }
        started
    }

    /// Takes the next key of a stage from its lane, if a slot is free.
    fn take(&mut self, stage: S) -> Option<K> {
        let flow = self.rules.flow;
        let running = self.active.iter().filter(|(_, active)| **active == stage);
        let running: Vec<&str> = running.map(|(key, _)| flow(key)).collect();
        if running.len() >= self.rules.slots {
            return None;
        }
        let has_slot = |flow: &str| {
            let running = running.iter().filter(|running| **running == flow);
            running.count() + 1 < self.rules.slots
        };
        let is_next = |key: &K| {
            let first = self.needed.get(key).and_then(BTreeMap::first_key_value);
            first.is_some_and(|(first, _)| *first == stage) && !self.active.contains_key(key)
        };
        let key = self.lanes.get_mut(&stage)?.take(has_slot, is_next)?;
        if let Some(needed) = self.needed.get_mut(&key) {
            needed.remove(&stage);
        }
        Some(key)
    }

    /// Ends a stage of a key.
    fn finish(&mut self, key: K, outcome: Outcome, now: Instant) {
        let Some(stage) = self.active.remove(&key) else {
            return;
        };
        if self.needed.get(&key).is_some_and(BTreeMap::is_empty) {
            self.needed.remove(&key);
        }
        self.line_up(&key);
        let place = (key, stage);
        let due = match outcome {
            Outcome::Done => None,
            Outcome::Requeue(due) => Some(due),
            Outcome::Failed => {
                let wait = self.backoff.get(&place);
                let wait = wait.map_or(FIRST_RETRY, |last| (*last * 2).min(LONGEST_RETRY));
                self.backoff.insert(place.clone(), wait);
                Some(now + wait)
            }
        };
        if outcome != Outcome::Failed {
            self.backoff.remove(&place);
        }
        match due {
            Some(due) => self.delayed.insert(place, due),
            None => self.delayed.remove(&place),
        };
    }

    /// Time at which the first delayed key is due.
    fn next_due(&self) -> Option<Instant> {
        self.delayed.values().copied().min()
    }

    /// Adds the delayed keys that are due.
    fn promote(&mut self, now: Instant) {
        let due = self.delayed.extract_if(.., |_, due| *due <= now);
        let due: Vec<(K, S)> = due.map(|(place, _)| place).collect();
        self.add(due);
    }
}

/// Keys that wait for one stage: the oldest of each flow comes first, and flows take turns.
#[derive(Debug)]
struct Lane<K> {
    /// Flows in the order of their turns; none is empty.
    flows: VecDeque<(Box<str>, VecDeque<K>)>,
}

impl<K> Default for Lane<K> {
    fn default() -> Self {
        Self {
            flows: VecDeque::new(),
        }
    }
}

impl<K> Lane<K> {
    fn push(&mut self, flow: &str, key: K) {
        let mut flows = self.flows.iter_mut();
        match flows.find(|(name, _)| **name == *flow) {
            Some((_, keys)) => keys.push_back(key),
            None => self.flows.push_back((flow.into(), VecDeque::from([key]))),
        }
    }

    /// Takes the oldest key that can start, of the first flow that has a slot and such a key. The flow waits for its
    /// next turn.
    fn take(
        &mut self,
        has_slot: impl Fn(&str) -> bool,
        can_start: impl Fn(&K) -> bool,
    ) -> Option<K> {
        let flows = self.flows.iter().enumerate();
        let mut flows = flows.filter(|(_, (flow, _))| has_slot(flow));
        let (turn, place) = flows.find_map(|(turn, (_, keys))| {
            let place = keys.iter().position(&can_start)?;
            Some((turn, place))
        })?;
        let (flow, mut keys) = self.flows.remove(turn)?;
        let key = keys.remove(place);
        if !keys.is_empty() {
            self.flows.push_back((flow, keys));
        }
        key
    }
}

/// Reconciles the keys that `changes` returns, each with its first stage, until a reconcile returns an error. One key
/// is never reconciled twice at the same time.
pub(crate) async fn run<K, S, E, C, R>(
    mut queue: Queue<K, S>,
    changes: impl Fn() -> C,
    reconcile: impl Fn(K, S) -> R,
) -> E
where
    K: Clone + Ord,
    S: Copy + Ord,
    C: Future<Output = BTreeMap<K, S>>,
    R: Future<Output = Result<Outcome, E>>,
{
    let mut running = FuturesUnordered::new();
    loop {
        for (key, stage) in queue.start() {
            let reconciled = reconcile(key.clone(), stage);
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
    enum Stage {
        Isolation,
        Status,
    }
    use Stage::{Isolation, Status};

    /// A queue with keys such as `a/1`, whose flow is `a`.
    fn queue() -> Queue<&'static str, Stage> {
        Queue::new(Rules {
            stages: &[Isolation, Status],
            slots: 2,
            flow: |key| key.split('/').next().unwrap_or_default(),
        })
    }

    fn done(queue: &mut Queue<&'static str, Stage>, key: &'static str) {
        queue.finish(key, Outcome::Done, Instant::now());
    }

    #[test]
    fn keys_are_merged_and_every_stage_follows_the_one_before() {
        let mut queue = queue();
        queue.add([("a/1", Status)]);
        queue.add([("a/1", Isolation), ("a/1", Status)]);
        assert_eq!(queue.start(), [("a/1", Isolation)]);
        assert_eq!(queue.start(), [], "not twice at a time");
        done(&mut queue, "a/1");
        assert_eq!(queue.start(), [("a/1", Status)]);
        queue.add([("a/1", Isolation)]);
        assert_eq!(queue.start(), []);
        done(&mut queue, "a/1");
        assert_eq!(queue.start(), [("a/1", Isolation)]);
        done(&mut queue, "a/1");
        assert_eq!(queue.start(), [("a/1", Status)]);
        done(&mut queue, "a/1");
        assert_eq!(queue.start(), []);
        assert!(queue.needed.is_empty());
    }

    #[test]
    fn flows_take_turns_whatever_their_names_are() {
        let mut queue = queue();
        queue.add(["a/1", "a/2", "a/3", "b/1", "b/2"].map(|key| (key, Status)));
        let mut order = Vec::new();
        let mut running: VecDeque<&str> = queue.start().into_iter().map(|(key, _)| key).collect();
        while let Some(key) = running.pop_front() {
            order.push(key);
            done(&mut queue, key);
            // A change of what has just been done must not come before the others.
            if key.starts_with("a/") && order.len() < 6 {
                queue.add([(key, Status)]);
            }
            running.extend(queue.start().into_iter().map(|(key, _)| key));
        }
        assert_eq!(
            order,
            ["a/1", "b/1", "a/2", "b/2", "a/3", "a/1", "a/2", "a/3"]
        );
    }

    #[test]
    fn a_flow_cannot_have_all_slots() {
        let mut queue = queue();
        queue.add([("a/1", Status), ("a/2", Status)]);
        assert_eq!(queue.start(), [("a/1", Status)]);
        assert_eq!(queue.start(), [], "the other slot is for other flows");
        queue.add([("b/1", Status), ("c/1", Status)]);
        assert_eq!(queue.start(), [("b/1", Status)], "two at a time");
        done(&mut queue, "b/1");
        assert_eq!(queue.start(), [("c/1", Status)], "`a` has its slot");
    }

    #[test]
    fn a_stage_waits_for_no_slot_of_another() {
        let mut queue = queue();
        queue.add([("a/1", Status), ("b/1", Status), ("b/2", Status)]);
        assert_eq!(queue.start(), [("a/1", Status), ("b/1", Status)]);
        queue.add([("b/2", Isolation)]);
        assert_eq!(queue.start(), [("b/2", Isolation)]);
    }

    #[test]
    fn a_key_that_changes_all_the_time_reaches_its_last_stage() {
        let mut queue = queue();
        queue.add([("a/1", Status), ("a/2", Isolation)]);
        assert_eq!(queue.start(), [("a/2", Isolation), ("a/1", Status)]);
        done(&mut queue, "a/2");
        queue.add([("a/3", Status), ("a/2", Isolation)]);
        assert_eq!(queue.start(), [("a/2", Isolation)]);
        done(&mut queue, "a/2");
        done(&mut queue, "a/1");
        assert_eq!(
            queue.start(),
            [("a/2", Status)],
            "it keeps its place before `a/3`"
        );
    }

    #[test]
    fn a_failed_stage_is_retried_until_it_succeeds() {
        let mut queue = queue();
        let now = Instant::now();
        queue.add([("a", Isolation)]);
        queue.start();
        queue.finish("a", Outcome::Failed, now);
        assert_eq!(queue.next_due(), Some(now + FIRST_RETRY));
        assert_eq!(queue.start(), [("a", Status)], "the failure is reported");
        done(&mut queue, "a");
        queue.promote(now);
        assert_eq!(queue.start(), [], "it is not due yet");
        queue.add([("a", Isolation)]);
        assert_eq!(
            queue.start(),
            [("a", Isolation)],
            "a change comes before the retry"
        );
        queue.finish("a", Outcome::Failed, now);
        assert_eq!(queue.next_due(), Some(now + FIRST_RETRY * 2));
        assert_eq!(queue.start(), [("a", Status)]);
        done(&mut queue, "a");
        queue.promote(now + FIRST_RETRY * 2);
        assert_eq!(queue.start(), [("a", Isolation)]);
        done(&mut queue, "a");
        assert_eq!(queue.start(), [("a", Status)], "the success is reported");
        assert_eq!(queue.next_due(), None);
    }

    #[test]
    fn the_backoff_has_a_limit() {
        let mut queue = queue();
        let now = Instant::now();
        for _ in 0..20 {
            queue.add([("a", Status)]);
            queue.start();
            queue.finish("a", Outcome::Failed, now);
        }
        assert_eq!(queue.next_due(), Some(now + LONGEST_RETRY));
    }

    #[test]
    fn a_requeue_is_due_once_in_its_stage() {
        let mut queue = queue();
        let due = Instant::now() + Duration::from_secs(10);
        queue.add([("a", Status)]);
        queue.start();
        queue.finish("a", Outcome::Requeue(due), Instant::now());
        assert_eq!(queue.next_due(), Some(due));
        queue.promote(due);
        assert_eq!(
            (queue.next_due(), queue.start()),
            (None, vec![("a", Status)])
        );
    }
}
