//! Helm, with a home of its own, and what it renders.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use testkit::tool;

/// The charts.
pub(crate) const OPERATOR: &str = "vaultwall";
pub(crate) const DEFINITIONS: &str = "vaultwall-crds";
/// Where the tests install them.
pub(crate) const NAMESPACE: &str = "vaultwall-system";

/// Folder of a chart.
pub(crate) fn chart(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("charts")
        .join(name)
}

/// Runs Helm with a home of its own; no file of the user who runs the tests is read or written.
pub(crate) fn helm(arguments: &[&str]) -> Output {
    let home: TempDir = tempfile::tempdir().unwrap();
    Command::new(tool("helm"))
        .args(arguments)
        .env("HOME", home.path())
        .env_remove("KUBECONFIG")
        .envs(["CACHE", "CONFIG", "DATA"].map(|what| {
            let variable = format!("HELM_{what}_HOME");
            (variable, home.path().join(what))
        }))
        .output()
        .unwrap()
}

/// Runs Helm, which has to succeed, and returns its output.
pub(crate) fn helm_prints(arguments: &[&str]) -> String {
    let output = helm(arguments);
    assert!(
        output.status.success(),
        "helm {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// A chart rendered as a release of its own name, as text.
pub(crate) fn rendered(name: &str, arguments: &[&str]) -> String {
    let folder = chart(name);
    let first = [
        "template",
        name,
        folder.to_str().unwrap(),
        "--namespace",
        NAMESPACE,
    ];
    helm_prints(&[&first, arguments].concat())
}

/// Its objects.
pub(crate) fn objects(name: &str, arguments: &[&str]) -> Vec<Value> {
    documents(&rendered(name, arguments))
}

/// The documents of a YAML text; those that hold nothing are left out.
pub(crate) fn documents(text: &str) -> Vec<Value> {
    let all: Vec<Value> = serde_saphyr::from_multiple(text).unwrap();
    all.into_iter().filter(|one| !one.is_null()).collect()
}

/// The one object of that kind and name.
pub(crate) fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let mut found = objects
        .iter()
        .filter(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    let object = found.next();
    assert!(found.next().is_none(), "{kind} {name} is there twice");
    object.unwrap_or_else(|| panic!("no {kind} {name}"))
}
