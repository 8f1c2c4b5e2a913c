//! Objects from files and folders, or as an API server sends them: our own kinds, checked and validated, and ordinary
//! Kubernetes objects as facts.
//!
//! A file is read on its own ([`load_file`]), so that a watcher reloads the one that changed; [`LoadedObjects`] puts files
//! together and finds what stands in two of them. An object with a violation is left out; whether the others may then be
//! used is the caller's decision. This module reads files and decides no rule.

mod custom;
mod document;
mod fact;
mod files;
mod reader;
mod structure;
#[cfg(test)]
#[rustfmt::skip] // tables are read by eye
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

pub use document::LoadError;
pub use files::{Listing, Place, files_of, is_hidden, is_read_in_folders, list};
use reader::Reader;

use crate::index::{Index, NamespaceFact, ObservedPod, ServiceAccountFact, ServiceFact};
use crate::limits::Limits;
use crate::policy::{
    ValidatedPolicy, ValidatedVirtualNetwork, VaultId, Violation, ViolationReason,
};

/// What stands for the file of an object that came from a cluster.
pub const CLUSTER: &str = "cluster";

/// A violation with its place; serialized it has exactly these keys, which are a stable contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LocatedViolation {
    /// The file, as it was named or found; [`CLUSTER`] for an object of a cluster.
    pub file: String,
    /// Kind of the object; empty when it does not say.
    pub kind: String,
    /// Namespace of an object of a cluster, empty for a cluster-scoped one; files have their own name to tell objects
    /// apart, and no such key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name of the object; empty when it does not say.
    pub name: String,
    /// Field path; empty for the object itself.
    pub field: String,
    /// Why, for programs.
    pub reason: ViolationReason,
    /// Why and what to do, for people.
    pub message: String,
}

/// An object and the file that it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Located<T> {
    /// The file.
    pub file: PathBuf,
    /// The object.
    pub object: T,
}

/// What makes an object the only one of its kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectKey {
    /// Its kind.
    pub kind: String,
    /// Its namespace; empty for a cluster-scoped object.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{} {}", self.kind, self.name)
        } else {
            write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
        }
    }
}

/// A policy with violations, as far as it says which vault it is for: that vault keeps what was in force, or is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedPolicy {
    /// Name of the policy.
    pub name: String,
    /// The vault.
    pub vault: VaultId,
    /// The Service's port of the vault's API.
    pub port: u16,
}

/// An object that can be used, or what is known of a policy that cannot.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// A policy.
    Policy(ValidatedPolicy),
    /// A policy that cannot be used.
    RefusedPolicy(RefusedPolicy),
    /// A virtual network.
    VirtualNetwork(ValidatedVirtualNetwork),
    /// A namespace.
    Namespace(NamespaceFact),
    /// A pod, whether or not it counts.
    Pod(ObservedPod),
    /// A service account.
    ServiceAccount(ServiceAccountFact),
    /// A Service.
    Service(ServiceFact),
}

impl Object {
    /// What is left of an object that must not be used after all: that there is a policy, and of which vault.
    pub(crate) fn refused(self) -> Option<Self> {
        match self {
            Self::Policy(policy) => Some(Self::RefusedPolicy(RefusedPolicy {
                name: policy.name,
                vault: policy.vault,
                port: policy.port,
            })),
            Self::RefusedPolicy(_) => Some(self),
            _ => None,
        }
    }
}

/// What one file holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FileContents {
    /// The file.
    pub file: PathBuf,
    /// Its objects of known kinds in the file's order; of one with violations at most a
    /// [`RefusedPolicy`].
    pub objects: Vec<(ObjectKey, Option<Object>)>,
    /// What is wrong in it.
    pub violations: Vec<LocatedViolation>,
    /// Kinds that mean nothing here, and how many objects of each were passed over.
    pub ignored: BTreeMap<String, usize>,
}

/// Reads one file.
///
/// # Errors
/// The file cannot be read at all, or is neither YAML nor JSON. Anything wrong inside it is a violation.
pub fn load_file(file: &Path, limits: &Limits) -> Result<FileContents, LoadError> {
    parse_file(file, &document::read(file)?, limits)
}

/// Reads the text of a file.
///
/// # Errors
/// It is neither YAML nor JSON.
pub fn parse_file(file: &Path, text: &str, limits: &Limits) -> Result<FileContents, LoadError> {
    let documents = document::parse(file, text)?;
    let other_reading = if documents.iter().any(custom::may_be_read_otherwise) {
        document::parse_as_yaml_1_1(file, text)?
    } else {
        Vec::new()
    };
    let mut reader = Reader::new(file, limits);
    for (index, value) in documents.into_iter().enumerate() {
        reader.document(value, other_reading.get(index));
    }
    Ok(reader.finish())
}

/// Reads an object or a List as an API server sends it.
pub fn read_from_cluster(sent: Value, limits: &Limits) -> FileContents {
    let mut reader = Reader::of_cluster(limits);
    // Sent as JSON, it has one reading.
    reader.document(sent, None);
    reader.finish()
}

/// Everything from a set of files, or from a cluster.
#[derive(Debug, Default)]
pub struct LoadedObjects {
    /// The policies.
    pub policies: Vec<Located<ValidatedPolicy>>,
    /// Policies with violations, and those that stand in two places.
    pub refused_policies: Vec<Located<RefusedPolicy>>,
    /// The virtual networks.
    pub virtual_networks: Vec<Located<ValidatedVirtualNetwork>>,
    /// The namespaces.
    pub namespaces: Vec<NamespaceFact>,
    /// The pods.
    pub pods: Vec<ObservedPod>,
    /// The service accounts.
    pub service_accounts: Vec<ServiceAccountFact>,
    /// The Services.
    pub services: Vec<ServiceFact>,
    /// What is wrong, by file.
    pub violations: Vec<LocatedViolation>,
    /// Files that could not be read at all.
    pub errors: Vec<LoadError>,
    /// Kinds that mean nothing here, and how many objects of each were passed over.
    pub ignored: BTreeMap<String, usize>,
}

