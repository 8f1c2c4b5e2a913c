//! Content of generated objects: reads an existing object, and compares it with its desired form.

use std::collections::BTreeMap;

use kube::api::DynamicObject;
use serde_json::{Map, Value, json};

use super::corrections::Corrections;
use super::kind::GeneratedKind;
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
    pub(super) matched: Option<String>,
    /// The last answer to a write whose [`operators_part`] was not the desired one, see [`answer_of`].
    pub(super) answer: Option<String>,
    /// How often it was corrected recently.
    pub(super) corrections: Option<Corrections>,
    /// Resource version as a number.
    pub(super) version: u64,
}

impl Found {
    /// Returns the content; none if the object was deleted.
    pub(super) fn value(&self) -> Option<Value> {
        serde_json::from_str(self.content.as_ref()?).ok()
    }
}

/// Adds a hash of an object's content as an annotation, and returns it. When an annotation or label is removed from the
/// desired form, the hash changes, although an object with it still has the rest of the desired metadata.
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

/// Returns the hash that [`sign`] added to the desired form that was applied last.
pub(super) fn applied_hash(object: &Value) -> Option<&str> {
    let annotations = object.pointer("/metadata/annotations")?;
    annotations.get(APPLIED_HASH_ANNOTATION)?.as_str()
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
        matched: None,
        answer: None,
        corrections: None,
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

/// Fields outside `metadata` that the API server allocates or that others may set without an effect on the firewall, by
/// kind: JSON pointers, where `*` is every element of a list. All other fields belong to the operator.
fn fields_of_others(kind: GeneratedKind) -> &'static [&'static str] {
    match kind {
        GeneratedKind::Service => &[
            "/spec/clusterIP",
            "/spec/clusterIPs",
            "/spec/healthCheckNodePort",
            // Set by admission on creation, and immutable.
            "/spec/loadBalancerClass",
            "/spec/ports/*/nodePort",
        ],
        // `kubectl rollout restart` sets it.
        GeneratedKind::Deployment => {
            &["/spec/template/metadata/annotations/kubectl.kubernetes.io~1restartedAt"]
        }
        // Controllers of some distributions add the credentials of their image registry.
        GeneratedKind::ServiceAccount => &["/secrets", "/imagePullSecrets"],
        _ => &[],
    }
}

/// The part of an object that belongs to the operator as a whole: everything but metadata and status, without the
/// fields of others and without empty ones, which some versions of the API server write as `null`.
pub(super) fn operators_part(kind: GeneratedKind, object: &Value) -> Value {
    let mut part = object.clone();
    if let Some(fields) = part.as_object_mut() {
        for field in ["apiVersion", "kind", "metadata", "status"] {
            fields.remove(field);
        }
    }
    for pointer in fields_of_others(kind) {
        remove(&mut part, pointer);
    }
    remove_nulls(&mut part);
    part
}

/// Removes the field at a JSON pointer, in which `*` is every element of a list.
fn remove(value: &mut Value, pointer: &str) {
    if let Some((list, rest)) = pointer.split_once("/*") {
        let elements = value.pointer_mut(list).and_then(Value::as_array_mut);
        for element in elements.into_iter().flatten() {
            remove(element, rest);
        }
    } else if let Some((parent, field)) = pointer.rsplit_once('/')
        && let Some(fields) = value.pointer_mut(parent).and_then(Value::as_object_mut)
    {
        fields.remove(&field.replace("~1", "/"));
    }
}

fn remove_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(remove_nulls);
        }
        Value::Array(elements) => elements.iter_mut().for_each(remove_nulls),
        _ => {}
    }
}

/// Merge patch that changes an existing object's [`operators_part`] to the desired one; none if they are equal. Fields
/// that only exist are removed: a server-side apply leaves those that another field manager set.
pub(super) fn correction(kind: GeneratedKind, found: &Value, desired: &Value) -> Option<Value> {
    let uid = text(found, "/metadata/uid");
    let (found, desired) = (operators_part(kind, found), operators_part(kind, desired));
    let mut patch = merge_patch(&found, &desired)?;
    // An object that replaced this one in the meantime is not patched.
    if let Some(fields) = patch.as_object_mut() {
        fields.insert("metadata".to_owned(), json!({"uid": uid}));
    }
    Some(patch)
}

/// RFC 7396: `null` removes a field, and a list is replaced as a whole. None if the values are equal.
fn merge_patch(found: &Value, desired: &Value) -> Option<Value> {
    let (Value::Object(old), Value::Object(new)) = (found, desired) else {
        return (found != desired).then(|| desired.clone());
    };
    let removed = old.keys().filter(|field| !new.contains_key(*field));
    let removed = removed.map(|field| (field.clone(), Value::Null));
    let changed = new.iter().filter_map(|(field, new)| {
        let change = match old.get(field) {
            Some(old) => merge_patch(old, new)?,
            None => new.clone(),
        };
        Some((field.clone(), change))
    });
    let patch: Map<String, Value> = removed.chain(changed).collect();
    (!patch.is_empty()).then_some(Value::Object(patch))
}

