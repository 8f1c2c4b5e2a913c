//! Content of generated objects: reads an existing object, and compares it with its desired form.

use std::collections::BTreeMap;

use kube::api::DynamicObject;
use serde_json::{Value, json};

use crate::api::{APPLIED_HASH_ANNOTATION, VAULT_LABEL};
use crate::index::ObjectName;
use crate::policy::VaultId;
use crate::runtime::reflector::{self, version_of};
use crate::xds::resource::content_version;

/// Last seen form of an object.
#[derive(Debug)]
pub(super) struct Found {
    /// JSON without status and bookkeeping, as text, which needs little memory; none: the object was deleted.
    pub(super) content: Option<Box<str>>,
    /// Vault that the object was generated for.
    pub(super) vault: Option<VaultId>,
    /// Message of a Deployment's condition if its newest pods do not become ready.
    pub(super) stalled: Option<Box<str>>,
    /// Signature of the desired form that the object was last compared with and matched.
    pub(super) covers: Option<String>,
    /// Resource version as a number.
    pub(super) version: u64,
}

impl Found {
    /// Returns the content; none if the object was deleted.
    pub(super) fn value(&self) -> Option<Value> {
        serde_json::from_str(self.content.as_ref()?).ok()
    }
}

/// Adds a hash of an object's content as an annotation, and returns it. When a field is removed from the desired form,
/// the hash changes, although an object with the field still has every desired field.
pub(super) fn sign(object: &mut Value) -> String {
    // Fields have the order of their types, so equal objects have equal text.
    let hash = content_version(&[object.to_string().as_bytes()]);
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
        if let Some(annotations) = annotations.as_object_mut() {
            let hash = Value::String(hash.clone());
            annotations.insert(APPLIED_HASH_ANNOTATION.to_owned(), hash);
        }
    }
    hash
}

/// Owner of generated objects, and the field manager that writes them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner {
    /// Kind of the owner references.
    pub(crate) kind: &'static str,
    /// Field manager of the objects, as `managedFields` shows it.
    pub(crate) field_manager: &'static str,
}

/// Returns namespace and name of an object.
pub(crate) fn name_of(object: &Value) -> ObjectName {
    ObjectName {
        namespace: text(object, "/metadata/namespace"),
        name: text(object, "/metadata/name"),
    }
}

/// Returns the text at a JSON pointer; empty if there is none.
pub(super) fn text(value: &Value, pointer: &str) -> String {
    let text = value.pointer(pointer).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

/// Returns the vault that an object was generated for, from its label.
fn vault_of(name: &ObjectName, content: &Value) -> Option<VaultId> {
    let labels = content.pointer("/metadata/labels")?;
    Some(VaultId {
        namespace: name.namespace.clone(),
        service: labels.get(VAULT_LABEL)?.as_str()?.to_owned(),
    })
}

/// Returns the UIDs of an object's owners of this kind, by name.
pub(super) fn owners(content: &Value, kind: &str) -> BTreeMap<String, String> {
    let owners = content.pointer("/metadata/ownerReferences");
    let owners = owners.and_then(Value::as_array).into_iter().flatten();
    owners
        .filter(|owner| owner.get("kind").and_then(Value::as_str) == Some(kind))
        .map(|owner| (text(owner, "/name"), text(owner, "/uid")))
        .collect()
}

/// Reads an object without status and bookkeeping.
pub(super) fn read(object: DynamicObject) -> Option<(ObjectName, Found)> {
    let name = reflector::name_of(&object);
    let version = version_of(&object);
    let mut content = serde_json::to_value(object).ok()?;
    let mut stalled_message = None;
    if let Some(fields) = content.as_object_mut() {
        let status = fields.remove("status").unwrap_or_default();
        stalled_message = stalled(&status);
        // Objects in a list have neither of these fields.
        for field in ["apiVersion", "kind"] {
            fields.remove(field);
        }
        if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
            for field in ["managedFields", "resourceVersion", "generation"] {
                metadata.remove(field);
            }
        }
    }
    let found = Found {
        vault: vault_of(&name, &content),
        content: Some(content.to_string().into()),
        stalled: stalled_message,
        covers: None,
        version,
    };
    Some((name, found))
}

/// Returns the message of a Deployment's condition if its newest pods do not become ready in time.
fn stalled(status: &Value) -> Option<Box<str>> {
    let conditions = status.get("conditions")?.as_array()?;
    let find = |kind: &str, reason: &str| {
        conditions.iter().find(|condition| {
            text(condition, "/type") == kind && text(condition, "/reason") == reason
        })
    };
    let late = find("Progressing", "ProgressDeadlineExceeded")?;
    // The failure to create a pod is more specific.
    let refused = find("ReplicaFailure", "FailedCreate");
    Some(text(refused.unwrap_or(late), "/message").into())
}

