//! Recent denials in bounded memory: whole records, to look decisions up, and groups, which last longer.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::groups::{Group, GroupKey};
use super::record::Record;
use super::shares::{Place, Shares};

/// Largest numbers of entries. Of Envoy's records, one has about 1 KB, and at most 3 KB; a group has less.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    /// Number of whole records.
    pub records: usize,
    /// Number of groups.
    pub groups: usize,
}

impl Default for Capacity {
    fn default() -> Self {
        Self {
            records: 4096,
            groups: 4096,
        }
    }
}

/// A record, with its origin.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct StoredRecord {
    /// Name of the proxy that decided.
    pub proxy: String,
    /// Time when the record was received, by the reader's clock.
    pub received: Timestamp,
    /// The record itself.
    pub record: Record,
}

/// Denials of one vault or of all, as far as they are known.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Denials {
    /// Time since when denials are known. Earlier ones are only in the access log.
    pub since: Timestamp,
    /// Number of all denials since then.
    pub count: u64,
    /// Number of those whose group is no longer kept, because there were too many.
    pub forgotten: u64,
    /// Groups, that of the last denial first.
    pub groups: Vec<Group>,
}

/// Numbers of a vault's denials.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    count: u64,
    forgotten: u64,
}

/// Recent denials of all vaults.
#[derive(Debug)]
pub struct Store {
    since: Timestamp,
    records: Shares<StoredRecord>,
    /// Place of the record with an id. Of a repeated id, that of the last record.
    ids: HashMap<String, Place>,
    groups: Shares<Group>,
    places: HashMap<GroupKey, Place>,
    totals: BTreeMap<String, Totals>,
}

impl Store {
    /// An empty store, which knows denials from now on.
    pub fn new(capacity: Capacity, now: Timestamp) -> Self {
        Self {
            since: now,
            records: Shares::new(capacity.records),
            ids: HashMap::new(),
            groups: Shares::new(capacity.groups),
            places: HashMap::new(),
            totals: BTreeMap::new(),
        }
    }

    /// Adds a record of a proxy of the record's vault, and returns its group. A record of an allowed request is not
    /// kept. The time that it takes grows with the logarithm of the capacity.
    pub fn add(&mut self, proxy: &str, record: Record, now: Timestamp) -> Option<&Group> {
        if !record.is_denial() {
            return None;
        }
        let record = record.bounded();
        let vault = record.vault.clone();
        // Clients choose neither; an identity has as many addresses as it has pods.
        let address = record
            .caller_ip_address
            .as_ref()
            .or(record.direct_ip_address.as_ref());
        let caller = address.cloned().unwrap_or_default();
        self.totals.entry(vault.clone()).or_default().count += 1;

        // A proxy whose clock is ahead would stay the last one.
        let group = Group::of(&record, record.time.min(now));
        if let Some(id) = record.decision_id.clone() {
            let received = StoredRecord {
                proxy: proxy.to_owned(),
                received: now,
                record,
            };
            let (place, gone) = self.records.add(&vault, &caller, received);
            self.ids.insert(id, place);
            if let Some(id) = gone.and_then(|gone| gone.record.decision_id) {
                self.forget_id(&id);
            }
        }

        let earlier = self.places.remove(&group.key);
        let earlier = earlier.and_then(|place| self.groups.remove(&place));
        let group = match earlier {
            Some(earlier) => earlier.merged(group),
            None => group,
        };
        let key = group.key.clone();
        let (place, gone) = self.groups.add(&vault, &caller, group);
        self.places.insert(key, place.clone());
        if let Some(gone) = gone {
            self.places.remove(&gone.key);
            self.forget(&gone);
        }
        self.groups.get(&place)
    }

    /// Removes an id whose record is gone, unless a later record has it.
    fn forget_id(&mut self, id: &str) {
        let place = self.ids.get(id);
        if place.is_some_and(|place| self.records.get(place).is_none()) {
            self.ids.remove(id);
        }
    }

    /// Counts the denials of a group that is gone. A vault of which nothing is left is forgotten, too.
    fn forget(&mut self, group: &Group) {
        let vault = &group.key.vault;
        if let Some(totals) = self.totals.get_mut(vault) {
            totals.forgotten = totals.forgotten.saturating_add(group.count);
        }
        if self.groups.of(vault).next().is_none() {
            self.totals.remove(vault);
        }
    }

    /// Denials of a vault, or of all vaults; only groups that had one at this time or later.
    pub fn denials(&self, vault: Option<&str>, from: Option<Timestamp>) -> Denials {
        let is_asked = |name: &str| vault.is_none_or(|vault| vault == name);
        let vaults = self.groups.vaults().filter(|name| is_asked(name));
        let groups = vaults.flat_map(|vault| self.groups.of(vault));
        let groups = groups.filter(|group| from.is_none_or(|from| group.last >= from));
        let mut groups: Vec<Group> = groups.cloned().collect();
        groups.sort_by(|a, b| b.last.cmp(&a.last).then_with(|| a.key.cmp(&b.key)));
        let totals = self.totals.iter().filter(|(name, _)| is_asked(name));
        let totals = totals.fold(Totals::default(), |sum, (_, one)| Totals {
            count: sum.count.saturating_add(one.count),
            forgotten: sum.forgotten.saturating_add(one.forgotten),
        });
        Denials {
            since: self.since,
            count: totals.count,
            forgotten: totals.forgotten,
            groups,
        }
    }

    /// The record of a decision of this vault. A vault's owner learns nothing about the ids of other vaults.
    pub fn decision(&self, vault: &str, id: &str) -> Option<&StoredRecord> {
        let received = self.records.get(self.ids.get(id)?)?;
        (received.record.vault == vault).then_some(received)
    }

    /// Numbers of ids, of groups and of vaults that are indexed.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> [usize; 3] {
        [self.ids.len(), self.places.len(), self.totals.len()]
    }
}
