//! Objects of the cluster. The rules of every policy name apps of the namespace `shop`.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

/// Namespace of the vaults and their policies.
pub(crate) const VAULTS: &str = "vault";
/// Namespace of the pods.
pub(crate) const PODS: &str = "shop";

/// An app that rules may name and no pod wears.
pub(crate) const NOBODY: &str = "nobody";
/// An app that pods may wear and no rule names.
pub(crate) const STRANGER: &str = "stranger";

/// Namespaces, and the service account of the pods.
pub(crate) fn frame() -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "vaultwall-system"}},
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": VAULTS}},
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {
            "name": PODS, "labels": {"vaultwall.dev/service-endpoint": "enabled"},
        }},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": PODS}},
    ]})
    .to_string()
}

/// Name of a vault's Service.
pub(crate) fn vault_name(vault: usize) -> String {
    format!("openbao-{vault}")
}

pub(crate) fn service(vault: usize) -> Value {
    let name = vault_name(vault);
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": VAULTS},
        "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": 8200}]},
    })
}

pub(crate) fn endpoints(vault: usize) -> Value {
    let name = vault_name(vault);
    let address = Ipv4Addr::from(0x0af4_0000 + u32::try_from(vault).unwrap());
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{name}-1"), "namespace": VAULTS,
            "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": true}}],
        "ports": [{"name": "http", "port": 8200, "protocol": "TCP"}],
    })
}

pub(crate) fn policy_name(number: usize) -> String {
    format!("policy-{number}")
}

/// A policy of a vault that lets in one app of all vaults, one of its own, and one more.
pub(crate) fn policy(number: usize, vault: usize, edited: &str) -> Value {
    let rule = |app: &str| {
        json!({"pods": {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": PODS}},
            "podSelector": {"matchLabels": {"app": app}},
        }})
    };
    json!({
        "apiVersion": "vaultwall.dev/v1alpha1", "kind": "VaultNetworkPolicy",
        "metadata": {"name": policy_name(number), "namespace": VAULTS},
        "spec": {
            "targetRef": {"name": vault_name(vault), "port": 8200},
            "vault": {"engines": [{"path": "secret", "type": "KvV2"}]},
            "virtualNetworkRules": [rule("steady"), rule(&crowd(vault)), rule(edited)],
            "ipRules": [
                {"name": "hq", "value": "203.0.113.200"},
                {"name": "office", "value": "198.51.100.0/24"},
            ],
        },
    })
}

/// The app of the many pods that a vault lets in.
pub(crate) fn crowd(vault: usize) -> String {
    format!("runner-{vault}")
}

pub(crate) fn pod(name: &str, app: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": PODS, "labels": {"app": app}},
        "spec": {"automountServiceAccountToken": false, "containers": [{"name": "main", "image": "runner:1"}]},
    })
}

/// Status of a pod, as its node writes it.
pub(crate) fn runs(address: Ipv4Addr) -> Value {
    json!({"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}})
}

/// One of the many pods.
pub(crate) fn runner(number: usize) -> (String, Ipv4Addr) {
    let address = Ipv4Addr::from(0x0a00_0000 + u32::try_from(number).unwrap());
    (format!("runner-{number}"), address)
}
