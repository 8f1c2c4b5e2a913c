//! Slim facts: what the index keeps of ordinary Kubernetes objects, and nothing else of them.
//!
//! Conversion reads one object and touches nothing; who watches or reads files is another module's business. A pod
//! that does not count is told apart here, once, so that no later step has to know about phases or host networking.

mod policy;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use k8s_openapi::api::core::v1::{Namespace, Pod, Service, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use thiserror::Error;

use crate::api::NAMESPACE_NAME_LABEL;
use crate::policy::ObjectName;

pub use policy::*;

/// Phase of a namespace that is being deleted.
const TERMINATING: &str = "Terminating";

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceFact {
    /// Its name.
    pub name: String,
    /// Its labels. `kubernetes.io/metadata.name` is always there: the API server guarantees it, and a file that was
    /// written by hand may not say it.
    pub labels: Labels,
    /// Whether the namespace is being deleted; nothing can be created in it any more.
    pub terminating: bool,
}

/// A pod that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodFact {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
    /// Name of its service account, in its namespace; `default` when the pod does not say.
    pub service_account: String,
    /// Its IPv4 addresses, sorted, at least one.
    pub addresses: Vec<Ipv4Addr>,
}

impl PodFact {
    /// Namespace and name.
    pub fn id(&self) -> ObjectName {
        ObjectName {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }
}

/// What is known of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObservedPod {
    /// It counts.
    Counted(PodFact),
    /// It does not count: no rule lets it in.
    NotCounted {
        /// The pod.
        pod: ObjectName,
        /// Why.
        reason: NotCounted,
    },
}

/// Why a pod does not count (design.md, "which pods count").
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotCounted {
    /// It has the node's address, so its address says nothing about it.
    #[error("it uses the host's network, so its address is the node's")]
    HostNetwork,
    /// It does not run, or nobody knows whether it does.
    #[error("its phase is {0}; only Pending and Running count")]
    Phase(String),
    /// It has no IPv4 address (yet).
    #[error("it has no IPv4 address")]
    NoAddress,
}

/// A Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceFact {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its TCP ports, in the object's order.
    pub ports: Vec<ServicePortFact>,
    /// Selects the pods behind it. Empty: it selects none (a Service without a selector), never all.
    pub selector: Labels,
}

/// A TCP port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePortFact {
    /// Its name, where it has one.
    pub name: Option<String>,
    /// The Service's port.
    pub port: u16,
    /// The pods' port behind it.
    pub target: TargetPort,
}

/// A port of pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetPort {
    /// By number.
    Number(u16),
    /// By the name that the container gives it.
    Name(String),
}

/// A service account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAccountFact {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// An object that cannot be a fact. The API server never sends one; files can say anything.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{kind} {object}: {field}: {message}")]
pub struct FactError {
    /// Kind of the object.
    pub kind: &'static str,
    /// Namespace and name as far as they are known; `(unnamed)` otherwise.
    pub object: String,
    /// Field path, for example `status.podIPs[0].ip`.
    pub field: String,
    /// Why it is refused and what to do.
    pub message: String,
}

impl NamespaceFact {
    /// The fact of a Namespace.
    pub fn from_object(object: &Namespace) -> Result<Self, FactError> {
        let name = required_name("Namespace", &object.metadata)?;
        let mut labels = object.metadata.labels.clone().unwrap_or_default();
        labels.insert(NAMESPACE_NAME_LABEL.to_owned(), name.clone());
        let phase = object
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref());
        let terminating = phase == Some(TERMINATING);
        Ok(Self {
            name,
            labels,
            terminating,
        })
    }
}

impl ServiceAccountFact {
    /// The fact of a `ServiceAccount`.
    pub fn from_object(object: &ServiceAccount) -> Result<Self, FactError> {
        let ObjectName { namespace, name } = required_names("ServiceAccount", &object.metadata)?;
        Ok(Self { namespace, name })
    }
}

impl ServiceFact {
    /// The fact of a Service. Ports that are not TCP are left out: a vault speaks HTTP.
    pub fn from_object(object: &Service) -> Result<Self, FactError> {
        const KIND: &str = "Service";
        let id = required_names(KIND, &object.metadata)?;
        let spec = object.spec.clone().unwrap_or_default();
        let mut ports = Vec::new();
        for (index, port) in spec.ports.unwrap_or_default().into_iter().enumerate() {
            if port
                .protocol
                .as_deref()
                .is_some_and(|protocol| protocol != "TCP")
            {
                continue;
            }
            let field = |name: &str| format!("spec.ports[{index}].{name}");
            let number = port_number(KIND, &id, field("port"), port.port)?;
            let target = match port.target_port {
                // The API server fills in the Service's own port; `targetPort: 0` means the same there.
                None | Some(IntOrString::Int(0)) => TargetPort::Number(number),
                Some(IntOrString::Int(value)) => {
                    TargetPort::Number(port_number(KIND, &id, field("targetPort"), value)?)
                }
                Some(IntOrString::String(name)) => TargetPort::Name(name),
            };
            ports.push(ServicePortFact {
                name: port.name,
                port: number,
                target,
            });
        }
        Ok(Self {
            namespace: id.namespace,
            name: id.name,
            ports,
            selector: spec.selector.unwrap_or_default(),
        })
    }
}