/// Identifies the [`operators_part`] of an API server's answer to a write of the desired form with this signature.
pub(super) fn answer_of(kind: GeneratedKind, signature: &str, answer: &Value) -> String {
    let part = operators_part(kind, answer).to_string();
    content_version(&[signature.as_bytes(), part.as_bytes()])
}

/// Whether an existing object has the desired metadata. Other writers may add labels, annotations and owners.
pub(super) fn has_metadata(found: &Value, desired: &Value, owner: &Owner) -> bool {
    let metadata = |object: &Value| object.get("metadata").cloned().unwrap_or_default();
    let mut desired_metadata = metadata(desired);
    remove(&mut desired_metadata, "/ownerReferences");
    owners(found, owner.kind) == owners(desired, owner.kind)
        && covers(&metadata(found), &desired_metadata)
}

/// Whether a value has all desired fields; it may have more.
fn covers(found: &Value, desired: &Value) -> bool {
    match (found, desired) {
        (Value::Object(found), Value::Object(desired)) => desired
            .iter()
            .all(|(field, desired)| found.get(field).is_some_and(|found| covers(found, desired))),
        _ => found == desired,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]
    use super::*;

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
    fn others_may_add_to_metadata() {
        let owner = Owner {
            kind: "VaultNetworkPolicy",
            field_manager: "test",
        };
        let desired = json!({"metadata": {
            "name": "w", "labels": {"a": "1"},
            "ownerReferences": [{"kind": owner.kind, "name": "p", "uid": "u"}],
        }});
        let mut found = desired.clone();
        assert!(has_metadata(&found, &desired, &owner));
        found["metadata"]["labels"]["b"] = json!("2");
        if let Some(owners) = found["metadata"]["ownerReferences"].as_array_mut() {
            owners.push(json!({"kind": "Other", "name": "o", "uid": "v"}));
        }
        assert!(has_metadata(&found, &desired, &owner));
        found["metadata"]["labels"]["a"] = json!("2");
        assert!(!has_metadata(&found, &desired, &owner));
    }

    #[test]
    fn everything_else_is_corrected() {
        use GeneratedKind::{Deployment, Secret, Service};
        let restarted = json!({"kubectl.kubernetes.io/restartedAt": "now"});
        for (kind, found, desired, patch) in [
            // Fields of others.
            (
                Service,
                json!({"spec": {"clusterIP": "10.0.0.1", "ports": [{"port": 1, "nodePort": 30000}]}}),
                json!({"spec": {"ports": [{"port": 1}]}}),
                None,
            ),
            (
                Deployment,
                json!({"spec": {"template": {"metadata": {"annotations": restarted, "creationTimestamp": null}}}}),
                json!({"spec": {"template": {"metadata": {"annotations": {}}}}}),
                None,
            ),
            (
                Deployment,
                json!({"metadata": {"labels": {"a": "b"}}, "status": {}, "spec": {"replicas": 2}}),
                json!({"spec": {"replicas": 2}}),
                None,
            ),
            // A field more, less, and another value.
            (
                Service,
                json!({"spec": {"clusterIP": "10.0.0.1", "externalIPs": ["203.0.113.1"]}}),
                json!({"spec": {}}),
                Some(json!({"spec": {"externalIPs": null}})),
            ),
            (
                Service,
                json!({"spec": {"selector": {"a": "1", "b": "1"}}}),
                json!({"spec": {"selector": {"a": "2"}, "type": "ClusterIP"}}),
                Some(json!({"spec": {"selector": {"a": "2", "b": null}, "type": "ClusterIP"}})),
            ),
            // Lists are replaced as a whole.
            (
                Deployment,
                json!({"spec": {"containers": [{"name": "envoy", "command": ["sh"]}]}}),
                json!({"spec": {"containers": [{"name": "envoy"}]}}),
                Some(json!({"spec": {"containers": [{"name": "envoy"}]}})),
            ),
            (
                Secret,
                json!({"data": {"a": "1", "b": "2"}, "immutable": true}),
                json!({"data": {"a": "1"}}),
                Some(json!({"data": {"b": null}, "immutable": null})),
            ),
        ] {
            let patch = patch.map(|mut patch| {
                patch["metadata"] = json!({"uid": ""});
                patch
            });
            assert_eq!(correction(kind, &found, &desired), patch, "{found}");
        }
    }
}
