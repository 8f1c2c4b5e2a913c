//! Facts of a vault's Service that the compiler needs: the labels of the vault's pods, and the ports on which they
//! listen.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use thiserror::Error;

use crate::index::{ServiceFact, TargetPort};

/// Default cluster port of the vault: the one after the API's 8200.
const VAULT_CLUSTER_PORT: u16 = 8201;

/// Names of the cluster port in the Services of the charts of `OpenBao` and Vault.
const CLUSTER_PORT_NAMES: [&str; 2] = ["https-internal", "cluster"];

/// Prefixes of the labels that a vault writes its state to on its own pod, with Kubernetes service registration.
const STATE_LABEL_PREFIXES: [&str; 2] = ["openbao-", "vault-"];
/// The rest of such a label.
const STATE_LABEL_SUFFIXES: [&str; 5] =
    ["active", "initialized", "perf-standby", "sealed", "version"];

/// Selector and ports of a protected Service.
#[derive(Clone, Debug, PartialEq)]
pub struct ProtectedService {
    selector: BTreeMap<String, String>,
    api_port: IntOrString,
    cluster_port: IntOrString,
}

/// Reasons why no `NetworkPolicy` can protect the pods of a Service.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProtectedServiceError {
    /// The Service has no selector. An empty pod selector would select every pod of the namespace.
    #[error(
        "the Service has no selector, so no NetworkPolicy can select the vault's pods; \
         point `targetRef` at a Service that selects the vault's pods"
    )]
    NoSelector,
    /// The Service does not have the port of `targetRef.port`.
    #[error(
        "the Service has no TCP port {port} (it has: {}); \
         set `targetRef.port` to the Service's port of the vault's API",
        list(.ports)
    )]
    NoPort {
        /// `targetRef.port` of the policies.
        port: u16,
        /// The Service's TCP ports.
        ports: Vec<u16>,
    },
}

impl ProtectedService {
    /// Reads the Service; `port` is its port of the vault's API. A port named `https-internal` or `cluster` is the
    /// cluster port.
    pub fn of(service: &ServiceFact, port: u16) -> Result<Self, ProtectedServiceError> {
        let mut ports = service.ports.iter();
        let api = ports.find(|fact| fact.port == port).ok_or_else(|| {
            let ports = service.ports.iter().map(|fact| fact.port).collect();
            ProtectedServiceError::NoPort { port, ports }
        })?;
        let cluster = service.ports.iter().find(|fact| {
            fact.name
                .as_deref()
                .is_some_and(|name| CLUSTER_PORT_NAMES.contains(&name))
        });
        Self::new(
            service.selector.clone(),
            pods_port(&api.target),
            cluster.map(|fact| pods_port(&fact.target)),
        )
    }

    /// Takes the Service's selector, the target port of the vault's API (a number, or the name of a container port),
    /// and the target port of its cluster port. Without a cluster port, it is the port after a numeric API port, like
    /// the vault's own default, else 8201.
    ///
    /// Labels that hold a vault's state are removed from the selector: a Service like `openbao-active` selects the
    /// active node alone, but the standby nodes answer requests too, and the vault's `NetworkPolicy` would not select
    /// them. A selector that has only such labels is kept, because without them it would select every pod.
    pub fn new(
        selector: BTreeMap<String, String>,
        api_port: IntOrString,
        cluster_port: Option<IntOrString>,
    ) -> Result<Self, ProtectedServiceError> {
        if selector.is_empty() {
            return Err(ProtectedServiceError::NoSelector);
        }
        let lasting: BTreeMap<_, _> = selector
            .iter()
            .filter(|(key, _)| !is_state(key))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let cluster_port = cluster_port.unwrap_or_else(|| match api_port {
            IntOrString::Int(port) if (1..65535).contains(&port) => IntOrString::Int(port + 1),
            _ => IntOrString::Int(VAULT_CLUSTER_PORT.into()),
        });
        Ok(Self {
            selector: if lasting.is_empty() {
                selector
            } else {
                lasting
            },
            api_port,
            cluster_port,
        })
    }

    /// The same ports, of other pods.
    pub(super) fn with_selector(&self, selector: BTreeMap<String, String>) -> Self {
        Self {
            selector,
            ..self.clone()
        }
    }

    /// Labels that select all of the vault's pods, in the Service's namespace; never empty.
    pub fn selector(&self) -> &BTreeMap<String, String> {
        &self.selector
    }

    /// The pods' port of the vault's API: a number, or the name of a container port.
    pub fn api_port(&self) -> &IntOrString {
        &self.api_port
    }

