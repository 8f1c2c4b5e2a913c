//! `NetworkPolicies` of others, which can open a vault's pods past its firewall: `NetworkPolicies` are additive.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Labels, ObjectName};
use crate::api::{MANAGED_BY, MANAGED_BY_LABEL};
use crate::policy::Selector;

/// A `NetworkPolicy` that is not generated and that admits clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkPolicyFact {
    /// Namespace and name.
    pub id: ObjectName,
    /// The pods whose ingress it is for.
    pods: Selector,
    rules: Vec<Rule>,
}

/// An ingress rule.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    /// TCP ports; empty admits to all ports.
    ports: Vec<Port>,
    /// Empty admits everybody. `None` is a peer other than pods of the same namespace.
    peers: Vec<Option<Selector>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Port {
    Numbers(RangeInclusive<i32>),
    Name(String),
}

/// Pods and port of a vault, as far as they decide whether a policy opens them.
#[derive(Clone, Copy, Debug)]
pub struct Protected<'a> {
    /// Labels that select the vault's pods; never empty.
    pub selector: &'a Labels,
    /// Labels of the proxies.
    pub proxies: &'a Labels,
    /// Port of the vault's API in its Service.
    pub port: u16,
    /// Port of the vault's API in its pods: a number, or the name of a container's port.
    pub api_port: &'a IntOrString,
}

impl NetworkPolicyFact {
    /// Converts a policy; none for a generated one, and for one that admits nobody.
    pub fn from_object(object: &NetworkPolicy) -> Option<Self> {
        let metadata = &object.metadata;
        let labels = metadata.labels.as_ref();
        if labels
            .and_then(|labels| labels.get(MANAGED_BY_LABEL))
            .map(String::as_str)
            == Some(MANAGED_BY)
        {
            return None;
        }
        let spec = object.spec.as_ref()?;
        // Without the type, Kubernetes ignores `ingress`. The API server always sets the types.
        let types = spec.policy_types.as_deref().unwrap_or_default();
        if !types.is_empty() && !types.iter().any(|kind| kind == "Ingress") {
            return None;
        }
        let rules: Vec<Rule> = spec.ingress.iter().flatten().filter_map(Rule::of).collect();
        if rules.is_empty() {
            return None;
        }
        Some(Self {
            id: ObjectName {
                namespace: metadata.namespace.clone()?,
                name: metadata.name.clone()?,
            },
            pods: Selector::new(&spec.pod_selector.clone().unwrap_or_default()),
            rules,
        })
    }

    /// Whether it is for pods with these labels.
    pub(super) fn selects(&self, labels: &Labels) -> bool {
        self.pods.matches(labels)
    }

    /// Whether it admits others than the vault's own pods and the proxies to the vault's API. `numbers` are the numbers
    /// of that port in the vault's endpoints; while they are unknown, any number may be it.
    pub(super) fn opens(&self, protected: Protected<'_>, numbers: &BTreeSet<u16>) -> bool {
        self.rules
            .iter()
            .any(|rule| rule.has_port(protected.api_port, numbers) && rule.admits_others(protected))
    }
}

impl Rule {
    /// Converts a rule; none if it has ports, and none of them is a TCP port.
    fn of(rule: &NetworkPolicyIngressRule) -> Option<Self> {
        let ports = rule.ports.as_deref().unwrap_or_default();
        let tcp = |port: &&NetworkPolicyPort| {
            let protocol = port.protocol.as_deref();
            protocol.is_none_or(|protocol| protocol == "TCP")
        };
        let tcp_ports: Vec<Port> = ports.iter().filter(tcp).map(Port::of).collect();
        if tcp_ports.is_empty() && !ports.is_empty() {
            return None;
        }
        Some(Self {
            ports: tcp_ports,
            peers: rule.from.iter().flatten().map(pods_here).collect(),
        })
    }

    fn has_port(&self, api: &IntOrString, numbers: &BTreeSet<u16>) -> bool {
        self.ports.is_empty()
            || self.ports.iter().any(|port| match (port, api) {
                (Port::Numbers(range), IntOrString::Int(api)) => range.contains(api),
                (Port::Numbers(range), IntOrString::String(_)) => {
                    numbers.is_empty()
                        || numbers
                            .iter()
                            .any(|number| range.contains(&i32::from(*number)))
                }
                (Port::Name(name), IntOrString::String(api)) => name == api,
                // The container may give the number any name.
                (Port::Name(_), IntOrString::Int(_)) => true,
            })
    }

