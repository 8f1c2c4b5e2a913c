//! Events of tests, in a short form.

use crate::api::VaultApi;
use crate::index::*;
use crate::policy::fixtures::{labels, vault};
use crate::policy::{ValidatedPolicy, ValidatedVirtualNetwork};

#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a test makes few events")]
pub(super) enum Event {
    /// Name, labels.
    Namespace(&'static str, &'static str),
    NamespaceDeleted(&'static str),
    /// Namespace, name, labels, addresses separated by spaces; a pod without an address does not count.
    Pod(&'static str, &'static str, &'static str, &'static str),
    PodDeleted(&'static str, &'static str),
    /// Namespace, name, port.
    Service(&'static str, &'static str, u16),
    ServiceDeleted(&'static str, &'static str),
    Network(ValidatedVirtualNetwork),
    NetworkDeleted(&'static str),
    Policy(ValidatedPolicy),
    /// Of the vault `vault/openbao`.
    InvalidPolicy(&'static str),
    PolicyDeleted(&'static str, &'static str),
}

impl Event {
    pub(super) fn apply_to(self, index: &mut Index) {
        match self {
            Self::Namespace(name, text) => {
                let mut labels = labels(text);
                labels.insert("kubernetes.io/metadata.name".into(), name.into());
                index.apply(NamespaceFact {
                    name: name.into(),
                    labels,
                    terminating: false,
                });
            }
            Self::NamespaceDeleted(name) => {
                index.delete(&Key::new(Kind::Namespace, ObjectName::cluster_scoped(name)));
            }
            Self::Pod(namespace, name, _, "") => {
                index.apply(ObservedPod::NotCounted {
                    pod: id(namespace, name),
                    reason: NotCounted::NoAddress,
                    wrong_label: None,
                });
            }
            Self::Pod(namespace, name, text, addresses) => {
                index.apply(ObservedPod::Counted(PodFact {
                    namespace: namespace.into(),
                    name: name.into(),
                    uid: None,
                    labels: labels(text),
                    service_account: "default".into(),
                    addresses: addresses
                        .split(' ')
                        .map(|address| address.parse().unwrap())
                        .collect(),
                }));
            }
            Self::PodDeleted(namespace, name) => {
                index.delete(&Key::new(Kind::Pod, id(namespace, name)));
            }
            Self::Service(namespace, name, port) => {
                let ports = vec![ServicePortFact {
                    name: None,
                    port,
                    target: TargetPort::Number(port),
                }];
                let selector = labels("app=vault");
                index.apply(ServiceFact {
                    namespace: namespace.into(),
                    name: name.into(),
                    ports,
                    selector,
                });
            }
            Self::ServiceDeleted(namespace, name) => {
                index.delete(&Key::new(Kind::Service, id(namespace, name)));
            }
            Self::Network(network) => index.apply(network),
            Self::NetworkDeleted(name) => index.delete(&Key::new(
                Kind::VirtualNetwork,
                ObjectName::cluster_scoped(name),
            )),
            Self::Policy(policy) => index.apply(policy),
            Self::InvalidPolicy(name) => index.apply(ObservedPolicy::Invalid(InvalidPolicy {
                name: name.into(),
                vault: vault(),
                port: 8200,
                api: VaultApi::OpenBao,
            })),
            Self::PolicyDeleted(namespace, name) => {
                index.delete(&Key::new(Kind::VaultNetworkPolicy, id(namespace, name)));
            }
        }
    }
}

fn id(namespace: &str, name: &str) -> ObjectName {
    ObjectName {
        namespace: namespace.into(),
        name: name.into(),
    }
}
