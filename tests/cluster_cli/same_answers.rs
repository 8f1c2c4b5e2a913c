//! Files and cluster are read by one path: what `kubectl get -o yaml` prints and what the API server sends mean the
//! same.

use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cluster_cli::cluster::{cluster, explain, vaultwall};
use crate::program::Run;

const POLICIES: &str = "vaultnetworkpolicies.vaultwall.dev";

/// Writes the output of kubectl for the kinds that matter to a folder; the policies of one namespace, or of all.
fn files(namespace: Option<&str>) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let get = |arguments: &[&str]| {
        cluster().kubectl_prints(&[&["get", "--output=yaml"], arguments].concat())
    };
    let facts = get(&["namespaces,pods,services", "--all-namespaces"]);
    let policies = match namespace {
        Some(namespace) => get(&[POLICIES, "--namespace", namespace]),
        None => get(&[POLICIES, "--all-namespaces"]),
    };
    let networks = get(&["virtualnetworks.vaultwall.dev"]);
    let services = get(&["trustedservices.vaultwall.dev"]);
    for (name, text) in [
        ("services", services),
        ("facts", facts),
        ("policies", policies),
        ("networks", networks),
    ] {
        std::fs::write(folder.path().join(name).with_extension("yaml"), text).unwrap();
    }
    let path = folder.path().to_owned();
    (folder, path)
}

/// The same question to the cluster and to files.
fn both(arguments: &[&str], files: &std::path::Path) -> (Run, Run) {
    let of_cluster = vaultwall(&cluster().kubeconfig(), arguments);
    let with_files = [arguments, &["-f", files.to_str().unwrap()]].concat();
    let of_files = vaultwall("/nonexistent".as_ref(), &with_files);
    (of_cluster, of_files)
}

/// Vault, who asks, exit code, a part of the answer.
type Question = (&'static str, [&'static str; 2], i32, &'static str);

#[rustfmt::skip] // read by eye
const QUESTIONS: &[Question] = &[
    ("vault/openbao", ["--pod", "build/runner-1"], 0, "quickstart/virtualNetworkRules/build"),
    ("vault/openbao", ["--pod", "build/debug"], 1, "it selects pods with app=runner; this one has app=debug"),
    ("vault/openbao", ["--pod", "web/shop-1"], 0, "quickstart/virtualNetworkRules/2"),
    ("vault/openbao", ["--pod", "web-staging/shop-1"], 1, "label namespace web-staging vaultwall.dev/service-endpoint=enabled"),
    ("vault/openbao", ["--source-ip", "127.0.30.1"], 0, "the address of pod build/runner-1"),
    ("vault/openbao", ["--source-ip", "10.20.1.1"], 0, "quickstart/virtualNetworkRules/dc"),
    ("vault/openbao", ["--source-ip", "203.0.113.7"], 0, "quickstart/ipRules/hq"),
    ("vault/openbao", ["--source-ip", "192.0.2.1"], 1, "the address of no known pod"),
    ("vault/openbao", ["--source-ip", "2001:db8::1"], 1, "an IPv6 caller matches no rule"),
    // No rule selects pods, so only the caller's pod and its namespace are read.
    ("plain/openbao", ["--source-ip", "203.0.113.7"], 0, "addresses/ipRules/hq"),
    ("plain/openbao", ["--source-ip", "127.0.31.1"], 1, "the address of pod web/shop-1"),
    ("plain/openbao", ["--pod", "web/shop-1"], 1, "add an entry to spec.virtualNetworkRules that selects pod web/shop-1."),
    ("plain/openbao", ["--pod", "build/debug"], 1, "and a cluster admin to label its namespace"),
    // A trusted service, which needs a token of the vault.
    ("trusted/openbao", ["--pod", "web/reporter-1"], 1, "TrustedService/reports/read, but without a token of the vault"),
    ("trusted/openbao", ["--source-ip", "127.0.31.2"], 1, "TrustedService/reports/read, but without a token of the vault"),
    ("trusted/openbao", ["--pod", "web/shop-1"], 1, "ForbiddenByFirewall"),
    // Its policy is invalid.
    ("broken/openbao", ["--source-ip", "203.0.113.7"], 1, "no accepted policy"),
];

