//! `dev/cluster`: what it leaves when a cluster goes, and what it says where it cannot do what it is asked: one clear line,
//! exit code 2, and nothing half made. That a cluster works is tested by every test that needs one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

/// What each case runs first: in its mounts, poison NAME BODY puts a program of its own before the machine's, and Docker
/// does not answer.
const BEFORE: &str = r#"
poison() { printf '#!/bin/sh\n%s\n' "$2" >"$POISON/$1"; chmod 755 "$POISON/$1"; }
poison docker 'exit 1'
PATH=$POISON:$PATH
"#;

/// Runs a shell script in mounts of its own and in the root of the work tree.
fn run(script: &str, folder: &Path) -> Output {
    let poison = folder.join("poison");
    let cache = folder.join("cache");
    fs::create_dir_all(&poison).unwrap();
    fs::create_dir_all(&cache).unwrap();
    Command::new("unshare")
        .args(["--mount", "bash", "-euc", &format!("{BEFORE}{script}")])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("POISON", poison)
        .env("VAULTWALL_CACHE", cache)
        .env("VAULTWALL_CLUSTER", "faults")
        .output()
        .unwrap()
}

fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line == "Uid:\t0\t0\t0\t0")
}

/// What a run left in its cache, but for the empty files that are locked.
fn left(folder: &Path) -> Vec<String> {
    fs::read_dir(folder.join("cache"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !has_extension(name, "lock"))
        .collect()
}

fn has_extension(name: &str, extension: &str) -> bool {
    Path::new(name)
        .extension()
        .is_some_and(|found| found == extension)
}

/// Each script fails, and its last words are these.
const CASES: [(&str, &str); 22] = [
    ("dev/cluster", "exit:    0 done, 2 could not"),
    ("dev/cluster start", "usage: dev/cluster up"),
    ("dev/cluster up now", "up takes no 'now'"),
    (
        "dev/cluster up --agent /no/such",
        "--agent: '/no/such' is not a program\ndev/cluster:   -> build it first",
    ),
    ("dev/cluster load", "load needs an image archive"),
    (
        "dev/cluster load /no/such.tar",
        "the image archive /no/such.tar is not there\ndev/cluster:   -> ",
    ),
    (
        "dev/cluster load Cargo.toml",
        "Cargo.toml is not an image archive: no manifest.json is in it\ndev/cluster:   -> ",
    ),
    (
        "tar --create --file $POISON/other.tar Cargo.toml; dev/cluster load $POISON/other.tar",
        "other.tar is not an image archive: no manifest.json is in it",
    ),
    (
        "touch $POISON/manifest.json; tar --create --file $POISON/image.tar --directory $POISON manifest.json
         dev/cluster load $POISON/image.tar",
        "no cluster is up\ndev/cluster:   -> run: dev/cluster up",
    ),
    (
        "dev/cluster exec true",
        "no cluster is up\ndev/cluster:   -> run: dev/cluster up",
    ),
    (
        "dev/cluster status",
        "no cluster is up\ndev/cluster:   -> run: dev/cluster up",
    ),
    (
        "VAULTWALL_CLUSTER=../x dev/cluster down",
        "'../x' cannot be a cluster's name",
    ),
    (
        "VAULTWALL_CACHE=/proc/none dev/cluster up",
        "cannot create the cache folder /proc/none\ndev/cluster:   -> set VAULTWALL_CACHE",
    ),
    (
        "VAULTWALL_CACHE=$VAULTWALL_CACHE/$(printf '%0*d' $((70 - ${#VAULTWALL_CACHE})) 0) dev/cluster up || { status=$?; rm -r $VAULTWALL_CACHE/0*; exit $status; }",
        "the cache's path is too long for a socket",
    ),
    // A user who may read the work tree, wherever it is, but is not root.
    (
        "chmod 777 $VAULTWALL_CACHE
         setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=+dac_read_search --ambient-caps=+dac_read_search dev/cluster up",
        "root is needed: the node image is made here, in namespaces of its own\ndev/cluster:   -> run it as root, or start Docker",
    ),
    (
        "poison uname 'echo Darwin'; dev/cluster up",
        "Linux is needed, this is Darwin\ndev/cluster:   -> start Docker",
    ),
    (
        "echo ID=arch >$POISON/release; mount --bind $POISON/release /etc/os-release; dev/cluster up",
        "Debian is needed, this is 'arch'\ndev/cluster:   -> start Docker",
    ),
    (
        "PATH=$POISON:/usr/sbin:/usr/bin:/sbin:/bin; poison go 'exit 1'; rm $POISON/go
         dev/cluster up",
        "the local cluster needs 'go', which is not on PATH\ndev/cluster:   -> install Go",
    ),
    // The disk is too small, as seen before anything is made, and as seen by what then fills it.
    (
        "mount -t tmpfs -o size=64m tmpfs $VAULTWALL_CACHE; dev/cluster up",
        "GiB are needed in $VAULTWALL_CACHE, 0.0 GiB are free\ndev/cluster:   -> free some",
    ),
    (
        "mount -t tmpfs -o size=100m tmpfs $VAULTWALL_CACHE
         dev/cluster keep-base || { status=$?; ls $VAULTWALL_CACHE | grep -v 'lock$' || exit $status; }",
        "free space in $VAULTWALL_CACHE, or set VAULTWALL_CACHE",
    ),
    // Of the cluster of an earlier run, only the folder is left.
    (
        "mkdir -p $VAULTWALL_CACHE/cluster-faults; echo '1 1' >$VAULTWALL_CACHE/cluster-faults/process
         dev/cluster status || { status=$?; dev/cluster down; exit $status; }",
        "faults is half there, from an earlier run\ndev/cluster:   -> run: dev/cluster up, or: dev/cluster down",
    ),
    (
        "mkdir -p $VAULTWALL_CACHE/cluster-faults; poison uname 'echo Darwin'; dev/cluster up",
        "faults is half there, from an earlier run: removing it",
    ),
];

#[test]
fn what_cannot_be_done_ends_with_one_clear_line_and_leaves_nothing() {
    if !is_root() {
        eprintln!("skipped: the cases need mounts of their own, which needs root");
        return;
    }
    let mut wrong = Vec::new();
    for (script, says) in CASES {
        let folder = tempfile::tempdir().unwrap();
        let output = run(script, folder.path());
        let words = String::from_utf8_lossy(&output.stderr);
        let says = says.replace(
            "$VAULTWALL_CACHE",
            folder.path().join("cache").to_str().unwrap(),
        );
        let left = left(folder.path());
        if output.status.code() != Some(2) || !words.contains(&says) || !left.is_empty() {
            wrong.push(format!(
                "{script}\n  wanted exit code 2 and: {says}\n  got {} and: {words}\n  left: {left:?}",
                output.status
            ));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Programs that do not do what the kernel is tried with, and what is then said to be missing.
const KERNELS: [(&str, &str); 5] = [
    (
        "poison ip 'case \"$*\" in *veth*) exit 1 ;; *) exec /usr/sbin/ip \"$@\" ;; esac'",
        "pairs of network interfaces (veth)",
    ),
    (
        "poison ip 'case \"$*\" in *bridge*) exit 1 ;; *) exec /usr/sbin/ip \"$@\" ;; esac'",
        "network bridges (bridge)",
    ),
    ("poison nft 'exit 1'", "nftables with address translation"),
    ("poison iptables-nft 'exit 1'", "xtables on nftables"),
    (
        "poison unshare 'echo no namespaces; exit 1'",
        "no namespaces",
    ),
];

#[test]
fn a_kernel_that_lacks_something_is_told_before_anything_is_made() {
    if !is_root() {
        eprintln!("skipped: the kernel is tried by root");
        return;
    }
    for (poison, missing) in KERNELS {
        let folder = tempfile::tempdir().unwrap();
        // The machine's own cache: Debian's packages are in it, or are kept there.
        let script = format!(
            "unset VAULTWALL_CACHE; {poison}
             dev/cluster up || {{ status=$?; dev/cluster status || exit $status; }}"
        );
        let output = run(&script, folder.path());
        let words = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{poison}: {words}");
        assert!(
            words.contains(&format!("lacks: {missing}")) && words.contains("no cluster is up"),
            "{poison}: {words}"
        );
    }
}

#[test]
fn a_process_that_was_given_the_number_of_an_earlier_cluster_is_left_alone() {
    if !is_root() {
        eprintln!("skipped: a cluster of namespaces belongs to root");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let output = run(
        "sleep 60 & mkdir -p $VAULTWALL_CACHE/cluster-faults; echo \"$! 1\" >$VAULTWALL_CACHE/cluster-faults/process
         dev/cluster down; dev/cluster down; kill $!",
        folder.path(),
    );
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words}");
    assert_eq!(left(folder.path()), Vec::<String>::new(), "{words}");
}

/// Where a node listens: etcd, the API server, the kubelet and its health.
const NODE_PORTS: [u16; 5] = [2379, 2380, 6443, 10248, 10250];

/// What of the machine a cluster could change, one a line.
const MACHINE: &str = "
cut -d' ' -f5 /proc/self/mountinfo | sort
ls -d /sys/class/net/* /etc/* /opt/* /run/* /var/lib/*
! command -v nft >/dev/null || nft list ruleset
";

/// What is the cluster's own, wherever it is: processes, control groups and files. Written so that it does not find itself.
const OF_THE_CLUSTER: &str = "
grep --null-data --files-with-matches 'cluster-trace[s]' /proc/[0-9]*/cmdline 2>/dev/null || true
find /sys/fs/cgroup -name 'cluster-trace[s]'
find \"$CACHE\" -maxdepth 1 -name 'cluster-trace[s]*' ! -name '*.lock'
";

/// Runs a shell script beside the cluster `traces`, which is in the machine's own cache: its node image is there, or is
/// kept there.
fn beside_traces(script: &str, folder: &Path) -> Output {
    Command::new("bash")
        .args(["-euc", &format!("{BEFORE}{script}")])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("POISON", folder)
        .env("VAULTWALL_CLUSTER", "traces")
        .output()
        .unwrap()
}

#[test]
fn a_cluster_that_goes_leaves_nothing() {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    if !is_root() || !release.lines().any(|line| line == "ID=debian") {
        eprintln!("skipped: a cluster without kind's node image needs root on Debian");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let cache = "CACHE=${VAULTWALL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/vaultwall}\n";
    let words = |script: &str| {
        let output = beside_traces(&format!("{cache}{script}"), folder.path());
        let words = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{script}: {words}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        words
    };
    words("dev/cluster down");
    // Somebody's on this machine already, which is nothing to a cluster in a network of its own.
    let taken = NODE_PORTS.map(|port| TcpListener::bind(("0.0.0.0", port)));
    let before = words(MACHINE);
    words("dev/cluster up");
    let node = words("dev/cluster exec kubectl get nodes --output name");
    assert_eq!(node, "node/traces-control-plane\n");
    assert!(words("dev/cluster status").contains("7 Running"));
    assert_ne!(
        words(OF_THE_CLUSTER),
        "",
        "nothing was found that could be left"
    );
    let again = beside_traces("dev/cluster up", folder.path());
    assert_eq!(
        String::from_utf8_lossy(&again.stderr),
        "dev/cluster: traces is up\n"
    );
    // It ends as the command does.
    assert_eq!(
        beside_traces("dev/cluster exec sh -c 'exit 7'", folder.path())
            .status
            .code(),
        Some(7)
    );
    words("dev/cluster down");
    drop(taken);
    assert_eq!(words(MACHINE), before);
    assert_eq!(words(OF_THE_CLUSTER), "");
}
