//! Several files, or the answers of a cluster, put together. Finds objects that are in two of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::contents::{FileContents, Located, LocatedViolation};
use super::document::LoadError;
use super::files::files_of;
use super::kinds;
use super::reader::load_file;
#[cfg(doc)]
use crate::index::ObservedPolicy;
use crate::index::{Index, Key, Object};
use crate::limits::Limits;
use crate::policy::{
    ValidatedPolicy, ValidatedTrustedService, ValidatedVirtualNetwork, ViolationReason,
};

/// Everything from a set of files, or from a cluster.
#[derive(Debug, Default)]
pub struct LoadedObjects {
    /// The objects that can be used, and [`ObservedPolicy::Invalid`] for each policy that cannot, in the order of the
    /// files.
    pub objects: Vec<Located<Object>>,
    /// Specs of the objects of our own kinds, as they are written.
    pub specs: BTreeMap<Key, Value>,
    /// Violations, in the order of the files.
    pub violations: Vec<LocatedViolation>,
    /// Files that could not be read at all.
    pub errors: Vec<LoadError>,
    /// Objects without a namespace, for which the default one is assumed, each with its file.
    pub assumed: Vec<Located<Key>>,
    /// Kinds that no firewall needs, and the number of objects of each.
    pub ignored: BTreeMap<String, usize>,
}

impl LoadedObjects {
    /// Reads files, and folders with all that is in them.
    pub fn load(paths: &[PathBuf], limits: &Limits) -> Self {
        let (contents, errors) = load_files(paths, limits);
        let mut loaded = Self::of(contents);
        loaded.errors = errors;
        loaded
    }

    /// Puts files together that were read one by one.
    pub fn of(contents: impl IntoIterator<Item = FileContents>) -> Self {
        let mut loaded = Self::default();
        loaded.add(contents.into_iter().collect());
        loaded
    }

    /// The valid policies, each with its file.
    pub fn policies(&self) -> impl Iterator<Item = (&Path, &ValidatedPolicy)> {
        let objects = self.objects.iter();
        objects.filter_map(|located| Some((located.file.as_path(), located.object.policy()?)))
    }

    /// The virtual networks.
    pub fn virtual_networks(&self) -> impl Iterator<Item = &ValidatedVirtualNetwork> {
        let objects = self.objects.iter();
        objects.filter_map(|located| located.object.virtual_network())
    }

    /// The trusted services.
    pub fn trusted_services(&self) -> impl Iterator<Item = &ValidatedTrustedService> {
        let objects = self.objects.iter();
        objects.filter_map(|located| located.object.trusted_service())
    }

    /// Number of facts of ordinary Kubernetes objects.
    pub fn facts(&self) -> usize {
        let objects = self.objects.iter();
        let is_fact = |located: &&Located<Object>| !kinds::info(located.object.kind()).is_custom();
        objects.filter(is_fact).count()
    }

    /// Whether nothing was found: no object, no violation, no error.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.violations.is_empty() && self.errors.is_empty()
    }

    /// Returns an index of the objects that can be used. Whether a question may be answered in spite of violations and
    /// errors is the caller's decision.
    pub fn into_index(self, limits: Limits) -> Index {
        let mut index = Index::new(limits);
        for located in self.objects {
            index.apply(located.object);
        }
        index
    }

    /// Uses none of the objects that are in two places: it is not known which of them is meant.
    fn add(&mut self, contents: Vec<FileContents>) {
        let mut places: BTreeMap<Key, (PathBuf, usize)> = BTreeMap::new();
        for file in &contents {
            for (key, _) in &file.objects {
                places
                    .entry(key.clone())
                    .or_insert_with(|| (file.file.clone(), 0))
                    .1 += 1;
            }
        }
        let mut named = BTreeSet::new();
        for file in contents {
            self.violations.extend(file.violations);
            self.specs.extend(file.specs);
            self.assumed
                .extend(file.assumed.into_iter().map(|object| Located {
                    file: file.file.clone(),
                    object,
                }));
            for (kind, count) in file.ignored {
                *self.ignored.entry(kind).or_default() += count;
            }
            for (key, object) in file.objects {
                let repeated = places.get(&key).filter(|(_, count)| *count > 1);
                let object = match repeated {
                    None => object,
                    // The violations of the others name the first place.
                    Some((first, _)) => {
                        if !named.insert(key.clone()) {
                            self.violations.push(duplicate(&file.file, first, &key));
                        }
                        object.and_then(Object::unusable)
                    }
                };
                self.objects.extend(object.map(|object| Located {
                    file: file.file.clone(),
                    object,
                }));
            }
        }
    }
}

/// Reads files, and folders with all that is in them, one by one; also returns the errors of those that cannot be read.
pub fn load_files(paths: &[PathBuf], limits: &Limits) -> (Vec<FileContents>, Vec<LoadError>) {
    let (files, mut errors) = files_of(paths);
    let mut contents = Vec::new();
    for file in files {
        match load_file(&file, limits) {
            Ok(read) => contents.push(read),
            Err(error) => errors.push(error),
        }
    }
    (contents, errors)
}

fn duplicate(file: &Path, first: &Path, key: &Key) -> LocatedViolation {
    let place = if file == first {
        "earlier in this file".to_owned()
    } else {
        format!("in {}", first.display())
    };
    LocatedViolation {
        file: file.display().to_string(),
        message: format!("{key} stands here and {place}; remove one, neither is used"),
        kind: key.kind.name().to_owned(),
        namespace: None,
        name: key.name.name.clone(),
        field: String::new(),
        reason: ViolationReason::Duplicate,
    }
}
