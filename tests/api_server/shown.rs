//! Definitions stay unchanged when they are applied again; columns and descriptions are printed as people see them.

use serde_json::json;

use crate::api_server::server;
use crate::crd_tables::{network, policy};
use testkit::ApiServer;
use testkit::wait::wait_for_ok;

#[test]
fn applying_again_changes_nothing() {
    let server = ApiServer::start();
    let versions = || {
        server.kubectl_prints(&[
            "get",
            "customresourcedefinitions,validatingadmissionpolicies,validatingadmissionpolicybindings",
            "-o",
            r#"jsonpath={range .items[*]}{.kind} {.metadata.name} {.metadata.resourceVersion}{"\n"}{end}"#,
        ])
    };
    server.install_crds();
    let installed = versions();
    assert_eq!(installed.lines().count(), 13, "{installed}");
    server.install_crds();
    assert_eq!(versions(), installed);
}

#[test]
fn names_and_explanations() {
    let server = server("names");
    let mut corp = network(&json!({"name": "dc", "addressPrefixes": ["10.0.0.0/8"]}));
    corp["metadata"]["name"] = json!("names");
    let mut object = policy(&json!({}));
    object["metadata"]["namespace"] = json!("names");
    server.apply(&corp.to_string());
    server.apply(&object.to_string());
    for name in ["vnp", "vaultnetworkpolicy", "vaultnetworkpolicies"] {
        let printed = server.kubectl_prints(&["get", name, "--namespace=names", "-o", "name"]);
        assert_eq!(printed, "vaultnetworkpolicy.vaultwall.dev/openbao\n");
    }
    for name in ["vnet", "virtualnetwork", "virtualnetworks"] {
        let printed = server.kubectl_prints(&["get", name, "names", "-o", "name"]);
        assert_eq!(printed, "virtualnetwork.vaultwall.dev/names\n");
    }
    let printed = server.kubectl_prints(&["get", "vaultwall", "--namespace=names", "-o", "name"]);
    assert!(
        printed.contains("vaultnetworkpolicy.vaultwall.dev/openbao")
            && printed.contains("virtualnetwork.vaultwall.dev/names"),
        "{printed}"
    );

    for (what, expected) in [
        ("vnp", "Network firewall in front of a vault's Service"),
        (
            "vnp.spec.ipRules",
            "Allowed public IPv4 addresses and ranges.",
        ),
        ("vnp.spec.ipRules.value", "FIELD: value <string>"),
        ("vnp.spec.defaultAction", "Allow"),
        (
            "vnp.spec.clientAddress.trustedProxies",
            "Trusted proxies: IPv4 addresses, ranges such as `10.0.0.0/24`, or pods.",
        ),
        (
            "vnp.spec.clientAddress.trustedProxies.pods",
            "Pods by label. Their namespaces need no label.",
        ),
        (
            "vnet.spec.subnets.serviceEndpoints",
            "Service endpoints that the subnet's owner enabled.",
        ),
    ] {
        explained(server, what, expected);
    }
}

/// The server publishes descriptions of new kinds a moment after it serves them.
fn explained(server: &ApiServer, what: &str, expected: &str) {
    let expectation = format!("kubectl explain {what} prints {expected:?}");
    wait_for_ok(&expectation, || {
        let output = server.kubectl(&["explain", what], "");
        let said = String::from_utf8_lossy(&output.stdout).replace("\n    ", " ");
        let errors = String::from_utf8_lossy(&output.stderr);
        let is_printed = said.contains(expected).then_some(());
        is_printed.ok_or_else(|| format!("in:\n{said}{errors}"))
    });
}
