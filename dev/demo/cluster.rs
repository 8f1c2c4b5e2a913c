//! A real Kubernetes API server with the objects of the quickstart example, and kubectl. There are no nodes and no
//! other controllers: this module writes the status of pods, and gives the proxy its files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::fallible::Fallible;
use testkit::ApiServer;

/// Namespace of the operator.
const SYSTEM: &str = "vaultwall-system";
/// Objects that the operator creates for the proxies of the Service `openbao`.
const PROXIES: [&str; 3] = ["-n", "vault", "openbao-firewall"];

/// A cluster that has only an API server.
pub struct Cluster {
    server: ApiServer,
    /// Kubeconfig of a user who may do everything.
    pub kubeconfig: PathBuf,
}

impl Cluster {
    /// Starts the API server and puts the CRDs and all objects of the example into it.
    pub async fn start(policies: &Path) -> Fallible<Self> {
        let (sender, started) = oneshot::channel();
        // A thread, because the runtime would wait for a blocking task when the demo is stopped.
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
            cluster.set_running(pod)?;
        }
        Ok(cluster)
    }

    /// Runs kubectl; it may fail.
    pub fn kubectl(&self, arguments: &[&str], stdin: &str) -> Output {
        tokio::task::block_in_place(|| self.server.kubectl(arguments, stdin))
    }

    /// Runs kubectl, which has to succeed; returns the moment before it started, and its output.
    pub fn must(&self, arguments: &[&str], stdin: &str) -> Fallible<(Instant, String)> {
        let started = Instant::now();
        let output = self.kubectl(arguments, stdin);
        if output.status.success() {
            return Ok((started, String::from_utf8(output.stdout)?));
        }
        let error = String::from_utf8_lossy(&output.stderr);
        Err(format!("kubectl {}: {}", arguments.join(" "), error.trim_end()).into())
    }

    /// Applies objects. Returns the time before.
    pub fn apply(&self, objects: &str) -> Fallible<Instant> {
        Ok(self.must(&["apply", "-f", "-"], objects)?.0)
    }

    /// Creates a pod that has no address yet.
    pub fn create(&self, pod: &Value) -> Fallible<Instant> {
        self.apply(&unscheduled(pod).to_string())
    }

    /// Writes the status of a running pod, like its node. Returns the time before.
    pub fn set_running(&self, pod: &Value) -> Fallible<Instant> {
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
        let object = [
            "patch",
            "pod",
            "-n",
            namespace,
            name,
            "--subresource",
            "status",
        ];
        let patch = ["--type", "merge", "-p", &status.to_string()];
        Ok(self.must(&[&object[..], &patch[..]].concat(), "")?.0)
    }

    /// Deletes a pod. Returns the time before.
    pub fn delete(&self, pod: &Value) -> Fallible<Instant> {
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

    /// Waits until the policy is in force in all its proxies.
    pub fn programmed(&self) -> Fallible<()> {
        let wait = ["wait", "--for=condition=Programmed", "--timeout=60s"];
        self.must(
            &[&wait[..], &["-n", "vault", "vnp/quickstart"]].concat(),
            "",
        )?;
        Ok(())
    }

    /// Whether the operator has created the objects that a proxy needs.
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

/// A pod without status, like one that a user applies.
fn unscheduled(pod: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": pod.get("metadata"),
        "spec": {"containers": [{"name": "app", "image": "app"}]},
    })
}
