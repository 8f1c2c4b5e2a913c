//! The contents of one file, or of one answer of an API server: objects and their violations.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;
use serde_json::Value;

use crate::index::{Key, Object};
use crate::policy::{Violation, ViolationReason};

/// Stands in place of a file's name for objects of a cluster.
pub const CLUSTER: &str = "cluster";

/// A violation with its place; serialized it has exactly these keys, which are a stable contract. `R` is the type of
/// its reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LocatedViolation<R = ViolationReason> {
    /// The file, as it was named or found; [`CLUSTER`] for an object of a cluster.
    pub file: String,
    /// Kind of the object; empty when the object does not have one.
    pub kind: String,
    /// Namespace of an object of a cluster, empty for a cluster-scoped one. Absent for an object of a file, which is
    /// identified by its file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name of the object; empty when the object does not have one.
    pub name: String,
    /// Field path, for example `spec.ipRules[0].value`; empty for the object itself.
    pub field: String,
    /// Reason, for programs.
    pub reason: R,
    /// Reason and remedy, for people.
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

impl Located<Key> {
    /// Warning about an object without a namespace.
    pub fn assumed_namespace(&self) -> String {
        let Self { file, object } = self;
        format!(
            "{}: {} {} has no namespace: {} is assumed here, and kubectl takes that of its context; write \
             metadata.namespace",
            file.display(),
            object.kind.name(),
            object.name.name,
            object.name.namespace
        )
    }
}

/// An object that must not be used.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// Violations of the object, all of them; never empty for a custom resource.
    pub violations: Vec<Violation>,
    /// The part that counts in spite of the violations: of a policy, the vault that it is for.
    pub fallback: Option<Box<Object>>,
}

/// The contents of one file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FileContents {
    /// The file.
    pub file: PathBuf,
    /// Objects of known kinds in the file's order; of one with violations at most [`Refused::fallback`].
    pub objects: Vec<(Key, Option<Object>)>,
    /// Specs of the objects of our own kinds, as they are written.
    pub specs: Vec<(Key, Value)>,
    /// Violations of the objects of the file.
    pub violations: Vec<LocatedViolation>,
    /// Objects without a namespace, for which the default one is assumed.
    pub assumed: Vec<Key>,
    /// Kinds that no firewall needs, and the number of objects of each.
    pub ignored: BTreeMap<String, usize>,
}
