//! Our own kinds: shape by the schema, then the typed object, then validation, and the findings of all three together.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::structure::{self, Fault, Structure};
use super::{Object, ObjectKey, Refused, RefusedPolicy, key_of, violation};
use crate::api::{GROUP, VaultNetworkPolicy, VirtualNetwork};
use crate::limits::Limits;
use crate::policy::{
    VaultId, Violation, ViolationReason, field_of, quoted, validate_policy,
    validate_virtual_network,
};

/// Namespace of a policy that does not say one, as kubectl takes it.
const DEFAULT_NAMESPACE: &str = "default";
/// Most times that an object is mended by hand before its other violations are given up.
const MAX_ATTEMPTS: usize = 16;
/// Plain words that YAML 1.1 reads as booleans and YAML 1.2 as texts, in lower case.
const BOOLEAN_WORDS: [&str; 6] = ["yes", "no", "on", "off", "y", "n"];

/// Where a field that was mended leads validation to a wrong conclusion about another.
const MISLEADING: [(&str, &str); 1] = [(
    "spec.clientAddress.source",
    "spec.clientAddress.trustedProxies",
)];

/// Reads a `VaultNetworkPolicy` or a `VirtualNetwork`.
pub(crate) fn read(
    kind: &str,
    mut value: Value,
    other_reading: Option<&Value>,
    limits: &Limits,
) -> (Option<ObjectKey>, Result<Object, Refused>) {
    let mut ambiguous = Vec::new();
    if let Some(other) = other_reading {
        differences("", &value, other, &mut ambiguous);
    }
    drop_unset_metadata(&mut value);
    let is_policy = kind == "VaultNetworkPolicy";
    if is_policy && let Some(Value::Object(metadata)) = value.get_mut("metadata") {
        metadata
            .entry("namespace")
            .or_insert_with(|| DEFAULT_NAMESPACE.into());
    }
    let key = key_of(kind, &value);
    let policy = key
        .as_ref()
        .filter(|_| is_policy)
        .and_then(|key| refused_policy(key, &value));
    let result = if is_policy {
        check(
            structure::policy(),
            value,
            ambiguous,
            |policy: &VaultNetworkPolicy| validate_policy(policy, limits).map(Object::Policy),
        )
    } else {
        check(
            structure::virtual_network(),
            value,
            ambiguous,
            |network: &VirtualNetwork| {
                validate_virtual_network(network).map(Object::VirtualNetwork)
            },
        )
    };
    (
        key,
        result.map_err(|violations| Refused { violations, policy }),
    )
}

/// What a policy says of its vault, whatever else is wrong with it.
fn refused_policy(key: &ObjectKey, value: &Value) -> Option<RefusedPolicy> {
    let target = value.pointer("/spec/targetRef")?;
    let service = target
        .get("name")?
        .as_str()
        .filter(|name| !name.is_empty())?;
    let port = target
        .get("port")?
        .as_u64()
        .and_then(|port| u16::try_from(port).ok())?;
    Some(RefusedPolicy {
        name: key.name.clone(),
        vault: VaultId {
            namespace: key.namespace.clone(),
            service: service.to_owned(),
        },
        port,
    })
}

/// kubectl prints `creationTimestamp: null` for an object that was never created; the API server takes it as left out.
fn drop_unset_metadata(value: &mut Value) {
    if let Some(Value::Object(metadata)) = value.get_mut("metadata") {
        metadata.retain(|_, value| !value.is_null());
    }
}

fn check<K: DeserializeOwned>(
    structure: Result<&'static Structure, &'static str>,
    mut value: Value,
    ambiguous: Vec<Violation>,
    validate: impl Fn(&K) -> Result<Object, Vec<Violation>>,
) -> Result<Object, Vec<Violation>> {
    let structure = structure.map_err(|defect| {
        let message = format!("cannot be checked, which is a defect of this program: {defect}");
        vec![violation("", ViolationReason::Invalid, message)]
    })?;
    let mut faults = structure.check(&mut value);
    faults.retain(|fault| {
        ambiguous
            .iter()
            .all(|other| other.field != fault.violation.field)
    });
    faults.extend(ambiguous.into_iter().map(|violation| Fault {
        violation,
        mended: true,
    }));
    let judged = match typed::<K>(value, &mut faults) {
        Some(object) => validate(&object),
        None => Err(Vec::new()),
    };
    match judged {
        Ok(object) if faults.is_empty() => Ok(object),
        Ok(_) => Err(together(faults, Vec::new())),
        Err(violations) => Err(together(faults, violations)),
    }
}