#[test]
fn explain_prints_the_same() {
    for (vault, who, code, part) in QUESTIONS {
        let namespace = vault.split('/').next();
        let (_folder, files) = files(namespace);
        for format in ["text", "json"] {
            let arguments = [explain(vault, *who), vec!["--output", format]].concat();
            let (of_cluster, of_files) = both(&arguments, &files);
            assert_eq!(
                of_cluster.code,
                Some(*code),
                "{arguments:?}\n{of_cluster:?}"
            );
            assert!(
                of_cluster.stdout.contains(part),
                "{arguments:?}\n{of_cluster:?}"
            );
            assert_eq!(of_cluster.stdout, of_files.stdout, "{arguments:?}");
            assert_eq!(of_cluster.code, of_files.code, "{arguments:?}");
        }
    }
}

/// A decision of an access log is explained by the policies of the cluster.
#[test]
fn a_recorded_decision_has_the_same_explanation() {
    let (folder, files) = files(Some("vault"));
    let log = folder.path().join("access.log");
    let record = json!({
        "time": "2026-11-22T18:30:16.391Z", "vault": "vault/openbao", "listener": "data", "decisionId": "id",
        "reason": "ForbiddenByFirewall", "route": "secret secrets/get", "method": "GET",
        "requestUri": "/v1/secret/data/app", "directIpAddress": "127.0.30.1", "callerIpAddress": "127.0.30.1",
    });
    std::fs::write(&log, record.to_string()).unwrap();
    let arguments = [
        "explain",
        "--id",
        "id",
        "--log",
        log.to_str().unwrap(),
        "-o",
        "json",
    ];
    let (of_cluster, of_files) = both(&arguments, &files);
    assert_eq!(of_cluster.stdout, of_files.stdout);
    let answer = of_cluster.json();
    assert_eq!(
        (of_cluster.code, &answer["differs"]),
        (Some(0), &json!(true))
    );
    assert_eq!(answer["rule"], "quickstart/virtualNetworkRules/build");
}

/// A vault without a namespace is in that of the context, as for kubectl, or in that of `--namespace`.
#[test]
fn a_vault_without_a_namespace_is_in_the_current_one() {
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("config");
    let text = std::fs::read_to_string(cluster().kubeconfig()).unwrap();
    let mut config: Value = serde_saphyr::from_str(&text).unwrap();
    config["contexts"][0]["context"]["namespace"] = "vault".into();
    std::fs::write(&kubeconfig, config.to_string()).unwrap();
    let question = |vault: &[&str]| {
        let request = "explain --pod build/runner-1 --method GET --path /v1/secret/data/app";
        let request: Vec<&str> = request.split(' ').collect();
        vaultwall(&kubeconfig, &[&request[..], vault].concat())
    };
    let wanted = question(&["--vault", "vault/openbao"]);
    assert_eq!(wanted.code, Some(0), "{wanted:?}");
    assert_eq!(question(&["--vault", "openbao"]), wanted);
    let other = question(&["--vault", "openbao", "--namespace", "web"]);
    assert_eq!(other.code, Some(2), "{other:?}");
    assert!(
        other.stderr.contains(
            "no policy in namespace web of the cluster is for the vault web/openbao; namespace web has no policies. If \
             the vault is in another namespace, write --vault openbao -n NAMESPACE; `kubectl get vnp --all-namespaces`"
        ),
        "{other:?}"
    );
    let rendered = vaultwall(&kubeconfig, &["render", "--vault", "openbao"]);
    let wanted = vaultwall(&kubeconfig, &["render", "--vault", "vault/openbao"]);
    assert_eq!((rendered.code, &rendered), (Some(0), &wanted));
}

#[test]
fn render_prints_the_same() {
    let (_folder, all) = files(Some("vault"));
    for arguments in [
        &["render", "--vault", "vault/openbao"][..],
        &["render", "--vault", "vault/openbao", "--output", "json"],
    ] {
        let (of_cluster, of_files) = both(arguments, &all);
        assert_eq!(of_cluster.code, Some(0), "{of_cluster:?}");
        assert!(
            of_cluster.stdout.contains("openbao-vault"),
            "{of_cluster:?}"
        );
        assert_eq!(of_cluster, of_files);
    }
    let kubeconfig = cluster().kubeconfig();
    let of_namespace = vaultwall(&kubeconfig, &["render", "--namespace", "vault"]);
    let of_vault = vaultwall(&kubeconfig, &["render", "--vault", "vault/openbao"]);
    assert_eq!(of_namespace, of_vault);
    // There is no Service plain/openbao.
    let without = vaultwall(&kubeconfig, &["render", "-n", "plain"]);
    assert_eq!(without.code, Some(1), "{without:?}");
    assert!(
        without
            .stderr
            .contains("there is no Service plain/openbao in the cluster"),
        "{without:?}"
    );
    // One invalid policy, and nothing is rendered.
    let refused = vaultwall(&kubeconfig, &["render"]);
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""));
    assert!(
        refused.stderr.contains("VaultNetworkPolicy broken/twins\n"),
        "{refused:?}"
    );
}

