//! The proxies in front of a vault, as a policy describes them.
#![expect(
    unreachable_pub,
    reason = "the derived schema repeats a struct's visibility inside a function"
)]

use k8s_openapi::api::core::v1::ResourceRequirements;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::{borrowed, rules};
use crate::limits::MAX_PROXY_REPLICAS;

/// The proxies that enforce the policy. Standalone, there is one, and this says nothing.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Proxy {
    /// Number of proxies; left out: 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = MAX_PROXY_REPLICAS))]
    pub replicas: Option<i32>,
    /// Compute resources of one proxy: `cpu`, `memory`, `ephemeral-storage`. Left out: requests of `100m` CPU and `128Mi`
    /// memory and a limit of `512Mi` memory; when given, it replaces all of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = borrowed::first_paragraphs)]
    pub resources: Option<ResourceRequirements>,
    /// TLS towards clients; left out: the endpoints speak plain HTTP, and the status warns of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ProxyTls>,
    /// TLS towards the vault; left out: the proxies speak plain HTTP to it, and the status warns of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream_tls: Option<UpstreamTls>,
    /// The Service in front of the proxies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ProxyService>,
}

/// TLS towards clients.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ProxyTls {
    /// Secret of type `kubernetes.io/tls`, in the policy's namespace. The proxies read it, the operator does not; they take a
    /// renewed certificate without a restart.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
}

/// TLS towards the vault.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct UpstreamTls {
    /// Secret, in the policy's namespace, whose `ca.crt` signs the vault's certificate.
    #[schemars(length(min = 1, max = 253))]
    pub ca_secret_name: String,
    /// DNS name that the vault's certificate must carry; left out: `<service>.<namespace>.svc` of the vault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub server_name: Option<String>,
}

/// The Service in front of the proxies.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(validation = rules::external_traffic_needs_a_way_in())]
#[serde(rename_all = "camelCase")]
pub struct ProxyService {
    /// Type of the Service; left out: `ClusterIP`, reached from inside the cluster alone.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub service_type: Option<ServiceType>,
    /// Only with `NodePort` and `LoadBalancer`; left out: `Cluster`. IP rules need `Local`, or a load balancer in `spec.clientAddress`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_traffic_policy: Option<ExternalTrafficPolicy>,
    /// Annotations of the Service, for what makes load balancers; none of `vaultwall.dev`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(transform = borrowed::annotations)]
    pub annotations: BTreeMap<String, String>,
}

/// Types of the Service in front of the proxies.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServiceType {
    /// An address inside the cluster.
    #[default]
    ClusterIP,
    /// A port on every node, too.
    NodePort,
    /// A load balancer outside the cluster, too.
    LoadBalancer,
}

impl ServiceType {
    /// As Kubernetes writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ClusterIP => "ClusterIP",
            Self::NodePort => "NodePort",
            Self::LoadBalancer => "LoadBalancer",
        }
    }
}

/// Which proxies traffic from outside goes to.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExternalTrafficPolicy {
    /// Any; the client's address is replaced by a node's.
    #[default]
    Cluster,
    /// Those on the node that it came to; the client keeps its address.
    Local,
}

impl ExternalTrafficPolicy {
    /// As Kubernetes writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cluster => "Cluster",
            Self::Local => "Local",
        }
    }
}
