//! A bounded number of entries, in fair shares: when it is full, the oldest entry of the caller with the most entries
//! goes, of the vault with the most entries. So a flood pushes out its own entries, not those of other vaults and
//! callers.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Name of a vault or a caller.
type Name = Arc<str>;
/// Order in which a share gives up an entry, the last one first: the most entries, then the oldest.
type Rank = (usize, Reverse<u64>, Name);

/// Place of an entry. It stays the same until the entry goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    vault: Name,
    caller: Name,
    number: u64,
}

/// Entries of all vaults.
#[derive(Debug)]
pub(super) struct Shares<T> {
    capacity: usize,
    /// Number of the next entry; a later entry has a higher one.
    next: u64,
    len: usize,
    vaults: HashMap<Name, Vault<T>>,
    order: BTreeSet<Rank>,
}

/// Entries of a vault.
#[derive(Debug)]
struct Vault<T> {
    len: usize,
    /// Entries of each caller by number. None is empty. A map has room for eleven from the start, so they are boxed.
    callers: HashMap<Name, BTreeMap<u64, Box<T>>>,
    order: BTreeSet<Rank>,
}

impl<T> Default for Vault<T> {
    fn default() -> Self {
        Self {
            len: 0,
            callers: HashMap::new(),
            order: BTreeSet::new(),
        }
    }
}

impl<T> Vault<T> {
    fn rank(&self, name: &Name) -> Option<Rank> {
        let (_, Reverse(oldest), _) = self.order.last()?;
        Some((self.len, Reverse(*oldest), Arc::clone(name)))
    }

    /// Changes the entries of a caller, and keeps the numbers and the order right.
    fn change<R>(
        &mut self,
        caller: &Name,
        change: impl FnOnce(&mut BTreeMap<u64, Box<T>>) -> R,
    ) -> R {
        let entries = self.callers.entry(Arc::clone(caller)).or_default();
        let rank = |entries: &BTreeMap<u64, Box<T>>| {
            let (oldest, _) = entries.first_key_value()?;
            Some((entries.len(), Reverse(*oldest), Arc::clone(caller)))
        };
        if let Some(rank) = rank(entries) {
            self.order.remove(&rank);
        }
        let before = entries.len();
        let result = change(entries);
        self.len = self.len + entries.len() - before;
        match rank(entries) {
            Some(rank) => {
                self.order.insert(rank);
            }
            None => {
                self.callers.remove(caller);
            }
        }
        result
    }
}

impl<T> Shares<T> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            next: 0,
            len: 0,
            vaults: HashMap::new(),
            order: BTreeSet::new(),
        }
    }

    /// Adds an entry, and returns its place and the entry that had to go, if any.
    pub(super) fn add(&mut self, vault: &str, caller: &str, entry: T) -> (Place, Option<T>) {
        let place = Place {
            vault: vault.into(),
            caller: caller.into(),
            number: self.next,
        };
        self.next += 1;
        self.change(&place, |entries| {
            entries.insert(place.number, Box::new(entry))
        });
        (place, self.make_room())
    }

    fn make_room(&mut self) -> Option<T> {
        if self.len <= self.capacity {
            return None;
        }
        let (_, _, vault) = self.order.last()?;
        let (_, Reverse(number), caller) = self.vaults.get(vault)?.order.last()?;
        let oldest = Place {
            vault: Arc::clone(vault),
            caller: Arc::clone(caller),
            number: *number,
        };
        self.remove(&oldest)
    }

    pub(super) fn remove(&mut self, place: &Place) -> Option<T> {
        let removed = self.change(place, |entries| entries.remove(&place.number));
        removed.map(|entry| *entry)
    }

    pub(super) fn get(&self, place: &Place) -> Option<&T> {
        let vault = self.vaults.get(&place.vault)?;
        Some(vault.callers.get(&place.caller)?.get(&place.number)?)
    }

    /// Names of the vaults that have entries.
    pub(super) fn vaults(&self) -> impl Iterator<Item = &str> {
        self.vaults.keys().map(|name| &**name)
    }

    /// Entries of a vault, in no order.
    pub(super) fn of(&self, vault: &str) -> impl Iterator<Item = &T> {
        let callers = self.vaults.get(vault).into_iter();
        let entries = callers.flat_map(|vault| vault.callers.values().flat_map(BTreeMap::values));
        entries.map(|entry| &**entry)
    }

    fn change<R>(
        &mut self,
        place: &Place,
        change: impl FnOnce(&mut BTreeMap<u64, Box<T>>) -> R,
    ) -> R {
        let vault = self.vaults.entry(Arc::clone(&place.vault)).or_default();
        if let Some(rank) = vault.rank(&place.vault) {
            self.order.remove(&rank);
        }
        let before = vault.len;
        let result = vault.change(&place.caller, change);
        self.len = self.len + vault.len - before;
        match vault.rank(&place.vault) {
            Some(rank) => {
                self.order.insert(rank);
            }
            None => {
                self.vaults.remove(&place.vault);
            }
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries of a vault, sorted.
    fn of(shares: &Shares<u32>, vault: &str) -> Vec<u32> {
        let mut found: Vec<u32> = shares.of(vault).copied().collect();
        found.sort_unstable();
        found
    }

    #[test]
    fn a_flood_pushes_out_its_own_entries() {
        let mut shares = Shares::new(8);
        shares.add("a", "honest", 1);
        shares.add("b", "honest", 2);
        for entry in 100..200 {
            let (_, gone) = shares.add("a", "flood", entry);
            assert!(gone.is_none_or(|gone| gone >= 100), "{gone:?}");
        }
        assert_eq!(of(&shares, "a"), [1, 194, 195, 196, 197, 198, 199]);
        assert_eq!(of(&shares, "b"), [2]);
        // The second vault gets its half when it needs it.
        for entry in 200..300 {
            shares.add("b", "flood", entry);
        }
        assert_eq!(of(&shares, "a"), [1, 197, 198, 199]);
        assert_eq!(of(&shares, "b"), [2, 297, 298, 299]);
    }

    #[test]
    fn of_callers_with_equally_many_entries_the_oldest_goes() {
        let mut shares = Shares::new(3);
        for (caller, entry) in [("z", 1), ("m", 2), ("a", 3), ("b", 4)] {
            shares.add("vault", caller, entry);
        }
        assert_eq!(of(&shares, "vault"), [2, 3, 4]);
    }

    #[test]
    fn removed_entries_leave_nothing() {
        let mut shares = Shares::new(3);
        let (place, _) = shares.add("vault", "caller", 1);
        assert_eq!(shares.get(&place), Some(&1));
        assert_eq!(shares.remove(&place), Some(1));
        assert_eq!(shares.get(&place), None);
        assert_eq!(shares.remove(&place), None);
        assert_eq!(
            (shares.len, shares.vaults.len(), shares.order.len()),
            (0, 0, 0)
        );
    }

    #[test]
    fn without_capacity_nothing_is_kept() {
        let mut shares = Shares::new(0);
        let (place, gone) = shares.add("vault", "caller", 1);
        assert_eq!((gone, shares.get(&place)), (Some(1), None));
    }
}
