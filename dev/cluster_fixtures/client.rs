//! Clients in pods, and what they get.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, Command, Stdio};

use serde_json::{Value, json};

use super::vault::Vault;
use super::{Namespace, apply, kubectl, object, run, soon};

/// How long a client that asks once waits for an answer, in milliseconds: dropped packets are never answered.
const PATIENCE: &str = "1500";
/// How long one waits that asks on and on. It is a request that is lost that counts, not one that a busy machine is slow at.
const LOAD_PATIENCE: &str = "15000";

/// Where a client finds the authority of the vault's certificates.
const AUTHORITY: &str = "/vault/ca.crt";

/// The label that opts a namespace in.
pub const OPTED_IN: &str = "vaultwall.dev/service-endpoint: enabled";

/// Namespaces of clients; each knows the authority of one vault's certificates.
pub struct Clients {
    pub namespace: Namespace,
}

/// What a request came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A status code and the body.
    Answered(u16, String),
    /// No answer, and why.
    Unreachable(String),
}

impl Answer {
    /// The status code; none without an answer.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Answered(status, _) => Some(*status),
            Self::Unreachable(_) => None,
        }
    }
}

impl Clients {
    /// A namespace with these labels, for clients of this vault.
    pub fn new(name: &str, labels: &str, vault: &Vault) -> Self {
        Self::within(Namespace::new(name, labels), vault)
    }

    /// In a namespace that is there already.
    pub fn within(namespace: Namespace, vault: &Vault) -> Self {
        apply(
            &json!({
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "vault", "namespace": namespace.name},
                "data": {"ca.crt": vault.authority()},
            })
            .to_string(),
        );
        Self { namespace }
    }

    /// A client with the label `app: APP`; it runs when this returns.
    pub fn start(&self, name: &str, app: &str) {
        let namespace = &self.namespace.name;
        let image = "vaultwall.local/probe:dev";
        apply(
            &json!({
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "namespace": namespace, "labels": {"app": app}},
                "spec": {
                    "terminationGracePeriodSeconds": 5,
                    "automountServiceAccountToken": false,
                    "containers": [{
                        "name": "probe",
                        "image": image,
                        "imagePullPolicy": "IfNotPresent",
                        "args": ["hold"],
                        "volumeMounts": [{"name": "vault", "mountPath": "/vault"}],
                    }],
                    "volumes": [{"name": "vault", "configMap": {"name": "vault"}}],
                },
            })
            .to_string(),
        );
        let pod = format!("pod/{name}");
        kubectl(&[
            "wait",
            "--for=condition=Ready",
            &pod,
            "--namespace",
            namespace,
            "--timeout=120s",
        ]);
    }

    /// Asks once.
    pub fn ask(&self, client: &str, token: &str, url: &str) -> Answer {
        let arguments = self.arguments(client, ["ask", "--patience", PATIENCE], token, url);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let said = run("kubectl", &arguments);
        assert!(said.good, "{}{}", said.out, said.err);
        let (first, rest) = said
            .out
            .trim()
            .split_once(' ')
            .unwrap_or((said.out.trim(), ""));
        match first.parse() {
            Ok(status) => Answer::Answered(status, rest.to_owned()),
            Err(_) => Answer::Unreachable(rest.to_owned()),
        }
    }

    /// Asks until the answer has this status code, or until there is none.
    pub fn comes_to(&self, client: &str, token: &str, url: &str, status: Option<u16>) -> Answer {
        soon(&format!("{client} gets {status:?} of {url}"), || {
            let answer = self.ask(client, token, url);
            let is = answer.status() == status;
            is.then(|| answer.clone())
                .ok_or_else(|| format!("{answer:?}"))
        })
    }

    /// Asks on and on, until [`Load::end`].
    pub fn load(&self, client: &str, token: &str, url: &str) -> Load {
        let mut arguments =
            self.arguments(client, ["load", "--patience", LOAD_PATIENCE], token, url);
        arguments.insert(1, "--stdin".to_owned());
        let mut process = Command::new("kubectl")
            .args(&arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl");
        let mut words = BufReader::new(process.stderr.take().expect("its words"));
        let mut first = String::new();
        words.read_line(&mut first).expect("kubectl's words");
        assert_eq!(first.trim(), "started", "{client}");
        Load { process, words }
    }

    fn arguments(&self, client: &str, command: [&str; 3], token: &str, url: &str) -> Vec<String> {
        let namespace = &self.namespace.name;
        let exec = ["exec", "--namespace", namespace, client, "--", "/probe"];
        let question = ["--ca", AUTHORITY, "--token", token, url];
        let all = exec.into_iter().chain(command).chain(question);
        all.map(str::to_owned).collect()
    }

    /// Sets or takes away (`KEY-`) a label of a client.
    pub fn label(&self, client: &str, label: &str) {
        let pod = format!("pod/{client}");
        kubectl(&[
            "label",
            "--overwrite",
            "--namespace",
            &self.namespace.name,
            &pod,
            label,
        ]);
    }

    /// Removes a client; it is gone when this returns.
    pub fn stop(&self, client: &str) {
        kubectl(&[
            "delete",
            "pod",
            client,
            "--namespace",
            &self.namespace.name,
            "--wait",
        ]);
        assert_eq!(object("pod", &self.namespace.name, client), None);
    }
}

/// A client that asks on and on.
pub struct Load {
    process: Child,
    words: BufReader<ChildStderr>,
}

/// What a load came to.
#[derive(Debug)]
pub struct Counts {
    pub requests: u64,
    /// How often each status code came.
    pub answers: BTreeMap<u16, u64>,
    /// Requests without an answer.
    pub failures: u64,
    /// Everything, as it was said.
    pub said: String,
}

impl Load {
    /// Ends it.
    pub fn end(mut self) -> Counts {
        drop(self.process.stdin.take());
        let mut said = String::new();
        let mut out = self.process.stdout.take().expect("its output");
        out.read_to_string(&mut said).expect("text");
        let mut words = String::new();
        self.words.read_to_string(&mut words).expect("text");
        self.process.wait().expect("it ends");
        let counts: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}{words}"));
        let answers = counts["answers"].as_object().expect("answers");
        Counts {
            requests: counts["requests"].as_u64().expect("a number"),
            answers: answers
                .iter()
                .map(|(status, count)| {
                    (
                        status.parse().expect("a code"),
                        count.as_u64().expect("a number"),
                    )
                })
                .collect(),
            failures: counts["failures"].as_u64().expect("a number"),
            said,
        }
    }
}
