//! Generated objects: writes those that differ from their desired form, and prunes those that no owner needs.
//!
//! The existing objects come from watches, so that a deleted or edited object is noticed and an untouched one costs
//! nothing. A write that would change nothing is never sent.
//!
//! | module | content |
//! |---|---|
//! | [`kind`] | kinds of generated objects |
//! | [`cache`] | the objects that exist |
//! | [`content`] | comparison of two forms of an object |
//! | [`corrections`] | limit of the corrections of one object |

mod cache;
mod content;
mod corrections;
mod kind;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, Preconditions};
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt};
use serde_json::Value;
use tokio::sync::watch;

pub(crate) use self::cache::{Changed, ChangedPart};
pub(crate) use self::content::{Owner, name_of};
pub(crate) use self::kind::GeneratedKind;

use self::cache::Cache;
use self::content::{answer_of, applied_hash, correction, has_metadata, sign, text};
use self::corrections::MOST_CORRECTIONS;
use crate::api::{MANAGED_BY, MANAGED_BY_LABEL};
use crate::index::ObjectName;
use crate::policy::VaultId;
use crate::runtime::leader::{Lost, Term};
use crate::runtime::operations::Metrics;
use crate::runtime::reflector::{Change, Reflector};
use crate::runtime::write::{WriteError, write};

/// Reason why an object was not written or deleted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    #[error(transparent)]
    Lost(#[from] Lost),
    #[error("{kind} {object}: {source}")]
    Api {
        kind: &'static str,
        object: ObjectName,
        source: kube::Error,
    },
    #[error(
        "{kind} {object} was corrected {MOST_CORRECTIONS} times within a minute, and another writer changed it every \
         time. The operator waits; stop that writer: `metadata.managedFields` of the object names it"
    )]
    Contested {
        kind: &'static str,
        object: ObjectName,
    },
    #[error(
        "{kind} {object} exists already and is not Vaultwall's: it has no label {MANAGED_BY_LABEL}={MANAGED_BY}. The \
         operator does not change it; rename it or delete it"
    )]
    Foreign {
        kind: &'static str,
        object: ObjectName,
    },
}

impl ApplyError {
    /// Whether the API server refused the object's content.
    fn is_invalid(&self) -> bool {
        matches!(self, Self::Api { source: kube::Error::Api(status), .. } if status.code == 422)
    }

    fn of(kind: GeneratedKind, object: &ObjectName, error: impl Into<WriteError>) -> Self {
        match error.into() {
            WriteError::Lost(lost) => Self::Lost(lost),
            WriteError::Api(source) => Self::Api {
                kind: kind.name(),
                object: object.clone(),
                source,
            },
        }
    }
}

/// Handler of changes of generated objects.
pub(crate) type OnChange = Box<dyn Fn(Changed) + Send + Sync>;

/// Writer of generated objects, with the cache of those that exist.
pub(crate) struct GeneratedObjects {
    client: Client,
    owner: Owner,
    on_change: OnChange,
    metrics: Arc<Metrics>,
    cache: Cache,
    not_listed: watch::Sender<BTreeSet<GeneratedKind>>,
}

impl GeneratedObjects {
    /// Starts the watches, which run until the process ends. `on_change` is called for every change, also for those
    /// that this process made.
    pub(crate) fn watch(
        client: Client,
        owner: Owner,
        on_change: OnChange,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let objects = Arc::new(Self {
            client,
            owner,
            on_change,
            metrics,
            cache: Cache::default(),
            not_listed: watch::Sender::new(GeneratedKind::ALL.iter().copied().collect()),
        });
        for kind in GeneratedKind::ALL.iter().copied() {
            tokio::spawn(Arc::clone(&objects).follow(kind));
        }
        objects
    }

    /// Waits until every kind was listed once; before that, it is unknown which objects exist.
    pub(crate) async fn listed(&self) {
        // It cannot fail: this value holds the sender.
        let _ = self
            .not_listed
            .subscribe()
            .wait_for(BTreeSet::is_empty)
            .await;
    }

