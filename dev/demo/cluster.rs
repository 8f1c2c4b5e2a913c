//! The stage with Kubernetes' API between: a real API server with its store, the quickstart example's objects in it, and
//! kubectl. What controllers would do, and nodes, is done here: pods get their status, and the proxy its files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::Fallible;
use testkit::ApiServer;

/// The operator's own namespace.
const SYSTEM: &str = "vaultwall-system";
/// Objects that the operator creates for the proxies of the Service `openbao`.
const PROXIES: [&str; 3] = ["-n", "vault", "openbao-firewall"];

/// A cluster of nothing but its API.
pub struct Cluster {
    server: ApiServer,
    /// Kubeconfig of a user who may do everything.
    pub kubeconfig: PathBuf,
}

impl Cluster {
    /// Starts the API server and puts the CRDs and all objects of the example into it.
    pub async fn start(policies: &Path) -> Fallible<Self> {
        let (sender, started) = oneshot::channel();
        // Not a blocking task of the runtime, which would be waited for when the demo is stopped.
        std::thread::spawn(move || {
            let server = ApiServer::start();
            server.install_crds();
            drop(sender.send(server));
        });
        // A failure has been printed to stderr above.
        let server = started.await.map_err(|_| "the API server does not start")?;
        let cluster = Self {
            kubeconfig: server.kubeconfig(),
            server,
        };
        let mut objects = vec![
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}})
                .to_string(),
        ];
        let mut running = Vec::new();
        let facts = fs::read_to_string(policies.join("facts.yaml"))?;
        for mut object in serde_saphyr::from_multiple::<Value>(&facts)? {
            if object.get("kind") == Some(&json!("Pod")) {
                running.push(object.clone());
                object = unscheduled(&object);
            }
            objects.push(object.to_string());
        }
        objects.push(fs::read_to_string(policies.join("policy.yaml"))?);
        cluster.apply(&objects.join("\n---\n"))?;
        for pod in &running {
            cluster.runs(pod)?;
        }
        Ok(cluster)
    }

    /// Runs kubectl, whatever comes of it.
    pub fn kubectl(&self, arguments: &[&str], stdin: &str) -> Output {
        tokio::task::block_in_place(|| self.server.kubectl(arguments, stdin))
    }

    /// Runs kubectl, which has to succeed; returns the moment before it started, and its output.
    pub fn must(&self, arguments: &[&str], stdin: &str) -> Fallible<(Instant, String)> {
        let moment = Instant::now();
        let output = self.kubectl(arguments, stdin);
        if output.status.success() {
            return Ok((moment, String::from_utf8(output.stdout)?));
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("kubectl {}: {}", arguments.join(" "), said.trim_end()).into())
    }

    /// `kubectl apply` of objects. The answer is the moment before.
    pub fn apply(&self, objects: &str) -> Fallible<Instant> {
        Ok(self.must(&["apply", "-f", "-"], objects)?.0)
    }

    /// Puts a pod into the cluster that has no address yet.
    pub fn create(&self, pod: &Value) -> Fallible<Instant> {
        self.apply(&unscheduled(pod).to_string())
    }

    /// Gives a pod its status, as its node would. The answer is the moment before.
    pub fn runs(&self, pod: &Value) -> Fallible<Instant> {
        let text = |pointer| {
            pod.pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let status = json!({"status": {
            "phase": text("/status/phase"),
            "podIP": text("/status/podIP"),
            "podIPs": [{"ip": text("/status/podIP")}],
        }});
        let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
        let what = [
            "patch",
            "pod",
            "-n",
            namespace,
            name,
            "--subresource",
            "status",
        ];
        let how = ["--type", "merge", "-p", &status.to_string()];
        Ok(self.must(&[&what[..], &how[..]].concat(), "")?.0)
    }

    /// Removes a pod. The answer is the moment before.
    pub fn remove(&self, pod: &Value) -> Fallible<Instant> {
        let text = |pointer| {
            pod.pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
        Ok(self
            .must(&["delete", "pod", "-n", namespace, name, "--now"], "")?
            .0)
    }

    /// Waits until all proxies of the policy have it in force.
    pub fn programmed(&self) -> Fallible<()> {
        let wait = ["wait", "--for=condition=Programmed", "--timeout=60s"];
        self.must(
            &[&wait[..], &["-n", "vault", "vnp/quickstart"]].concat(),
            "",
        )?;
        Ok(())
    }

    /// Whether the operator has made what the proxies run with.
    pub fn has_proxies(&self) -> bool {
        ["secret", "configmap", "deployment"]
            .iter()
            .all(|kind| self.proxies(kind).is_ok())
    }

    /// Returns the command of a proxy with the objects that the operator created for it, whose files are written below
    /// `folder`.
    pub fn proxy(&self, folder: &Path) -> Fallible<Command> {
        Ok(testkit::envoy::proxy_command(
            &self.proxies("secret")?,
            &self.proxies("configmap")?,
            &self.proxies("deployment")?,
            folder,
            |text| text,
        ))
    }

    fn proxies(&self, kind: &str) -> Fallible<Value> {
        let (_, object) = self.must(&[&["get", kind, "-o", "json"], &PROXIES[..]].concat(), "")?;
        Ok(serde_json::from_str(&object)?)
    }
}

/// A pod as a person would apply it.
fn unscheduled(pod: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": pod.get("metadata"),
        "spec": {"containers": [{"name": "app", "image": "app"}]},
    })
}
