//! The proxies of one vault as Kubernetes objects: everything that is applied for a protected Service beside its two
//! `NetworkPolicies`.
//!
//! Pure. What the API server would default is spelled out, amounts are in canonical form and lists are sorted, so that
//! applying the same objects again changes nothing.

mod budget;
mod deployment;
mod service;

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde_json::Value;

use crate::api::{GROUP, VERSION, generated_labels};
pub use crate::compile::envoy::{AUTHORITY_FILE, CERTIFICATE_FILE, KEY_FILE};
use crate::compile::envoy::{Bootstrap, JsonError, MetricsPort, Tls, VaultTls, XdsServer, to_json};
use crate::compile::{ProxyPorts, firewall_name};
use crate::policy::{ProxySettings, UpstreamTls, VaultId};

/// Folder of [`FleetInputs::files`] in a proxy's pod.
pub const BOOTSTRAP_FOLDER: &str = "/etc/envoy";
/// The file in it that Envoy is started with.
pub const BOOTSTRAP_FILE: &str = "bootstrap.json";
/// Folder of the identity in a proxy's pod: the files [`CERTIFICATE_FILE`], [`KEY_FILE`] and [`AUTHORITY_FILE`]. All are
/// replaced at once when the Secret changes, by a symbolic link `..data` in this folder, so it is what Envoy has to watch.
pub const IDENTITY_FOLDER: &str = "/etc/vaultwall/identity";
/// Folder of the endpoints' certificate and key in a proxy's pod.
const CLIENTS_FOLDER: &str = "/etc/vaultwall/clients";
/// Folder of the authorities that sign the vault's certificate in a proxy's pod.
const VAULT_FOLDER: &str = "/etc/vaultwall/vault";
/// Envoy's own admin socket in a proxy's pod.
pub const ADMIN_SOCKET: &str = "/run/envoy/admin.sock";
/// Envoy's image when nobody says another: the version that the tests run.
pub const ENVOY_IMAGE: &str = "envoyproxy/envoy:distroless-v1.40.0";
/// Where proxies find the operator when nobody says another place: its Service, and the port where it serves them.
pub const OPERATOR: &str = "vaultwall.vaultwall-system.svc:8500";
/// Folder of [`ADMIN_SOCKET`].
const RUNTIME_FOLDER: &str = "/run/envoy";

/// What the proxies of one vault are made from.
pub struct FleetInputs<'a> {
    /// The vault.
    pub vault: &'a VaultId,
    /// The proxies' ports.
    pub ports: ProxyPorts,
    /// How they are run.
    pub settings: &'a ProxySettings,
    /// Envoy's image.
    pub image: &'a str,
    /// What they are started with, by file name, of [`files`]. Proxies are replaced when it changes.
    pub files: BTreeMap<String, String>,
    /// Who they are to the operator.
    pub identity: &'a Identity,
    /// The vault's policies, by [`owner_references`].
    pub owners: &'a [OwnerReference],
}

/// Who a proxy is to the operator, in PEM. Envoy reads it anew when it changes.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// The proxy's certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
    /// The authority that signs the operator's certificate.
    pub authority: String,
}

/// Says whose it is without saying the key.
impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// The objects of the proxies of one vault, all called [`firewall_name`]. Not printable, because the Secret is in it.
#[derive(Clone, PartialEq)]
pub struct Fleet {
    /// Has no rights, and its token is not mounted: a proxy has no business with the API server.
    pub service_account: ServiceAccount,
    /// Mounted at [`BOOTSTRAP_FOLDER`].
    pub config_map: ConfigMap,
    /// Mounted at [`IDENTITY_FOLDER`].
    pub secret: Secret,
    /// The proxies.
    pub deployment: Deployment,
    /// Where clients find them.
    pub service: Service,
    /// Keeps all but one of them when nodes are drained.
    pub pod_disruption_budget: PodDisruptionBudget,
}

impl Fleet {
    /// All of them as JSON, each before those that need it.
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

/// What the proxies of a vault are started with: a bootstrap that asks the operator at `host` and `port`, and the files
/// that it and [`tls`] name.
pub fn files(
    vault: &VaultId,
    metrics: MetricsPort,
    tls: &Tls,
    host: &str,
    port: u16,
) -> Result<BTreeMap<String, String>, JsonError> {
    let xds = XdsServer::Tls {
        host: host.to_owned(),
        port,
        certificates: IDENTITY_FOLDER.to_owned(),
        configuration: BOOTSTRAP_FOLDER.to_owned(),
    };
    let beside = xds.files();
    let bootstrap = Bootstrap {
        node_id: vault.to_string(),
        xds,
        admin_socket: ADMIN_SOCKET.to_owned(),
        metrics: Some(metrics),
    };
    let bootstrap = to_json(&bootstrap.message())?;
    let beside = beside
        .into_iter()
        .chain(tls.files())
        .map(|(name, text)| (name.to_owned(), text));
    // Indented: people look at it with kubectl.
    Ok(beside
        .chain([(BOOTSTRAP_FILE.to_owned(), format!("{bootstrap:#}\n"))])
        .collect())
}

/// What the proxies of a vault speak TLS with.
pub fn tls(vault: &VaultId, settings: &ProxySettings) -> Tls {
    let vault_tls = |tls: &UpstreamTls| VaultTls {
        authorities: VAULT_FOLDER.to_owned(),
        server_name: tls
            .server_name
            .clone()
            .unwrap_or_else(|| format!("{}.{}.svc", vault.service, vault.namespace)),
    };
    Tls {
        configuration: BOOTSTRAP_FOLDER.to_owned(),
        clients: settings.tls.as_ref().map(|_| CLIENTS_FOLDER.to_owned()),
        vault: settings.upstream_tls.as_ref().map(vault_tls),
    }
}

/// Makes the objects. Equal input gives equal objects.
pub fn objects(inputs: &FleetInputs<'_>) -> Fleet {
    let metadata = metadata(inputs);
    Fleet {
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

/// References from what is generated for a vault to all of its policies, given by name and UID: the objects go when
/// the last policy goes. None of them is the controller, because all are equal, and none can be kept from being deleted.
pub fn owner_references(
    policies: impl IntoIterator<Item = (String, String)>,
) -> Vec<OwnerReference> {
    let mut owners: Vec<OwnerReference> = policies
        .into_iter()
        .map(|(name, uid)| OwnerReference {
            api_version: format!("{GROUP}/{VERSION}"),
            kind: "VaultNetworkPolicy".to_owned(),
            name,
            uid,
            controller: None,
            block_owner_deletion: None,
        })
        .collect();
    sort(&mut owners);
    owners
}

fn sort(owners: &mut Vec<OwnerReference>) {
    owners.sort_by(|one, other| (&one.name, &one.uid).cmp(&(&other.name, &other.uid)));
    owners.dedup();
}

fn metadata(inputs: &FleetInputs<'_>) -> ObjectMeta {
    let VaultId { namespace, service } = inputs.vault;
    let mut owners = inputs.owners.to_vec();
    sort(&mut owners);
    ObjectMeta {
        name: Some(firewall_name(service)),
        namespace: Some(namespace.clone()),
        labels: Some(generated_labels(service)),
        owner_references: Some(owners).filter(|owners| !owners.is_empty()),
        ..ObjectMeta::default()
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

#[cfg(test)]
mod tests;
