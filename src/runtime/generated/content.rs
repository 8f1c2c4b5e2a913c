//! What an object says, and whether that is what is wanted.

use std::collections::BTreeMap;

use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::super::watch::{self, version_of};
use super::{Found, OWNER_KIND};
use crate::api::{APPLIED_HASH_ANNOTATION, VAULT_LABEL};
use crate::index::ObjectName;
use crate::policy::VaultId;
use crate::xds::resource::content_version;

/// Writes onto an object what hash it has. What is taken out of it later shows in another hash, although everything
/// that is still wanted is there. Returns that hash.
pub(crate) fn sign(object: &mut Value) -> String {
    // Fields come in the order of their types, so that the same object is the same text.
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

/// Name of an object.
pub(crate) fn name_of(object: &Value) -> ObjectName {
    ObjectName {
        namespace: text(object, "/metadata/namespace"),
        name: text(object, "/metadata/name"),
    }
}

pub(crate) fn text(value: &Value, pointer: &str) -> String {
    let text = value.pointer(pointer).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

/// The vault that an object was made for.
fn vault_of(name: &ObjectName, content: &Value) -> Option<VaultId> {
    let labels = content.pointer("/metadata/labels")?;
    Some(VaultId {
        namespace: name.namespace.clone(),
        service: labels.get(VAULT_LABEL)?.as_str()?.to_owned(),
    })
}

/// UIDs of the policies that own an object, by name.
pub(crate) fn owners(content: &Value) -> BTreeMap<String, String> {
    let owners = content.pointer("/metadata/ownerReferences");
    let owners = owners.and_then(Value::as_array).into_iter().flatten();
    owners
        .filter(|owner| owner.get("kind").and_then(Value::as_str) == Some(OWNER_KIND))
        .map(|owner| (text(owner, "/name"), text(owner, "/uid")))
        .collect()
}

pub(crate) fn read(object: DynamicObject) -> Option<(ObjectName, Found)> {
    let name = watch::name_of(&object);
    let version = version_of(&object);
    let mut content = serde_json::to_value(object).ok()?;
    let mut why = None;
    if let Some(fields) = content.as_object_mut() {
        let status = fields.remove("status").unwrap_or_default();
        why = stalled(&status);
        // In lists, objects do not say of what kind they are.
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
        stalled: why,
        covers: None,
        version,
    };
    Some((name, found))
}

/// Why a Deployment does not get its newest pods to be ready, in Kubernetes' words; none: it has, or may in time.
fn stalled(status: &Value) -> Option<Box<str>> {
    let conditions = status.get("conditions")?.as_array()?;
    let find = |kind: &str, reason: &str| {
        conditions.iter().find(|condition| {
            text(condition, "/type") == kind && text(condition, "/reason") == reason
        })
    };
    let late = find("Progressing", "ProgressDeadlineExceeded")?;
    // That no pod can be made says more.
    let refused = find("ReplicaFailure", "FailedCreate");
    Some(text(refused.unwrap_or(late), "/message").into())
}

/// Whether an object that is there says everything that is wanted, and no more where more would mean something else.
///
/// Others may add labels, annotations and owners, and the API server adds what it defaults. What a `NetworkPolicy` says
/// has to be equal: one more peer opens, one more label in its selector leaves pods outside the wall.
pub(crate) fn covers(found: &Value, wanted: &Value) -> bool {
    if owners(found) != owners(wanted) {
        return false;
    }
    let Some(fields) = wanted.as_object() else {
        return false;
    };
    let said = |field: &str| !matches!(field, "apiVersion" | "kind");
    fields
        .iter()
        .filter(|(field, _)| said(field))
        .all(|(field, wanted)| {
            let Some(found) = found.get(field) else {
                return false;
            };
            match field.as_str() {
                "metadata" => metadata_covers(found, wanted),
                // The data of a ConfigMap or Secret: one more file would be read as well.
                "data" => found == wanted,
                "spec" if is_network_policy(wanted) => found == wanted,
                // One more label in a Service's selector leaves proxies without requests.
                "spec" => {
                    found.get("selector") == wanted.get("selector") && value_covers(found, wanted)
                }
                _ => value_covers(found, wanted),
            }
        })
}

fn is_network_policy(spec: &Value) -> bool {
    spec.get("policyTypes").is_some()
}

fn metadata_covers(found: &Value, wanted: &Value) -> bool {
    let wanted = wanted.as_object().into_iter().flatten();
    wanted
        .filter(|(field, _)| *field != "ownerReferences")
        .all(|(field, wanted)| {
            found
                .get(field)
                .is_some_and(|found| value_covers(found, wanted))
        })
}

/// Lists have to be as long as wanted, objects may have more fields.
fn value_covers(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => wanted.iter().all(|(field, wanted)| {
            found
                .get(field)
                .is_some_and(|found| value_covers(found, wanted))
        }),
        (Value::Array(found), Value::Array(wanted)) => {
            found.len() == wanted.len()
                && found
                    .iter()
                    .zip(wanted)
                    .all(|(found, wanted)| value_covers(found, wanted))
        }
        _ => found == wanted,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn a_deployment_says_that_it_does_not_get_on() {
        let condition =
            |kind: &str, reason: &str| json!({"type": kind, "reason": reason, "message": kind});
        let said = |conditions: &[&Value]| stalled(&json!({"conditions": conditions}));
        let gets_on = &condition("Progressing", "ReplicaSetUpdated");
        let late = &condition("Progressing", "ProgressDeadlineExceeded");
        let refused = &condition("ReplicaFailure", "FailedCreate");
        let other = &condition("ReplicaFailure", "FailedDelete");
        assert_eq!(stalled(&Value::Null), None);
        assert_eq!(said(&[refused, gets_on]), None, "it may pass in a moment");
        assert_eq!(said(&[other, late]).as_deref(), Some("Progressing"));
        assert_eq!(said(&[late, refused]).as_deref(), Some("ReplicaFailure"));
    }

    #[test]
    fn more_is_only_good_where_it_means_nothing() {
        let wall = |ingress: Value| {
            json!({
                "metadata": {"name": "w", "labels": {"a": "1"}, "ownerReferences": [{"kind": OWNER_KIND, "name": "p", "uid": "u"}]},
                "spec": {"podSelector": {"matchLabels": {"app": "bao"}}, "policyTypes": ["Ingress"], "ingress": ingress},
            })
        };
        let wanted = wall(json!([]));
        let mut found = wanted.clone();
        assert!(covers(&found, &wanted));
        found["metadata"]["labels"]["b"] = json!("2");
        found["metadata"]["ownerReferences"]
            .as_array_mut()
            .into_iter()
            .for_each(|owners| owners.push(json!({"kind": "Other", "name": "o", "uid": "v"})));
        assert!(covers(&found, &wanted), "others may add to metadata");
        assert!(!covers(&wall(json!([{}])), &wanted), "one more way in");
        found["spec"]["podSelector"]["matchLabels"]["tier"] = json!("x");
        assert!(!covers(&found, &wanted), "some pods outside the wall");

        let deployment =
            |containers: Value| json!({"spec": {"template": {"spec": {"containers": containers}}}});
        let wanted = deployment(json!([{"name": "envoy", "image": "e"}]));
        let defaulted = deployment(json!([{"name": "envoy", "image": "e", "stdin": false}]));
        assert!(covers(&defaulted, &wanted));
        let more = deployment(json!([{"name": "envoy", "image": "e"}, {"name": "x"}]));
        assert!(!covers(&more, &wanted), "one more container");
        let files = |data: Value| json!({"data": data});
        assert!(!covers(
            &files(json!({"a": "1", "b": "2"})),
            &files(json!({"a": "1"}))
        ));
    }
}
