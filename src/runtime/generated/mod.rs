//! The objects that belong to a firewall: what of them is there, and writing what is not as it should be.
//!
//! What is there comes from watches, so that a deleted or edited object is noticed and an untouched one costs nothing.
//! Nothing is written that would not change anything.

mod content;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::{TryStreamExt, pin_mut};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, Preconditions,
};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::Value;
use tokio::sync::watch;

pub(crate) use self::content::name_of;

use self::content::{covers, owners, read, sign, text};
use crate::api::{MANAGED_BY, MANAGED_BY_LABEL};
use crate::controller::firewall::state::{FirewallState, PolicyEntry, Scope};
use crate::index::ObjectName;
use crate::objects::Object;
use crate::policy::VaultId;
use crate::runtime::leader::{Lost, Term};
use crate::runtime::operations::{Metrics, WriteResult};
use crate::runtime::watch::{self as watches, version_of};

/// Field manager of everything that belongs to a firewall.
const FIELD_MANAGER: &str = "vaultwall-firewall";
/// Kind of the objects' owners.
const OWNER_KIND: &str = "VaultNetworkPolicy";

/// Kinds of these objects, in the order in which they are written: the wall comes before the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum ChildKind {
    NetworkPolicy,
    ServiceAccount,
    Secret,
    ConfigMap,
    Service,
    Deployment,
    PodDisruptionBudget,
}

impl ChildKind {
    pub(crate) const ALL: [Self; 7] = [
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
    pub(crate) fn name(self) -> &'static str {
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
pub(crate) enum WriteError {
    #[error(transparent)]
    Lost(#[from] Lost),
    #[error("{kind} {object}: {source}")]
    Api {
        kind: &'static str,
        object: ObjectName,
        source: kube::Error,
    },
    #[error(
        "{kind} {object} is there already and is not Vaultwall's: it has no label {MANAGED_BY_LABEL}={MANAGED_BY}. It is left \
         alone; rename it or delete it"
    )]
    Foreign {
        kind: &'static str,
        object: ObjectName,
    },
}

/// An object as it is there.
#[derive(Debug)]
struct Found {
    /// As JSON text, which is small, without status and bookkeeping; none: it was there and is gone.
    content: Option<Box<str>>,
    /// What it was made for.
    vault: Option<VaultId>,
    /// Of a Deployment that does not get its newest pods to run: why.
    stalled: Option<Box<str>>,
    /// Signature of what was wanted when it was last found to be as it should be.
    covers: Option<String>,
    version: u64,
}

impl Found {
    fn value(&self) -> Option<Value> {
        serde_json::from_str(self.content.as_ref()?).ok()
    }
}

/// What of them is there.
pub(crate) struct Children {
    client: Client,
    state: Arc<FirewallState>,
    metrics: Arc<Metrics>,
    found: Mutex<HashMap<(ChildKind, ObjectName), Found>>,
    not_listed: watch::Sender<BTreeSet<ChildKind>>,
}

impl Children {
    /// Starts the watches; they run as long as the runtime.
    pub(crate) fn watch(
        client: Client,
        state: Arc<FirewallState>,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let children = Arc::new(Self {
            client,
            state,
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
    pub(crate) async fn listed(&self) {
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
                    listed.insert(watches::name_of(&object));
                    self.seen(kind, object);
                }
                Ok(Some(watcher::Event::Apply(object))) => self.seen(kind, object),
                Ok(Some(watcher::Event::Delete(object))) => {
                    self.gone(kind, &watches::name_of(&object), Some(version_of(&object)));
                }
                Ok(Some(watcher::Event::InitDone)) => {
                    let known: Vec<ObjectName> = self
                        .found()
                        .keys()
                        .filter(|(of, name)| *of == kind && !listed.contains(name))
                        .map(|(_, name)| name.clone())
                        .collect();
                    for name in known {
                        self.gone(kind, &name, None);
                    }
                    self.not_listed.send_modify(|kinds| {
                        kinds.remove(&kind);
                    });
                }
            }
        }
    }

    /// Keeps what was seen, unless something newer is known: a write's answer may be newer than what a watch tells, or older.
    /// What has to be looked at for it, if anything.
    fn keep(&self, kind: ChildKind, name: ObjectName, new: Found) -> Option<Scope> {
        let mut found = self.found();
        let known = found.get(&(kind, name.clone()));
        if known.is_some_and(|known| known.version >= new.version) {
            return None;
        }
        let look = match known {
            Some(known) if known.content == new.content => {
                (known.stalled != new.stalled).then_some(Scope::Status)
            }
            _ => Some(Scope::Objects),
        };
        found.insert((kind, name), new);
        look
    }

    fn seen(&self, kind: ChildKind, object: DynamicObject) {
        let Some((name, new)) = read(object) else {
            return;
        };
        let vault = new.vault.clone();
        if let (Some(vault), Some(look)) = (vault, self.keep(kind, name, new)) {
            self.state.enqueue(vault, look);
        }
    }