    /// The pods' port for traffic between the vault's nodes: a number, or the name of a container port.
    pub fn cluster_port(&self) -> &IntOrString {
        &self.cluster_port
    }
}

fn pods_port(target: &TargetPort) -> IntOrString {
    match target {
        TargetPort::Number(number) => IntOrString::Int((*number).into()),
        TargetPort::Name(name) => IntOrString::String(name.clone()),
    }
}

fn list(ports: &[u16]) -> String {
    if ports.is_empty() {
        return "none".to_owned();
    }
    ports
        .iter()
        .map(u16::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

fn is_state(label: &str) -> bool {
    STATE_LABEL_PREFIXES
        .iter()
        .filter_map(|prefix| label.strip_prefix(prefix))
        .any(|suffix| STATE_LABEL_SUFFIXES.contains(&suffix))
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]
    use super::*;
    use crate::index::ServicePortFact;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn a_service_without_a_selector_is_refused() {
        let refused = ProtectedService::new(BTreeMap::new(), IntOrString::Int(8200), None);
        assert_eq!(refused, Err(ProtectedServiceError::NoSelector));
    }

    #[test]
    fn state_labels_are_removed_from_the_selector() {
        let app = [("app", "bao")];
        for (selector, kept) in [
            (&[("app", "bao")][..], &app[..]),
            (&[("app", "bao"), ("openbao-active", "true")], &app),
            (
                &[
                    ("app", "bao"),
                    ("vault-active", "true"),
                    ("vault-sealed", "false"),
                ],
                &app,
            ),
            (
                &[("app", "bao"), ("vault-role", "a")],
                &[("app", "bao"), ("vault-role", "a")],
            ),
            (&[("active", "true")], &[("active", "true")]),
            (&[("openbao-active", "true")], &[("openbao-active", "true")]),
        ] {
            let service =
                ProtectedService::new(labels(selector), IntOrString::Int(8200), None).unwrap();
            assert_eq!(service.selector(), &labels(kept), "{selector:?}");
        }
    }

    #[test]
    fn the_cluster_port_defaults_to_the_port_after_the_api() {
        let name = |name: &str| IntOrString::String(name.to_owned());
        for (api, cluster, expected) in [
            (IntOrString::Int(8200), None, IntOrString::Int(8201)),
            (IntOrString::Int(18200), None, IntOrString::Int(18201)),
            (IntOrString::Int(65535), None, IntOrString::Int(8201)),
            (name("http"), None, IntOrString::Int(8201)),
            (
                name("http"),
                Some(name("https-internal")),
                name("https-internal"),
            ),
        ] {
            let service =
                ProtectedService::new(labels(&[("app", "bao")]), api.clone(), cluster).unwrap();
            assert_eq!(
                (service.api_port(), service.cluster_port()),
                (&api, &expected)
            );
        }
    }

    #[test]
    fn ports_are_read_from_the_service() {
        let port = |name: &str, port, target| ServicePortFact {
            name: Some(name.into()),
            port,
            target,
        };
        let number = TargetPort::Number;
        let name = |name: &str| TargetPort::Name(name.into());
        let int = IntOrString::Int;
        let string = |name: &str| IntOrString::String(name.into());
        for (ports, expected) in [
            (
                vec![port("http", 8200, number(8200))],
                Ok((int(8200), int(8201))),
            ),
            (vec![port("http", 443, number(8200))], Err("443")),
            (
                vec![port("http", 8200, name("api"))],
                Ok((string("api"), int(8201))),
            ),
            (
                vec![
                    port("https-internal", 8201, name("peer")),
                    port("http", 8200, name("api")),
                ],
                Ok((string("api"), string("peer"))),
            ),
            (
                vec![
                    port("cluster", 9, number(9)),
                    port("http", 8200, number(18200)),
                ],
                Ok((int(18200), int(9))),
            ),
            (vec![], Err("none")),
        ] {
            let fact = ServiceFact {
                namespace: "vault".into(),
                name: "openbao".into(),
                selector: labels(&[("app", "bao")]),
                ports: ports.clone(),
            };
            match (ProtectedService::of(&fact, 8200), expected) {
                (Ok(got), Ok((api, cluster))) => {
                    assert_eq!(
                        (got.api_port(), got.cluster_port()),
                        (&api, &cluster),
                        "{ports:?}"
                    );
                }
                (Err(error), Err(word)) => {
                    assert!(
                        error.to_string().contains(&format!("(it has: {word})")),
                        "{error}"
                    );
                }
                other => panic!("{ports:?}: {other:?}"),
            }
        }
    }
}
