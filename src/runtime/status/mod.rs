//! Writes of an object's status by server-side apply. The content of a status is its reconciler's.

pub(crate) mod conditions;

use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::index::ObjectName;
use crate::runtime::leader::Term;
use crate::runtime::operations::Metrics;
use crate::runtime::write::{WriteError, write};

/// Writer of the statuses of one kind.
pub(crate) struct StatusWriter {
    client: Client,
    /// Field manager of the statuses, as `managedFields` shows it.
    field_manager: &'static str,
    /// Kind in the metric of writes, for example `Pod/status`.
    metric_kind: &'static str,
    metrics: Arc<Metrics>,
}

impl StatusWriter {
    pub(crate) fn new(
        client: Client,
        field_manager: &'static str,
        metric_kind: &'static str,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            client,
            field_manager,
            metric_kind,
            metrics,
        }
    }

    /// Applies the status of the object with this name and UID: an object of the same name that was created later has
    /// its own status. Returns the stored object, or none if it was deleted.
    pub(crate) async fn apply<K>(
        &self,
        term: &Term,
        id: &ObjectName,
        uid: &str,
        status: &impl Serialize,
    ) -> Result<Option<K>, WriteError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        K: Clone + Debug + DeserializeOwned,
    {
        let ObjectName { namespace, name } = id;
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        let patch = json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            "metadata": {"name": name, "namespace": namespace, "uid": uid},
            "status": status,
        });
        let parameters = PatchParams::apply(self.field_manager).force();
        let patch = Patch::Apply(&patch);
        let request = api.patch_status(name, &parameters, &patch);
        match write(term, &self.metrics, self.metric_kind, request).await {
            Ok(written) => Ok(Some(written)),
            Err(WriteError::Api(kube::Error::Api(status))) if status.code == 404 => Ok(None),
            Err(error) => Err(error),
        }
    }
}
