//! Settings of the proxies in front of a vault, `spec.proxy`.
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
use crate::limits::{MAX_HTTP2_STREAMS, MAX_PROXY_REPLICAS};

/// Settings of the proxies that enforce the policy. Standalone mode has one proxy and uses only `http2`.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Proxy {
    /// Number of proxies; default 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = MAX_PROXY_REPLICAS))]
    pub replicas: Option<i32>,
    /// Compute resources of one proxy: `cpu`, `memory`, `ephemeral-storage`. Default: requests of `100m` CPU and
    /// `128Mi` memory, and a limit of `512Mi` memory. A given value replaces all of the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(transform = borrowed::resources)]
    pub resources: Option<ResourceRequirements>,
    /// TLS with clients. Without it, the endpoints use plain HTTP and the status has a warning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ProxyTls>,
    /// TLS to the vault. Without it, the proxies use plain HTTP to the vault and the status has a warning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream_tls: Option<UpstreamTls>,
    /// The Service in front of the proxies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ProxyService>,
    /// HTTP/2 with clients, next to HTTP/1.1. Without it, clients can use HTTP/1.1 only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http2: Option<ProxyHttp2>,
}

/// HTTP/2 with clients.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ProxyHttp2 {
    /// Largest number of concurrent requests of one connection; default 32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = MAX_HTTP2_STREAMS))]
    pub max_concurrent_streams: Option<i32>,
}

/// TLS with clients.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ProxyTls {
    /// Secret of type `kubernetes.io/tls`, in the policy's namespace. Only the proxies read it, not the operator. They
    /// load a renewed certificate without a restart.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
}

/// TLS to the vault.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct UpstreamTls {
    /// Secret, in the policy's namespace, whose `ca.crt` contains the certificate authority of the vault's certificate.
    #[schemars(length(min = 1, max = 253))]
    pub ca_secret_name: String,
    /// DNS name that the vault's certificate must have; default `<service>.<namespace>.svc` of the vault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub server_name: Option<String>,
}

/// The Service in front of the proxies.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(validation = rules::external_traffic_needs_an_external_type())]
#[serde(rename_all = "camelCase")]
pub struct ProxyService {
    /// Type of the Service; default `ClusterIP`, reachable only inside the cluster.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub service_type: Option<ServiceType>,
    /// Routing of traffic from outside the cluster, only for `NodePort` and `LoadBalancer`; default `Cluster`. IP rules
    /// need `Local`, or a load balancer in `spec.clientAddress`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_traffic_policy: Option<ExternalTrafficPolicy>,
    /// Annotations of the Service, for load-balancer controllers. Annotations of `vaultwall.dev` are not allowed.
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
    /// Also a port on every node.
    NodePort,
    /// Also a load balancer outside the cluster.
    LoadBalancer,
}

impl ServiceType {
    /// Text of the type in Kubernetes objects.
    pub fn name(self) -> &'static str {
        match self {
            Self::ClusterIP => "ClusterIP",
            Self::NodePort => "NodePort",
            Self::LoadBalancer => "LoadBalancer",
        }
    }
}

/// Proxies that receive traffic from outside the cluster.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExternalTrafficPolicy {
    /// All proxies; a node's address replaces the client's.
    #[default]
    Cluster,
    /// Proxies on the node that received the traffic; the client's address is preserved.
    Local,
}

impl ExternalTrafficPolicy {
    /// Text of the policy in Kubernetes objects.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cluster => "Cluster",
            Self::Local => "Local",
        }
    }
}