impl LoadedObjects {
    /// Reads files, and folders with all that is in them.
    pub fn load(paths: &[PathBuf], limits: &Limits) -> Self {
        let (files, errors) = files_of(paths);
        let mut contents = Vec::new();
        let mut loaded = Self {
            errors,
            ..Self::default()
        };
        for file in files {
            match load_file(&file, limits) {
                Ok(read) => contents.push(read),
                Err(error) => loaded.errors.push(error),
            }
        }
        loaded.add(contents);
        loaded
    }

    /// Puts files together that were read one by one.
    pub fn of(contents: impl IntoIterator<Item = FileContents>) -> Self {
        let mut loaded = Self::default();
        loaded.add(contents.into_iter().collect());
        loaded
    }

    /// Number of facts of ordinary Kubernetes objects.
    pub fn facts(&self) -> usize {
        self.namespaces.len() + self.pods.len() + self.service_accounts.len() + self.services.len()
    }

    /// Whether nothing was found, neither good nor bad.
    pub fn is_empty(&self) -> bool {
        let objects = self.policies.len() + self.virtual_networks.len() + self.facts();
        objects == 0 && self.violations.is_empty() && self.errors.is_empty()
    }

    /// The index of what can be used, for a question that is asked once. What the violations and errors mean for the
    /// answer is the caller's decision.
    pub fn into_index(self, limits: Limits) -> Index {
        let mut index = Index::new(limits);
        for fact in self.namespaces {
            index.apply_namespace(fact);
        }
        for pod in self.pods {
            index.apply_pod(pod);
        }
        for fact in self.service_accounts {
            index.apply_service_account(fact);
        }
        for fact in self.services {
            index.apply_service(fact);
        }
        for network in self.virtual_networks {
            index.apply_virtual_network(network.object);
        }
        for policy in self.policies {
            index.apply_policy(policy.object);
        }
        for policy in self.refused_policies {
            let RefusedPolicy { name, vault, port } = policy.object;
            index.apply_invalid_policy(&name, vault, port);
        }
        index
    }

    /// Of objects that stand in two places none is used: nobody can tell which one is meant.
    fn add(&mut self, contents: Vec<FileContents>) {
        let mut places: BTreeMap<ObjectKey, (PathBuf, usize)> = BTreeMap::new();
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
            for (kind, count) in file.ignored {
                *self.ignored.entry(kind).or_default() += count;
            }
            for (key, object) in file.objects {
                let repeated = places.get(&key).filter(|(_, count)| *count > 1);
                match (repeated, object) {
                    (None, Some(object)) => self.take(file.file.clone(), object),
                    (None, None) => {}
                    // The violations of the others name the first place.
                    (Some((first, _)), object) => {
                        if let Some(policy) = object.and_then(Object::refused) {
                            self.take(file.file.clone(), policy);
                        }
                        if !named.insert(key.clone()) {
                            self.violations.push(duplicate(&file.file, first, key));
                        }
                    }
                }
            }
        }
    }

    fn take(&mut self, file: PathBuf, object: Object) {
        match object {
            Object::Policy(object) => self.policies.push(Located { file, object }),
            Object::RefusedPolicy(object) => self.refused_policies.push(Located { file, object }),
            Object::VirtualNetwork(object) => self.virtual_networks.push(Located { file, object }),
            Object::Namespace(fact) => self.namespaces.push(fact),
            Object::Pod(fact) => self.pods.push(fact),
            Object::ServiceAccount(fact) => self.service_accounts.push(fact),
            Object::Service(fact) => self.services.push(fact),
        }
    }
}

fn duplicate(file: &Path, first: &Path, key: ObjectKey) -> LocatedViolation {
    let place = if file == first {
        "earlier in this file".to_owned()
    } else {
        format!("in {}", first.display())
    };
    LocatedViolation {
        file: file.display().to_string(),
        message: format!("{key} stands here and {place}; remove one, neither is used"),
        kind: key.kind,
        namespace: None,
        name: key.name,
        field: String::new(),
        reason: ViolationReason::Duplicate,
    }
}

/// Why an object cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// All that is wrong with it.
    pub violations: Vec<Violation>,
    /// What is known of a policy all the same.
    pub policy: Option<RefusedPolicy>,
}

/// Reads a `VaultNetworkPolicy` or a `VirtualNetwork` as the API server sends it, by the same rules as one in a file.
///
/// # Errors
/// All that is wrong with it, which is also said of an object of another kind.
pub fn read_custom(kind: &str, value: Value, limits: &Limits) -> Result<Object, Refused> {
    custom::read(kind, value, None, limits).1
}

fn violation(field: &str, reason: ViolationReason, message: impl Into<String>) -> Violation {
    Violation {
        field: field.to_owned(),
        reason,
        message: message.into(),
    }
}

/// The key of an object that says its name.
fn key_of(kind: &str, value: &Value) -> Option<ObjectKey> {
    let text = |pointer: &str| {
        value
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let name = text("/metadata/name");
    (!name.is_empty()).then(|| ObjectKey {
        kind: kind.to_owned(),
        namespace: text("/metadata/namespace"),
        name,
    })
}