    /// It was seen to be gone, by a deletion of this version or by a list without it.
    fn gone(&self, kind: ChildKind, name: &ObjectName, version: Option<u64>) {
        let mut found = self.found();
        let Some(known) = found.get_mut(&(kind, name.clone())) else {
            return;
        };
        known.version = version.unwrap_or(known.version).max(known.version);
        known.covers = None;
        known.stalled = None;
        let was_there = known.content.take().is_some();
        let vault = known.vault.clone().filter(|_| was_there);
        drop(found);
        if let Some(vault) = vault {
            self.state.enqueue(vault, Scope::Objects);
        }
    }

    /// An object as it is there, without status and bookkeeping.
    pub(crate) fn get(&self, kind: ChildKind, name: &ObjectName) -> Option<Value> {
        self.found().get(&(kind, name.clone()))?.value()
    }

    /// Why a Deployment does not get its newest pods to run; none: it has, or may still.
    pub(crate) fn stalled(&self, deployment: &ObjectName) -> Option<Box<str>> {
        let found = self.found();
        let found = found.get(&(ChildKind::Deployment, deployment.clone()))?;
        found.stalled.clone()
    }

    /// Whether an object is there.
    pub(crate) fn has(&self, kind: ChildKind, name: &ObjectName) -> bool {
        let found = self.found();
        let found = found.get(&(kind, name.clone()));
        found.is_some_and(|found| found.content.is_some())
    }

    /// Whether an object is there as it should be; `signature` stands for what is wanted.
    fn is_as_wanted(
        &self,
        kind: ChildKind,
        name: &ObjectName,
        wanted: &Value,
        signature: String,
    ) -> bool {
        let mut found = self.found();
        let Some(found) = found.get_mut(&(kind, name.clone())) else {
            return false;
        };
        if found.covers.as_ref() == Some(&signature) {
            return true;
        }
        let covers = found.value().is_some_and(|found| covers(&found, wanted));
        found.covers = covers.then_some(signature);
        covers
    }

    /// Writes an object if it is not there as it should be. Whether it was written.
    pub(crate) async fn ensure(
        &self,
        term: &Term,
        kind: ChildKind,
        mut wanted: Value,
    ) -> Result<bool, WriteError> {
        let signature = sign(&mut wanted);
        let name = name_of(&wanted);
        if self.is_as_wanted(kind, &name, &wanted, signature) {
            return Ok(false);
        }
        let failed = |source| WriteError::Api {
            kind: kind.name(),
            object: name.clone(),
            source,
        };
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &name.namespace, &kind.resource());
        if !self.has(kind, &name) && self.is_foreign(term, &api, &name).await.map_err(failed)? {
            return Err(WriteError::Foreign {
                kind: kind.name(),
                object: name,
            });
        }
        term.still_valid()?;
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let patch = Patch::Apply(&wanted);
        let answer = term
            .limited(api.patch(&name.name, &parameters, &patch))
            .await;
        self.metrics.wrote(kind.name(), WriteResult::of(&answer));
        let written = answer.map_err(failed)?;
        tracing::info!(kind = kind.name(), object = %name, "applied");
        if let Some((name, new)) = read(written) {
            self.keep(kind, name, new);
        }
        Ok(true)
    }

    /// Whether somebody else has an object of this name, which is not in the watches because it is not labelled as
    /// ours.
    async fn is_foreign(
        &self,
        term: &Term,
        api: &Api<DynamicObject>,
        name: &ObjectName,
    ) -> Result<bool, kube::Error> {
        let this_one = ListParams::default().fields(&format!("metadata.name={}", name.name));
        let there = term.limited(api.list_metadata(&this_one)).await?;
        Ok(there.items.iter().any(|object| {
            let label = object.labels().get(MANAGED_BY_LABEL);
            label.is_none_or(|manager| manager != MANAGED_BY)
        }))
    }

    /// Deletes what was made for a vault that no policy is about any more, as far as garbage collection does not: an
    /// object whose owner still exists, because the policy was aimed at another vault. Whether that is all; what
    /// belongs to a policy that is refused now stays until it is accepted or deleted.
    pub(crate) async fn retire(&self, term: &Term, vault: &VaultId) -> Result<bool, WriteError> {
        let of_vault: Vec<(ChildKind, ObjectName, Value)> = self
            .found()
            .iter()
            .filter(|(_, found)| found.vault.as_ref() == Some(vault))
            .filter_map(|((kind, name), found)| Some((*kind, name.clone(), found.value()?)))
            .collect();
        let mut is_all = true;
        for (kind, name, content) in of_vault {
            let owners: Vec<PolicyEntry> = owners(&content)
                .values()
                .filter_map(|uid| self.state.policy_of_uid(uid))
                .collect();
            // Where a policy that is refused is aimed counts for nothing: it may have been in force here.
            let aimed_elsewhere = |policy: &PolicyEntry| match &policy.stored.read {
                Ok(Object::Policy(policy)) => policy.vault != *vault,
                _ => false,
            };
            if owners.is_empty() {
                continue;
            }
            if !owners.iter().all(aimed_elsewhere) {
                is_all = false;
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
            let answer = term.limited(api.delete(&name.name, &this_one)).await;
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
        Ok(is_all)
    }
}
