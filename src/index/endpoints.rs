//! Where the vaults' pods listen: what Kubernetes itself found out, from `EndpointSlice`s.
//!
//! Apart from the [`super::Index`], because no rule depends on it: it says where allowed requests go.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};

use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::ObjectName;

/// Label of a slice that names its Service.
const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// A part of a Service's endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSliceFact {
    /// The slice.
    pub id: ObjectName,
    /// Its Service.
    pub service: ObjectName,
    /// Port numbers by the name that the Service gives the port; empty where it gives none.
    pub ports: BTreeMap<String, u16>,
    /// IPv4 addresses of the endpoints that take requests.
    pub addresses: BTreeSet<Ipv4Addr>,
}

impl EndpointSliceFact {
    /// The fact of a slice; none for one that belongs to no Service or has no IPv4 addresses.
    pub fn from_object(slice: &EndpointSlice) -> Option<Self> {
        let metadata = &slice.metadata;
        let namespace = metadata.namespace.clone()?;
        let service = metadata.labels.as_ref()?.get(SERVICE_NAME_LABEL)?.clone();
        if slice.address_type != "IPv4" {
            return None;
        }
        // Not ready takes no requests; not known counts as ready, as the API defines it.
        let ready = slice.endpoints.iter().filter(|endpoint| {
            let conditions = endpoint.conditions.as_ref();
            conditions
                .and_then(|conditions| conditions.ready)
                .unwrap_or(true)
        });
        let addresses = ready
            .flat_map(|endpoint| &endpoint.addresses)
            .filter_map(|text| text.parse().ok());
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
            addresses: addresses.collect(),
        })
    }
}

/// The endpoints of all Services.
#[derive(Debug, Default)]
pub struct Endpoints {
    slices: BTreeMap<ObjectName, EndpointSliceFact>,
    by_service: BTreeMap<ObjectName, BTreeSet<ObjectName>>,
}

impl Endpoints {
    /// A slice is there, or changed. Returns the Services whose endpoints that may change.
    pub fn apply(&mut self, fact: EndpointSliceFact) -> Vec<ObjectName> {
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

    /// A slice is gone.
    pub fn delete(&mut self, slice: &ObjectName) -> Vec<ObjectName> {
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

    /// Where a port of a Service is served; `port` is the port's name in the Service.
    pub fn addresses(&self, service: &ObjectName, port: Option<&str>) -> BTreeSet<SocketAddrV4> {
        let slices = self.by_service.get(service).into_iter().flatten();
        let slices = slices.filter_map(|id| self.slices.get(id));
        slices
            .filter_map(|slice| Some((slice, *slice.ports.get(port.unwrap_or_default())?)))
            .flat_map(|(slice, port)| {
                let addresses = slice.addresses.iter();
                addresses.map(move |address| SocketAddrV4::new(*address, port))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn slice(name: &str, service: &str, ready: Option<bool>, address: &str) -> EndpointSliceFact {
        let object = json!({
            "metadata": {"name": name, "namespace": "vault", "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [address], "conditions": {"ready": ready}}],
            "ports": [{"name": "http", "port": 8200, "protocol": "TCP"}],
        });
        EndpointSliceFact::from_object(&serde_json::from_value(object).unwrap()).unwrap()
    }

    #[test]
    fn endpoints_are_those_that_take_requests() {
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
