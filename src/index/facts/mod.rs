//! Facts: the part of Kubernetes objects that firewalls need, and nothing else of them.
//!
//! A conversion reads one object and has no effect. It decides whether rules can select a pod, so that no later step
//! reads phases or host networking.

mod policy;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use k8s_openapi::api::core::v1::{Namespace, Pod, Service, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use thiserror::Error;

use super::LabelCorrection;
use crate::api::{NAMESPACE_NAME_LABEL, SERVICE_ACCOUNT_LABEL};
use crate::policy::ObjectName;

pub use policy::*;

/// Phase of a namespace that is being deleted.
const TERMINATING: &str = "Terminating";
/// Annotation of mirrors of static pods. The API server refuses that anybody adds or removes it later.
const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// A Namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceFact {
    /// Name of the namespace.
    pub name: String,
    /// Labels of the namespace. `kubernetes.io/metadata.name` is always among them: the API server guarantees it, and
    /// it is added to a file that leaves it out.
    pub labels: Labels,
    /// Whether the namespace is being deleted; nothing can be created in it any more.
    pub terminating: bool,
}

/// A pod that rules can select.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodFact {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod, unique in its namespace.
    pub name: String,
    /// Unique id of the pod, which no later pod has; `None` in a file without one.
    pub uid: Option<String>,
    /// Labels of the pod, which selectors of rules match.
    pub labels: Labels,
    /// Name of the pod's service account, in its namespace; `default` when the pod does not name one. Mirrors of static
    /// pods have none: it is empty.
    pub service_account: String,
    /// IPv4 addresses of the pod, sorted, at least one.
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

/// A pod, with the fields that rules use if they can select it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObservedPod {
    /// Rules can select it.
    Counted(PodFact),
    /// No rule allows it.
    NotCounted {
        /// Namespace and name of the pod.
        pod: ObjectName,
        /// Reason, for explanations.
        reason: NotCounted,
        /// Correction of its label, if it has that of another service account and may get an address later.
        wrong_label: Option<LabelCorrection>,
    },
}

/// Reason why rules cannot select a pod.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotCounted {
    /// It has the node's address, which identifies no pod.
    #[error("it uses the host's network, so its address is the node's")]
    HostNetwork,
    /// It has ended, or its state is unknown.
    #[error("its phase is {0}, not Pending or Running")]
    Phase(String),
    /// It has no IPv4 address (yet).
    #[error("it has no IPv4 address")]
    NoAddress,
}

/// A Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceFact {
    /// Namespace of the Service.
    pub namespace: String,
    /// Name of the Service, unique in its namespace.
    pub name: String,
    /// TCP ports, in the object's order.
    pub ports: Vec<ServicePortFact>,
    /// Selector of the pods behind the Service. An empty one selects no pod (a Service without a selector), never all.
    pub selector: Labels,
}

/// A TCP port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePortFact {
    /// Name of the port in the Service; a Service with one port may leave it out.
    pub name: Option<String>,
    /// Port that clients of the Service connect to.
    pub port: u16,
    /// Port of the pods behind it.
    pub target: TargetPort,
}

/// Port of the pods behind a Service's port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetPort {
    /// Number of the port, 1 to 65535.
    Number(u16),
    /// Name of the port in the container's `ports`.
    Name(String),
}

/// A `ServiceAccount`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAccountFact {
    /// Namespace of the service account.
    pub namespace: String,
    /// Name of the service account, unique in its namespace.
    pub name: String,
    /// Unique id of the service account, which no later one has; `None` in a file without one.
    pub uid: Option<String>,
}

/// An object that cannot be converted. The API server never sends one; a file can contain anything.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{kind} {object}: {field}: {message}")]
pub struct FactError {
    /// Kind of the object, for example `Pod`.
    pub kind: &'static str,
    /// Namespace and name, or the name alone; `(unnamed)` without a name.
    pub object: String,
    /// Field path, for example `status.podIPs[0].ip`.
    pub field: String,
    /// Problem and remedy.
    pub message: String,
}

impl NamespaceFact {
    /// Converts a Namespace.
    ///
    /// # Errors
    /// It has no name.
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
    /// Converts a `ServiceAccount`.
    ///
    /// # Errors
    /// It has no name or no namespace.
    pub fn from_object(object: &ServiceAccount) -> Result<Self, FactError> {
        let ObjectName { namespace, name } = required_names("ServiceAccount", &object.metadata)?;
        let uid = object.metadata.uid.clone();
        Ok(Self {
            namespace,
            name,
            uid,
        })
    }
}

impl ServiceFact {
    /// Converts a Service. Only TCP ports are kept, because a vault's API is HTTP.
    ///
    /// # Errors
    /// It has no name or no namespace, or a port is out of range.
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
    /// Converts a Pod. A `deletionTimestamp` alone does not matter: a pod that is shutting down may still have to reach
    /// the vault, and its address belongs to it until it is deleted.
    ///
    /// # Errors
    /// It has no name or no namespace, or an address is not one.
    pub fn from_object(object: &Pod) -> Result<Self, FactError> {
        let id = required_names("Pod", &object.metadata)?;
        let spec = object.spec.as_ref();
        let status = object.status.as_ref();
        let service_account = service_account(object);
        let not_counted = |reason| {
            let labels = object.metadata.labels.as_ref();
            let wrong_label = LabelCorrection::of_wrong(
                object.metadata.uid.as_ref(),
                &service_account,
                labels.and_then(|labels| labels.get(SERVICE_ACCOUNT_LABEL)),
            );
            let has_future = match &reason {
                NotCounted::HostNetwork => false,
                NotCounted::Phase(phase) => !matches!(phase.as_str(), "Succeeded" | "Failed"),
                NotCounted::NoAddress => true,
            };
            Ok(Self::NotCounted {
                pod: id.clone(),
                reason,
                wrong_label: wrong_label.filter(|_| has_future),
            })
        };
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
        Ok(Self::Counted(PodFact {
            namespace: id.namespace,
            name: id.name,
            uid: object.metadata.uid.clone(),
            labels: object.metadata.labels.clone().unwrap_or_default(),
            service_account,
            addresses,
        }))
    }
}

/// Name of the service account, see [`PodFact::service_account`]. Only mirrors have the annotation; the API server
/// gives every other pod an account, and refuses one for a mirror.
fn service_account(object: &Pod) -> String {
    let named = object.spec.as_ref();
    let named = named.and_then(|spec| spec.service_account_name.clone());
    let annotations = object.metadata.annotations.as_ref();
    let is_mirror = annotations.is_some_and(|all| all.contains_key(MIRROR_ANNOTATION));
    let without = if is_mirror { "" } else { "default" };
    named
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| without.to_owned())
}

/// Returns the pod's IPv4 addresses. `status.podIP` repeats the first of `status.podIPs`; files may have either. IPv6
/// addresses, also IPv4-mapped ones, are dropped.
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
