//! The status of trusted services in a real cluster.

use serde_json::{Value, json};
use testkit::wait::wait_for_ok;

use crate::operator::sandbox::Sandbox;

/// A service with one identity.
fn service(name: &str, identity: &Value) -> Value {
    json!({
        "apiVersion": "vaultwall.dev/v1alpha1",
        "kind": "TrustedService",
        "metadata": {"name": name},
        "spec": {
            "scenarios": [{"name": "read", "operations": ["secrets/get"]}],
            "identities": [identity],
        },
    })
}

fn account(name: &str) -> Value {
    json!({"serviceAccount": {"namespace": "shop", "name": name}})
}

/// Waits until the status of a service contains these values, by JSON pointers.
fn wait_for(sandbox: &Sandbox, service: &str, expected: &[(&str, Value)]) -> Value {
    let path = format!("/apis/vaultwall.dev/v1alpha1/trustedservices/{service}");
    wait_for_ok(&format!("{service}: {expected:?}"), || {
        let status = sandbox.server.get(&path).unwrap()["status"].clone();
        for (pointer, value) in expected {
            if status.pointer(pointer).unwrap_or(&Value::Null) != value {
                return Err(format!("{pointer}: {status}"));
            }
        }
        Ok(status)
    })
}

const READY: &str = "/conditions/1/status";
const REASON: &str = "/conditions/1/reason";

#[test]
fn the_status_shows_each_identity_its_pods_and_the_policies() {
    let sandbox = Sandbox::new();
    sandbox
        .server
        .apply(&service("reports", &account("reporter")).to_string());
    wait_for(&sandbox, "reports", &[(READY, json!("Unknown"))]);
    let _operator = sandbox.operator();
    let status = wait_for(
        &sandbox,
        "reports",
        &[
            (READY, json!("False")),
            (REASON, json!("ServiceAccountNotFound")),
        ],
    );
    assert_eq!(status["conditions"][0]["status"], "True", "{status}");
    assert_eq!(
        status["identities"][0]["identity"],
        "serviceAccount shop/reporter"
    );

    // The account, a pod that runs under it, and a policy that lets the service in.
    sandbox.server.apply(
        &json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"namespace": "shop", "name": "reporter"},
        })
        .to_string(),
    );
    let expected = [
        (READY, json!("True")),
        ("/identities/0/serviceAccounts", json!(1)),
        ("/identities/0/reason", Value::Null),
    ];
    wait_for(&sandbox, "reports", &expected);
    sandbox.server.apply(
        &json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"namespace": "shop", "name": "reporter"},
            "spec": {"serviceAccountName": "reporter", "containers": [{"name": "app", "image": "app"}]},
        })
        .to_string(),
    );
    sandbox
        .server
        .set_running("shop", "reporter", "10.20.30.40".parse().unwrap());
    sandbox.server.apply(
        &json!({
            "apiVersion": "vaultwall.dev/v1alpha1", "kind": "VaultNetworkPolicy",
            "metadata": {"namespace": "vault", "name": "web"},
            "spec": {
                "targetRef": {"name": "openbao", "port": 8200},
                "bypass": "TrustedServices", "trustedServices": {"names": ["reports"]},
            },
        })
        .to_string(),
    );
    let expected = [
        ("/pods", json!(1)),
        ("/identities/0/namespaces", json!(["shop"])),
        ("/policies", json!(["vault/web"])),
        ("/policyCount", json!(1)),
    ];
    wait_for(&sandbox, "reports", &expected);

    // Another service with the same account concerns both.
    sandbox
        .server
        .apply(&service("other", &account("reporter")).to_string());
    for name in ["reports", "other"] {
        let shared = ("/identities/0/reason", json!("SharedByServices"));
        wait_for(&sandbox, name, &[shared, (READY, json!("True"))]);
    }
}

#[test]
fn an_invalid_edit_keeps_the_last_valid_generation() {
    let sandbox = Sandbox::new();
    let _operator = sandbox.operator();
    let mut edited = service("reports", &account("reporter"));
    sandbox.server.apply(&edited.to_string());
    wait_for(&sandbox, "reports", &[("/scenarios", json!(1))]);
    // The API server does not compare the names of scenarios.
    let scenario = edited["spec"]["scenarios"][0].clone();
    edited["spec"]["scenarios"] = json!([scenario, scenario]);
    sandbox.server.apply(&edited.to_string());
    let status = wait_for(
        &sandbox,
        "reports",
        &[(REASON, json!("Invalid")), ("/scenarios", Value::Null)],
    );
    let message = status["conditions"][0]["message"].as_str().unwrap();
    assert!(
        message.starts_with(
            "generation 2 is rejected as a whole, and its last valid generation stays in force."
        ) && message.contains("\nspec.scenarios[1].name: "),
        "{message}"
    );
}
