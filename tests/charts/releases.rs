//! Releases: installed, changed, uninstalled and installed again by Helm, in a real API server.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::json;

use crate::charts::helm::{DEFINITIONS, NAMESPACE, OPERATOR, chart, helm, helm_prints};
use crate::charts::installed::service_monitors;
use testkit::ApiServer;

/// Runs Helm on the server; it has to succeed.
fn release(server: &ApiServer, arguments: &[&str]) -> String {
    let kubeconfig = server.kubeconfig();
    let where_ = [
        "--kubeconfig",
        kubeconfig.to_str().unwrap(),
        "--namespace",
        NAMESPACE,
    ];
    helm_prints(&[arguments, &where_].concat())
}

fn path(name: &str) -> String {
    chart(name).to_str().unwrap().to_owned()
}

/// Names of the objects of these kinds that the charts made, one a line.
fn present(server: &ApiServer, kinds: &str) -> Vec<String> {
    let part = "app.kubernetes.io/part-of=vaultwall";
    let names = server.kubectl_prints(&["get", kinds, "-A", "-l", part, "-o", "name"]);
    names.lines().map(str::to_owned).collect()
}

const OPERATORS: &str = "deployments,services,serviceaccounts,networkpolicies,poddisruptionbudgets,clusterroles,\
                         clusterrolebindings,roles,rolebindings";
const STAYING: &str =
    "customresourcedefinitions,validatingadmissionpolicies,validatingadmissionpolicybindings";

#[test]
fn an_uninstalled_release_leaves_the_objects_that_protect() {
    let server = ApiServer::start();
    let without = release(
        &server,
        &[
            "install",
            OPERATOR,
            &path(OPERATOR),
            "--create-namespace",
            "--dry-run=server",
        ],
    );
    assert!(
        without.contains("WARNING: the API server does not know VaultNetworkPolicy"),
        "{without}"
    );
    release(
        &server,
        &[
            "install",
            DEFINITIONS,
            &path(DEFINITIONS),
            "--create-namespace",
        ],
    );
    server.kubectl_prints(&[
        "wait",
        "--for=condition=Established",
        "customresourcedefinitions/vaultnetworkpolicies.vaultwall.dev",
    ]);
    let digest = format!("--set=proxy.digest=sha256:{}", "0".repeat(64));
    let installed = release(&server, &["install", OPERATOR, &path(OPERATOR), &digest]);
    assert!(!installed.contains("WARNING"), "{installed}");
    let policy = json!({
        "apiVersion": "vaultwall.dev/v1alpha1",
        "kind": "VaultNetworkPolicy",
        "metadata": {"name": "openbao", "namespace": "default"},
        "spec": {"targetRef": {"name": "openbao", "port": 8200}},
    });
    server.apply(&policy.to_string());
    let operators = present(&server, OPERATORS);
    assert_eq!(operators.len(), 13, "{operators:#?}");
    let staying = present(&server, STAYING);
    assert_eq!(staying.len(), 13, "{staying:#?}");

    release(
        &server,
        &[
            "upgrade",
            OPERATOR,
            &path(OPERATOR),
            "--set=limits.ipRules=5,replicas=3",
        ],
    );
    let replicas = server.kubectl_prints(&[
        "get",
        "deployment",
        "vaultwall",
        "-n",
        NAMESPACE,
        "-o",
        "jsonpath={.spec.replicas}",
    ]);
    assert_eq!(replicas, "3");

    release(&server, &["uninstall", OPERATOR]);
    assert_eq!(present(&server, OPERATORS), Vec::<String>::new());
    release(&server, &["uninstall", DEFINITIONS]);
    assert_eq!(present(&server, STAYING), staying);
    server.kubectl_prints(&["get", "vaultnetworkpolicy", "openbao"]);

    // They are taken up again.
    for name in [DEFINITIONS, OPERATOR] {
        release(&server, &["install", name, &path(name)]);
    }
    assert_eq!(present(&server, OPERATORS), operators);
    assert_eq!(present(&server, STAYING), staying);
    server.kubectl_prints(&["get", "vaultnetworkpolicy", "openbao"]);
}

