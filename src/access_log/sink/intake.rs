//! Limits of each vault: records in a second, and records that wait. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::sequences::Sequences;
use crate::clock::Uptime;

/// Most records that wait, of all vaults.
pub(super) const QUEUE: usize = 2_048;
/// Most of these of one vault, so that one vault never takes the places of all.
const QUEUE_OF_VAULT: usize = QUEUE / 4;
/// Records that are taken of one vault in a second, and at once after a pause.
const RATE: f64 = 2_500.0;
const BURST: f64 = 5_000.0;
/// Most vaults that are known at a time.
const VAULTS: usize = 4_096;

/// The state of all vaults.
#[derive(Debug, Default)]
pub(super) struct Intake {
    vaults: HashMap<Arc<str>, Vault>,
    /// Missing records of vaults that are no longer known.
    closed: u64,
}

/// The state of one vault.
#[derive(Debug)]
pub(super) struct Vault {
    pub(super) sequences: Sequences,
    places: Arc<Semaphore>,
    tokens: f64,
    at: Uptime,
}

impl Intake {
    /// The state of a vault, created with its first record.
    pub(super) fn vault(&mut self, name: &Arc<str>, now: Uptime) -> &mut Vault {
        if self.vaults.len() >= VAULTS && !self.vaults.contains_key(name) {
            let oldest = self.vaults.iter().min_by_key(|(_, vault)| vault.at);
            let oldest = oldest.map(|(name, _)| Arc::clone(name));
            let removed = oldest.and_then(|oldest| self.vaults.remove(&oldest));
            let missing = removed.map_or(0, |vault| vault.sequences.missing());
            self.closed = self.closed.saturating_add(missing);
        }
        self.vaults
            .entry(Arc::clone(name))
            .or_insert_with(|| Vault {
                sequences: Sequences::default(),
                places: Arc::new(Semaphore::new(QUEUE_OF_VAULT)),
                tokens: BURST,
                at: now,
            })
    }

    /// A vault that sent a record.
    pub(super) fn known(&self, name: &str) -> Option<&Vault> {
        self.vaults.get(name)
    }

    /// How many records are missing, of all vaults.
    pub(super) fn missing(&self) -> u64 {
        let known = self.vaults.values().map(|vault| vault.sequences.missing());
        known.fold(self.closed, u64::saturating_add)
    }
}

impl Vault {
    /// Whether the vault may send one more record now.
    pub(super) fn may_send(&mut self, now: Uptime) -> bool {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.tokens = (self.tokens + passed * RATE).min(BURST);
        let may = self.tokens >= 1.0;
        if may {
            self.tokens -= 1.0;
        }
        may
    }

    /// A place among the waiting records, if the vault has one left.
    pub(super) fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(vault: &mut Vault, records: usize, now: Uptime) -> usize {
        (0..records).filter(|_| vault.may_send(now)).count()
    }

    #[test]
    fn a_vault_has_a_rate_and_another_has_its_own() {
        let (mut intake, one, other) = (Intake::default(), "v/one".into(), "v/other".into());
        let second = Uptime::from_secs;
        assert_eq!(
            taken(intake.vault(&one, second(0)), 20_000, second(0)),
            5_000
        );
        assert_eq!(taken(intake.vault(&other, second(0)), 10, second(0)), 10);
        assert_eq!(
            taken(intake.vault(&one, second(1)), 20_000, second(1)),
            2_500
        );
        assert_eq!(
            taken(intake.vault(&one, second(60)), 20_000, second(60)),
            5_000
        );
        // An earlier time, of another thread, gives nothing.
        assert_eq!(taken(intake.vault(&one, second(0)), 1, second(0)), 0);
    }

    #[test]
    fn a_vault_leaves_places_to_others() {
        let (mut intake, one, other) = (Intake::default(), "v/one".into(), "v/other".into());
        let vault = intake.vault(&one, Uptime::ZERO);
        let places: Vec<_> = std::iter::from_fn(|| vault.place()).collect();
        assert_eq!(places.len(), QUEUE_OF_VAULT);
        assert!(intake.vault(&other, Uptime::ZERO).place().is_some());
        drop(places);
        assert!(intake.vault(&one, Uptime::ZERO).place().is_some());
    }

    #[test]
    fn there_are_so_many_vaults_and_what_they_missed_stays_counted() {
        let mut intake = Intake::default();
        let first: Arc<str> = "v/first".into();
        for number in ["a/1", "a/5"] {
            let vault = intake.vault(&first, Uptime::ZERO);
            assert!(vault.sequences.note(number, Uptime::ZERO));
        }
        for other in 0..VAULTS {
            let now = Uptime::from_secs(1);
            intake.vault(&format!("v/{other}").into(), now);
        }
        assert!(intake.known("v/first").is_none());
        assert_eq!(intake.vaults.len(), VAULTS);
        assert_eq!(intake.missing(), 3);
    }
}
