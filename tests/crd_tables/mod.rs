//! Objects that the CRDs accept or refuse, in tables that a reader can check by eye. `tests/crd_rules` evaluates the
//! rules over them without a server, `tests/api_server` with one.

mod shapes;
mod values;

use serde_json::{Value, json};

pub use self::shapes::{identities, policies, virtual_network_rules, virtual_networks};
pub use self::values::{ip_rules, subnet_prefixes, trusted_proxies};

/// A row's verdict: `""` is accepted, anything else is a part of the message.
pub const ACCEPTED: &str = "";

/// An object, and the verdict of the CRDs.
pub struct Row {
    /// Short description of the object.
    pub label: String,
    pub object: Value,
    /// The field that is refused.
    pub field: String,
    pub expected: &'static str,
}

/// A policy with these fields in its spec.
pub fn policy(spec: &Value) -> Value {
    let mut object = json!({
        "apiVersion": "vaultwall.dev/v1alpha1",
        "kind": "VaultNetworkPolicy",
        "metadata": {"name": "openbao", "namespace": "vault"},
        "spec": {"targetRef": {"name": "openbao", "port": 8200}},
    });
    object["spec"]
        .as_object_mut()
        .unwrap()
        .extend(spec.as_object().unwrap().clone());
    object
}

/// A virtual network of one subnet.
pub fn network(subnet: &Value) -> Value {
    json!({
        "apiVersion": "vaultwall.dev/v1alpha1",
        "kind": "VirtualNetwork",
        "metadata": {"name": "corp"},
        "spec": {"subnets": [subnet]},
    })
}

/// A trusted service with this identity.
pub fn service(identity: &Value) -> Value {
    json!({
        "apiVersion": "vaultwall.dev/v1alpha1",
        "kind": "TrustedService",
        "metadata": {"name": "backup"},
        "spec": {
            "scenarios": [{"name": "backup", "operations": ["keys/backup"]}],
            "identities": [identity],
        },
    })
}

/// A policy with so many valid rules.
pub fn with_rules(virtual_network_rules: usize, ip_rules: usize) -> Value {
    let subnets: Vec<Value> = (0..virtual_network_rules)
        .map(|n| json!({"subnet": {"virtualNetwork": "corp", "name": format!("s{n}")}}))
        .collect();
    let addresses: Vec<Value> = (0..ip_rules)
        .map(|n| json!({"value": format!("8.8.{}.{}", n / 250, n % 250)}))
        .collect();
    policy(&json!({"virtualNetworkRules": subnets, "ipRules": addresses}))
}
