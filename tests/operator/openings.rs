//! `NetworkPolicies` of others that open the vault's pods past the firewall are reported.

use serde_json::Value;
use testkit::wait::wait_for_ok;

use crate::operator::sandbox::Sandbox;

const POLICY: &str = "
apiVersion: vaultwall.dev/v1alpha1
kind: VaultNetworkPolicy
metadata: {name: web, namespace: vault}
spec: {targetRef: {name: openbao, port: 8200}, ipRules: [{value: 203.0.113.7}]}
";

/// Waits until the policies with these names are reported.
fn wait_for_openings(sandbox: &Sandbox, expected: &[&str]) {
    wait_for_ok(&format!("warnings about {expected:?}"), || {
        let policy = sandbox.policy("web").unwrap_or_default();
        let warnings = policy.pointer("/status/warnings").and_then(Value::as_array);
        let warnings = warnings.into_iter().flatten();
        let found: Vec<&str> = warnings
            .filter(|warning| warning["reason"] == "OpenedByNetworkPolicy")
            .filter_map(|warning| warning["field"].as_str()?.strip_prefix("NetworkPolicy/"))
            .collect();
        if found == expected {
            Ok(())
        } else {
            Err(policy.to_string())
        }
    });
}

#[test]
fn a_policy_that_opens_the_vault_is_a_warning() {
    let sandbox = Sandbox::new();
    sandbox.server.apply(POLICY);
    let _operator = sandbox.operator();
    sandbox.condition("web", "Accepted", "True", "Accepted");
    wait_for_openings(&sandbox, &[]);
    let network_policy = |namespace: &str, name: &str, port: u16| {
        let object = serde_json::json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"ports": [{"port": port}]}]},
        });
        sandbox.server.apply(&object.to_string());
    };
    network_policy("shop", "elsewhere", 8200);
    network_policy("vault", "metrics", 9102);
    network_policy("vault", "open", 8200);
    wait_for_openings(&sandbox, &["open"]);
    sandbox.kubectl(&["delete", "networkpolicy", "open", "--namespace=vault"]);
    wait_for_openings(&sandbox, &[]);
}
