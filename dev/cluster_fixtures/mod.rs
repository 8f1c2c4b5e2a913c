//! A stage on a cluster with nodes: the charts, vaults as their own chart runs them, and clients in pods. The end-to-end
//! tests and the cluster demo play on it.
//!
//! It speaks to the cluster as a person does, by `kubectl` and `helm`. Whoever starts it has them on PATH and the cluster in
//! `KUBECONFIG`: `dev/cluster exec`.

pub mod client;
pub mod operator;
pub mod vault;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longer than anything takes on a busy machine; only what fails waits for it.
pub const PATIENCE: Duration = Duration::from_mins(3);
/// Between two looks at the cluster.
const PAUSE: Duration = Duration::from_millis(100);

/// What a command said.
#[derive(Debug)]
pub struct Said {
    /// Whether it ended well.
    pub good: bool,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Said {
    fn of(output: &Output) -> Self {
        Self {
            good: output.status.success(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Runs a command to its end.
pub fn run(program: &str, arguments: &[&str]) -> Said {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output();
    let output = output.unwrap_or_else(|error| {
        panic!("{program}: {error}; run this by dev/cluster exec, which has it on PATH")
    });
    Said::of(&output)
}

/// `kubectl`, which has to end well.
pub fn kubectl(arguments: &[&str]) -> String {
    let said = run("kubectl", arguments);
    assert!(said.good, "kubectl {arguments:?}: {}{}", said.out, said.err);
    said.out
}

/// `helm`, which has to end well.
pub fn helm(arguments: &[&str]) -> String {
    let said = run("helm", arguments);
    assert!(said.good, "helm {arguments:?}: {}{}", said.out, said.err);
    said.out
}

/// An object as the API server has it; none if there is none.
pub fn object(kind: &str, namespace: &str, name: &str) -> Option<Value> {
    let arguments = [
        "get",
        kind,
        name,
        "--namespace",
        namespace,
        "--ignore-not-found",
        "--output=json",
    ];
    serde_json::from_str(&kubectl(&arguments)).ok()
}

/// Applies objects, in YAML.
pub fn apply(objects: &str) {
    let said = applied(objects);
    assert!(said.good, "{}{}\n{objects}", said.out, said.err);
}

/// Applies objects, in YAML; what is said of it.
pub fn applied(objects: &str) -> Said {
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
    Said::of(&kubectl.wait_with_output().expect("kubectl ends"))
}

/// Waits until the answer is there; says `what` did not come otherwise, and what `ask` said last.
pub fn soon<T>(what: &str, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(last) => assert!(Instant::now() < end, "{what}: did not come; last: {last}"),
        }
        std::thread::sleep(PAUSE);
    }
}

/// A namespace that is gone with this value.
pub struct Namespace {
    /// Its name.
    pub name: String,
}

impl Namespace {
    /// Makes it anew; one of an earlier run goes first. With these labels, as YAML.
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
        // Left to look at after a failure; the next run removes it first.
        if !std::thread::panicking() {
            run(
                "kubectl",
                &["delete", "namespace", &self.name, "--wait=false"],
            );
        }
    }
}

/// The labels of a namespace that holds its pods to Pod Security's strictest level.
pub const RESTRICTED: &str = "pod-security.kubernetes.io/enforce: restricted";

/// A path in the repository.
pub fn path(relative: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join(relative).display().to_string()
}

/// The name of the image that `dev/image` made.
pub fn image_of(image: &str) -> String {
    let archive = path(&format!("target/images/{image}.tar"));
    let said = run("tar", &["-xOf", &archive, "manifest.json"]);
    let manifest: Value =
        serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{}", said.err));
    manifest[0]["RepoTags"][0]
        .as_str()
        .expect("a name")
        .to_owned()
}

/// Tags an image that the cluster's nodes have with another name.
pub fn tag_image(image: &str, name: &str) {
    // A name without a registry's is short for that.
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
        let said = run(
            "docker",
            &[&tag[..], &["--force", &full(image), &full(name)]].concat(),
        );
        assert!(said.good, "{node}: {}{}", said.out, said.err);
    }
}

/// The images that the pods of `NAME` in a namespace run, also those that are about to end; each once.
pub fn images(namespace: &str, name: &str) -> Vec<String> {
    let selector = format!("--selector=app.kubernetes.io/name={name}");
    let pods = kubectl(&[
        "get",
        "pods",
        "--namespace",
        namespace,
        &selector,
        "--output=jsonpath={.items[*].spec.containers[*].image}",
    ]);
    let images: BTreeSet<&str> = pods.split_whitespace().collect();
    images.into_iter().map(str::to_owned).collect()
}
