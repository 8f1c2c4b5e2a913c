//! The objects that belong to a firewall: what of them is there, and writing what is not as it should be.
//!
//! What is there comes from watches, so that a deleted or edited object is noticed and an untouched one costs nothing.
//! Nothing is written that would not change anything.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::{TryStreamExt, pin_mut};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;

use super::book::Book;
use super::leader::{Lost, Term};
use super::operations::{Metrics, WriteResult};
use super::watch::name_of;
use crate::api::{MANAGED_BY, MANAGED_BY_LABEL, VAULT_LABEL};
use crate::index::ObjectName;
use crate::policy::VaultId;

/// Field manager of everything that belongs to a firewall.
const FIELD_MANAGER: &str = "vaultwall-firewall";
/// Kind of the objects' owners.
const OWNER_KIND: &str = "VaultNetworkPolicy";

/// Kinds of these objects, in the order in which they are written: the wall comes before the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum ChildKind {
    NetworkPolicy,
    ServiceAccount,
    Secret,
    ConfigMap,
    Service,
    Deployment,
    PodDisruptionBudget,
}

impl ChildKind {
    pub(super) const ALL: [Self; 7] = [
        Self::NetworkPolicy,
        Self::ServiceAccount,
        Self::Secret,
        Self::ConfigMap,
        Self::Service,
        Self::Deployment,
        Self::PodDisruptionBudget,
    ];

    fn resource(self) -> ApiResource {
        match self {
            Self::NetworkPolicy => ApiResource::erase::<NetworkPolicy>(&()),
            Self::ServiceAccount => ApiResource::erase::<ServiceAccount>(&()),
            Self::Secret => ApiResource::erase::<Secret>(&()),
            Self::ConfigMap => ApiResource::erase::<ConfigMap>(&()),
            Self::Service => ApiResource::erase::<Service>(&()),
            Self::Deployment => ApiResource::erase::<Deployment>(&()),
            Self::PodDisruptionBudget => ApiResource::erase::<PodDisruptionBudget>(&()),
        }
    }

    /// Name of the kind in Kubernetes.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::NetworkPolicy => "NetworkPolicy",
            Self::ServiceAccount => "ServiceAccount",
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
            Self::Service => "Service",
            Self::Deployment => "Deployment",
            Self::PodDisruptionBudget => "PodDisruptionBudget",
        }
    }
}

/// Why an object was not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    #[error(transparent)]
    Lost(#[from] Lost),
    #[error("{kind} {object}: {source}")]
    Api {
        kind: &'static str,
        object: ObjectName,
        source: kube::Error,
    },
    #[error("{kind}: cannot be written as JSON: {source}")]
    Form {
        kind: &'static str,
        source: serde_json::Error,
    },
}

/// An object as it is there.
#[derive(Clone, Debug)]
struct Found {
    /// Without status and bookkeeping.
    content: Value,
    version: u64,
}

/// What of them is there.
pub(super) struct Children {
    client: Client,
    book: Arc<Book>,
    metrics: Arc<Metrics>,
    found: Mutex<HashMap<(ChildKind, ObjectName), Found>>,
    not_listed: watch::Sender<BTreeSet<ChildKind>>,
}

impl Children {
    /// Starts the watches; they run as long as the runtime.
    pub(super) fn watch(client: Client, book: Arc<Book>, metrics: Arc<Metrics>) -> Arc<Self> {
        let children = Arc::new(Self {
            client,
            book,
            metrics,
            found: Mutex::default(),
            not_listed: watch::Sender::new(ChildKind::ALL.into_iter().collect()),
        });
        for kind in ChildKind::ALL {
            tokio::spawn(Arc::clone(&children).run(kind));
        }
        children
    }

    /// Waits until everything was listed once; before that, nobody knows what is there.
    pub(super) async fn listed(&self) {
        // It cannot fail: this value holds the sender.
        let _ = self
            .not_listed
            .subscribe()
            .wait_for(BTreeSet::is_empty)
            .await;
    }

