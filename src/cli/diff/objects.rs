//! Objects that a change adds, removes or edits, with the paths of the fields that differ.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::api::{TrustedServiceSpec, VaultNetworkPolicySpec, VirtualNetworkSpec};
use crate::index::{Key, Kind, Object};
use crate::objects::LoadedObjects;
use crate::policy::{NetworkRuleSource, ValidatedPolicy};

/// How an object changes.
#[derive(Serialize, Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Added,
    Removed,
    Edited,
}

/// An object that changes. As JSON it has exactly these keys, which are a stable contract.
#[derive(Serialize, Debug)]
pub(super) struct ChangedObject {
    pub(super) change: Change,
    pub(super) kind: &'static str,
    /// Namespace; empty for a cluster-scoped object.
    pub(super) namespace: String,
    pub(super) name: String,
    /// File of the object; that before the change if it is removed.
    pub(super) file: String,
    /// Vaults whose policies depend on it, before or after the change.
    pub(super) vaults: BTreeSet<String>,
    /// Fields that differ; empty unless it is edited.
    pub(super) fields: Vec<Field>,
}

/// A field that differs.
#[derive(Serialize, Debug, PartialEq)]
pub(super) struct Field {
    /// Path, for example `spec.ipRules[0].value`. The place in a list is that after the change; if the field is
    /// removed, that before it.
    pub(super) path: String,
    /// Value before the change; `null` if there was none.
    pub(super) old: Value,
    /// Value after the change; `null` if there is none.
    pub(super) new: Value,
}

/// Finds the policies, virtual networks, trusted services and namespaces that change.
pub(super) fn changed(old: &LoadedObjects, new: &LoadedObjects) -> Vec<ChangedObject> {
    let (before, after) = (states(old), states(new));
    let keys: BTreeSet<&Key> = before.keys().chain(after.keys()).collect();
    let mut found = Vec::new();
    for key in keys {
        let (change, file, fields) = match (before.get(key), after.get(key)) {
            (None, Some((file, _))) => (Change::Added, file, Vec::new()),
            (Some((file, _)), None) => (Change::Removed, file, Vec::new()),
            (Some((_, old)), Some((file, new))) if old != new => {
                let mut fields = Vec::new();
                compare("", Some(old), Some(new), &mut fields);
                (Change::Edited, file, fields)
            }
            _ => continue,
        };
        found.push(ChangedObject {
            change,
            kind: key.kind.name(),
            namespace: key.name.namespace.clone(),
            name: key.name.name.clone(),
            file: file.display().to_string(),
            vaults: vaults(key, [old, new]),
            fields,
        });
    }
    found
}

/// Objects with their files, in a form in which equal objects are equal.
fn states(loaded: &LoadedObjects) -> BTreeMap<Key, (&Path, Value)> {
    let mut states = BTreeMap::new();
    for located in &loaded.objects {
        let key = located.object.key();
        let state = match (&located.object, loaded.specs.get(&key)) {
            (Object::Namespace(namespace), _) => json!({"metadata": {"labels": namespace.labels}}),
            (_, Some(spec)) => json!({"spec": with_defaults(key.kind, spec)}),
            _ => continue,
        };
        states.insert(key, (located.file.as_path(), state));
    }
    states
}

/// A spec with the defaults of its schema, as the API server stores it.
fn with_defaults(kind: Kind, spec: &Value) -> Value {
    fn read<T: DeserializeOwned + Serialize>(spec: &Value) -> Option<Value> {
        serde_json::to_value(T::deserialize(spec).ok()?).ok()
    }
    let read = match kind {
        Kind::VaultNetworkPolicy => read::<VaultNetworkPolicySpec>(spec),
        Kind::VirtualNetwork => read::<VirtualNetworkSpec>(spec),
        Kind::TrustedService => read::<TrustedServiceSpec>(spec),
        _ => None,
    };
    read.unwrap_or_else(|| spec.clone())
}

fn compare(path: &str, old: Option<&Value>, new: Option<&Value>, fields: &mut Vec<Field>) {
    if old == new {
        return;
    }
    match (old, new) {
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for name in names {
                let dot = if path.is_empty() { "" } else { "." };
                compare(
                    &format!("{path}{dot}{name}"),
                    old.get(name),
                    new.get(name),
                    fields,
                );
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) => lists(path, old, new, fields),
        _ if is_empty(old) && is_empty(new) => {}
        _ => fields.push(Field {
            path: path.to_owned(),
            old: old.cloned().unwrap_or_default(),
            new: new.cloned().unwrap_or_default(),
        }),
    }
}

/// Whether a value is the same as none.
fn is_empty(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Array(items)) => items.is_empty(),
        Some(_) => false,
    }
}

/// Compares lists by their members: one that is on both sides, at any place, is no difference. Members of one name are
/// compared field by field.
fn lists(path: &str, old: &[Value], new: &[Value], fields: &mut Vec<Field>) {
    let mut left: Vec<(usize, &Value)> = old.iter().enumerate().collect();
    let mut added = Vec::new();
    for (index, item) in new.iter().enumerate() {
        match left.iter().position(|(_, other)| *other == item) {
            Some(place) => {
                left.remove(place);
            }
            None => added.push((index, item)),
        }
    }
    if left.is_empty() && added.is_empty() {
        fields.push(Field {
            path: format!("{path} (order)"),
            old: old.into(),
            new: new.into(),
        });
        return;
    }
    for (index, item) in added {
        let name = item.get("name").filter(|name| name.is_string());
        let same = left
            .iter()
            .position(|(_, other)| name.is_some() && other.get("name") == name);
        let other = same.map(|place| left.remove(place).1);
        compare(&format!("{path}[{index}]"), other, Some(item), fields);
    }
    for (index, item) in left {
        compare(&format!("{path}[{index}]"), Some(item), None, fields);
    }
}

/// Vaults whose policies depend on an object.
fn vaults(key: &Key, sides: [&LoadedObjects; 2]) -> BTreeSet<String> {
    let depends = |policy: &ValidatedPolicy| match key.kind {
        Kind::VaultNetworkPolicy => {
            policy.vault.namespace == key.name.namespace && policy.name == key.name.name
        }
        Kind::TrustedService => {
            let bypass = policy.bypass.as_ref();
            bypass.is_some_and(|bypass| bypass.lets_in(&key.name.name))
        }
        Kind::VirtualNetwork => {
            policy
                .virtual_network_rules
                .iter()
                .any(|rule| match &rule.source {
                    NetworkRuleSource::Subnet {
                        virtual_network, ..
                    } => *virtual_network == key.name.name,
                    NetworkRuleSource::Pods(_) => false,
                })
        }
        _ => false,
    };
    let policies = sides.into_iter().flat_map(LoadedObjects::policies);
    policies
        .filter(|(_, policy)| depends(policy))
        .map(|(_, policy)| policy.vault.to_string())
        .collect()
}