impl ObservedPod {
    /// What a Pod says. A `deletionTimestamp` alone does not matter: a pod that is shutting down may still have to
    /// reach the vault, and its address is its own until it is gone.
    pub fn from_object(object: &Pod) -> Result<Self, FactError> {
        let id = required_names("Pod", &object.metadata)?;
        let not_counted = |reason| {
            Ok(Self::NotCounted {
                pod: id.clone(),
                reason,
            })
        };
        let spec = object.spec.as_ref();
        let status = object.status.as_ref();
        if spec.and_then(|spec| spec.host_network).unwrap_or(false) {
            return not_counted(NotCounted::HostNetwork);
        }
        match status.and_then(|status| status.phase.as_deref()) {
            Some("Pending" | "Running") => {}
            phase => {
                return not_counted(NotCounted::Phase(phase.unwrap_or("not given").to_owned()));
            }
        }
        let addresses = pod_addresses(object, &id)?;
        if addresses.is_empty() {
            return not_counted(NotCounted::NoAddress);
        }
        let service_account = spec
            .and_then(|spec| spec.service_account_name.clone())
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| "default".to_owned());
        Ok(Self::Counted(PodFact {
            namespace: id.namespace,
            name: id.name,
            labels: object.metadata.labels.clone().unwrap_or_default(),
            service_account,
            addresses,
        }))
    }
}

/// `status.podIP` repeats the first of `status.podIPs`; files may have either. IPv6, also IPv4-mapped, is dropped.
fn pod_addresses(object: &Pod, id: &ObjectName) -> Result<Vec<Ipv4Addr>, FactError> {
    let Some(status) = object.status.as_ref() else {
        return Ok(Vec::new());
    };
    let list = status.pod_ips.iter().flatten().enumerate();
    let named = status
        .pod_ip
        .iter()
        .map(|ip| ("status.podIP".to_owned(), ip))
        .chain(list.map(|(index, entry)| (format!("status.podIPs[{index}].ip"), &entry.ip)));
    let mut addresses = Vec::new();
    for (field, text) in named {
        match text.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) => addresses.push(address),
            Ok(IpAddr::V6(_)) => {}
            // The API server writes an empty address for a pod that has none yet.
            Err(_) if text.is_empty() => {}
            Err(_) => {
                return Err(FactError {
                    kind: "Pod",
                    object: id.to_string(),
                    field,
                    message: format!(
                        "`{text}` is not an IP address; write the pod's address, or leave it out"
                    ),
                });
            }
        }
    }
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}

fn port_number(
    kind: &'static str,
    id: &ObjectName,
    field: String,
    value: i32,
) -> Result<u16, FactError> {
    u16::try_from(value)
        .ok()
        .filter(|port| *port != 0)
        .ok_or_else(|| FactError {
            kind,
            object: id.to_string(),
            field,
            message: format!("{value} is not a port; a port is 1 to 65535"),
        })
}

fn required_name(kind: &'static str, metadata: &ObjectMeta) -> Result<String, FactError> {
    metadata
        .name
        .clone()
        .filter(|name| !name.is_empty())
        .ok_or_else(|| FactError {
            kind,
            object: "(unnamed)".to_owned(),
            field: "metadata.name".to_owned(),
            message: "is missing; give the object its name".to_owned(),
        })
}

fn required_names(kind: &'static str, metadata: &ObjectMeta) -> Result<ObjectName, FactError> {
    let name = required_name(kind, metadata)?;
    let namespace = metadata
        .namespace
        .clone()
        .filter(|namespace| !namespace.is_empty());
    let Some(namespace) = namespace else {
        return Err(FactError {
            kind,
            object: name,
            field: "metadata.namespace".to_owned(),
            message:
                "is missing; say which namespace the object is in, as `kubectl get -o yaml` does"
                    .to_owned(),
        });
    };
    Ok(ObjectName { namespace, name })
}

#[cfg(test)]
mod tests;
