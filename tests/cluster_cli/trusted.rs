//! `trusted check` with the objects of a cluster, and a real `OpenBao`.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;

use serde_json::{Value, json};

use crate::cluster_cli::cluster::{cluster, vaultwall};
use crate::cluster_cli::permissions::{Grant, POLICIES, grant, refused_until};
use crate::program::Run;
use testkit::client::TOKEN;
use testkit::wait::wait_for_ok;
use testkit::{Client, OpenBao, own_address};

/// The vault, and a file with a token that may read everything.
struct Scene {
    home: tempfile::TempDir,
    vault: OpenBao,
}

impl Scene {
    fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("token"), TOKEN).unwrap();
        let vault = OpenBao::start(SocketAddrV4::new(own_address(), 8200), home.path());
        let scene = Self { home, vault };
        scene.write("sys/auth/kubernetes", &json!({"type": "kubernetes"}));
        let policy = r#"path "secret/data/*" { capabilities = ["read"] }"#;
        scene.write("sys/policies/acl/app", &json!({"policy": policy}));
        scene
    }

    fn write(&self, path: &str, body: &Value) {
        let mut client = Client::new(Ipv4Addr::LOCALHOST, self.vault.address());
        let answer = client.send("POST", &format!("/v1/{path}"), &body.to_string());
        let answer = answer.unwrap();
        assert!(matches!(answer.status, 200 | 204), "{path}: {answer}");
    }

    fn role(&self, name: &str, namespaces: &[&str]) {
        let role = json!({
            "bound_service_account_names": name, "bound_service_account_namespaces": namespaces,
            "audience": "vault", "token_policies": "app",
        });
        self.write(&format!("auth/kubernetes/role/{name}"), &role);
    }

    fn texts(&self) -> [String; 2] {
        [
            format!("http://{}", self.vault.address()),
            self.home.path().join("token").display().to_string(),
        ]
    }

    fn check(&self, kubeconfig: &Path) -> Run {
        vaultwall(kubeconfig, &arguments(&self.texts()))
    }
}

/// Arguments of the check, with the address of the vault and the file of the token.
fn arguments(texts: &[String; 2]) -> Vec<&str> {
    let [address, token] = texts;
    let question = [
        "trusted",
        "check",
        "--vault",
        "trusted/openbao",
        "-o",
        "json",
    ];
    [
        &question[..],
        &["--vault-addr", address, "--token-file", token],
    ]
    .concat()
}

/// Reason and object of each finding.
fn findings(run: &Run) -> Vec<(String, String)> {
    let found: Vec<Value> = serde_json::from_value(run.json()).unwrap();
    let text = |finding: &Value, field: &str| finding[field].as_str().unwrap().to_owned();
    let found = found.iter();
    found
        .map(|finding| (text(finding, "reason"), text(finding, "object")))
        .collect()
}

#[test]
fn identities_of_the_cluster_are_compared_with_the_roles() {
    let scene = Scene::start();
    let kubeconfig = cluster().kubeconfig();
    let run = scene.check(&kubeconfig);
    let accounts = ["trusted/auditor", "web/auditor", "web/reporter"];
    let expected =
        accounts.map(|account| ("NoRole".to_owned(), format!("service account {account}")));
    assert_eq!((run.code, findings(&run)), (Some(1), expected.to_vec()));

    scene.role("reporter", &["web"]);
    // A registered resource has an account in every namespace of the subscription.
    scene.role("auditor", &["web"]);
    let run = scene.check(&kubeconfig);
    let missing = (
        "NoRole".to_owned(),
        "service account trusted/auditor".to_owned(),
    );
    assert_eq!((run.code, findings(&run)), (Some(1), vec![missing]));

    scene.role("auditor", &["web", "trusted"]);
    let run = scene.check(&kubeconfig);
    assert_eq!((run.code, findings(&run)), (Some(0), vec![]), "{run:?}");

    // A vault whose only policy is invalid is no answer.
    let texts = scene.texts();
    let mut question = arguments(&texts);
    question.extend(["--vault", "broken/openbao"]);
    question.drain(2..4);
    let run = vaultwall(&kubeconfig, &question);
    assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{run:?}");
    assert!(
        run.stderr.contains("no valid policy is for the vault"),
        "{run:?}"
    );
}

#[test]
fn the_check_needs_permission_to_read_policies_services_and_namespaces() {
    let scene = Scene::start();
    scene.role("reporter", &["web"]);
    scene.role("auditor", &["web", "trusted"]);
    let kubeconfig = cluster().kubeconfig_for("checker", &["system:authenticated"]);
    let texts = scene.texts();
    let question = arguments(&texts);
    let steps: [(Grant, &str); 3] = [
        (
            ("trusted", "list", POLICIES),
            "you are not allowed to list vaultnetworkpolicies.vaultwall.dev in namespace trusted, and without them it \
             is unknown which rules there are",
        ),
        (
            ("-", "list", "trustedservices.vaultwall.dev"),
            "you are not allowed to list trustedservices.vaultwall.dev of the cluster, and without them it is unknown \
             which services a bypass lets in",
        ),
        (
            ("-", "list", "namespaces"),
            "you are not allowed to list namespaces of the cluster, and without them it is unknown which namespaces \
             are in the vault's subscription",
        ),
    ];
    for (step, part) in steps {
        refused_until(&kubeconfig, &question, part);
        grant("checker", step);
    }
    wait_for_ok("the permissions are enough", || {
        let run = vaultwall(&kubeconfig, &question);
        (run.code == Some(0))
            .then_some(())
            .ok_or(format!("{run:?}"))
    });
}
