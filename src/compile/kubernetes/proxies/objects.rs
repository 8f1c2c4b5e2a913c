//! All objects of a vault's proxies.

use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::inputs::{Identity, ProxyInputs};
use super::metadata::metadata;
use super::{budget, deployment, service};
use crate::compile::envoy::{AUTHORITY_FILE, CERTIFICATE_FILE, KEY_FILE};

/// The objects of the proxies of one vault, all named [`firewall_name`](crate::compile::firewall_name). It has no
/// `Debug`, because the Secret is among them.
#[derive(Clone, PartialEq)]
pub struct ProxyObjects {
    /// The proxies' account. It has no permissions and its token is not mounted: a proxy needs no API server.
    pub service_account: ServiceAccount,
    /// The bootstrap and its files, mounted at [`BOOTSTRAP_FOLDER`](super::BOOTSTRAP_FOLDER).
    pub config_map: ConfigMap,
    /// The identity, mounted at [`IDENTITY_FOLDER`](super::IDENTITY_FOLDER).
    pub secret: Secret,
    /// The proxies' pods, one Envoy in each.
    pub deployment: Deployment,
    /// The Service that clients set `VAULT_ADDR` to.
    pub service: Service,
    /// Lets a node drain evict one proxy at a time.
    pub pod_disruption_budget: PodDisruptionBudget,
}

impl ProxyObjects {
    /// The objects as JSON, each before those that need it.
    pub fn to_json(&self) -> Result<Vec<Value>, serde_json::Error> {
        [
            serde_json::to_value(&self.service_account),
            serde_json::to_value(&self.config_map),
            serde_json::to_value(&self.secret),
            serde_json::to_value(&self.deployment),
            serde_json::to_value(&self.service),
            serde_json::to_value(&self.pod_disruption_budget),
        ]
        .into_iter()
        .collect()
    }
}

/// Generates the objects. Equal input gives equal objects.
pub fn objects(inputs: &ProxyInputs<'_>) -> ProxyObjects {
    let metadata = metadata(inputs);
    ProxyObjects {
        service_account: ServiceAccount {
            metadata: metadata.clone(),
            automount_service_account_token: Some(false),
            ..ServiceAccount::default()
        },
        config_map: ConfigMap {
            metadata: metadata.clone(),
            data: Some(inputs.files.clone()),
            ..ConfigMap::default()
        },
        secret: secret(metadata.clone(), inputs.identity),
        deployment: deployment::deployment(metadata.clone(), inputs),
        service: service::service(metadata.clone(), inputs),
        pod_disruption_budget: budget::budget(metadata, inputs),
    }
}

fn secret(metadata: ObjectMeta, identity: &Identity) -> Secret {
    let data = [
        (AUTHORITY_FILE, &identity.authority),
        (CERTIFICATE_FILE, &identity.certificate),
        (KEY_FILE, &identity.key),
    ];
    let data = data.map(|(file, text)| (file.to_owned(), ByteString(text.clone().into_bytes())));
    Secret {
        metadata,
        type_: Some("kubernetes.io/tls".to_owned()),
        data: Some(data.into()),
        ..Secret::default()
    }
}
