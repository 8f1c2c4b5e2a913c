//! Clients in pods, and the answers to their requests.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, Command, Stdio};

use serde_json::{Value, json};

use super::vault::Vault;
use super::{Namespace, apply, eventually, get_object, kubectl, run};

/// Timeout of a single request, in milliseconds: dropped packets are never answered.
const REQUEST_TIMEOUT: &str = "1500";
/// Timeout of a request under load, in milliseconds: long, because a slow answer on a busy machine is not a lost one.
const LOAD_TIMEOUT: &str = "15000";

/// File of the pod with the certificate authority of the vault.
const AUTHORITY: &str = "/vault/ca.crt";

/// Label that opts a namespace in, in YAML.
pub const OPTED_IN: &str = "vaultwall.dev/service-endpoint: enabled";

/// A namespace of clients that trust the certificate authority of one vault.
pub struct Clients {
    /// Namespace of the pod `client`.
    pub namespace: Namespace,
}

/// Result of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A status code and the body.
    Answered(u16, String),
    /// No answer, and the reason.
    Unreachable(String),
}

impl Answer {
    /// Status code; none without an answer.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Answered(status, _) => Some(*status),
            Self::Unreachable(_) => None,
        }
    }
}

impl Clients {
    /// Creates a namespace with these labels, in YAML, for clients of this vault.
    pub fn new(name: &str, labels: &str, vault: &Vault) -> Self {
        Self::in_namespace(Namespace::new(name, labels), &vault.authority())
    }

    /// Uses an existing namespace, for clients of the vault whose certificate authority this is, in PEM.
    pub fn in_namespace(namespace: Namespace, authority: &str) -> Self {
        apply(
            &json!({
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "vault", "namespace": namespace.name},
                "data": {"ca.crt": authority},
            })
            .to_string(),
        );
        Self { namespace }
    }

    /// Starts a client with the label `app: APP`, and waits until it is ready.
    pub fn start(&self, name: &str, app: &str) {
        self.start_pod(name, &self.pod(name, app));
    }

    /// Starts a client under a service account, and waits until it is ready. The file `/tokens/AUDIENCE` has its token
    /// for each of these audiences, in which `/` and `:` are written as `-`.
    pub fn start_as(&self, name: &str, app: &str, account: &str, audiences: &[&str]) {
        let mut pod = self.pod(name, app);
        let tokens = audiences.iter().map(|audience| {
            json!({"serviceAccountToken": {
                "audience": audience, "expirationSeconds": 3600, "path": audience.replace(['/', ':'], "-"),
            }})
        });
        let tokens: Vec<Value> = tokens.collect();
        let spec = &mut pod["spec"];
        spec["serviceAccountName"] = account.into();
        let volumes = spec["volumes"].as_array_mut().expect("volumes");
        volumes.push(json!({"name": "tokens", "projected": {"sources": tokens}}));
        let mounts = spec["containers"][0]["volumeMounts"].as_array_mut();
        let mount = json!({"name": "tokens", "mountPath": "/tokens"});
        mounts.expect("mounts").push(mount);
        self.start_pod(name, &pod);
    }

    fn pod(&self, name: &str, app: &str) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": self.namespace.name, "labels": {"app": app}},
            "spec": {
                "terminationGracePeriodSeconds": 5,
                "automountServiceAccountToken": false,
                "containers": [{
                    "name": "probe",
                    "image": "vaultwall.local/probe:dev",
                    "imagePullPolicy": "IfNotPresent",
                    "args": ["hold"],
                    "volumeMounts": [{"name": "vault", "mountPath": "/vault"}],
                }],
                "volumes": [{"name": "vault", "configMap": {"name": "vault"}}],
            },
        })
    }

    fn start_pod(&self, name: &str, pod: &Value) {
        let namespace = &self.namespace.name;
        apply(&pod.to_string());
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

    /// Sends one request.
    pub fn request(&self, client: &str, token: &str, url: &str) -> Answer {
        self.ask(client, &["--token", token, url])
    }

    /// Sends one request with these options of the probe.
    pub fn ask(&self, client: &str, options: &[&str]) -> Answer {
        let exec = ["exec", "--namespace", &self.namespace.name, client, "--"];
        let ask = ["/probe", "ask", "--ca", AUTHORITY];
        let timeout = ["--timeout", REQUEST_TIMEOUT];
        let output = run("kubectl", &[&exec[..], &ask, &timeout, options].concat());
        assert!(output.succeeded, "{}{}", output.stdout, output.stderr);
        let (first, rest) = output
            .stdout
            .trim()
            .split_once(' ')
            .unwrap_or((output.stdout.trim(), ""));
        match first.parse() {
            Ok(status) => Answer::Answered(status, rest.to_owned()),
            Err(_) => Answer::Unreachable(rest.to_owned()),
        }
    }

    /// Repeats a request until the answer has this status code, or, for none, until there is no answer.
    pub fn eventually_gets(
        &self,
        client: &str,
        token: &str,
        url: &str,
        status: Option<u16>,
    ) -> Answer {
        eventually(&format!("{client} gets {status:?} of {url}"), || {
            let answer = self.request(client, token, url);
            let is = answer.status() == status;
            is.then(|| answer.clone())
                .ok_or_else(|| format!("{answer:?}"))
        })
    }

    /// Sends requests until [`Load::end`].
    pub fn load(&self, client: &str, token: &str, url: &str) -> Load {
        let exec = ["exec", "--stdin", "--namespace", &self.namespace.name];
        let load = [client, "--", "/probe", "load", "--ca", AUTHORITY];
        let mut process = Command::new("kubectl")
            .args([&exec[..], &load].concat())
            .args(["--timeout", LOAD_TIMEOUT, "--token", token, url])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl");
        let mut stderr = BufReader::new(process.stderr.take().expect("its standard error"));
        let mut first = String::new();
        stderr.read_line(&mut first).expect("kubectl's errors");
        assert_eq!(first.trim(), "started", "{client}");
        Load { process, stderr }
    }

    /// Sets a label of a client, or removes it (`KEY-`).
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

    /// Deletes a client and waits until its pod no longer exists.
    pub fn stop(&self, client: &str) {
        kubectl(&[
            "delete",
            "pod",
            client,
            "--namespace",
            &self.namespace.name,
            "--wait",
        ]);
        assert_eq!(get_object("v1/pods", &self.namespace.name, client), None);
    }
}

/// A client that sends requests until it is ended.
pub struct Load {
    process: Child,
    stderr: BufReader<ChildStderr>,
}

/// Counts of a load.
#[derive(Debug)]
pub struct Counts {
    /// Number of requests.
    pub requests: u64,
    /// Number of answers by status code.
    pub answers: BTreeMap<u16, u64>,
    /// Requests without an answer.
    pub failures: u64,
    /// All counts, in JSON.
    pub json: String,
}

impl Load {
    /// Ends it and returns its counts.
    pub fn end(mut self) -> Counts {
        drop(self.process.stdin.take());
        let mut json = String::new();
        let mut out = self.process.stdout.take().expect("its output");
        out.read_to_string(&mut json).expect("text");
        let mut errors = String::new();
        self.stderr.read_to_string(&mut errors).expect("text");
        self.process.wait().expect("it ends");
        let counts: Value =
            serde_json::from_str(&json).unwrap_or_else(|_| panic!("{json}{errors}"));
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
            json,
        }
    }
}