    async fn follow(self: Arc<Self>, kind: GeneratedKind) {
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &kind.resource());
        let generated = format!("{MANAGED_BY_LABEL}={MANAGED_BY}");
        let config = watcher::Config::default().labels(&generated);
        let mut reflector = Reflector::new(kind.name(), api, config, Arc::clone(&self.metrics));
        while let Some(change) = reflector.next().await {
            match change {
                Change::Applied(object) => self.report(self.cache.apply(kind, object)),
                Change::Deleted(name, version) => {
                    self.report(self.cache.delete(kind, &name, version));
                }
                Change::Listed(names) => {
                    // Also of objects that only the answer of a write has reported.
                    self.report(self.cache.retain(kind, &names));
                    self.not_listed.send_modify(|kinds| {
                        kinds.remove(&kind);
                    });
                }
            }
        }
    }

    fn report(&self, changes: impl IntoIterator<Item = Changed>) {
        changes.into_iter().for_each(&self.on_change);
    }

    /// Returns an existing object without status and bookkeeping.
    pub(crate) fn get(&self, kind: GeneratedKind, name: &ObjectName) -> Option<Value> {
        self.cache.get(kind, name)
    }

    /// Returns the existing objects of a vault of one kind, without status and bookkeeping.
    pub(crate) fn of_vault(
        &self,
        vault: &VaultId,
        kind: GeneratedKind,
    ) -> Vec<(ObjectName, Value)> {
        let objects = self.cache.of_vault(vault, &[kind]).into_iter();
        objects.map(|(_, name, object)| (name, object)).collect()
    }

    /// Returns the message of a Deployment's condition if its newest pods do not become ready.
    pub(crate) fn stalled(&self, deployment: &ObjectName) -> Option<Box<str>> {
        self.cache.stalled(deployment)
    }

    /// Whether an object exists.
    pub(crate) fn exists(&self, kind: GeneratedKind, name: &ObjectName) -> bool {
        self.cache.exists(kind, name)
    }

    /// Writes an object if it does not exist in its desired form. Returns whether it was written.
    pub(crate) async fn apply(
        &self,
        term: &Term,
        kind: GeneratedKind,
        mut desired: Value,
    ) -> Result<bool, ApplyError> {
        let signature = sign(&mut desired);
        let name = name_of(&desired);
        if self
            .cache
            .is_as_desired(kind, &name, &desired, &signature, &self.owner)
        {
            return Ok(false);
        }
        let api = self.api(kind, &name);
        if !self.exists(kind, &name)
            && is_foreign(term, &api, &name)
                .await
                .map_err(|error| ApplyError::of(kind, &name, error))?
        {
            return Err(ApplyError::Foreign {
                kind: kind.name(),
                object: name,
            });
        }
        let found = self.get(kind, &name);
        let is_written = |found: &Value| applied_hash(found) == Some(&signature);
        let mut current = match found {
            // Another writer changed it since: an apply could leave what that writer set, or be refused because of it.
            Some(found) if is_written(&found) => found,
            found => match (
                self.server_side_apply(term, kind, &name, &desired).await,
                found,
            ) {
                (Ok(applied), _) => applied,
                (Err(error), Some(found)) if error.is_invalid() => found,
                (Err(error), _) => return Err(error),
            },
        };
        if let Some(correction) = correction(kind, &current, &desired) {
            if !self.cache.may_correct(kind, &name, Instant::now()) {
                return Err(ApplyError::Contested {
                    kind: kind.name(),
                    object: name,
                });
            }
            let merge = PatchParams {
                field_manager: Some(self.owner.field_manager.to_owned()),
                ..PatchParams::default()
            };
            let patch = Patch::Merge(&correction);
            current = self.patch(term, kind, &name, &merge, &patch).await?;
            let answer = answer_of(kind, &signature, &current);
            self.cache.set_answer(kind, &name, answer);
            // The correction of a Secret has its content, so it is not logged.
            tracing::info!(kind = kind.name(), object = %name, "corrected the fields that another writer set");
        }
        if !has_metadata(&current, &desired, &self.owner) {
            self.server_side_apply(term, kind, &name, &desired).await?;
        }
        Ok(true)
    }

    async fn server_side_apply(
        &self,
        term: &Term,
        kind: GeneratedKind,
        name: &ObjectName,
        desired: &Value,
    ) -> Result<Value, ApplyError> {
        let parameters = PatchParams::apply(self.owner.field_manager).force();
        let patch = Patch::Apply(desired);
        let applied = self.patch(term, kind, name, &parameters, &patch).await?;
        tracing::info!(kind = kind.name(), object = %name, "applied");
        Ok(applied)
    }

    /// Patches an object, and stores and returns the answer.
    async fn patch(
        &self,
        term: &Term,
        kind: GeneratedKind,
        name: &ObjectName,
        parameters: &PatchParams,
        patch: &Patch<&Value>,
    ) -> Result<Value, ApplyError> {
        let api = self.api(kind, name);
        let request = api.patch(&name.name, parameters, patch);
        let written = write(term, &self.metrics, kind.name(), request)
            .await
            .and_then(|written| {
                let answer = serde_json::to_value(&written).map_err(kube::Error::SerdeError)?;
                // The reconciler that wrote it has handled this change.
                let _ = self.cache.apply(kind, written);
                Ok(answer)
            });
        written.map_err(|error| ApplyError::of(kind, name, error))
    }

    fn api(&self, kind: GeneratedKind, name: &ObjectName) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &name.namespace, &kind.resource())
    }

    /// Deletes an object, if it exists.
    pub(crate) async fn delete(
        &self,
        term: &Term,
        kind: GeneratedKind,
        name: &ObjectName,
    ) -> Result<(), ApplyError> {
        let Some(content) = self.get(kind, name) else {
            return Ok(());
        };
        let parameters = DeleteParams {
            preconditions: Some(Preconditions {
                // Another one of the same name may have been created in the meantime.
                uid: Some(text(&content, "/metadata/uid")),
                resource_version: None,
            }),
            ..DeleteParams::background()
        };
        let api = self.api(kind, name);
        let request = api.delete(&name.name, &parameters);
        match write(term, &self.metrics, kind.name(), request).await {
            Ok(_) => tracing::info!(kind = kind.name(), object = %name, "deleted"),
            Err(WriteError::Api(kube::Error::Api(status)))
                if status.code == 404 || status.code == 409 => {}
            Err(error) => return Err(ApplyError::of(kind, name, error)),
        }
        Ok(())
    }
}

/// Whether an object of this name exists that is not generated: the watches do not have it, because it has no label of
/// theirs.
async fn is_foreign(
    term: &Term,
    api: &Api<DynamicObject>,
    name: &ObjectName,
) -> Result<bool, kube::Error> {
    let only = ListParams::default().fields(&format!("metadata.name={}", name.name));
    let existing = term.limited(api.list_metadata(&only)).await?;
    Ok(existing.items.iter().any(|object| {
        let label = object.labels().get(MANAGED_BY_LABEL);
        label.is_none_or(|manager| manager != MANAGED_BY)
    }))
}
