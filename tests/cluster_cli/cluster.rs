//! The objects that the tests ask about, in one API server for all of them, and a way to ask.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::program::Run;
use testkit::ApiServer;

/// Policies in addition to those of `examples/quickstart`: one without pods in its rules, one that the API server
/// accepts and validation refuses, because only validation compares the names of rules, and two with a bypass.
const POLICIES: &str = "
apiVersion: vaultwall.dev/v1alpha1
kind: VaultNetworkPolicy
metadata: {name: addresses, namespace: plain}
spec:
  targetRef: {name: openbao, port: 8200}
  ipRules: [{name: hq, value: 203.0.113.7}]
---
apiVersion: vaultwall.dev/v1alpha1
kind: VaultNetworkPolicy
metadata: {name: twins, namespace: broken}
spec:
  targetRef: {name: openbao, port: 8200}
  ipRules: [{name: hq, value: 203.0.113.7}, {name: hq, value: 203.0.113.8}]
---
apiVersion: vaultwall.dev/v1alpha1
kind: VaultNetworkPolicy
metadata: {name: services, namespace: trusted}
spec:
  targetRef: {name: openbao, port: 8200}
  vault: {engines: [{path: secret, type: KvV2}]}
  bypass: TrustedServices
  trustedServices: {names: [reports]}
---
apiVersion: vaultwall.dev/v1alpha1
kind: VaultNetworkPolicy
metadata: {name: services, namespace: tokens}
spec:
  targetRef: {name: openbao, port: 8200}
  vault: {engines: [{path: secret, type: KvV2}]}
  bypass: TrustedServices
  trustedServices: {names: [reports], proof: Token}
---
apiVersion: vaultwall.dev/v1alpha1
kind: TrustedService
metadata: {name: reports}
spec:
  scenarios: [{name: read, operations: [secrets/get]}]
  identities:
  - serviceAccount: {namespace: web, name: reporter}
  - registeredResource: {serviceAccountName: auditor}
";

/// Namespace, name, label `app`, address; without one it has no status yet.
const PODS: [(&str, &str, &str, &str); 7] = [
    ("build", "runner-1", "runner", "127.0.30.1"),
    ("build", "debug", "debug", "127.0.30.3"),
    ("build", "starting", "runner", ""),
    ("web", "shop-1", "shop", "127.0.31.1"),
    ("web", "reporter-1", "reporter", "127.0.31.2"),
    ("web-staging", "shop-1", "shop", "127.0.32.1"),
    ("vault", "openbao-0", "openbao", "127.0.40.1"),
];

/// The server with the objects in it.
pub fn cluster() -> &'static ApiServer {
    static CLUSTER: OnceLock<ApiServer> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let server = ApiServer::start();
        server.install_crds();
        server.apply(&facts());
        for (namespace, name, _, address) in PODS.iter().filter(|pod| !pod.3.is_empty()) {
            server.set_running(namespace, name, address.parse().unwrap());
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let policy = std::fs::read_to_string(root.join("examples/quickstart/policy.yaml"));
        server.apply(&policy.unwrap());
        server.apply(POLICIES);
        server
    })
}

fn facts() -> String {
    let mut objects = Vec::new();
    let labels: [(&str, Value); 8] = [
        ("vault", json!({})),
        ("build", json!({"team": "build"})),
        (
            "web",
            json!({
                "team": "web", "vaultwall.dev/service-endpoint": "enabled", "vaultwall.dev/subscription": "reports",
            }),
        ),
        ("web-staging", json!({"team": "web"})),
        ("plain", json!({})),
        ("broken", json!({})),
        ("trusted", json!({"vaultwall.dev/subscription": "reports"})),
        ("tokens", json!({})),
    ];
    for (name, labels) in labels {
        objects.push(json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels},
        }));
    }
    objects.push(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "openbao", "namespace": "vault"},
        "spec": {"selector": {"app": "openbao"}, "ports": [{"name": "api", "port": 8200}]},
    }));
    objects.push(json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "reporter", "namespace": "web"},
    }));
    for (namespace, name, app, _) in PODS {
        let account = if app == "reporter" { app } else { "default" };
        objects.push(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "labels": {"app": app}},
            "spec": {"serviceAccountName": account, "containers": [{"name": "main", "image": "none"}]},
        }));
    }
    let mut text = String::new();
    for object in objects {
        let _ = writeln!(text, "---\n{object}");
    }
    text
}

/// Runs the program; `kubeconfig` is the only one that it can find.
pub fn vaultwall(kubeconfig: &Path, arguments: &[&str]) -> Run {
    run(Command::new(env!("CARGO_BIN_EXE_vaultwall"))
        .args(arguments)
        .env("KUBECONFIG", kubeconfig))
}

/// Runs a command without what this machine may have of clusters and proxies.
pub fn run(command: &mut Command) -> Run {
    Run::of(
        command
            .env_remove("KUBERNETES_SERVICE_HOST")
            .env_remove("RUST_LOG")
            .env("HOME", "/nonexistent"),
    )
}

/// Arguments of a question about one request.
pub fn explain<'a>(vault: &'a str, who: [&'a str; 2]) -> Vec<&'a str> {
    let [flag, value] = who;
    vec![
        "explain",
        "--vault",
        vault,
        flag,
        value,
        "--method",
        "GET",
        "--path",
        "/v1/secret/data/app",
    ]
}
