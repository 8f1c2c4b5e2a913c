//! The status of virtual networks, and how a reader notices that no operator has processed an object.

use std::process::Command;

use serde_json::Value;
use testkit::wait::wait_for_ok;

use crate::operator::sandbox::Sandbox;

const NETWORK: &str = "
apiVersion: vaultwall.dev/v1alpha1
kind: VirtualNetwork
metadata: {name: corp}
spec:
  subnets:
  - {name: office, serviceEndpoints: [Vault], addressPrefixes: [10.20.0.0/16]}
  - {name: lab, addressPrefixes: [10.30.0.0/16]}
";

/// The columns of `kubectl get`, by their headings.
fn columns(sandbox: &Sandbox, arguments: &[&str]) -> Vec<(String, String)> {
    let printed = sandbox.kubectl(&[&["get"], arguments].concat());
    let (headings, cells) = printed.split_once('\n').unwrap();
    // A cell begins below its heading, and can be empty.
    let mut found: Vec<(String, String)> = Vec::new();
    let mut end = headings.len().max(cells.len());
    for heading in headings.split_whitespace().rev() {
        let start = headings[..end.min(headings.len())].rfind(heading).unwrap();
        let cell = cells.get(start..end.min(cells.len())).unwrap_or_default();
        found.insert(0, (heading.to_owned(), cell.trim().to_owned()));
        end = start;
    }
    found
}

fn cell(columns: &[(String, String)], heading: &str) -> String {
    let found = columns.iter().find(|(name, _)| name == heading);
    found.map(|(_, cell)| cell.clone()).unwrap_or_default()
}

fn condition(sandbox: &Sandbox, kind: &str) -> Result<Value, String> {
    let network = sandbox
        .server
        .get("/apis/vaultwall.dev/v1alpha1/virtualnetworks/corp")
        .unwrap();
    let conditions = network["status"]["conditions"].as_array().cloned();
    let mut conditions = conditions.into_iter().flatten();
    let found = conditions.find(|found| found["type"] == kind);
    found.ok_or_else(|| network.to_string())
}

/// Waits until a condition of the network has this status, and returns its message.
fn wait_for(sandbox: &Sandbox, kind: &str, status: &str) -> String {
    wait_for_ok(&format!("{kind}={status}"), || {
        let found = condition(sandbox, kind)?;
        if found["status"] == status {
            Ok(found["message"].as_str().unwrap_or_default().to_owned())
        } else {
            Err(found.to_string())
        }
    })
}

#[test]
fn a_network_has_a_status_and_columns() {
    let sandbox = Sandbox::new();
    sandbox.server.apply(NETWORK);
    for kind in ["Accepted", "Ready"] {
        assert_eq!(
            wait_for(&sandbox, kind, "Unknown"),
            "waiting for the operator"
        );
    }
    let _operator = sandbox.operator();
    assert_eq!(
        wait_for(&sandbox, "Accepted", "True"),
        "generation 1 is valid"
    );
    let shown = columns(&sandbox, &["vnet", "corp"]);
    let expected = [
        ("NAME", "corp"),
        ("SUBNETS", "2"),
        ("ENABLED", "1"),
        ("ACCEPTED", "True"),
        ("GENERATION", "1"),
        ("OBSERVED", "1"),
    ];
    for (heading, value) in expected {
        assert_eq!(cell(&shown, heading), value, "{shown:?}");
    }

    // The API server does not compare the names of subnets.
    sandbox
        .server
        .apply(&NETWORK.replace("name: lab", "name: office"));
    let message = wait_for(&sandbox, "Accepted", "False");
    assert!(
        message.starts_with(
            "generation 2 is rejected as a whole, and its last valid generation stays in force."
        ),
        "{message}"
    );
    assert!(message.contains("\nspec.subnets[1].name: "), "{message}");
    assert_eq!(wait_for(&sandbox, "Ready", "False"), message);

    sandbox.server.apply(NETWORK);
    assert_eq!(wait_for(&sandbox, "Ready", "True"), "generation 3 is valid");
}

/// `kubectl get` shows two generations, and `explain` warns.
#[test]
fn an_edit_without_an_operator_is_visible() {
    const POLICY: &str = "
apiVersion: vaultwall.dev/v1alpha1
kind: VaultNetworkPolicy
metadata: {name: web, namespace: vault}
spec: {targetRef: {name: openbao, port: 8200}, ipRules: [{value: 203.0.113.7}]}
";
    let sandbox = Sandbox::new();
    let explain = || {
        let output = Command::new(testkit::vaultwall())
            .args([
                "explain",
                "--vault",
                "vault/openbao",
                "--source-ip",
                "203.0.113.8",
            ])
            .args(["--method", "GET", "--path", "/v1/secret/data/app"])
            .arg("--kubeconfig")
            .arg(sandbox.server.kubeconfig())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    sandbox.server.apply(POLICY);
    let warnings = explain();
    assert!(
        warnings.contains("VaultNetworkPolicy web: no operator has processed it yet"),
        "{warnings}"
    );
    assert!(
        warnings.contains("there is no lease vaultwall-system/vaultwall"),
        "{warnings}"
    );

    let operator = sandbox.operator();
    sandbox.condition("web", "Accepted", "True", "Accepted");
    assert_eq!(explain(), "");

    // A leader that stops releases its lease.
    operator.stop();
    sandbox
        .server
        .apply(&POLICY.replace("203.0.113.7", "203.0.113.9"));
    let shown = columns(&sandbox, &["vnp", "web", "--namespace=vault"]);
    assert_eq!(cell(&shown, "GENERATION"), "2", "{shown:?}");
    assert_eq!(cell(&shown, "OBSERVED"), "1", "{shown:?}");
    let warnings = explain();
    assert!(
        warnings.contains("the operator has not processed generation 2 yet")
            && warnings.contains("(the last processed is 1)"),
        "{warnings}"
    );
    assert!(warnings.contains("the operator does not run"), "{warnings}");
}
