//! Numbers of records: how many did not arrive. Pure.
//!
//! Each worker of a proxy numbers its denials from 1 and leaves none out. So of a sequence, the numbers between the
//! first and the last that arrived, without those that arrived, are records that were lost on the way. What was lost
//! before the first or after the last is not known here.

use std::collections::HashMap;

use crate::clock::Uptime;

/// Most sequences of one vault that are known at a time. A proxy has up to four for each of its workers, one for each
/// filter chain, and new ones when its listeners are replaced.
const MOST: usize = 1_024;
/// Longest name of a sequence, in bytes.
const LONGEST: usize = 64;

/// Numbers that arrived of one sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// Smallest number that arrived.
    pub first: u64,
    /// Largest number that arrived.
    pub last: u64,
    /// How many arrived.
    pub arrived: u64,
    /// When the latest arrived.
    pub at: Uptime,
}

impl Sequence {
    /// How many numbers between the first and the last did not arrive.
    pub fn missing(&self) -> u64 {
        (self.last - self.first)
            .saturating_add(1)
            .saturating_sub(self.arrived)
    }
}

/// Sequences of the proxies of one vault.
#[derive(Clone, Debug, Default)]
pub struct Sequences {
    known: HashMap<String, Sequence>,
    /// Missing numbers of all sequences, also of those that are no longer known.
    missing: u64,
}

impl Sequences {
    /// Records that a number, `SEQUENCE/NUMBER`, arrived. Returns whether it is one.
    pub fn note(&mut self, number: &str, now: Uptime) -> bool {
        let Some((name, number)) = number.split_once('/') else {
            return false;
        };
        let (1..=LONGEST, Ok(number @ 1..)) = (name.len(), number.parse::<u64>()) else {
            return false;
        };
        if let Some(sequence) = self.known.get_mut(name) {
            let before = sequence.missing();
            sequence.first = sequence.first.min(number);
            sequence.last = sequence.last.max(number);
            sequence.arrived = sequence.arrived.saturating_add(1);
            sequence.at = now;
            let others = self.missing.saturating_sub(before);
            self.missing = others.saturating_add(sequence.missing());
            return true;
        }
        if self.known.len() >= MOST {
            self.remove_oldest();
        }
        let sequence = Sequence {
            first: number,
            last: number,
            arrived: 1,
            at: now,
        };
        self.known.insert(name.to_owned(), sequence);
        true
    }

    /// How many records are missing, of all sequences.
    pub fn missing(&self) -> u64 {
        self.missing
    }

    /// The sequences that are known, by name.
    pub fn known(&self) -> &HashMap<String, Sequence> {
        &self.known
    }

    fn remove_oldest(&mut self) {
        let oldest = self.known.iter().min_by_key(|(_, sequence)| sequence.at);
        if let Some(name) = oldest.map(|(name, _)| name.clone()) {
            self.known.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Uptime {
        Uptime::from_secs(second)
    }

    #[test]
    fn numbers_between_the_first_and_the_last_are_missing_until_they_arrive() {
        let mut sequences = Sequences::default();
        for (number, missing) in [("a/5", 0), ("a/8", 2), ("b/1", 2), ("a/6", 1), ("a/4", 1)] {
            assert!(sequences.note(number, at(0)), "{number}");
            assert_eq!(sequences.missing(), missing, "{number}");
        }
        // A proxy that started again has another sequence.
        assert!(sequences.note("c/1", at(0)));
        assert_eq!(sequences.missing(), 1);
    }

    #[test]
    fn what_is_no_number_is_not_noted() {
        let mut sequences = Sequences::default();
        let long = format!("{}/1", "a".repeat(LONGEST + 1));
        let wrong = [
            "",
            "a",
            "a/",
            "/1",
            "a/0",
            "a/-1",
            "a/1/2",
            "a/99999999999999999999",
            &long,
        ];
        for number in wrong {
            assert!(!sequences.note(number, at(0)), "{number}");
        }
        assert!(sequences.known().is_empty());
        assert!(sequences.note(&format!("a/{}", u64::MAX), at(0)));
        assert!(sequences.note("a/1", at(0)));
        assert_eq!(sequences.missing(), u64::MAX - 2);
    }

    #[test]
    fn a_vault_has_so_many_sequences_and_what_they_missed_stays_counted() {
        let mut sequences = Sequences::default();
        assert!(sequences.note("old/1", at(0)));
        assert!(sequences.note("old/11", at(0)));
        for second in 1..=2_000 {
            assert!(sequences.note(&format!("{second}/1"), at(second)));
        }
        assert_eq!(sequences.known().len(), MOST);
        assert!(!sequences.known().contains_key("old"));
        assert_eq!(sequences.missing(), 9);
    }
}
