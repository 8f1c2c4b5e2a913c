//! The operator by its charts.

use super::{apply, helm, image_of, kubectl, path, run};

/// Its namespace.
pub const NAMESPACE: &str = "vaultwall-system";

/// Installs the charts, or upgrades to them, and waits until all replicas serve. `chart` is a folder or a packaged chart.
pub fn install(definitions: &str, chart: &str) {
    apply(&format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {NAMESPACE}, labels: {{{}}}}}\n",
        super::RESTRICTED
    ));
    let namespace = ["--namespace", NAMESPACE];
    let upgrade = ["upgrade", "--install", "--wait", "--timeout=180s"];
    helm(&[&upgrade[..], &namespace, &["vaultwall-crds", definitions]].concat());
    let proxies = format!("proxy.image={}", image_of("envoy"));
    // The tag stays the same, and so would the pods of a cluster that was kept.
    let archive = run("sha256sum", &[&path("target/images/vaultwall.tar")]);
    let archive = archive.out.get(..16).expect("the operator's image");
    let archive = format!("podAnnotations.image-archive=a{archive}");
    let values = ["--set", &proxies, "--set", &archive];
    helm(&[&upgrade[..], &namespace, &values, &["vaultwall", chart]].concat());
}

/// The charts of this work tree.
pub fn install_current() {
    install(&path("charts/vaultwall-crds"), &path("charts/vaultwall"));
}

/// Takes the operator away; definitions and policies stay.
pub fn uninstall() {
    helm(&["uninstall", "vaultwall", "--namespace", NAMESPACE, "--wait"]);
}

/// What its replicas log.
pub fn log() -> String {
    kubectl(&[
        "logs",
        "--namespace",
        NAMESPACE,
        "--selector=app.kubernetes.io/name=vaultwall",
        "--prefix",
        "--tail=-1",
    ])
}
