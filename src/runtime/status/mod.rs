//! Writes of an object's status by a PUT that the API server accepts only while the object is as it was read. The
//! content of a status is its reconciler's.
//!
//! A patch or apply would be accepted by an object of the same name that was created later: the API server compares the
//! UID of an object only in a PUT.

pub(crate) mod conditions;
pub(crate) mod pruned;
pub(crate) mod text;

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::core::Request;
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::index::ObjectName;
use crate::runtime::leader::Term;
use crate::runtime::operations::Metrics;
use crate::runtime::reflector::number_of;
use crate::runtime::write::{WriteError, write};

/// An object without its spec: a PUT of a status ignores everything else.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StatusOnly<S> {
    api_version: String,
    kind: String,
    metadata: ObjectMeta,
    status: Option<S>,
}

/// An object as it was read: a status is written only if it is the same object, unchanged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Read<'a> {
    pub(crate) id: &'a ObjectName,
    pub(crate) uid: &'a str,
    /// Resource version as a number.
    pub(crate) version: u64,
}

/// A status as the API server stored it.
#[derive(Debug)]
pub(crate) struct Stored<S> {
    /// Resource version of the object as a number.
    pub(crate) version: u64,
    pub(crate) status: Option<S>,
}

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

    /// Replaces the status of an object. Returns what is stored now, or none if the object was changed or deleted after
    /// it was read: a later watch event reports that.
    pub(crate) async fn replace<K, S>(
        &self,
        term: &Term,
        object: Read<'_>,
        status: S,
    ) -> Result<Option<Stored<S>>, WriteError>
    where
        K: Resource<DynamicType = ()>,
        S: Serialize + DeserializeOwned,
    {
        let Read { id, uid, version } = object;
        // A cluster-scoped object has none.
        let namespace = (!id.namespace.is_empty()).then(|| id.namespace.clone());
        let body = StatusOnly {
            api_version: K::api_version(&()).into_owned(),
            kind: K::kind(&()).into_owned(),
            metadata: ObjectMeta {
                name: Some(id.name.clone()),
                namespace: namespace.clone(),
                uid: Some(uid.to_owned()),
                resource_version: Some(version.to_string()),
                ..ObjectMeta::default()
            },
            status: Some(status),
        };
        let parameters = PostParams {
            field_manager: Some(self.field_manager.to_owned()),
            ..PostParams::default()
        };
        let request = async {
            let body = serde_json::to_vec(&body).map_err(kube::Error::SerdeError)?;
            let request = Request::new(K::url_path(&(), namespace.as_deref()))
                .replace_subresource("status", &id.name, &parameters, body)
                .map_err(kube::Error::BuildRequest)?;
            self.client.request::<StatusOnly<S>>(request).await
        };
        match write(term, &self.metrics, self.metric_kind, request).await {
            Ok(stored) => Ok(Some(Stored {
                version: number_of(stored.metadata.resource_version.as_deref()),
                status: stored.status,
            })),
            Err(WriteError::Api(kube::Error::Api(status)))
                if status.code == 404 || status.code == 409 =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
