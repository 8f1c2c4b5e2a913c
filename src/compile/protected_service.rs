//! What the compiler has to know of a vault's Service: which pods are the vault, and on which of their ports it listens.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use thiserror::Error;

/// The vault's cluster port when nothing says otherwise: the one after the API's 8200.
pub const VAULT_CLUSTER_PORT: u16 = 8201;

/// Prefixes of the labels in which a vault tells its state on its own pod (Kubernetes service registration).
const STATE_LABEL_PREFIXES: [&str; 2] = ["openbao-", "vault-"];
/// What follows the prefix.
const STATE_LABEL_SUFFIXES: [&str; 5] =
    ["active", "initialized", "perf-standby", "sealed", "version"];

/// Facts of the protected Service.
#[derive(Clone, Debug, PartialEq)]
pub struct ProtectedService {
    selector: BTreeMap<String, String>,
    api_port: IntOrString,
    cluster_port: IntOrString,
}

/// Why a Service cannot be walled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProtectedServiceError {
    /// An empty pod selector would mean every pod of the namespace.
    #[error(
        "the Service has no selector, so no NetworkPolicy can say which pods are the vault; \
         point `targetRef` at a Service that selects the vault's pods"
    )]
    NoSelector,
}

impl ProtectedService {
    /// From the Service's selector, the target port of the vault's API (a number, or the name of a container port), and
    /// that of its cluster port; without one, it is the port after a numeric API port, as the vault's own default is,
    /// else [`VAULT_CLUSTER_PORT`].
    ///
    /// Labels in which a vault tells its own state are left out of the selector: a Service like `openbao-active` finds
    /// the active node alone, but the standby nodes answer requests too and would stay outside the wall. A selector of
    /// nothing but such labels is kept, because without them it would mean every pod.
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

    /// Labels that select all of the vault's pods, in the Service's namespace; never empty.
    pub fn selector(&self) -> &BTreeMap<String, String> {
        &self.selector
    }

    /// The pods' port of the vault's API.
    pub fn api_port(&self) -> &IntOrString {
        &self.api_port
    }

    /// The pods' port on which the vault's nodes talk to each other.
    pub fn cluster_port(&self) -> &IntOrString {
        &self.cluster_port
    }
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

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn no_selector_is_refused() {
        let refused = ProtectedService::new(BTreeMap::new(), IntOrString::Int(8200), None);
        assert_eq!(refused, Err(ProtectedServiceError::NoSelector));
    }

    #[test]
    fn the_vaults_own_state_is_no_part_of_the_selector() {
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
    fn cluster_port() {
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
}
