//! Addresses of the vaults' pods, from `EndpointSlice`s. Envoy sends allowed requests to them; no rule depends on them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};

use k8s_openapi::api::discovery::v1::{EndpointConditions, EndpointSlice};

use super::ObjectName;

/// Label of a slice that names its Service.
const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// Part of a Service's endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSliceFact {
    /// Namespace and name of the slice.
    pub id: ObjectName,
    /// Namespace and name of its Service.
    pub service: ObjectName,
    /// Port numbers by the name that the Service gives the port; empty where it gives none.
    pub ports: BTreeMap<String, u16>,
    /// IPv4 addresses of the endpoints that the Service offers to clients.
    pub published: BTreeSet<Ipv4Addr>,
    /// The published addresses whose pods are ready themselves and not terminating. A Service with
    /// `publishNotReadyAddresses`, such as the Service of a vault, offers other pods too.
    pub serving: BTreeSet<Ipv4Addr>,
}

impl EndpointSliceFact {
    /// Converts a slice; none for one that belongs to no Service or has no IPv4 addresses.
    pub fn from_object(slice: &EndpointSlice) -> Option<Self> {
        let metadata = &slice.metadata;
        let namespace = metadata.namespace.clone()?;
        let service = metadata.labels.as_ref()?.get(SERVICE_NAME_LABEL)?.clone();
        if slice.address_type != "IPv4" {
            return None;
        }
        let addresses = |counts: fn(&EndpointConditions) -> bool| {
            let endpoints = slice.endpoints.iter().filter(move |endpoint| {
                let conditions = endpoint.conditions.as_ref();
                conditions.is_none_or(counts)
            });
            let addresses = endpoints.flat_map(|endpoint| &endpoint.addresses);
            addresses.filter_map(|text| text.parse().ok()).collect()
        };
        let ports = slice.ports.iter().flatten().filter_map(|port| {
            let is_tcp = port.protocol.as_deref().is_none_or(|name| name == "TCP");
            let number = u16::try_from(port.port?).ok().filter(|_| is_tcp)?;
            Some((port.name.clone().unwrap_or_default(), number))
        });
        Some(Self {
            id: ObjectName {
                namespace: namespace.clone(),
                name: metadata.name.clone()?,
            },
            service: ObjectName {
                namespace,
                name: service,
            },
            ports: ports.collect(),
            published: addresses(ready),
            serving: addresses(|conditions| ready(conditions) && serves(conditions)),
        })
    }
}

/// Whether the Service offers the endpoint. A missing condition counts as ready, as the API defines it.
fn ready(conditions: &EndpointConditions) -> bool {
    conditions.ready.unwrap_or(true)
}

/// Whether the pod itself is ready, independent of the Service's settings.
fn serves(conditions: &EndpointConditions) -> bool {
    conditions.serving.unwrap_or(true) && !conditions.terminating.unwrap_or(false)
}

/// Endpoints of all Services.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    slices: BTreeMap<ObjectName, EndpointSliceFact>,
    by_service: BTreeMap<ObjectName, BTreeSet<ObjectName>>,
}

impl Endpoints {
    /// Puts a slice in place of its former state. Returns the Services whose endpoints that may change.
    pub(super) fn apply(&mut self, fact: EndpointSliceFact) -> Vec<ObjectName> {
        if self.slices.get(&fact.id) == Some(&fact) {
            return Vec::new();
        }
        let mut touched = self.delete(&fact.id);
        if touched.first() != Some(&fact.service) {
            touched.push(fact.service.clone());
        }
        self.by_service
            .entry(fact.service.clone())
            .or_default()
            .insert(fact.id.clone());
        self.slices.insert(fact.id.clone(), fact);
        touched
    }

    /// Removes a slice. Returns its Service, if the slice was known.
    pub(super) fn delete(&mut self, slice: &ObjectName) -> Vec<ObjectName> {
        let Some(old) = self.slices.remove(slice) else {
            return Vec::new();
        };
        if let Some(slices) = self.by_service.get_mut(&old.service) {
            slices.remove(slice);
            if slices.is_empty() {
                self.by_service.remove(&old.service);
            }
        }
        vec![old.service]
    }

    /// Addresses behind a port of a Service; `port` is the port's name in the Service. While no pod serves, these are
    /// all published addresses, so that a sealed vault answers for itself.
    pub(super) fn addresses(
        &self,
        service: &ObjectName,
        port: Option<&str>,
    ) -> BTreeSet<SocketAddrV4> {
        let serving = self.listed(service, port, |slice| &slice.serving);
        if serving.is_empty() {
            return self.listed(service, port, |slice| &slice.published);
        }
        serving
    }

