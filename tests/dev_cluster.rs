//! `dev/cluster`: it leaves nothing on the machine, and where it fails, it prints one clear message, exits with code 2
//! and leaves nothing incomplete. That a cluster works is tested by every test that needs one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// Start of each script: otherwise mount creates /run/mount on the machine.
const NO_MTAB: &str = "mount() { command mount --no-mtab \"$@\"; }\n";

/// `poison NAME BODY` puts a shell script before a program on PATH. Docker does not answer.
const POISON: &str = r#"
poison() { printf '#!/bin/sh\n%s\n' "$2" >"$POISON/$1"; chmod 755 "$POISON/$1"; }
poison docker 'exit 1'
PATH=$POISON:$PATH
"#;

/// Sets the path of the machine's own cache.
const CACHE: &str = "CACHE=${VAULTWALL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/vaultwall}\n";

/// Runs a shell script in the root of the work tree, in a new mount namespace, with an empty cache.
fn run(script: &str, folder: &Path) -> Output {
    let poison = folder.join("poison");
    let cache = folder.join("cache");
    fs::create_dir_all(&poison).unwrap();
    fs::create_dir_all(&cache).unwrap();
    Command::new("unshare")
        .args([
            "--mount",
            "bash",
            "-euc",
            &format!("{NO_MTAB}{POISON}{script}"),
        ])
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

/// Names in the cache of a run, except those of lock files.
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

/// Scripts that fail, and a part of the message. `$VAULTWALL_CACHE` in it stands for the cache's path.
const CASES: [(&str, &str); 22] = [
    ("dev/cluster", "exit:    0 done, 2 could not"),
    ("dev/cluster start", "usage: dev/cluster up"),
    ("dev/cluster up now", "up has no argument 'now'"),
    (
        "dev/cluster up --agent /no/such",
        "--agent: '/no/such' is not a program\ndev/cluster:   -> build it first",
    ),
    ("dev/cluster load", "load needs an image archive"),
    (
        "dev/cluster load /no/such.tar",
        "the image archive /no/such.tar does not exist\ndev/cluster:   -> ",
    ),
    (
        "dev/cluster load Cargo.toml",
        "Cargo.toml is not an image archive: it contains no manifest.json\ndev/cluster:   -> ",
    ),
    (
        "tar --create --file $POISON/other.tar Cargo.toml; dev/cluster load $POISON/other.tar",
        "other.tar is not an image archive: it contains no manifest.json",
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
        "'../x' is not a valid name of a cluster",
    ),
    (
        "VAULTWALL_CACHE=/proc/none dev/cluster up",
        "cannot create the cache folder /proc/none\ndev/cluster:   -> set VAULTWALL_CACHE",
    ),
    (
        "long=$VAULTWALL_CACHE/$(printf '%0*d' $((70 - ${#VAULTWALL_CACHE})) 0)
         VAULTWALL_CACHE=$long dev/cluster up || { status=$?; rm -r $long; exit $status; }",
        "the cache's path is too long for a socket",
    ),
    // A user that is not root, but can read the work tree wherever it is.
    (
        "chmod 777 $VAULTWALL_CACHE
         setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=+dac_read_search \
             --ambient-caps=+dac_read_search dev/cluster up",
        "root is needed: the node image is made here, in separate namespaces\n\
         dev/cluster:   -> run it as root, or start Docker",
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
    // The disk is too small: seen in advance, and seen when it is full.
    (
        "mount -t tmpfs -o size=64m tmpfs $VAULTWALL_CACHE; dev/cluster up",
        "GiB are needed in $VAULTWALL_CACHE, 0.0 GiB are free\ndev/cluster:   -> free some",
    ),
    (
        "mount -t tmpfs -o size=100m tmpfs $VAULTWALL_CACHE
         dev/cluster keep-base || { status=$?; ls $VAULTWALL_CACHE | grep -v 'lock$' || exit $status; }",
        "free space in $VAULTWALL_CACHE, or set VAULTWALL_CACHE",
    ),
    // Only the folder of an earlier cluster is left.
    (
        "mkdir -p $VAULTWALL_CACHE/cluster-faults; echo '1 1' >$VAULTWALL_CACHE/cluster-faults/process
         dev/cluster status || { status=$?; dev/cluster down; exit $status; }",
        "faults is incomplete after an earlier run\ndev/cluster:   -> run: dev/cluster up, or: dev/cluster down",
    ),
    (
        "mkdir -p $VAULTWALL_CACHE/cluster-faults; poison uname 'echo Darwin'; dev/cluster up",
        "faults is incomplete after an earlier run: removing it",
    ),
];

#[test]
fn a_failure_ends_with_one_clear_message_and_leaves_nothing() {
    if !is_root() {
        eprintln!("skipped: the cases need mount namespaces, and so root");
        return;
    }
    let mut wrong = Vec::new();
    for (script, message) in CASES {
        let folder = tempfile::tempdir().unwrap();
        let output = run(script, folder.path());
        let errors = String::from_utf8_lossy(&output.stderr);
        let message = message.replace(
            "$VAULTWALL_CACHE",
            folder.path().join("cache").to_str().unwrap(),
        );
        let left = left(folder.path());
        if output.status.code() != Some(2) || !errors.contains(&message) || !left.is_empty() {
            wrong.push(format!(
                "{script}\n  expected exit code 2 and: {message}\n  found {} and: {errors}\n  left: {left:?}",
                output.status
            ));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Broken programs with which a test of the kernel fails, and the feature that is reported as missing.
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
fn a_missing_kernel_feature_is_reported_before_anything_is_made() {
    if !is_root() {
        eprintln!("skipped: the test of the kernel needs root");
        return;
    }
    for (poison, missing) in KERNELS {
        let folder = tempfile::tempdir().unwrap();
        // In the machine's own cache, which has Debian's packages or gets them.
        let script = format!(
            "unset VAULTWALL_CACHE; {poison}
             dev/cluster up || {{ status=$?; dev/cluster status || exit $status; }}"
        );
        let output = run(&script, folder.path());
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{poison}: {errors}");
        let message = format!("the kernel does not have, or does not let root use: {missing}");
        assert!(
            errors.contains(&message) && errors.contains("no cluster is up"),
            "{poison}: {errors}"
        );
    }
}

#[test]
fn a_process_with_the_number_of_an_earlier_cluster_is_not_ended() {
    if !is_root() {
        eprintln!("skipped: a cluster in namespaces belongs to root");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let output = run(
        "sleep 60 & mkdir -p $VAULTWALL_CACHE/cluster-faults; echo \"$! 1\" >$VAULTWALL_CACHE/cluster-faults/process
         dev/cluster down; dev/cluster down; kill $!",
        folder.path(),
    );
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert_eq!(left(folder.path()), Vec::<String>::new(), "{errors}");
}

/// Mounts new folders on /etc, /opt, /run and /var/lib. They have the entries of the machine's folders except those
/// that container engines and mount create, so that they are like those of a fresh machine.
const FRESH: &str = r#"
shopt -s dotglob nullglob
for folder in /etc /opt /run /var/lib; do
    exec 8<"$folder"
    mount --types tmpfs --options mode=755 tmpfs "$folder"
    for entry in /proc/self/fd/8/*; do
        new=$folder/${entry##*/}
        case $new in */cni | */containerd | */docker | */kubelet | */mount | */nri) continue ;; esac
        if [ -d "$entry" ] && [ ! -L "$entry" ]; then
            mkdir "$new"
            mount --no-canonicalize --rbind "$entry" "$new"
        else
            cp --archive "$entry" "$new"
        fi
    done
    exec 8<&-
done
echo ready
read -r _
"#;

/// A mount namespace like a fresh machine, with the machine's own cache: the node image is in it, or is made.
struct FreshMachine {
    process: Child,
    folder: tempfile::TempDir,
}

impl FreshMachine {
    fn new() -> Self {
        let mut process = Command::new("unshare")
            .args(["--mount", "bash", "-euc", &format!("{NO_MTAB}{FRESH}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(line, "ready\n", "the mounts could not be made");
        Self { process, folder }
    }

    /// Runs a shell script in the root of the work tree. The cluster is called `traces`.
    fn run(&self, script: &str) -> Output {
        Command::new("nsenter")
            .arg(format!("--mount=/proc/{}/ns/mnt", self.process.id()))
            .args([
                "bash",
                "-euc",
                &format!("cd \"$ROOT\"\n{NO_MTAB}{POISON}{CACHE}{script}"),
            ])
            .env("ROOT", env!("CARGO_MANIFEST_DIR"))
            .env("POISON", self.folder.path())
            .env("VAULTWALL_CLUSTER", "traces")
            .output()
            .unwrap()
    }

    /// The standard output of a script that succeeds.
    fn output(&self, script: &str) -> String {
        let output = self.run(script);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}: {text}{errors}");
        text
    }
}

impl Drop for FreshMachine {
    fn drop(&mut self) {
        drop(self.process.stdin.take()); // ends it
        self.process.wait().unwrap();
    }
}

/// Lists what a cluster could change on the machine, one entry a line.
const MACHINE: &str = "
cut -d' ' -f5 /proc/self/mountinfo | sort
ls -d /* /sys/class/net/* /usr/* /var/*
find /etc /opt /run /var/lib -xdev | sort
! command -v nft >/dev/null || nft list ruleset
";

/// Ports of a node: etcd, the API server, the kubelet and its health.
const NODE_PORTS: [u16; 5] = [2379, 2380, 6443, 10248, 10250];

/// Lists what belongs to the cluster `traces`: processes, control groups and files. Because of the brackets it does not
/// find itself.
const OF_THE_CLUSTER: &str = "
grep --null-data --files-with-matches 'cluster-trace[s]' /proc/[0-9]*/cmdline 2>/dev/null || true
find /sys/fs/cgroup -name 'cluster-trace[s]'
find \"$CACHE\" -maxdepth 1 -name 'cluster-trace[s]*' ! -name '*.lock'
";

fn makes_clusters() -> bool {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let makes = is_root() && release.lines().any(|line| line == "ID=debian");
    if !makes {
        eprintln!("skipped: a cluster without kind's node image needs root on Debian");
    }
    makes
}

#[test]
fn a_removed_cluster_leaves_nothing_on_a_fresh_machine() {
    if !makes_clusters() {
        return;
    }
    let machine = FreshMachine::new();
    machine.output("dev/cluster down");
    // Ports that the machine uses are free in the cluster's own network.
    let taken = NODE_PORTS.map(|port| TcpListener::bind(("0.0.0.0", port)));
    let before = machine.output(MACHINE);
    // As from make, and with the containerd that is built for the node.
    machine.output("dev/tools install containerd; PATH=$PWD/.tools/bin:$PATH dev/cluster up");
    let node = machine.output("dev/cluster exec kubectl get nodes --output name");
    assert_eq!(node, "node/traces-control-plane\n");
    assert!(machine.output("dev/cluster status").contains("7 Running"));
    let found = machine.output(OF_THE_CLUSTER);
    assert_ne!(found, "", "the list of what could be left is empty");
    let again = machine.run("dev/cluster up");
    let errors = String::from_utf8_lossy(&again.stderr);
    assert_eq!(errors, "dev/cluster: traces is up\n");
    let exit = machine.run("dev/cluster exec sh -c 'exit 7'").status;
    assert_eq!(exit.code(), Some(7), "the exit code is the command's");
    machine.output("dev/cluster down");
    drop(taken);
    assert_eq!(machine.output(MACHINE), before);
    assert_eq!(machine.output(OF_THE_CLUSTER), "");
}

/// Adds an image to a store as `dev/kind/node-image` does for the node, and lists the blobs of the store.
const IMPORT: &str = r#"
self=test root=$PWD
for part in steps packing kind/engine kind/node-image; do . dev/$part; done
find_cache
keep_packages
dev/tools install containerd ctr
partial=$POISON/import
mkdir -p $partial/layer
echo test >$partial/layer/file
pack_image $partial/layer example.test/image:1 $partial/image.tar '"Entrypoint":["/file"]'
import_images $partial/store $partial/image.tar >&2
ls $partial/store/io.containerd.content.v1.content/blobs/sha256
"#;

#[test]
fn the_runtime_that_adds_images_to_the_node_leaves_nothing_on_a_fresh_machine() {
    if !makes_clusters() {
        return;
    }
    let machine = FreshMachine::new();
    let before = machine.output(MACHINE);
    let blobs = machine.output(IMPORT);
    // The index of the archive has no reference, so containerd may have collected it by now.
    assert!(
        blobs.lines().count() >= 3,
        "manifest, config and layer: {blobs}"
    );
    assert_eq!(machine.output(MACHINE), before);
}