    fn found(&self) -> MutexGuard<'_, HashMap<(ChildKind, ObjectName), Found>> {
        // Whole at every moment, so a panic elsewhere while it was held does no harm.
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(self: Arc<Self>, kind: ChildKind) {
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &kind.resource());
        let ours = format!("{MANAGED_BY_LABEL}={MANAGED_BY}");
        let stream = watcher(api, watcher::Config::default().labels(&ours)).default_backoff();
        pin_mut!(stream);
        let mut listed = BTreeSet::new();
        loop {
            match stream.try_next().await {
                Ok(None) => return,
                Err(error) => {
                    self.metrics.watch_restarted(kind.name());
                    let kind = kind.name();
                    tracing::warn!("the watch of {kind} was interrupted and goes on: {error}");
                }
                Ok(Some(watcher::Event::Init)) => listed.clear(),
                Ok(Some(watcher::Event::InitApply(object))) => {
                    listed.insert(name_of(&object));
                    self.seen(kind, object);
                }
                Ok(Some(watcher::Event::Apply(object))) => self.seen(kind, object),
                Ok(Some(watcher::Event::Delete(object))) => self.gone(kind, &name_of(&object)),
                Ok(Some(watcher::Event::InitDone)) => {
                    let known: Vec<ObjectName> = self
                        .found()
                        .keys()
                        .filter(|(of, name)| *of == kind && !listed.contains(name))
                        .map(|(_, name)| name.clone())
                        .collect();
                    for name in known {
                        self.gone(kind, &name);
                    }
                    self.not_listed.send_modify(|kinds| {
                        kinds.remove(&kind);
                    });
                }
            }
        }
    }

    fn seen(&self, kind: ChildKind, object: DynamicObject) {
        let Some((name, new)) = read(object) else {
            return;
        };
        let vault = vault_of(&name, &new.content);
        let changed = {
            let mut found = self.found();
            let key = (kind, name);
            // What a write was answered with may be newer than what a watch tells later.
            let is_newer = found
                .get(&key)
                .is_none_or(|known| known.version < new.version);
            let changed = is_newer
                && found
                    .get(&key)
                    .is_none_or(|known| known.content != new.content);
            if is_newer {
                found.insert(key, new);
            }
            changed
        };
        if let Some(vault) = vault.filter(|_| changed) {
            self.book.mark(vault);
        }
    }

    fn gone(&self, kind: ChildKind, name: &ObjectName) {
        let old = self.found().remove(&(kind, name.clone()));
        if let Some(vault) = old.and_then(|old| vault_of(name, &old.content)) {
            self.book.mark(vault);
        }
    }

    /// An object as it is there, without status and bookkeeping.
    pub(super) fn get(&self, kind: ChildKind, name: &ObjectName) -> Option<Value> {
        let found = self.found();
        found
            .get(&(kind, name.clone()))
            .map(|found| found.content.clone())
    }

    /// Writes an object if it is not there as it should be. Whether it was written.
    pub(super) async fn ensure<K: Serialize>(
        &self,
        term: &Term,
        kind: ChildKind,
        object: &K,
    ) -> Result<bool, WriteError> {
        let failed = |source| WriteError::Form {
            kind: kind.name(),
            source,
        };
        let wanted = serde_json::to_value(object).map_err(failed)?;
        let name = ObjectName {
            namespace: text(&wanted, "/metadata/namespace"),
            name: text(&wanted, "/metadata/name"),
        };
        let is_there = self
            .found()
            .get(&(kind, name.clone()))
            .is_some_and(|found| covers(&found.content, &wanted));
        if is_there {
            return Ok(false);
        }
        term.still_valid()?;
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &name.namespace, &kind.resource());
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let answer = api
            .patch(&name.name, &parameters, &Patch::Apply(&wanted))
            .await;
        self.metrics.wrote(kind.name(), WriteResult::of(&answer));
        match answer {
            Ok(written) => {
                tracing::info!(kind = kind.name(), object = %name, "applied");
                if let Some((name, new)) = read(written) {
                    self.found().insert((kind, name), new);
                }
                Ok(true)
            }
            Err(source) => Err(WriteError::Api {
                kind: kind.name(),
                object: name,
                source,
            }),
        }
    }

    /// Deletes what was made for a vault that no policy is about any more, as far as garbage collection does not: an
    /// object whose owner still exists, because the policy was aimed at another vault.
    pub(super) async fn retire(
        &self,
        term: &Term,
        vault: &VaultId,
        exists: impl Fn(&str) -> bool,
    ) -> Result<(), WriteError> {
        let of_vault: Vec<(ChildKind, ObjectName, Value)> = self
            .found()
            .iter()
            .filter(|((_, name), found)| vault_of(name, &found.content).as_ref() == Some(vault))
            .map(|((kind, name), found)| (*kind, name.clone(), found.content.clone()))
            .collect();
        for (kind, name, content) in of_vault {
            let owners = owners(&content);
            if !owners.values().any(|uid| exists(uid)) {
                continue;
            }
            term.still_valid()?;
            let api: Api<DynamicObject> =
                Api::namespaced_with(self.client.clone(), &name.namespace, &kind.resource());
            let this_one = DeleteParams {
                preconditions: Some(Preconditions {
                    uid: Some(text(&content, "/metadata/uid")),
                    resource_version: None,
                }),
                ..DeleteParams::background()
            };
            let answer = api.delete(&name.name, &this_one).await;
            self.metrics.wrote(kind.name(), WriteResult::of(&answer));
            match answer {
                Ok(_) => tracing::info!(kind = kind.name(), object = %name, "deleted"),
                Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => {}
                Err(source) => {
                    return Err(WriteError::Api {
                        kind: kind.name(),
                        object: name,
                        source,
                    });
                }
            }
        }
        Ok(())
    }
}

