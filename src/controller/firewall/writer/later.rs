//! When a vault is looked at again by itself: what failed is tried again, and what of a status is not urgent waits.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::super::state::Scope;
use super::super::status::Urgency;
use crate::policy::VaultId;

/// How long a state may last before it is written although it is one that passes.
const SETTLING: Duration = Duration::from_millis(500);
/// How long what follows the coming and going of pods waits, so that a busy cluster does not cost a write for each.
const COUNTING: Duration = Duration::from_secs(10);
/// Waits after failures: the first, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));
/// How long after the begin of a term proxies may be on their way to another replica: Envoy tries again after at most 30 s.
pub(crate) const RECONNECTING: Duration = Duration::from_secs(45);

/// Since when something of a vault's status waits to be written; none: nothing does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// Whether a proxy was heard in this term.
    pub(crate) heard: bool,
    /// A state that passes, mostly.
    settling: Option<Instant>,
    /// Counts.
    counting: Option<Instant>,
    /// Proxies that were there and have not come back yet.
    reconnecting: bool,
}

impl Waiting {
    /// Nothing waits; `heard`: whether a proxy was heard in this term.
    pub(crate) fn new(heard: bool) -> Self {
        Self {
            heard,
            ..Self::default()
        }
    }

    /// Whether what is as urgent as this waits on; then that is noted in `still`.
    pub(crate) fn goes_on(self, urgency: Urgency, still: &mut Self) -> bool {
        let now = Instant::now();
        let (since, note, patience) = match urgency {
            Urgency::None => return true,
            Urgency::Now => return false,
            Urgency::Reconnecting => {
                still.reconnecting = true;
                return true;
            }
            Urgency::Settling => (self.settling, &mut still.settling, SETTLING),
            Urgency::Counting => (self.counting, &mut still.counting, COUNTING),
        };
        let since = since.unwrap_or(now);
        let goes_on = now < since + patience;
        if goes_on {
            *note = Some(since);
        }
        goes_on
    }

    /// When to look again.
    fn due(self, term_began: Instant) -> Option<Instant> {
        let settling = self.settling.map(|since| since + SETTLING);
        let counting = self.counting.map(|since| since + COUNTING);
        let reconnecting = self.reconnecting.then(|| term_began + RECONNECTING);
        let all = [settling, counting, reconnecting];
        all.into_iter().flatten().min()
    }
}

/// Vaults that are to be looked at later.
#[derive(Default)]
pub(crate) struct Later {
    /// When, and at what.
    due: BTreeMap<VaultId, (Instant, Scope)>,
    /// How long the wait was, for those that failed.
    waits: BTreeMap<VaultId, Duration>,
    waiting: BTreeMap<VaultId, Waiting>,
}

impl Later {
    pub(crate) fn again(&mut self, vault: VaultId) {
        let wait = self.waits.entry(vault.clone()).or_insert(RETRY.0 / 2);
        *wait = (*wait * 2).min(RETRY.1);
        self.due
            .insert(vault, (Instant::now() + *wait, Scope::Objects));
    }

    pub(crate) fn done(&mut self, vault: VaultId, waiting: Waiting, term_began: Instant) {
        self.waits.remove(&vault);
        if waiting == Waiting::default() {
            self.waiting.remove(&vault);
        } else {
            self.waiting.insert(vault.clone(), waiting);
        }
        match waiting.due(term_began) {
            Some(due) => self.due.insert(vault, (due, Scope::Status)),
            None => self.due.remove(&vault),
        };
    }

    /// What waits of a vault's status.
    pub(crate) fn waiting(&self, vault: &VaultId) -> Waiting {
        self.waiting.get(vault).copied().unwrap_or_default()
    }

    /// Where objects could not be written, a look at the status alone would find nothing wrong.
    pub(crate) fn at_least(&self, vault: &VaultId, look: Scope) -> Scope {
        if self.waits.contains_key(vault) {
            Scope::Objects
        } else {
            look
        }
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.due.values().map(|(due, _)| *due).min()
    }

    pub(crate) fn take_due(&mut self) -> BTreeMap<VaultId, Scope> {
        let now = Instant::now();
        let is_due = |_: &VaultId, (due, _): &mut (Instant, Scope)| *due <= now;
        let due = self.due.extract_if(.., is_due);
        due.map(|(vault, (_, look))| (vault, look)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault() -> VaultId {
        VaultId {
            namespace: "vault".into(),
            service: "openbao".into(),
        }
    }

    #[test]
    fn what_is_not_urgent_waits_and_not_for_ever() {
        let mut still = Waiting::default();
        let waiting = Waiting::default();
        assert!(waiting.goes_on(Urgency::None, &mut still));
        assert!(!waiting.goes_on(Urgency::Now, &mut still));
        assert_eq!(still, Waiting::default(), "neither waits for anything");
        assert!(waiting.goes_on(Urgency::Counting, &mut still));
        assert!(waiting.goes_on(Urgency::Settling, &mut still));
        let (counting, settling) = (still.counting, still.settling);
        assert!(counting.is_some() && settling.is_some());

        // The wait goes on from where it began; what settled meanwhile begins anew.
        let mut next = Waiting::default();
        assert!(still.goes_on(Urgency::Counting, &mut next));
        assert_eq!((next.counting, next.settling), (counting, None));

        let long_ago = Instant::now().checked_sub(COUNTING);
        let over = Waiting {
            counting: long_ago,
            ..Waiting::default()
        };
        let mut next = Waiting::default();
        assert!(!over.goes_on(Urgency::Counting, &mut next));
        assert_eq!(next, Waiting::default(), "it is written now");
    }

    #[test]
    fn the_first_that_is_due_counts() {
        let began = Instant::now();
        assert_eq!(Waiting::new(true).due(began), None);
        let waiting = Waiting {
            settling: Some(began),
            counting: Some(began),
            reconnecting: true,
            heard: false,
        };
        assert_eq!(waiting.due(began), Some(began + SETTLING));
    }

    #[test]
    fn a_failure_is_looked_at_whole_until_it_is_none() {
        let mut later = Later::default();
        assert_eq!(later.at_least(&vault(), Scope::Status), Scope::Status);
        later.again(vault());
        assert_eq!(later.at_least(&vault(), Scope::Status), Scope::Objects);
        assert!(later.next().is_some() && later.take_due().is_empty());
        later.done(vault(), Waiting::new(true), Instant::now());
        assert_eq!(later.at_least(&vault(), Scope::Status), Scope::Status);
        assert_eq!((later.next(), later.waiting(&vault()).heard), (None, true));
    }
}
