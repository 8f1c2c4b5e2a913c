//! Debounce of status writes. A change that is not urgent waits, so that a state of milliseconds causes no write.

use std::time::{Duration, Instant};

/// Time that a temporary state must last before it is written.
const SETTLING: Duration = Duration::from_millis(500);
/// Delay of changes to the counts of pods and proxies, so that a busy cluster does not cause a write for every pod.
const COUNTING: Duration = Duration::from_secs(10);
/// Time after the start of a term in which proxies may still be connecting: Envoy reconnects after at most 30 s.
pub(crate) const RECONNECTING: Duration = Duration::from_secs(45);

/// How soon a status must be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// Never: there is no difference.
    None,
    /// After proxies have had the time to reconnect.
    Reconnecting,
    /// After a short delay, unless the state has ended before.
    Settling,
    /// Later, together with other changes.
    Counting,
    /// At once.
    Now,
}

/// Status changes of one object that wait, each with the time at which it began to wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Debounce {
    /// Change to a state that is usually temporary.
    settling: Option<Instant>,
    /// Change of the counts of pods or proxies.
    counting: Option<Instant>,
    /// Whether proxies that were connected before this term have not reconnected yet.
    reconnecting: bool,
}

impl Debounce {
    /// Whether a change of this urgency continues to wait; if so, it is added to `next`.
    pub(crate) fn waits(self, urgency: Urgency, next: &mut Self) -> bool {
        let now = Instant::now();
        let (since, next, limit) = match urgency {
            Urgency::None => return true,
            Urgency::Now => return false,
            Urgency::Reconnecting => {
                next.reconnecting = true;
                return true;
            }
            Urgency::Settling => (self.settling, &mut next.settling, SETTLING),
            Urgency::Counting => (self.counting, &mut next.counting, COUNTING),
        };
        let since = since.unwrap_or(now);
        let waits = now < since + limit;
        if waits {
            *next = Some(since);
        }
        waits
    }

    /// Time at which the first waiting change is due.
    pub(crate) fn due(self, term_began: Instant) -> Option<Instant> {
        let settling = self.settling.map(|since| since + SETTLING);
        let counting = self.counting.map(|since| since + COUNTING);
        let reconnecting = self.reconnecting.then(|| term_began + RECONNECTING);
        let all = [settling, counting, reconnecting];
        all.into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_is_not_urgent_waits_for_a_limited_time() {
        let mut still = Debounce::default();
        let waiting = Debounce::default();
        assert!(waiting.waits(Urgency::None, &mut still));
        assert!(!waiting.waits(Urgency::Now, &mut still));
        assert_eq!(still, Debounce::default(), "neither waits");
        assert!(waiting.waits(Urgency::Counting, &mut still));
        assert!(waiting.waits(Urgency::Settling, &mut still));
        let (counting, settling) = (still.counting, still.settling);
        assert!(counting.is_some() && settling.is_some());

        // The wait continues from its start; a state that has settled in between starts a new wait.
        let mut next = Debounce::default();
        assert!(still.waits(Urgency::Counting, &mut next));
        assert_eq!((next.counting, next.settling), (counting, None));

        let long_ago = Instant::now().checked_sub(COUNTING);
        let over = Debounce {
            counting: long_ago,
            ..Debounce::default()
        };
        let mut next = Debounce::default();
        assert!(!over.waits(Urgency::Counting, &mut next));
        assert_eq!(next, Debounce::default(), "it is written at once");
    }

    #[test]
    fn the_first_change_that_is_due_counts() {
        let began = Instant::now();
        assert_eq!(Debounce::default().due(began), None);
        let waiting = Debounce {
            settling: Some(began),
            counting: Some(began),
            reconnecting: true,
        };
        assert_eq!(waiting.due(began), Some(began + SETTLING));
    }
}
