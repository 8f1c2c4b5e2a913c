//! `explain --claims` of a cluster: whose token it is follows from the cluster's own issuer and accounts.

use std::path::Path;

use serde_json::json;
use tempfile::TempDir;

use crate::cluster_cli::cluster::{cluster, explain, vaultwall};
use crate::cluster_cli::permissions::{ask_until, grant, refused};

/// A file with claims of a token for the vault `tokens/openbao`.
fn claims(issuer: &str, account: &str, uid: Option<&str>) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let kubernetes = uid.map(|uid| json!({"serviceaccount": {"uid": uid}}));
    let claims = json!({
        "iss": issuer,
        "sub": format!("system:serviceaccount:web:{account}"),
        "aud": ["vaultwall:tokens/openbao"],
        "kubernetes.io": kubernetes.unwrap_or_default(),
    });
    std::fs::write(folder.path().join("claims.json"), claims.to_string()).unwrap();
    folder
}

fn question(folder: &TempDir) -> Vec<String> {
    let file = folder.path().join("claims.json");
    let who = ["--source-ip", "192.0.2.1"];
    let more = ["--token", "--claims", file.to_str().unwrap()];
    let all = [&explain("tokens/openbao", who)[..], &more].concat();
    all.into_iter().map(str::to_owned).collect()
}

fn ask(kubeconfig: &Path, folder: &TempDir) -> crate::program::Run {
    let question = question(folder);
    let question: Vec<&str> = question.iter().map(String::as_str).collect();
    vaultwall(kubeconfig, &question)
}

#[test]
fn claims_are_of_an_account_of_the_cluster_only_if_they_are() {
    let server = cluster();
    let own = server.url();
    let account = server.get("/api/v1/namespaces/web/serviceaccounts/reporter");
    let uid = account.unwrap()["metadata"]["uid"].clone();
    let uid = uid.as_str();
    let proven = "proven by a token), taken as verified\n";
    for (issuer, account, uid, code, part) in [
        (&*own, "reporter", None, 0, proven),
        (&*own, "reporter", uid, 0, proven),
        (
            &*own,
            "reporter",
            Some("former"),
            1,
            "of the service account that has this name now",
        ),
        (
            &*own,
            "deleted",
            None,
            1,
            "no listed identity has its subject",
        ),
        (
            "https://other.example",
            "reporter",
            None,
            1,
            "issuer whose keys are in use",
        ),
    ] {
        let said = ask(&server.kubeconfig(), &claims(issuer, account, uid));
        assert_eq!(said.code, Some(code), "{issuer} {account}: {said:?}");
        assert!(said.stdout.contains(part), "{issuer} {account}: {said:?}");
    }
}

#[test]
fn without_permission_for_the_issuer_that_of_the_claims_is_taken() {
    let kubeconfig = cluster().kubeconfig_for("asker", &["system:authenticated"]);
    for resource in [
        "vaultnetworkpolicies.vaultwall.dev",
        "trustedservices.vaultwall.dev",
        "serviceaccounts",
        "namespaces",
        "pods",
    ] {
        grant("asker", ("-", "list", resource));
    }
    let folder = claims("https://other.example", "reporter", None);
    let question = question(&folder);
    let question: Vec<&str> = question.iter().map(String::as_str).collect();
    let said = ask_until(&kubeconfig, &question, |said| said.code == Some(0), refused);
    assert!(
        said.stdout
            .contains("whose issuer is taken as this cluster's\n")
            && said
                .stderr
                .contains("the issuer of the cluster's service accounts is not known"),
        "{said:?}"
    );
}
