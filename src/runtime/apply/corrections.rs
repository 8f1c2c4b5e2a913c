//! Limit of the corrections of one object.

use std::time::{Duration, Instant};

/// Most corrections of one object in [`PERIOD`]. A writer that does not give up must not cause a write for each of its
/// own without end.
pub(super) const MOST_CORRECTIONS: u32 = 20;
/// Period in which corrections are counted.
const PERIOD: Duration = Duration::from_mins(1);

/// Corrections of one object in the current period.
#[derive(Clone, Copy, Debug)]
pub(super) struct Corrections {
    since: Instant,
    count: u32,
}

impl Corrections {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            since: now,
            count: 0,
        }
    }

    /// Counts a correction; false if there are too many.
    pub(super) fn next(&mut self, now: Instant) -> bool {
        if now.duration_since(self.since) >= PERIOD {
            *self = Self::new(now);
        }
        let is_allowed = self.count < MOST_CORRECTIONS;
        self.count += u32::from(is_allowed);
        is_allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corrections_have_a_limit_in_each_period() {
        let begin = Instant::now();
        let mut corrections = Corrections::new(begin);
        let mut all = |at: Instant| (0..50).filter(|_| corrections.next(at)).count();
        assert_eq!(all(begin), MOST_CORRECTIONS as usize);
        assert_eq!(all(begin + PERIOD / 2), 0);
        assert_eq!(all(begin + PERIOD), MOST_CORRECTIONS as usize);
        assert_eq!(all(begin + PERIOD * 3 / 2), 0);
    }
}