fn text(value: &Value, pointer: &str) -> String {
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
fn owners(content: &Value) -> BTreeMap<String, String> {
    let owners = content.pointer("/metadata/ownerReferences");
    let owners = owners.and_then(Value::as_array).into_iter().flatten();
    owners
        .filter(|owner| owner.get("kind").and_then(Value::as_str) == Some(OWNER_KIND))
        .map(|owner| (text(owner, "/name"), text(owner, "/uid")))
        .collect()
}

fn read(object: DynamicObject) -> Option<(ObjectName, Found)> {
    let name = name_of(&object);
    let version = object.metadata.resource_version.as_ref();
    let version = version
        .and_then(|version| version.parse().ok())
        .unwrap_or(0);
    let mut content = serde_json::to_value(object).ok()?;
    if let Some(fields) = content.as_object_mut() {
        fields.remove("status");
        if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
            metadata.remove("resourceVersion");
            metadata.remove("generation");
        }
    }
    Some((name, Found { content, version }))
}

/// Whether an object that is there says everything that is wanted, and no more where more would mean something else.
///
/// Others may add labels, annotations and owners, and the API server adds what it defaults. What a `NetworkPolicy` says
/// has to be equal: one more peer opens, one more label in its selector leaves pods outside the wall.
fn covers(found: &Value, wanted: &Value) -> bool {
    if owners(found) != owners(wanted) {
        return false;
    }
    let Some(fields) = wanted.as_object() else {
        return false;
    };
    fields.iter().all(|(field, wanted)| {
        let Some(found) = found.get(field) else {
            return false;
        };
        match field.as_str() {
            // Lists of objects need not say it.
            "apiVersion" | "kind" => true,
            "metadata" => metadata_covers(found, wanted),
            // The data of a ConfigMap or Secret: one more file would be read as well.
            "data" => found == wanted,
            "spec" if is_network_policy(wanted) => found == wanted,
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
    use serde_json::json;

    use super::*;

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
