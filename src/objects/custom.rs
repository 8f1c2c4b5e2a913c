//! Our own kinds: checked against the schema, decoded, validated, and the violations of all three put together.

use kube::Resource;
use kube::api::{ApiResource, DynamicObject};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::contents::Refused;
use super::decode::{Decode, Source, Stored, key_of};
use super::null::remove_null_fields;
use super::schema::{Fault, schema_of};
use crate::index::Key;
use crate::limits::Limits;
use crate::policy::{Violation, ViolationReason};

/// Namespace of an object that does not have one. kubectl sets that of its context, which is this one at first.
pub(crate) const DEFAULT_NAMESPACE: &str = "default";
/// Most times that an object is repaired by hand before its other violations are given up.
const MAX_ATTEMPTS: usize = 16;

/// Source of our own kinds. A watch decodes them to any JSON, so that an object with violations never stalls it.
pub struct Custom;

impl Source for Custom {
    type Sent<K: Stored> = DynamicObject;

    fn resource<K: Stored>() -> ApiResource {
        ApiResource::erase::<K>(&())
    }

    fn status<K: Stored>(sent: &DynamicObject) -> Option<Value> {
        sent.data.get("status").cloned()
    }

    fn decode_sent<D: Decode>(mut sent: DynamicObject, limits: &Limits) -> Result<D, Refused> {
        sent.metadata.managed_fields = None;
        let document = serde_json::to_value(sent).unwrap_or_default();
        Self::decode_document(document, Vec::new(), limits).1
    }

    fn decode_document<D: Decode>(
        mut document: Value,
        ambiguous: Vec<Violation>,
        limits: &Limits,
    ) -> (Option<Key>, Result<D, Refused>) {
        if let Ok(schema) = schema_of(&D::Stored::kind(&())) {
            remove_null_fields(&mut document, schema.as_value());
        }
        if D::Stored::NAMESPACED {
            add_namespace(&mut document);
        }
        let key = key_of::<D>(&document);
        let fallback = key
            .as_ref()
            .and_then(|key| D::fallback(&key.name, &document));
        let object = check::<D>(document, ambiguous, limits).map_err(|violations| Refused {
            violations,
            fallback: fallback.map(|fallback| Box::new(fallback.into())),
        });
        (key, object)
    }
}

/// Adds the default namespace to an object without one; an empty one is none.
fn add_namespace(document: &mut Value) {
    if let Some(Value::Object(metadata)) = document.get_mut("metadata") {
        let namespace = metadata.entry("namespace").or_insert_with(|| "".into());
        if namespace == "" {
            *namespace = DEFAULT_NAMESPACE.into();
        }
    }
}

fn check<D: Decode>(
    mut document: Value,
    ambiguous: Vec<Violation>,
    limits: &Limits,
) -> Result<D, Vec<Violation>> {
    let schema = schema_of(&D::Stored::kind(&())).map_err(|defect| {
        let message = format!("cannot be checked, which is a defect of this program: {defect}");
        vec![Violation::new("", ViolationReason::Invalid, message)]
    })?;
    let mut faults = schema.check(&mut document);
    faults.retain(|fault| {
        ambiguous
            .iter()
            .all(|other| other.field != fault.violation.field)
    });
    faults.extend(ambiguous.into_iter().map(|violation| Fault {
        violation,
        repaired: true,
    }));
    let decoded = match typed::<D::Stored>(document, &mut faults) {
        Some(stored) => D::decode(&stored, limits),
        None => Err(Vec::new()),
    };
    match decoded {
        Ok(object) if faults.is_empty() => Ok(object),
        Ok(_) => Err(together(faults, Vec::new(), D::MISLEADING)),
        Err(violations) => Err(together(faults, violations, D::MISLEADING)),
    }
}

/// Returns the typed object. A value that the schema allows and the type does not (`8200.0`, a wrong time) is a
/// violation as well, and is removed so that the rest can be validated.
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
            violation: Violation::new(&field, ViolationReason::WrongType, message),
            repaired: true,
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

/// Returns the violations of schema and validation, without those that only follow from a repair.
fn together(
    faults: Vec<Fault>,
    violations: Vec<Violation>,
    misleading: &[(&str, &str)],
) -> Vec<Violation> {
    let follows = |found: &Violation| {
        faults.iter().filter(|fault| fault.repaired).any(|fault| {
            let repaired = &fault.violation.field;
            beneath(&found.field, repaired)
                || misleading
                    .iter()
                    .any(|(cause, effect)| repaired == cause && found.field == *effect)
        })
    };
    let violations: Vec<Violation> = violations
        .into_iter()
        .filter(|found| !follows(found))
        .collect();
    // If the schema and validation report the same field, validation has the better message.
    let validated: Vec<String> = violations.iter().map(|found| found.field.clone()).collect();
    faults
        .into_iter()
        .filter(|fault| fault.repaired || !validated.contains(&fault.violation.field))
        .map(|fault| fault.violation)
        .chain(violations)
        .collect()
}

fn beneath(field: &str, parent: &str) -> bool {
    field
        .strip_prefix(parent)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}