    /// Number of ready pods behind a Service.
    pub(super) fn count_serving(&self, service: &ObjectName) -> usize {
        let slices = self.by_service.get(service).into_iter().flatten();
        let slices = slices.filter_map(|id| self.slices.get(id));
        let addresses: BTreeSet<_> = slices.flat_map(|slice| &slice.serving).collect();
        addresses.len()
    }

    fn listed(
        &self,
        service: &ObjectName,
        port: Option<&str>,
        which: fn(&EndpointSliceFact) -> &BTreeSet<Ipv4Addr>,
    ) -> BTreeSet<SocketAddrV4> {
        let slices = self.by_service.get(service).into_iter().flatten();
        let slices = slices.filter_map(|id| self.slices.get(id));
        slices
            .filter_map(|slice| Some((slice, *slice.ports.get(port.unwrap_or_default())?)))
            .flat_map(|(slice, port)| {
                let addresses = which(slice).iter();
                addresses.map(move |address| SocketAddrV4::new(*address, port))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn slice(name: &str, service: &str, ready: Option<bool>, address: &str) -> EndpointSliceFact {
        slice_of(name, service, &json!({"ready": ready}), address)
    }

    fn slice_of(name: &str, service: &str, conditions: &Value, address: &str) -> EndpointSliceFact {
        let object = json!({
            "metadata": {"name": name, "namespace": "vault", "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [address], "conditions": conditions}],
            "ports": [{"name": "http", "port": 8200, "protocol": "TCP"}],
        });
        EndpointSliceFact::from_object(&serde_json::from_value(object).unwrap()).unwrap()
    }

    /// With `publishNotReadyAddresses`, every endpoint has the condition `ready`.
    #[test]
    fn requests_go_to_serving_pods_if_there_are_any() {
        let service = ObjectName {
            namespace: "vault".into(),
            name: "openbao".into(),
        };
        let mut endpoints = Endpoints::default();
        let mut apply = |name, serving, terminating, address| {
            let conditions = json!({"ready": true, "serving": serving, "terminating": terminating});
            endpoints.apply(slice_of(name, "openbao", &conditions, address));
            let addresses = endpoints.addresses(&service, Some("http"));
            addresses
                .iter()
                .map(|address| address.ip().to_string())
                .collect::<Vec<_>>()
        };
        // Both sealed.
        apply("a", false, false, "10.0.0.1");
        assert_eq!(
            apply("b", false, false, "10.0.0.2"),
            ["10.0.0.1", "10.0.0.2"]
        );
        assert_eq!(apply("a", true, false, "10.0.0.1"), ["10.0.0.1"]);
        assert_eq!(
            apply("b", true, false, "10.0.0.2"),
            ["10.0.0.1", "10.0.0.2"]
        );
        assert_eq!(apply("a", true, true, "10.0.0.1"), ["10.0.0.2"]);
        assert_eq!(
            apply("b", false, true, "10.0.0.2"),
            ["10.0.0.1", "10.0.0.2"]
        );
    }

    #[test]
    fn addresses_are_those_of_ready_endpoints_of_the_port() {
        let service = |name: &str| ObjectName {
            namespace: "vault".into(),
            name: name.into(),
        };
        let mut endpoints = Endpoints::default();
        assert_eq!(
            endpoints.apply(slice("a", "openbao", Some(true), "10.0.0.1")),
            [service("openbao")]
        );
        endpoints.apply(slice("b", "openbao", None, "10.0.0.2"));
        endpoints.apply(slice("c", "openbao", Some(false), "10.0.0.3"));
        endpoints.apply(slice("d", "other", Some(true), "10.0.0.4"));
        let found = |endpoints: &Endpoints, port| {
            let addresses = endpoints.addresses(&service("openbao"), port);
            let addresses = addresses.iter().map(ToString::to_string);
            addresses.collect::<Vec<_>>()
        };
        assert_eq!(
            found(&endpoints, Some("http")),
            ["10.0.0.1:8200", "10.0.0.2:8200"]
        );
        assert!(found(&endpoints, None).is_empty());
        let same = slice("a", "openbao", Some(true), "10.0.0.1");
        assert!(endpoints.apply(same).is_empty());
        assert_eq!(
            endpoints.apply(slice("a", "other", Some(true), "10.0.0.1")),
            [service("openbao"), service("other")]
        );
        assert_eq!(found(&endpoints, Some("http")), ["10.0.0.2:8200"]);
        assert_eq!(endpoints.delete(&service("b")), [service("openbao")]);
        assert!(found(&endpoints, Some("http")).is_empty());
    }
}
