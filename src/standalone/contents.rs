//! Which object stands in which file, and what of that is handed to the index.
//!
//! What a file newly holds is taken as a whole or not at all. It is not taken while one of its objects stands in another
//! file too, because nobody can tell which is meant, nor when it would take away the last policy: that is more often a
//! mistake (a volume that is not mounted) than a wish, and there is nothing to put in its place. Work is proportional to
//! what the changed files hold.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::index::{Index, Key, Kind, Object, ObjectName, ObservedPolicy};

/// What a file holds.
pub(super) type Contents = BTreeMap<Key, Object>;

/// Why what a file newly holds is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// An object stands in another file, too.
    Repeated {
        /// The object.
        key: Key,
        /// The other file.
        other: PathBuf,
    },
    /// It would take away the last policy.
    LastPolicy,
}

/// The contents that are in force, by file, and those that wait.
#[derive(Default)]
pub(super) struct Ledger {
    taken: BTreeMap<PathBuf, Contents>,
    /// Where an object stands that is in force.
    places: BTreeMap<Key, PathBuf>,
    /// What files newly hold and what is not taken. They are tried again with every change.
    waiting: BTreeMap<PathBuf, (Contents, Refusal)>,
}

/// What became of changes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Settled {
    /// Files whose new contents are in force.
    pub taken: Vec<PathBuf>,
    /// Files whose new contents wait, for a reason that was not given before.
    pub refused: Vec<(PathBuf, Refusal)>,
}

impl Ledger {
    /// Whether valid objects of a file are in force.
    pub(super) fn holds_good(&self, file: &Path) -> bool {
        let mut objects = self.taken.get(file).into_iter().flat_map(Contents::values);
        objects.any(|object| {
            !matches!(
                object,
                Object::VaultNetworkPolicy(ObservedPolicy::Invalid(_))
            )
        })
    }

    /// Whether a valid policy is in force.
    pub(super) fn has_policy(&self) -> bool {
        self.policies().next().is_some()
    }

    /// The file in which an object stands that is in force.
    pub(super) fn place_of(&self, key: &Key) -> Option<&PathBuf> {
        self.places.get(key)
    }

    /// What waited of a file is no longer what it holds.
    pub(super) fn forget_waiting(&mut self, file: &Path) {
        self.waiting.remove(file);
    }

    /// Takes new contents; empty ones are those of a file that is gone.
    pub(super) fn settle(
        &mut self,
        new: BTreeMap<PathBuf, Contents>,
        index: &mut Index,
    ) -> Settled {
        let mut told = BTreeMap::new();
        let mut candidates = BTreeMap::new();
        for (file, (contents, refusal)) in std::mem::take(&mut self.waiting) {
            if !new.contains_key(&file) {
                told.insert(file.clone(), refusal);
                candidates.insert(file, contents);
            }
        }
        candidates.extend(new);
        let mut settled = Settled::default();
        loop {
            let refused = self.refusals(&candidates);
            if refused.is_empty() {
                break;
            }
            for (file, refusal) in refused {
                let Some(contents) = candidates.remove(&file) else {
                    continue;
                };
                if told.get(&file) != Some(&refusal) {
                    settled.refused.push((file.clone(), refusal.clone()));
                }
                self.waiting.insert(file, (contents, refusal));
            }
        }
        settled.taken = candidates.keys().cloned().collect();
        self.take(candidates, index);
        settled
    }

    /// The valid policies and where they stand.
    fn policies(&self) -> impl Iterator<Item = (&Key, &PathBuf)> {
        let first = Key::new(Kind::VaultNetworkPolicy, ObjectName::cluster_scoped(""));
        self.places
            .range(first..)
            .take_while(|(key, _)| key.kind == Kind::VaultNetworkPolicy)
            .filter(|(key, place)| {
                let contents = self.taken.get(*place);
                contents.is_some_and(|contents| contents.get(key).is_some_and(is_policy))
            })
    }

    /// The candidates that cannot be taken, if the others were.
    fn refusals(&self, candidates: &BTreeMap<PathBuf, Contents>) -> BTreeMap<PathBuf, Refusal> {
        let mut refused = BTreeMap::new();
        let mut first: BTreeMap<&Key, &PathBuf> = BTreeMap::new();
        for (file, contents) in candidates {
            for key in contents.keys() {
                let in_force = self
                    .places
                    .get(key)
                    .filter(|place| *place != file && !candidates.contains_key(*place));
                let other = match (in_force, first.insert(key, file)) {
                    (Some(place), _) => place,
                    (None, Some(earlier)) => {
                        refused
                            .entry(earlier.clone())
                            .or_insert_with(|| Refusal::Repeated {
                                key: key.clone(),
                                other: file.clone(),
                            });
                        earlier
                    }
                    (None, None) => continue,
                };
                refused
                    .entry(file.clone())
                    .or_insert_with(|| Refusal::Repeated {
                        key: key.clone(),
                        other: other.clone(),
                    });
            }
        }
        if refused.is_empty() && self.has_policy() {
            let mut holders = self.policies().map(|(_, place)| place);
            let stays = holders.any(|place| !candidates.contains_key(place));
            let mut objects = candidates.values().flat_map(Contents::values);
            let comes = objects.any(is_policy);
            if !stays && !comes {
                let holders = self.policies().map(|(_, place)| place.clone());
                refused.extend(holders.map(|place| (place, Refusal::LastPolicy)));
            }
        }
        refused
    }

    fn take(&mut self, candidates: BTreeMap<PathBuf, Contents>, index: &mut Index) {
        let mut before = Contents::new();
        for file in candidates.keys() {
            for (key, object) in self.taken.remove(file).unwrap_or_default() {
                self.places.remove(&key);
                before.insert(key, object);
            }
        }
        for (file, contents) in candidates {
            for (key, object) in &contents {
                self.places.insert(key.clone(), file.clone());
                if before.remove(key).as_ref() != Some(object) {
                    index.apply(object.clone());
                }
            }
            if !contents.is_empty() {
                self.taken.insert(file, contents);
            }
        }
        for key in before.into_keys() {
            index.delete(&key);
        }
    }
}

fn is_policy(object: &Object) -> bool {
    object.policy().is_some()
}

/// The files in which objects of the new contents stand until now.
pub(super) fn places_of<'a>(
    ledger: &'a Ledger,
    new: &'a BTreeMap<PathBuf, Contents>,
) -> BTreeSet<&'a PathBuf> {
    let keys = new.values().flat_map(Contents::keys);
    keys.filter_map(|key| ledger.place_of(key)).collect()
}