#[test]
fn validate_finds_the_same() {
    let (_folder, files) = files(None);
    let (of_cluster, of_files) = both(&["validate", "--output", "json"], &files);
    assert_eq!(of_cluster.code, Some(1), "{of_cluster:?}");
    assert_eq!(of_files.code, Some(1), "{of_files:?}");
    let parse = |said: &Run| -> Vec<Value> { serde_json::from_value(said.json()).unwrap() };
    let mut found = parse(&of_cluster);
    let mut references = found.split_off(1);
    references.retain(|reference| reference["namespace"] == "plain");
    for violation in &mut found {
        let violation = violation.as_object_mut().unwrap();
        assert_eq!(
            violation.insert("file".into(), "".into()).unwrap(),
            "cluster"
        );
        assert_eq!(violation.remove("namespace").unwrap(), "broken");
    }
    let mut of_files = parse(&of_files);
    for violation in &mut of_files {
        violation["file"] = "".into();
    }
    assert_eq!(found, of_files);
    assert_eq!(found.len(), 1, "{found:?}");
    // There is no Service plain/openbao; that is no violation.
    let message = "there is no Service openbao in namespace plain; create it, or if the name is wrong, delete this \
                   policy and create one with the right name";
    assert_eq!(
        references,
        [serde_json::json!({
            "file": "cluster", "kind": "VaultNetworkPolicy", "namespace": "plain", "name": "addresses",
            "field": "spec.targetRef.name", "reason": "TargetNotFound", "message": message,
        })]
    );

    let kubeconfig = cluster().kubeconfig();
    let text = vaultwall(&kubeconfig, &["validate"]).stdout;
    assert!(
        text.starts_with("VaultNetworkPolicy broken/twins\n  spec.ipRules[1].name  Duplicate "),
        "{text}"
    );
    assert!(text.contains("\n1 violation\n"), "{text}");
    let plain = vaultwall(&kubeconfig, &["validate", "--namespace", "plain"]);
    assert_eq!(plain.code, Some(0), "{plain:?}");
    assert_eq!(
        plain.stdout,
        format!(
            "valid: 1 policy, 0 virtual networks\nVaultNetworkPolicy plain/addresses\n  spec.targetRef.name  \
             TargetNotFound  {message}\n1 reference leads nowhere, and allows no client\n"
        )
    );
    let good = vaultwall(&kubeconfig, &["validate", "--namespace", "vault"]);
    assert_eq!(
        (good.code, good.stdout.as_str()),
        (Some(0), "valid: 1 policy, 0 virtual networks\n")
    );
    let nothing = vaultwall(&kubeconfig, &["validate", "-n", "nowhere"]);
    assert_eq!(nothing.code, Some(0), "{nothing:?}");
    assert!(
        nothing
            .stderr
            .contains("no objects were found in namespace nowhere"),
        "{nothing:?}"
    );
}

/// More than a page of the API server's.
#[test]
fn all_pages_are_read() {
    let server = cluster();
    let policy = |n: usize| {
        format!(
            "---\napiVersion: vaultwall.dev/v1alpha1\nkind: VaultNetworkPolicy\n\
             metadata: {{name: p{n}, namespace: many}}\n\
             spec: {{targetRef: {{name: openbao, port: 8200}}}}\n"
        )
    };
    server.kubectl_prints(&["create", "namespace", "many"]);
    server.apply(&(0..501).map(policy).collect::<String>());
    let said = vaultwall(&server.kubeconfig(), &["validate", "--namespace", "many"]);
    assert!(
        said.stdout
            .starts_with("valid: 501 policies, 0 virtual networks\n"),
        "{said:?}"
    );
}

/// A policy with a bypass is checked with the trusted services, also for one namespace.
#[test]
fn a_trusted_service_that_exists_is_no_finding() {
    let run = vaultwall(&cluster().kubeconfig(), &["validate", "-n", "trusted"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(
        run.stdout.contains("TargetNotFound") && !run.stdout.contains("TrustedServiceNotFound"),
        "{run:?}"
    );
}