/// Whether an existing object has everything of its desired form, and nothing more where more would have an effect.
///
/// Other writers may add labels, annotations and owners, and the API server adds defaults. The `spec` of a
/// `NetworkPolicy` must be equal: an additional peer opens access, and with an additional label in its selector it does
/// not apply to some pods.
pub(super) fn covers(found: &Value, desired: &Value, owner: &Owner) -> bool {
    if owners(found, owner.kind) != owners(desired, owner.kind) {
        return false;
    }
    let Some(fields) = desired.as_object() else {
        return false;
    };
    let is_compared = |field: &str| !matches!(field, "apiVersion" | "kind");
    fields
        .iter()
        .filter(|(field, _)| is_compared(field))
        .all(|(field, desired)| {
            let Some(found) = found.get(field) else {
                return false;
            };
            match field.as_str() {
                "metadata" => metadata_covers(found, desired),
                // The data of a ConfigMap or Secret: an additional file would be read as well.
                "data" => found == desired,
                "spec" if is_network_policy(desired) => found == desired,
                // With an additional label in a Service's selector, proxies get no requests.
                "spec" => {
                    found.get("selector") == desired.get("selector") && value_covers(found, desired)
                }
                _ => value_covers(found, desired),
            }
        })
}

fn is_network_policy(spec: &Value) -> bool {
    spec.get("policyTypes").is_some()
}

fn metadata_covers(found: &Value, desired: &Value) -> bool {
    let desired = desired.as_object().into_iter().flatten();
    desired
        .filter(|(field, _)| *field != "ownerReferences")
        .all(|(field, desired)| {
            found
                .get(field)
                .is_some_and(|found| value_covers(found, desired))
        })
}

/// Whether a list has the desired length, and an object the desired fields; an object may have more fields.
fn value_covers(found: &Value, desired: &Value) -> bool {
    match (found, desired) {
        (Value::Object(found), Value::Object(desired)) => desired.iter().all(|(field, desired)| {
            found
                .get(field)
                .is_some_and(|found| value_covers(found, desired))
        }),
        (Value::Array(found), Value::Array(desired)) => {
            found.len() == desired.len()
                && found
                    .iter()
                    .zip(desired)
                    .all(|(found, desired)| value_covers(found, desired))
        }
        _ => found == desired,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]
    use super::*;

    const OWNER: Owner = Owner {
        kind: "VaultNetworkPolicy",
        field_manager: "test",
    };

    fn covers(found: &Value, desired: &Value) -> bool {
        super::covers(found, desired, &OWNER)
    }

    #[test]
    fn a_stalled_deployment_has_a_message() {
        let condition =
            |kind: &str, reason: &str| json!({"type": kind, "reason": reason, "message": kind});
        let message = |conditions: &[&Value]| stalled(&json!({"conditions": conditions}));
        let progressing = &condition("Progressing", "ReplicaSetUpdated");
        let late = &condition("Progressing", "ProgressDeadlineExceeded");
        let refused = &condition("ReplicaFailure", "FailedCreate");
        let other = &condition("ReplicaFailure", "FailedDelete");
        assert_eq!(stalled(&Value::Null), None);
        assert_eq!(
            message(&[refused, progressing]),
            None,
            "it may pass in a moment"
        );
        assert_eq!(message(&[other, late]).as_deref(), Some("Progressing"));
        assert_eq!(message(&[late, refused]).as_deref(), Some("ReplicaFailure"));
    }

    #[test]
    fn additional_fields_are_accepted_where_they_have_no_effect() {
        let network_policy = |ingress: Value| {
            json!({
                "metadata": {
                    "name": "w", "labels": {"a": "1"},
                    "ownerReferences": [{"kind": OWNER.kind, "name": "p", "uid": "u"}],
                },
                "spec": {
                    "podSelector": {"matchLabels": {"app": "bao"}}, "policyTypes": ["Ingress"],
                    "ingress": ingress,
                },
            })
        };
        let desired = network_policy(json!([]));
        let mut found = desired.clone();
        assert!(covers(&found, &desired));
        found["metadata"]["labels"]["b"] = json!("2");
        found["metadata"]["ownerReferences"]
            .as_array_mut()
            .into_iter()
            .for_each(|owners| owners.push(json!({"kind": "Other", "name": "o", "uid": "v"})));
        assert!(covers(&found, &desired), "others may add to metadata");
        assert!(
            !covers(&network_policy(json!([{}])), &desired),
            "an additional peer"
        );
        found["spec"]["podSelector"]["matchLabels"]["tier"] = json!("x");
        assert!(!covers(&found, &desired), "some pods are not selected");

        let deployment =
            |containers: Value| json!({"spec": {"template": {"spec": {"containers": containers}}}});
        let desired = deployment(json!([{"name": "envoy", "image": "e"}]));
        let defaulted = deployment(json!([{"name": "envoy", "image": "e", "stdin": false}]));
        assert!(covers(&defaulted, &desired));
        let more = deployment(json!([{"name": "envoy", "image": "e"}, {"name": "x"}]));
        assert!(!covers(&more, &desired), "an additional container");
        let files = |data: Value| json!({"data": data});
        assert!(!covers(
            &files(json!({"a": "1", "b": "2"})),
            &files(json!({"a": "1"}))
        ));
    }
}
