//! How the proxies in front of a vault are run. It decides nothing about who gets in, so it is no part of the
//! [`Firewall`](super::Firewall).

use std::collections::BTreeMap;

pub use crate::api::{ExternalTrafficPolicy, ServiceType};

/// What a valid policy says of its proxies, `spec.proxy`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxySettings {
    /// Number of proxies; none: [`ProxySettings::REPLICAS`].
    pub replicas: Option<u8>,
    /// Compute resources of one proxy; none: [`ProxyResources::default`].
    pub resources: Option<ProxyResources>,
    /// The Service in front of the proxies; none: reached from inside the cluster alone.
    pub service: Option<ProxyService>,
    /// TLS towards clients: the Secret with the certificate and its key; none: plain HTTP.
    pub tls: Option<String>,
    /// TLS towards the vault; none: plain HTTP.
    pub upstream_tls: Option<UpstreamTls>,
}

/// TLS towards the vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamTls {
    /// The Secret with the authorities of which one signs the vault's certificate.
    pub ca_secret: String,
    /// The DNS name that it must carry; none: `<service>.<namespace>.svc` of the vault.
    pub server_name: Option<String>,
}

impl ProxySettings {
    /// Number of proxies when nobody says one: two, so that one may go.
    pub const REPLICAS: u8 = 2;
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Number of proxies.
    pub fn replicas(&self) -> u8 {
        self.replicas.unwrap_or(Self::REPLICAS)
    }

    /// Compute resources of one proxy.
    pub fn resources(&self) -> ProxyResources {
        self.resources.clone().unwrap_or_default()
    }

    /// The Service in front of the proxies.
    pub fn service(&self) -> ProxyService {
        self.service.clone().unwrap_or_default()
    }
}

/// Compute resources: the resource's name → an amount in canonical form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyResources {
    /// What is set aside.
    pub requests: BTreeMap<String, String>,
    /// What is not exceeded.
    pub limits: BTreeMap<String, String>,
}

impl Default for ProxyResources {
    /// An idle proxy takes about 40 MiB and next to no CPU; 128 MiB leave room for some thousand connections and
    /// addresses. The limit bounds what a flood of large requests can take from the node. There is no CPU limit: throttling
    /// would show as latency of every request while the node has time to spare.
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

/// The Service in front of the proxies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyService {
    /// From where it can be reached.
    pub service_type: ServiceType,
    /// Which proxies traffic from outside goes to; none where nothing comes from outside.
    pub external_traffic_policy: Option<ExternalTrafficPolicy>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}
