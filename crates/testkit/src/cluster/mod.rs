//! Fixtures on a cluster with nodes, for the end-to-end tests and the cluster demo: the operator by its charts, vaults
//! as their own chart runs them, and clients in pods.
//!
//! The fixtures change the cluster as a person does, with `kubectl` and `helm`. `dev/cluster exec` puts both on PATH,
//! and sets `KUBECONFIG`.

pub mod client;
pub mod login;
mod objects;
pub mod operator;
pub mod vault;

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

pub(crate) use self::objects::{connect, resource_path};
pub use self::objects::{get_object, list_objects};
use crate::wait::TIMEOUT;

/// Time between two attempts of [`eventually`]; many of them run a program in a pod.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// Result of a command.
#[derive(Debug)]
pub struct CommandOutput {
    /// Whether the exit code was 0.
    pub succeeded: bool,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl CommandOutput {
    fn of(output: &Output) -> Self {
        Self {
            succeeded: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Runs a command to its end.
pub fn run(program: &str, arguments: &[&str]) -> CommandOutput {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output();
    let output = output.unwrap_or_else(|error| {
        panic!("{program}: {error}; run this by dev/cluster exec, which has it on PATH")
    });
    CommandOutput::of(&output)
}

/// Runs `kubectl`, which must succeed, and returns its standard output.
pub fn kubectl(arguments: &[&str]) -> String {
    let output = run("kubectl", arguments);
    assert!(
        output.succeeded,
        "kubectl {arguments:?}: {}{}",
        output.stdout, output.stderr
    );
    output.stdout
}

/// Runs `helm`, which must succeed, and returns its standard output.
pub fn helm(arguments: &[&str]) -> String {
    let output = run("helm", arguments);
    assert!(
        output.succeeded,
        "helm {arguments:?}: {}{}",
        output.stdout, output.stderr
    );
    output.stdout
}

/// Applies objects, in YAML, which must succeed.
pub fn apply(objects: &str) {
    let output = try_apply(objects);
    assert!(
        output.succeeded,
        "{}{}\n{objects}",
        output.stdout, output.stderr
    );
}

/// Applies objects, in YAML.
pub fn try_apply(objects: &str) -> CommandOutput {
    let mut kubectl = Command::new("kubectl")
        .args(["apply", "--filename=-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kubectl");
    let mut input = kubectl.stdin.take().expect("its input");
    input.write_all(objects.as_bytes()).expect("kubectl reads");
    drop(input);
    CommandOutput::of(&kubectl.wait_with_output().expect("kubectl ends"))
}

/// Polls until `poll` returns a value. After [`TIMEOUT`] it panics with `expected` and the last error.
pub fn eventually<T>(expected: &str, mut poll: impl FnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + TIMEOUT;
    loop {
        match poll() {
            Ok(answer) => return answer,
            Err(last) => assert!(
                Instant::now() < end,
                "not within {TIMEOUT:?}: {expected}; last: {last}"
            ),
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// A namespace that is deleted when this value is dropped.
pub struct Namespace {
    /// Name of the namespace, as in `metadata.name`.
    pub name: String,
}

impl Namespace {
    /// Creates it with these labels, in YAML; deletes that of an earlier run first.
    pub fn new(name: &str, labels: &str) -> Self {
        kubectl(&["delete", "namespace", name, "--ignore-not-found", "--wait"]);
        apply(&format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{{labels}}}}}\n"
        ));
        Self {
            name: name.to_owned(),
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Kept for inspection after a failure; the next run deletes it.
        if !std::thread::panicking() {
            run(
                "kubectl",
                &["delete", "namespace", &self.name, "--wait=false"],
            );
        }
    }
}

/// Labels of a namespace that enforces the strictest level of Pod Security.
pub const RESTRICTED: &str = "pod-security.kubernetes.io/enforce: restricted";

/// Absolute path of a file in the repository.
pub fn path(relative: &str) -> String {
    let root = crate::tools::repository();
    root.join(relative).display().to_string()
}

/// Name of an image that `dev/image` made, from its archive.
pub fn image_name(image: &str) -> String {
    let archive = path(&format!("target/images/{image}.tar"));
    let output = run("tar", &["-xOf", &archive, "manifest.json"]);
    let manifest: Value =
        serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{}", output.stderr));
    manifest[0]["RepoTags"][0]
        .as_str()
        .expect("a name")
        .to_owned()
}

/// Tags an image on the cluster's nodes with another name.
pub fn tag_image(image: &str, name: &str) {
    // A name without a registry is short for one on docker.io.
    let full = |name: &str| match name.split_once('/') {
        Some((registry, _)) if registry.contains('.') => name.to_owned(),
        _ => format!("docker.io/library/{name}"),
    };
    let nodes = kubectl(&[
        "get",
        "nodes",
        "--output=jsonpath={.items[*].metadata.name}",
    ]);
    for node in nodes.split_whitespace() {
        let tag = ["exec", node, "ctr", "--namespace=k8s.io", "images", "tag"];
        let output = run(
            "docker",
            &[&tag[..], &["--force", &full(image), &full(name)]].concat(),
        );
        assert!(
            output.succeeded,
            "{node}: {}{}",
            output.stdout, output.stderr
        );
    }
}

/// Images of the pods with the label `app.kubernetes.io/name: NAME`, terminating ones too; each once.
pub fn images_of_pods(namespace: &str, name: &str) -> Vec<String> {
    let pods = list_objects(
        "v1/pods",
        namespace,
        &format!("app.kubernetes.io/name={name}"),
    );
    let containers = pods
        .iter()
        .filter_map(|pod| pod["spec"]["containers"].as_array());
    let images: BTreeSet<&str> = containers
        .flatten()
        .filter_map(|container| container["image"].as_str())
        .collect();
    images.into_iter().map(str::to_owned).collect()
}
