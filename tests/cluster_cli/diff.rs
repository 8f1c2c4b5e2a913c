//! `vaultwall diff` against a cluster: the files are laid over its objects.

use std::path::PathBuf;

use tempfile::TempDir;

use crate::cluster_cli::cluster::{cluster, vaultwall};
use crate::cluster_cli::permissions::{POLICIES, ask_until, grant, refused};
use crate::program::Run;

/// The policy and network of `examples/quickstart`, edited.
fn edited(edits: &[(&str, &str)]) -> (TempDir, PathBuf) {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut text = std::fs::read_to_string(root.join("examples/quickstart/policy.yaml")).unwrap();
    for (old, new) in edits {
        assert!(text.contains(old), "{old}");
        text = text.replace(old, new);
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("new.yaml");
    std::fs::write(&file, text).unwrap();
    (folder, file)
}

fn diff(edits: &[(&str, &str)], more: &[&str]) -> Run {
    let (_folder, file) = edited(edits);
    let arguments = [&["diff", "-f", file.to_str().unwrap()], more].concat();
    vaultwall(&cluster().kubeconfig(), &arguments)
}

#[test]
fn a_change_is_compared_with_the_objects_of_the_cluster() {
    // Also defaults that the API server adds are no difference.
    let same = diff(&[], &[]);
    assert_eq!(same.code, Some(0), "{same:?}");
    assert!(same.stdout.ends_with("no firewall changes\n"), "{same:?}");
    let office = diff(
        &[("198.51.100.0/24", "198.51.100.0/25")],
        &["--source-ip", "198.51.100.200"],
    );
    assert_eq!(office.code, Some(1), "{office:?}");
    for part in [
        "YOU WOULD LOCK YOURSELF OUT: 198.51.100.200 loses vault vault/openbao",
        "loses: 198.51.100.128/25",
    ] {
        assert!(office.stdout.contains(part), "{part}\n{office:?}");
    }
    // Pods of the cluster, although they are in none of the files.
    let runners = diff(
        &[("app: runner", "app: other")],
        &["--pod", "build/runner-1"],
    );
    assert_eq!(runners.code, Some(1), "{runners:?}");
    for part in [
        "YOU WOULD LOCK YOURSELF OUT: pod build/runner-1",
        "loses: pod of build, service account default (127.0.30.1)\n         by quickstart/virtualNetworkRules/build",
        "gains: pods selected by namespaces team=build, pods app=other (none is known)",
    ] {
        assert!(runners.stdout.contains(part), "{part}\n{runners:?}");
    }
    let wider = diff(&[("198.51.100.0/24", "198.51.100.0/23")], &[]);
    assert_eq!(wider.code, Some(0), "{wider:?}");
}

#[test]
fn prune_deletes_what_is_in_no_file() {
    let run = diff(&[], &["--prune"]);
    assert_eq!(run.code, Some(1), "{run:?}");
    for part in [
        "removed: VaultNetworkPolicy plain/addresses",
        "vault plain/openbao\n  LOSES ITS FIREWALL: no policy is left",
    ] {
        assert!(run.stdout.contains(part), "{part}\n{run:?}");
    }
    assert!(!run.stdout.contains("\nvault vault/openbao"), "{run:?}");
    // Without the flag, other vaults are not touched.
    let run = diff(&[], &[]);
    assert!(!run.stdout.contains("plain"), "{run:?}");
}

#[test]
fn a_missing_permission_is_no_answer() {
    let user = "differ";
    let kubeconfig = cluster().kubeconfig_for(user, &["system:authenticated"]);
    let (_folder, file) = edited(&[]);
    let arguments = ["diff", "-f", file.to_str().unwrap()];
    let named = |said: &Run| refused(said) && said.stderr.contains("you are not allowed to list");
    let run = vaultwall(&kubeconfig, &arguments);
    assert!(named(&run), "{run:?}");
    for resource in [
        POLICIES,
        "virtualnetworks.vaultwall.dev",
        "trustedservices.vaultwall.dev",
        "namespaces",
        "pods",
    ] {
        grant(user, ("-", "list", resource));
    }
    grant(user, ("-", "list", "serviceaccounts"));
    ask_until(&kubeconfig, &arguments, |said| said.code == Some(0), named);
}
