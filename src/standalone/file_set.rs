//! The objects of each file, and the commit of changed files to the index.
//!
//! New contents of a file are committed as a whole or not at all. They are refused while one of their objects is in
//! another file too, because it is unclear which one is meant. They are also refused if they would remove the last
//! policy: that is more often a mistake (a volume that is not mounted) than intended, and nothing could replace it. The
//! work is proportional to the contents of the changed files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::index::{Index, Key, Kind, Object, ObjectName, ObservedPolicy};
use crate::policy::VaultId;

/// Objects of a file.
pub(super) type Contents = BTreeMap<Key, Object>;

/// Why new contents of a file are not committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// One of its objects is in another file too.
    Repeated {
        /// The object.
        key: Key,
        /// The other file.
        other: PathBuf,
    },
    /// The commit would remove the last policy.
    LastPolicy,
}

/// Committed contents of all files, and pending ones.
#[derive(Default)]
pub(super) struct FileSet {
    files: BTreeMap<PathBuf, Contents>,
    /// The file of each committed object.
    locations: BTreeMap<Key, PathBuf>,
    /// New contents that were refused. Every commit tries them again.
    pending: BTreeMap<PathBuf, (Contents, Refusal)>,
}

/// Result of a commit.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Committed {
    /// Files whose new contents are committed.
    pub files: Vec<PathBuf>,
    /// Files whose new contents are refused, if the reason is new.
    pub refused: Vec<(PathBuf, Refusal)>,
}

impl FileSet {
    /// Whether valid objects of a file are committed.
    pub(super) fn has_valid_objects(&self, file: &Path) -> bool {
        let mut objects = self.files.get(file).into_iter().flat_map(Contents::values);
        objects.any(|object| {
            !matches!(
                object,
                Object::VaultNetworkPolicy(ObservedPolicy::Invalid(_))
            )
        })
    }

    /// Whether a valid policy is committed.
    pub(super) fn has_policy(&self) -> bool {
        self.policies().next().is_some()
    }

    /// The file of a committed object.
    pub(super) fn file_of(&self, key: &Key) -> Option<&PathBuf> {
        self.locations.get(key)
    }

    /// Whether an object is committed from this file.
    pub(super) fn is_in(&self, key: &Key, file: &Path) -> bool {
        self.file_of(key).is_some_and(|location| location == file)
    }

    /// The policies of a vault, valid or not, and their files.
    pub(super) fn policies_of(&self, vault: &VaultId) -> impl Iterator<Item = (&str, &Path)> {
        let objects = self.files.iter().flat_map(|(file, contents)| {
            contents
                .iter()
                .map(move |(key, object)| (file, key, object))
        });
        objects.filter_map(move |(file, key, object)| match object {
            Object::VaultNetworkPolicy(policy) if policy.vault() == vault => {
                Some((key.name.name.as_str(), file.as_path()))
            }
            _ => None,
        })
    }

    /// Removes pending contents of a file, which it no longer has.
    pub(super) fn remove_pending(&mut self, file: &Path) {
        self.pending.remove(file);
    }

    /// Commits new contents to the index; empty ones stand for a deleted file.
    pub(super) fn commit(
        &mut self,
        new: BTreeMap<PathBuf, Contents>,
        index: &mut Index,
    ) -> Committed {
        let mut reported = BTreeMap::new();
        let mut candidates = BTreeMap::new();
        for (file, (contents, refusal)) in std::mem::take(&mut self.pending) {
            if !new.contains_key(&file) {
                reported.insert(file.clone(), refusal);
                candidates.insert(file, contents);
            }
        }
        candidates.extend(new);
        let mut committed = Committed::default();
        loop {
            let refused = self.refusals(&candidates);
            if refused.is_empty() {
                break;
            }
            for (file, refusal) in refused {
                let Some(contents) = candidates.remove(&file) else {
                    continue;
                };
                if reported.get(&file) != Some(&refusal) {
                    committed.refused.push((file.clone(), refusal.clone()));
                }
                self.pending.insert(file, (contents, refusal));
            }
        }
        committed.files = candidates.keys().cloned().collect();
        self.apply(candidates, index);
        committed
    }

    /// The valid policies and their files.
    fn policies(&self) -> impl Iterator<Item = (&Key, &PathBuf)> {
        let first = Key::new(Kind::VaultNetworkPolicy, ObjectName::cluster_scoped(""));
        self.locations
            .range(first..)
            .take_while(|(key, _)| key.kind == Kind::VaultNetworkPolicy)
            .filter(|(key, location)| {
                let contents = self.files.get(*location);
                contents.is_some_and(|contents| contents.get(key).is_some_and(is_policy))
            })
    }

    /// The candidates that cannot be committed together with the others.
    fn refusals(&self, candidates: &BTreeMap<PathBuf, Contents>) -> BTreeMap<PathBuf, Refusal> {
        let mut refused = BTreeMap::new();
        let mut first: BTreeMap<&Key, &PathBuf> = BTreeMap::new();
        for (file, contents) in candidates {
            for key in contents.keys() {
                let in_force = self
                    .locations
                    .get(key)
                    .filter(|location| *location != file && !candidates.contains_key(*location));
                let other = match (in_force, first.insert(key, file)) {
                    (Some(location), _) => location,
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
            let mut holders = self.policies().map(|(_, location)| location);
            let stays = holders.any(|location| !candidates.contains_key(location));
            let mut objects = candidates.values().flat_map(Contents::values);
            let has_new = objects.any(is_policy);
            if !stays && !has_new {
                let holders = self.policies().map(|(_, location)| location.clone());
                refused.extend(holders.map(|location| (location, Refusal::LastPolicy)));
            }
        }
        refused
    }

    fn apply(&mut self, candidates: BTreeMap<PathBuf, Contents>, index: &mut Index) {
        let mut before = Contents::new();
        for file in candidates.keys() {
            for (key, object) in self.files.remove(file).unwrap_or_default() {
                self.locations.remove(&key);
                before.insert(key, object);
            }
        }
        for (file, contents) in candidates {
            for (key, object) in &contents {
                self.locations.insert(key.clone(), file.clone());
                if before.remove(key).as_ref() != Some(object) {
                    index.apply(object.clone());
                }
            }
            if !contents.is_empty() {
                self.files.insert(file, contents);
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

/// The files from which objects move into the new contents.
pub(super) fn files_of<'a>(
    file_set: &'a FileSet,
    new: &'a BTreeMap<PathBuf, Contents>,
) -> BTreeSet<&'a PathBuf> {
    let keys = new.values().flat_map(Contents::keys);
    keys.filter_map(|key| file_set.file_of(key)).collect()
}
