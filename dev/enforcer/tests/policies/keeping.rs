//! The loop of the agent, with a real API server and a program in place of nft that stores the rulesets.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::task::JoinHandle;

use enforcer::agent;
use enforcer::nft::Nft;
use testkit::ApiServer;
use testkit::wait::TIMEOUT;

const NAMESPACES: &str = r#"
{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "vault"}}
---
{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "apps", "labels": {"team": "apps"}}}
"#;

const POLICY: &str = r#"
{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"namespace": "vault", "name": "vault"},
 "spec": {"podSelector": {}, "ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"team": "apps"}}}]}]}}
"#;

/// Rule that is in force while only the client may reach the vault.
const FROM_CLIENT: &str = "ip daddr { 10.0.0.1 } ip saddr { 10.0.0.2 } return";

struct Fixture {
    server: ApiServer,
    folder: TempDir,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let fixture = Self {
            server: ApiServer::start(),
            folder,
        };
        // Written to another file and renamed, so that a ruleset that is read is complete.
        let script = format!(
            "#!/bin/sh\ncd '{}' || exit 1\n[ ! -e refuse ] || {{ echo refused >&2; exit 1; }}\n\
             [ \"$1\" = -f ] || exit 0\nnumber=$(ls | grep -c ruleset)\ncat >whole\nmv whole \"ruleset-$number\"\n",
            fixture.folder.path().display()
        );
        fs::write(fixture.program(), script).unwrap();
        fs::set_permissions(fixture.program(), fs::Permissions::from_mode(0o755)).unwrap();
        fixture
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
        self.server
            .set_running(namespace, name, address.parse().unwrap());
    }

    /// Returns all rulesets so far, oldest first.
    fn rulesets(&self) -> Vec<String> {
        let name = |number: usize| self.file(&format!("ruleset-{number}"));
        let read = |path: PathBuf| fs::read_to_string(path).ok();
        (0..).map_while(|number| read(name(number))).collect()
    }

    /// Waits until the last ruleset fulfils a condition.
    async fn until(&self, what: &str, fulfils: impl Fn(&str) -> bool) {
        let end = Instant::now() + TIMEOUT;
        loop {
            let rulesets = self.rulesets();
            if rulesets.last().is_some_and(|ruleset| fulfils(ruleset)) {
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
async fn the_table_follows_the_objects() {
    let fixture = Fixture::new();
    fixture.server.apply(NAMESPACES);
    fixture.server.apply(POLICY);
    fixture.pod("vault", "openbao-0", "10.0.0.1");
    fixture.pod("apps", "client", "10.0.0.2");
    let agent = fixture.start().await;
    fixture.until("the first ruleset", |_| true).await;
    // No ruleset is made of a part of the objects.
    assert!(
        fixture.rulesets()[0].contains(FROM_CLIENT),
        "{:?}",
        fixture.rulesets()
    );

    // A change that makes no difference is not loaded.
    let kubectl = |arguments: &[&str]| fixture.server.kubectl_prints(arguments);
    kubectl(&["-n", "vault", "annotate", "pod", "openbao-0", "note=1"]);
    kubectl(&["-n", "vault", "label", "pod", "openbao-0", "note=1"]);
    kubectl(&["label", "namespace", "apps", "team-"]);
    fixture
        .until("no client is let in", |ruleset| {
            ruleset.contains("drop") && !ruleset.contains(FROM_CLIENT)
        })
        .await;
    kubectl(&["label", "namespace", "apps", "team=apps"]);
    fixture
        .until("the client is let in", |ruleset| {
            ruleset.contains(FROM_CLIENT)
        })
        .await;
    assert_eq!(fixture.rulesets().len(), 3, "{:?}", fixture.rulesets());

    // A pod is deleted, another is created.
    kubectl(&["-n", "apps", "delete", "pod", "client"]);
    fixture
        .until("the client is deleted", |ruleset| {
            !ruleset.contains("10.0.0.2")
        })
        .await;
    fixture.pod("vault", "openbao-1", "10.0.0.9");
    fixture
        .until("the second vault is closed", |ruleset| {
            ruleset.contains("10.0.0.9")
        })
        .await;
    agent.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failure_the_earlier_rules_stay_in_force() {
    let fixture = Fixture::new();
    fixture.server.apply(NAMESPACES);
    fixture.server.apply(POLICY);
    fixture.pod("vault", "openbao-0", "10.0.0.1");
    let agent = fixture.start().await;
    fixture
        .until("the vault is closed", |ruleset| ruleset.contains("drop"))
        .await;
    let delete = ["-n", "vault", "delete", "networkpolicy", "vault"];

    // nft fails: tried again until it does not.
    fs::write(fixture.file("refuse"), "").unwrap();
    fixture.server.kubectl_prints(&delete);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(fixture.rulesets().len(), 1);
    fs::remove_file(fixture.file("refuse")).unwrap();
    fixture
        .until("what nft refused is sent again", is_open)
        .await;

    // The API server stops, with the watches of the agent, and returns with other objects.
    fixture.server.stop();
    tokio::time::sleep(Duration::from_millis(300)).await;
    fixture.server.restart();
    fixture.server.apply(POLICY);
    fixture
        .until("watched again", |ruleset| ruleset.contains("drop"))
        .await;
    assert_eq!(fixture.rulesets().len(), 3, "{:?}", fixture.rulesets());
    agent.abort();

    // An agent that starts while nothing can be listed does not change the table.
    fixture.server.stop();
    let late = fixture.start().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(fixture.rulesets().len(), 3);
    fixture.server.restart();
    fixture
        .until("objects are listed", |_| fixture.rulesets().len() == 4)
        .await;
    assert!(fixture.rulesets()[3].contains("drop"));
    late.abort();
}

#[tokio::test]
async fn an_error_names_a_program_that_is_missing_or_fails() {
    let missing = Nft::new(Path::new("/nowhere/nft").into(), "t".into());
    let error = missing.check().await.unwrap_err();
    assert_eq!(
        error,
        "/nowhere/nft list tables: No such file or directory (os error 2): install nftables"
    );
    let failing = Nft::new("false".into(), "t".into());
    let error = failing.apply("x").await.unwrap_err();
    assert_eq!(error, "false -f -: exit status: 1: it printed no error");
}
