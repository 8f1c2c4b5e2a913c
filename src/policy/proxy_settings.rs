//! Settings of the proxies in front of a vault. They do not affect decisions, so they are not part of the
//! [`Firewall`](super::Firewall).

use std::collections::BTreeMap;

use super::quantity::Quantity;
use crate::api::{ExternalTrafficPolicy, ServiceType};

/// Valid settings of a policy's `spec.proxy`. An absent setting has a default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxySettings {
    /// Number of proxies; default [`ProxySettings::REPLICAS`].
    pub replicas: Option<u8>,
    /// Compute resources of one proxy; default [`ProxyResources::default`].
    pub resources: Option<ProxyResources>,
    /// The Service in front of the proxies; default a `ClusterIP`, reachable only inside the cluster.
    pub service: Option<ProxyService>,
    /// Name of the Secret with the certificate and key for TLS with clients; default plain HTTP.
    pub tls: Option<String>,
    /// TLS to the vault; default plain HTTP.
    pub upstream_tls: Option<UpstreamTls>,
    /// HTTP/2 with clients; default HTTP/1.1 only.
    pub http2: Option<Http2>,
}

/// HTTP/2 between clients and the proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http2 {
    /// Largest number of concurrent requests of one connection.
    pub max_concurrent_streams: u8,
}

impl Default for Http2 {
    fn default() -> Self {
        Self {
            max_concurrent_streams: 32,
        }
    }
}

/// TLS from the proxies to the vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamTls {
    /// Name of the Secret whose `ca.crt` contains the certificate authority of the vault's certificate.
    pub ca_secret: String,
    /// DNS name that the vault's certificate must have; default `<service>.<namespace>.svc` of the vault.
    pub server_name: Option<String>,
}

impl ProxySettings {
    /// Default number of proxies: two, so that one can stop without an interruption.
    pub const REPLICAS: u8 = 2;

    /// Whether every setting is absent.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the number of proxies, or its default.
    pub fn replicas(&self) -> u8 {
        self.replicas.unwrap_or(Self::REPLICAS)
    }

    /// Returns the compute resources of one proxy, or their default.
    pub fn resources(&self) -> ProxyResources {
        self.resources.clone().unwrap_or_default()
    }

    /// Returns the memory limit of one proxy, in bytes; `None` if it has none.
    pub fn memory(&self) -> Option<u64> {
        let limits = self.resources().limits;
        let limit = limits.get("memory").and_then(|text| Quantity::read(text));
        limit.map(Quantity::rounded_up)
    }

    /// Returns the settings of the Service in front of the proxies, or their default.
    pub fn service(&self) -> ProxyService {
        self.service.clone().unwrap_or_default()
    }
}

/// Compute resources of a container: name of the resource → quantity in the API server's canonical form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyResources {
    /// Requests, such as `cpu` → `100m`.
    pub requests: BTreeMap<String, String>,
    /// Limits, such as `memory` → `512Mi`.
    pub limits: BTreeMap<String, String>,
}

impl Default for ProxyResources {
    /// Returns the default resources. An idle proxy uses about 40 MiB and almost no CPU; 128 MiB are enough for some
    /// thousand connections and addresses. The memory limit protects the node from a flood of large requests. There is
    /// no CPU limit, because throttling would add latency to every request even on an idle node.
    fn default() -> Self {
        let amounts = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter();
            pairs
                .map(|(name, amount)| ((*name).to_owned(), (*amount).to_owned()))
                .collect()
        };
        Self {
            requests: amounts(&[("cpu", "100m"), ("memory", "128Mi")]),
            limits: amounts(&[("memory", "512Mi")]),
        }
    }
}

/// Settings of the Service in front of the proxies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyService {
    /// Type of the Service.
    pub service_type: ServiceType,
    /// Routing of traffic from outside the cluster; `None` for a `ClusterIP`, which receives none.
    pub external_traffic_policy: Option<ExternalTrafficPolicy>,
    /// Annotations from `spec.proxy.service.annotations`, for load-balancer controllers.
    pub annotations: BTreeMap<String, String>,
}