/// The typed object. What the schema lets through and the type does not (`8200.0`, a wrong time) is a violation, too,
/// and taken out so that the rest can be judged.
fn typed<K: DeserializeOwned>(mut value: Value, faults: &mut Vec<Fault>) -> Option<K> {
    if let Some(object) = value.as_object_mut() {
        object.remove("status");
    }
    for _ in 0..MAX_ATTEMPTS {
        let error = match serde_path_to_error::deserialize::<_, K>(&value) {
            Ok(object) => return Some(object),
            Err(error) => error,
        };
        let field = error.path().to_string();
        if faults.iter().any(|fault| fault.violation.field == field) {
            return None;
        }
        let message = format!("{}; write another value", error.inner());
        faults.push(Fault {
            violation: violation(&field, ViolationReason::WrongType, message),
            mended: true,
        });
        let (pointer, key) = parent_and_key(&field)?;
        value.pointer_mut(&pointer)?.as_object_mut()?.remove(&key)?;
    }
    None
}

/// `spec.ipRules[3].value` → (`/spec/ipRules/3`, `value`). Only for paths of fields, which have plain names.
fn parent_and_key(field: &str) -> Option<(String, String)> {
    let pointer = format!("/{}", field.replace(['.', '['], "/").replace(']', ""));
    let (parent, key) = pointer.rsplit_once('/')?;
    Some((parent.to_owned(), key.to_owned()))
}

/// What the shape and the rules found, without what only follows from mending.
fn together(faults: Vec<Fault>, violations: Vec<Violation>) -> Vec<Violation> {
    let follows = |found: &Violation| {
        faults.iter().filter(|fault| fault.mended).any(|fault| {
            let mended = &fault.violation.field;
            beneath(&found.field, mended)
                || MISLEADING
                    .iter()
                    .any(|(cause, effect)| mended == cause && found.field == *effect)
        })
    };
    let violations: Vec<Violation> = violations
        .into_iter()
        .filter(|found| !follows(found))
        .collect();
    // Where both speak of one field, validation's words are the better ones.
    let said: Vec<String> = violations.iter().map(|found| found.field.clone()).collect();
    faults
        .into_iter()
        .filter(|fault| fault.mended || !said.contains(&fault.violation.field))
        .map(|fault| fault.violation)
        .chain(violations)
        .collect()
}

fn beneath(field: &str, parent: &str) -> bool {
    field
        .strip_prefix(parent)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// Whether a document of ours holds a word that kubectl would read as a boolean if it stands there without quotes.
pub(crate) fn may_be_read_otherwise(document: &Value) -> bool {
    match document {
        Value::String(text) => is_boolean_word(text),
        Value::Array(list) => list.iter().any(may_be_read_otherwise),
        Value::Object(object) => {
            let foreign = object
                .get("apiVersion")
                .and_then(Value::as_str)
                .is_some_and(|version| {
                    object.contains_key("kind")
                        && !object.contains_key("items")
                        && !version.starts_with(GROUP)
                });
            !foreign && object.values().any(may_be_read_otherwise)
        }
        _ => false,
    }
}

fn is_boolean_word(text: &str) -> bool {
    BOOLEAN_WORDS
        .iter()
        .any(|word| word.eq_ignore_ascii_case(text))
}

/// Plain words that are a text here and a boolean for kubectl: refused, because one file must not mean two things.
fn differences(field: &str, ours: &Value, theirs: &Value, found: &mut Vec<Violation>) {
    match (ours, theirs) {
        (Value::String(text), Value::Bool(meant)) => {
            let message = format!(
                "{} without quotes is the boolean {meant} for kubectl and a text for others; write true or false where a \
                 boolean is meant, and put a text in quotes",
                quoted(text)
            );
            found.push(violation(field, ViolationReason::WrongType, message));
        }
        (Value::Object(ours), Value::Object(theirs)) => {
            for (key, value) in ours {
                differences(
                    &field_of(field, key),
                    value,
                    theirs.get(key).unwrap_or(&json!(null)),
                    found,
                );
            }
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            for (index, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
                differences(&format!("{field}[{index}]"), ours, theirs, found);
            }
        }
        _ => {}
    }
}
