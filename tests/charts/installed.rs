//! Rendered charts in a real API server: every object as rendered, pods in a namespace that enforces `restricted` of
//! Pod Security, limits in force.

use std::sync::Once;

use serde_json::{Value, json};

use crate::charts::helm::{DEFINITIONS, NAMESPACE, OPERATOR, find, objects, rendered};
use testkit::ApiServer;
use testkit::wait::wait_for_ok;

/// Applies what both charts render, by the letter: an unknown field is refused.
pub(crate) fn apply_rendered(server: &ApiServer, arguments: &[&str]) {
    let [enforced, warned] =
        ["enforce", "warn"].map(|mode| format!("pod-security.kubernetes.io/{mode}"));
    let namespace = json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": NAMESPACE, "labels": {enforced: "restricted", warned: "restricted"}},
    });
    server.apply(&namespace.to_string());
    for text in [rendered(DEFINITIONS, &[]), rendered(OPERATOR, arguments)] {
        let apply = ["apply", "--server-side", "--validate=strict", "-f", "-"];
        let output = server.kubectl(&apply, &text);
        let said = String::from_utf8_lossy(&output.stderr);
        // Warnings of Pod Security would be here, too.
        assert!(output.status.success() && said.is_empty(), "{said}");
    }
}

/// The server of all tests that leave what is installed as it is, with both charts.
pub(crate) fn with_charts() -> &'static ApiServer {
    static INSTALLED: Once = Once::new();
    let server = ApiServer::shared();
    INSTALLED.call_once(|| apply_rendered(server, &[]));
    server
}

/// A kind of the Prometheus operator, as far as the chart uses it.
pub(crate) fn service_monitors() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "servicemonitors.monitoring.coreos.com"},
        "spec": {
            "group": "monitoring.coreos.com",
            "scope": "Namespaced",
            "names": {"kind": "ServiceMonitor", "plural": "servicemonitors"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object",
                "x-kubernetes-preserve-unknown-fields": true,
            }}}],
        },
    })
}

#[test]
fn every_object_is_accepted() {
    let server = ApiServer::start();
    server.apply(&service_monitors().to_string());
    server.kubectl_prints(&[
        "wait",
        "--for=condition=Established",
        "customresourcedefinitions/servicemonitors.monitoring.coreos.com",
    ]);
    let everything = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/charts/golden/everything/values.yaml"
    );
    apply_rendered(&server, &[]);
    apply_rendered(&server, &["--values", everything]);
}

#[test]
fn the_pod_is_restricted() {
    let server = with_charts();
    let rendered = objects(OPERATOR, &[]);
    let template = &find(&rendered, "Deployment", "vaultwall")["spec"]["template"];
    let pod = |change: &dyn Fn(&mut Value)| {
        let mut pod = template.clone();
        pod["apiVersion"] = json!("v1");
        pod["kind"] = json!("Pod");
        pod["metadata"]["name"] = json!("pod");
        pod["metadata"]["namespace"] = json!(NAMESPACE);
        change(&mut pod["spec"]);
        let output = server.kubectl(&["create", "--dry-run=server", "-f", "-"], &pod.to_string());
        (
            output.status.success(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    assert_eq!(pod(&|_| {}), (true, String::new()));
    for (what, without) in [
        ("seccompProfile", "/securityContext/seccompProfile"),
        ("runAsNonRoot", "/securityContext/runAsNonRoot"),
        (
            "unrestricted capabilities",
            "/containers/0/securityContext/capabilities",
        ),
        (
            "allowPrivilegeEscalation",
            "/containers/0/securityContext/allowPrivilegeEscalation",
        ),
    ] {
        let (parent, field) = without.rsplit_once('/').unwrap();
        let (taken, said) = pod(&|spec| {
            spec.pointer_mut(parent)
                .unwrap()
                .as_object_mut()
                .unwrap()
                .remove(field);
        });
        assert!(!taken && said.contains(what), "without {without}: {said}");
    }
}

#[test]
fn limits_of_the_values_are_in_force() {
    let server = ApiServer::start();
    apply_rendered(
        &server,
        &["--set=limits.ipRules=2,limits.virtualNetworkRules=1"],
    );
    let policy = |ips: usize, subnets: usize| {
        let ips: Vec<Value> = (0..ips)
            .map(|n| json!({"value": format!("8.8.8.{n}")}))
            .collect();
        let subnets: Vec<Value> = (0..subnets)
            .map(|n| json!({"subnet": {"virtualNetwork": "corp", "name": format!("s{n}")}}))
            .collect();
        json!({
            "apiVersion": "vaultwall.dev/v1alpha1",
            "kind": "VaultNetworkPolicy",
            "metadata": {"name": "openbao", "namespace": "default"},
            "spec": {
                "targetRef": {"name": "openbao", "port": 8200},
                "ipRules": ips,
                "virtualNetworkRules": subnets,
            },
        })
        .to_string()
    };
    let said = |policy: &str| {
        let output = server.kubectl(&["create", "--dry-run=server", "-f", "-"], policy);
        if output.status.success() {
            "created".to_owned()
        } else {
            String::from_utf8(output.stderr).unwrap()
        }
    };
    let until = |policy: &str, expected: &str| {
        wait_for_ok(&format!("{expected:?}"), || {
            let said = said(policy);
            let is_expected = said.contains(expected).then_some(());
            is_expected.ok_or_else(|| format!("but {said:?}"))
        });
    };
    let ips = "spec.ipRules has 3 rules, and the limit is 2; merge or remove rules";
    let subnets = "spec.virtualNetworkRules has 2 rules, and the limit is 1; merge or remove rules";
    until(&policy(3, 0), ips);
    until(
        &policy(3, 0),
        "limits.ipRules in the values of the Helm chart",
    );
    until(&policy(0, 2), subnets);
    until(&policy(2, 1), "created");
    apply_rendered(&server, &["--set=limits.ipRules=3"]);
    until(&policy(3, 2), "created");
    until(
        &policy(4, 0),
        "spec.ipRules has 4 rules, and the limit is 3",
    );
}