    fn admits_others(&self, protected: Protected<'_>) -> bool {
        let is_own = |peer: &Option<Selector>| {
            let requires = |labels: &Labels| {
                let value = |key| peer.as_ref().and_then(|peer| peer.required_value(key));
                labels
                    .iter()
                    .all(|(key, wanted)| value(key) == Some(wanted))
            };
            requires(protected.selector) || requires(protected.proxies)
        };
        self.peers.is_empty() || !self.peers.iter().all(is_own)
    }
}

impl Port {
    fn of(port: &NetworkPolicyPort) -> Self {
        match &port.port {
            None => Self::Numbers(0..=i32::from(u16::MAX)),
            Some(IntOrString::Int(first)) => {
                Self::Numbers(*first..=port.end_port.unwrap_or(*first))
            }
            Some(IntOrString::String(name)) => Self::Name(name.clone()),
        }
    }
}

/// Returns the selector of a peer that is pods of the policy's own namespace.
fn pods_here(peer: &NetworkPolicyPeer) -> Option<Selector> {
    let pods = peer.pod_selector.as_ref()?;
    (peer.namespace_selector.is_none() && peer.ip_block.is_none()).then(|| Selector::new(pods))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn fact(spec: &Value) -> Option<NetworkPolicyFact> {
        let object = json!({"metadata": {"name": "other", "namespace": "vault"}, "spec": spec});
        NetworkPolicyFact::from_object(&serde_json::from_value(object).unwrap())
    }

    fn labels(app: &str) -> Labels {
        Labels::from([("app".to_owned(), app.to_owned())])
    }

    #[test]
    fn a_policy_that_admits_others_to_the_api_opens_the_vault() {
        let (selector, proxies) = (labels("openbao"), labels("proxy"));
        let number = IntOrString::Int(8200);
        let name = IntOrString::String("https".to_owned());
        let known = BTreeSet::from([8200]);
        let own = json!([{"podSelector": {"matchLabels": {"app": "openbao", "tier": "x"}}}]);
        let port = |port: Value| json!([{"ports": [{"port": port}]}]);
        for (what, ingress, by_number, by_name) in [
            ("everybody", json!([{}]), true, true),
            (
                "every namespace",
                json!([{"from": [{"namespaceSelector": {}}]}]),
                true,
                true,
            ),
            (
                "addresses",
                json!([{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]),
                true,
                true,
            ),
            (
                "other pods",
                json!([{"from": [{"podSelector": {"matchLabels": {"app": "agent"}}}]}]),
                true,
                true,
            ),
            ("own pods", json!([{"from": own}]), false, false),
            (
                "proxies",
                json!([{"from": [{"podSelector": {"matchLabels": {"app": "proxy"}}}]}]),
                false,
                false,
            ),
            (
                "own pods of all namespaces",
                json!([{"from": [
                    {"podSelector": {"matchLabels": {"app": "openbao"}}, "namespaceSelector": {}},
                ]}]),
                true,
                true,
            ),
            ("the port", port(json!(8200)), true, true),
            ("another port", port(json!(8201)), false, false),
            (
                "a range",
                json!([{"ports": [{"port": 8000, "endPort": 8200}]}]),
                true,
                true,
            ),
            (
                "no number",
                json!([{"ports": [{"protocol": "TCP"}]}]),
                true,
                true,
            ),
            ("the name", port(json!("https")), true, true),
            // The container may give this name to its port 8200.
            ("another name", port(json!("metrics")), true, false),
            (
                "UDP",
                json!([{"ports": [{"port": 8200, "protocol": "UDP"}]}]),
                false,
                false,
            ),
        ] {
            for (api_port, expected) in [(&number, by_number), (&name, by_name)] {
                let protected = Protected {
                    selector: &selector,
                    proxies: &proxies,
                    port: 8200,
                    api_port,
                };
                let found = fact(&json!({"podSelector": {}, "ingress": ingress}));
                let opens = found.is_some_and(|fact| fact.opens(protected, &known));
                assert_eq!(opens, expected, "{what}, {api_port:?}");
            }
        }
    }

    #[test]
    fn policies_that_admit_nobody_and_generated_ones_are_no_facts() {
        assert_eq!(fact(&json!({"podSelector": {}})), None);
        assert_eq!(
            fact(
                &json!({"podSelector": {}, "policyTypes": ["Egress"], "ingress": [{}], "egress": [{}]})
            ),
            None
        );
        let generated = json!({
            "metadata": {"name": "openbao-vault", "namespace": "vault",
                "labels": {"app.kubernetes.io/managed-by": "vaultwall"}},
            "spec": {"podSelector": {}, "ingress": [{}]},
        });
        let generated = serde_json::from_value(generated).unwrap();
        assert_eq!(NetworkPolicyFact::from_object(&generated), None);
    }
}
