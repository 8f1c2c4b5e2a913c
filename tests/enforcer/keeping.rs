//! The agent's loop, with a real API server and a program in nft's place that writes down what it is given.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::agent;
use crate::kubernetes::ApiServer;
use crate::nft::Nft;

/// Longer than anything here takes; only a test that fails waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

const NAMESPACES: &str = r#"
{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "vault"}}
---
{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "apps", "labels": {"team": "apps"}}}
"#;

const POLICY: &str = r#"
{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"namespace": "vault", "name": "vault"},
 "spec": {"podSelector": {}, "ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"team": "apps"}}}]}]}}
"#;

/// What is in force while the vault is closed to all but the client.
const FROM_CLIENT: &str = "ip daddr { 10.0.0.1 } ip saddr { 10.0.0.2 } return";

struct Stage {
    server: ApiServer,
    folder: TempDir,
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let stage = Self {
            server: ApiServer::start(),
            folder,
        };
        // Written aside and renamed, so that a ruleset that is seen is whole.
        let script = format!(
            "#!/bin/sh\ncd '{}' || exit 1\n[ ! -e refuse ] || {{ echo refused >&2; exit 1; }}\n\
             [ \"$1\" = -f ] || exit 0\nnumber=$(ls | grep -c ruleset)\ncat >whole\nmv whole \"ruleset-$number\"\n",
            stage.folder.path().display()
        );
        fs::write(stage.program(), script).unwrap();
        fs::set_permissions(stage.program(), fs::Permissions::from_mode(0o755)).unwrap();
        stage
    }

    fn program(&self) -> PathBuf {
        self.folder.path().join("nft")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn start(&self) -> JoinHandle<String> {
        let client = self.server.client().await;
        tokio::spawn(agent::run(client, Nft::new(self.program(), "t".into())))
    }

    fn pod(&self, namespace: &str, name: &str, address: &str) {
        self.server.apply(&format!(
            r#"{{"apiVersion": "v1", "kind": "Pod", "metadata": {{"namespace": "{namespace}", "name": "{name}"}},
               "spec": {{"containers": [{{"name": "c", "image": "i"}}]}}}}"#
        ));
        let status = format!(
            r#"{{"status": {{"phase": "Running", "podIP": "{address}", "podIPs": [{{"ip": "{address}"}}]}}}}"#
        );
        let patch = [
            "-n",
            namespace,
            "patch",
            "pod",
            name,
            "--subresource",
            "status",
            "-p",
            &status,
        ];
        self.server.kubectl_prints(&patch);
    }

    /// All rulesets so far, oldest first.
    fn rulesets(&self) -> Vec<String> {
        let name = |number: usize| self.file(&format!("ruleset-{number}"));
        let read = |path: PathBuf| fs::read_to_string(path).ok();
        (0..).map_while(|number| read(name(number))).collect()
    }

    /// Waits until the last ruleset is as it should be.
    async fn until(&self, what: &str, is_so: impl Fn(&str) -> bool) {
        let end = Instant::now() + PATIENCE;
        loop {
            let rulesets = self.rulesets();
            if rulesets.last().is_some_and(|ruleset| is_so(ruleset)) {
                return;
            }
            assert!(Instant::now() < end, "{what}: {rulesets:#?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn is_open(ruleset: &str) -> bool {
    !ruleset.contains("drop")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_is_kept_as_the_objects_say() {
    let stage = Stage::new();
    stage.server.apply(NAMESPACES);
    stage.server.apply(POLICY);
    stage.pod("vault", "openbao-0", "10.0.0.1");
    stage.pod("apps", "client", "10.0.0.2");
    let agent = stage.start().await;
    stage.until("the first ruleset", |_| true).await;
    // Never one that knows of a part of the objects only.
    assert!(
        stage.rulesets()[0].contains(FROM_CLIENT),
        "{:?}",
        stage.rulesets()
    );

    // What makes no difference is not sent.
    let kubectl = |arguments: &[&str]| stage.server.kubectl_prints(arguments);
    kubectl(&["-n", "vault", "annotate", "pod", "openbao-0", "note=1"]);
    kubectl(&["-n", "vault", "label", "pod", "openbao-0", "note=1"]);
    kubectl(&["label", "namespace", "apps", "team-"]);
    stage
        .until("nobody is let in", |ruleset| {
            ruleset.contains("drop") && !ruleset.contains(FROM_CLIENT)
        })
        .await;
    kubectl(&["label", "namespace", "apps", "team=apps"]);
    stage
        .until("the client is let in", |ruleset| {
            ruleset.contains(FROM_CLIENT)
        })
        .await;
    assert_eq!(stage.rulesets().len(), 3, "{:?}", stage.rulesets());

    // A pod that leaves, and one that comes.
    kubectl(&["-n", "apps", "delete", "pod", "client"]);
    stage
        .until("the client is gone", |ruleset| {
            !ruleset.contains("10.0.0.2")
        })
        .await;
    stage.pod("vault", "openbao-1", "10.0.0.9");
    stage
        .until("the second vault is closed", |ruleset| {
            ruleset.contains("10.0.0.9")
        })
        .await;
    agent.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_leave_in_force_what_was() {
    let stage = Stage::new();
    stage.server.apply(NAMESPACES);
    stage.server.apply(POLICY);
    stage.pod("vault", "openbao-0", "10.0.0.1");
    let agent = stage.start().await;
    stage
        .until("the vault is closed", |ruleset| ruleset.contains("drop"))
        .await;
    let delete = ["-n", "vault", "delete", "networkpolicy", "vault"];

    // nft fails: tried again until it does not.
    fs::write(stage.file("refuse"), "").unwrap();
    stage.server.kubectl_prints(&delete);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(stage.rulesets().len(), 1);
    fs::remove_file(stage.file("refuse")).unwrap();
    stage.until("what nft refused is sent again", is_open).await;

    // The API server goes, with the agent's watches, and comes back with other objects.
    stage.server.stop();
    tokio::time::sleep(Duration::from_millis(300)).await;
    stage.server.restart();
    stage.server.apply(POLICY);
    stage
        .until("watched again", |ruleset| ruleset.contains("drop"))
        .await;
    assert_eq!(stage.rulesets().len(), 3, "{:?}", stage.rulesets());
    agent.abort();

    // One that starts while nothing can be listed leaves the table alone.
    stage.server.stop();
    let late = stage.start().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(stage.rulesets().len(), 3);
    stage.server.restart();
    stage
        .until("listed at last", |_| stage.rulesets().len() == 4)
        .await;
    assert!(stage.rulesets()[3].contains("drop"));
    late.abort();
}

#[tokio::test]
async fn a_program_that_is_missing_or_fails_is_named() {
    let missing = Nft::new(Path::new("/nowhere/nft").into(), "t".into());
    let error = missing.check().await.unwrap_err();
    assert_eq!(
        error,
        "/nowhere/nft list tables: No such file or directory (os error 2): install nftables"
    );
    let failing = Nft::new("false".into(), "t".into());
    let error = failing.apply("x").await.unwrap_err();
    assert_eq!(error, "false -f -: exit status: 1: it did not say why");
}
