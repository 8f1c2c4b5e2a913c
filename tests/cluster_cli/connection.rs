//! Each reason why an API server cannot be used is named, with the remedy; exit code 2, and nothing on stdout.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cluster_cli::cluster::{cluster, explain, vaultwall};
use testkit::ApiServer;
use testkit::own_address;

/// The scene's kubeconfig, edited.
fn edited(folder: &TempDir, name: &str, edit: impl FnOnce(&mut Value)) -> PathBuf {
    let text = std::fs::read_to_string(cluster().kubeconfig()).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    edit(&mut config);
    let file = folder.path().join(name);
    std::fs::write(&file, config.to_string()).unwrap();
    file
}

/// All three subcommands print the same error.
fn refuses(kubeconfig: &Path, more: &[&str], part: &str) {
    let who = ["--pod", "build/runner-1"];
    for question in [
        explain("vault/openbao", who),
        vec!["validate"],
        vec!["render"],
    ] {
        let said = vaultwall(kubeconfig, &[question.as_slice(), more].concat());
        assert_eq!(
            (said.code, said.stdout.as_str()),
            (Some(2), ""),
            "{question:?}: {said:?}"
        );
        assert!(
            said.stderr.contains(part),
            "{question:?}: {said:?}\nnot: {part}"
        );
        assert_eq!(said.stderr.lines().count(), 1, "{said:?}");
    }
}

#[test]
fn an_error_in_a_kubeconfig_is_named() {
    let folder = tempfile::tempdir().unwrap();
    refuses(
        "/nonexistent/config".as_ref(),
        &[],
        "KUBECONFIG names /nonexistent/config, which does not exist",
    );
    refuses(
        "".as_ref(),
        &[],
        "there is no kubeconfig: KUBECONFIG is not set, and there is no /nonexistent/.kube/config",
    );
    refuses(
        &cluster().kubeconfig(),
        &["--kubeconfig", "/nonexistent/config"],
        "the kubeconfig /nonexistent/config cannot be read: No such file",
    );
    refuses(
        &cluster().kubeconfig(),
        &["--context", "other"],
        "there is no context \"other\" in the kubeconfig ",
    );

    let stranger = rcgen::generate_simple_self_signed(["stranger".to_owned()]).unwrap();
    let authority = folder.path().join("stranger.crt");
    std::fs::write(&authority, stranger.cert.pem()).unwrap();
    let untrusted = edited(&folder, "untrusted", |config| {
        config["clusters"][0]["cluster"]["certificate-authority"] = json!(authority);
    });
    refuses(
        &untrusted,
        &[],
        "is not trusted: it was not issued by a certificate authority that the kubeconfig names",
    );
    let refused = edited(&folder, "refused", |config| {
        config["users"][0]["user"] = json!({"token": "expired"});
    });
    refuses(
        &refused,
        &[],
        "refuses the credentials of the kubeconfig (401 Unauthorized); they may have expired: log in again",
    );
    let nobody = format!("https://{}:6443", own_address());
    let unreachable = edited(&folder, "unreachable", |config| {
        config["clusters"][0]["cluster"]["server"] = json!(nobody);
    });
    refuses(
        &unreachable,
        &[],
        &format!("the API server {nobody} cannot be reached: Connection refused"),
    );
}

#[test]
fn without_the_definitions_the_error_names_the_command_that_installs_them() {
    let server = ApiServer::start();
    refuses(
        &server.kubeconfig(),
        &[],
        "the cluster has no vaultnetworkpolicies.vaultwall.dev; install the CRDs with their chart: helm upgrade \
         --install vaultwall-crds charts/vaultwall-crds --namespace vaultwall-system --create-namespace; or without \
         Helm: vaultwall crds | kubectl apply --server-side -f -",
    );
    server.install_crds();
    let said = vaultwall(&server.kubeconfig(), &["validate"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(
        said.stderr.contains("no objects were found in the cluster"),
        "{said:?}"
    );
}

/// Several files, of which one is missing, as kubectl takes them; and a context by name.
#[test]
fn kubeconfigs_are_merged() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = edited(&folder, "elsewhere", |config| {
        for (list, name) in [("clusters", "c"), ("contexts", "elsewhere"), ("users", "u")] {
            config[list][0]["name"] = json!(name);
        }
        config["contexts"][0]["context"] = json!({"cluster": "c", "user": "u"});
        config["clusters"][0]["cluster"]["server"] = json!("https://127.0.0.1:1");
        config["current-context"] = json!("elsewhere");
    });
    let list = std::env::join_paths([
        Path::new("/nonexistent/config"),
        &elsewhere,
        &cluster().kubeconfig(),
    ])
    .unwrap();
    let list = Path::new(&list);
    refuses(list, &[], "https://127.0.0.1:1 cannot be reached");
    let said = vaultwall(list, &["validate", "-n", "vault", "--context", "test"]);
    assert_eq!(said.code, Some(0), "{said:?}");
}
