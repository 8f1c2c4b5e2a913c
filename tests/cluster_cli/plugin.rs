//! The program as a plugin of the real kubectl.

use std::os::unix::fs::symlink;
use std::process::Command;

use crate::cluster_cli::cluster::{cluster, explain, run, vaultwall};
use testkit::tool;

#[test]
fn kubectl_finds_the_program_under_the_plugin_name() {
    let folder = tempfile::tempdir().unwrap();
    symlink(
        env!("CARGO_BIN_EXE_vaultwall"),
        folder.path().join("kubectl-vaultwall"),
    )
    .unwrap();
    let kubectl = |arguments: &[&str]| {
        run(Command::new(tool("kubectl"))
            .arg("vaultwall")
            .args(arguments)
            .env("PATH", folder.path())
            .env("KUBECONFIG", cluster().kubeconfig()))
    };
    for question in [
        explain("vault/openbao", ["--pod", "build/runner-1"]),
        explain("vault/openbao", ["--pod", "build/debug"]),
        vec!["validate", "-n", "vault"],
        vec!["render", "--vault", "vault/openbao"],
    ] {
        // kubectl hands the exit code on, too.
        assert_eq!(
            kubectl(&question),
            vaultwall(&cluster().kubeconfig(), &question)
        );
    }
    let help = kubectl(&["explain", "--help"]).stdout;
    assert!(help.contains("Usage: kubectl vaultwall explain"), "{help}");
}