/// A user who has applied the output of `vaultwall crds` can install the charts over it, as their pages describe.
#[test]
fn helm_takes_over_objects_that_kubectl_applied() {
    let server = ApiServer::start();
    server.install_crds();
    for name in [DEFINITIONS, OPERATOR] {
        let take = [
            "--take-ownership",
            "--force-conflicts",
            "--create-namespace",
        ];
        let install = ["upgrade", "--install", name, &path(name)];
        let where_ = server.kubeconfig();
        let plain = [
            &install[..],
            &[
                "--create-namespace",
                "--kubeconfig",
                where_.to_str().unwrap(),
            ],
        ];
        let refused = helm(&plain.concat());
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(
            !refused.status.success() && said.contains("invalid ownership metadata"),
            "{said}"
        );
        release(&server, &[&install[..], &take].concat());
        // From now on it needs no force.
        release(&server, &install);
    }
    assert_eq!(present(&server, STAYING).len(), 13);
}

/// Without the kind, there can be no monitor; Helm reports that and leaves no release.
#[test]
fn a_service_monitor_needs_its_kind() {
    let server = ApiServer::start();
    let kubeconfig = server.kubeconfig();
    let install = |dry_run: &str| {
        helm(&[
            "install",
            OPERATOR,
            &path(OPERATOR),
            "--set=serviceMonitor.enabled=true",
            "--create-namespace",
            "--namespace",
            NAMESPACE,
            "--kubeconfig",
            kubeconfig.to_str().unwrap(),
            dry_run,
        ])
    };
    let refused = install("--dry-run=none");
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(
        !refused.status.success() && said.contains("no matches for kind \"ServiceMonitor\""),
        "{said}"
    );
    assert_eq!(present(&server, OPERATORS), Vec::<String>::new());
    server.apply(&service_monitors().to_string());
    server.kubectl_prints(&[
        "wait",
        "--for=condition=Established",
        "customresourcedefinitions/servicemonitors.monitoring.coreos.com",
    ]);
    assert!(install("--dry-run=server").status.success());
}

/// Charts of an earlier version, see `earlier/README.md`.
fn earlier(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/charts/earlier")
        .join(format!("{name}-0.0.9.tgz"))
}

#[test]
fn an_earlier_release_is_upgraded() {
    let server = ApiServer::start();
    for name in [DEFINITIONS, OPERATOR] {
        let archive = earlier(name);
        let archive = archive.to_str().unwrap();
        release(&server, &["install", name, archive, "--create-namespace"]);
    }
    let policy = json!({
        "apiVersion": "vaultwall.dev/v1alpha1",
        "kind": "VaultNetworkPolicy",
        "metadata": {"name": "openbao", "namespace": "default"},
        "spec": {"targetRef": {"name": "openbao", "port": 8200}},
    });
    server.kubectl_prints(&[
        "wait",
        "--for=condition=Established",
        "customresourcedefinitions/vaultnetworkpolicies.vaultwall.dev",
    ]);
    server.apply(&policy.to_string());
    let charts = || {
        let column = "-o=custom-columns=:.metadata.labels.helm\\.sh/chart";
        let part = "app.kubernetes.io/part-of=vaultwall";
        let kinds = format!("{OPERATORS},{STAYING}");
        let names =
            server.kubectl_prints(&["get", &kinds, "-A", "-l", part, "--no-headers", column]);
        let names: BTreeSet<String> = names.split_whitespace().map(str::to_owned).collect();
        names.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(charts(), ["vaultwall-0.0.9", "vaultwall-crds-0.0.9"]);
    for name in [DEFINITIONS, OPERATOR] {
        release(&server, &["upgrade", name, &path(name)]);
    }
    // Nothing is left of the earlier ones.
    let version = env!("CARGO_PKG_VERSION");
    let current = [
        format!("vaultwall-{version}"),
        format!("vaultwall-crds-{version}"),
    ];
    assert_eq!(charts(), current);
    server.kubectl_prints(&["get", "vaultnetworkpolicy", "openbao"]);
}
