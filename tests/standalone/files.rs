//! Files as they are really edited, half written, broken, moved and taken away.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::process::{Signal, kill_process};

use crate::standalone::objects::{ALLOWED, DENIED, allowing, network, policy, policy_of, subnet};
use crate::standalone::sandbox::Sandbox;
use crate::standalone::serve::{IN_FORCE, Serve};
use testkit::OpenBao;
use testkit::client::{Client, Verdict};

/// Two more clients, each allowed by one of the files.
const ONE: Ipv4Addr = Ipv4Addr::new(127, 36, 0, 1);
const TWO: Ipv4Addr = Ipv4Addr::new(127, 37, 0, 1);
const ONE_PREFIX: &str = "127.36.0.0/16";
const TWO_PREFIX: &str = "127.37.0.0/16";

/// The processes end before their folder goes.
struct Protected {
    serve: Serve,
    _vault: OpenBao,
    sandbox: Sandbox,
}

impl Protected {
    fn with(files: &[(&str, &str)]) -> Self {
        let sandbox = Sandbox::new();
        for (name, text) in files {
            sandbox.put(name, text);
        }
        let command = &mut Serve::command(&sandbox);
        Self::started(sandbox, command)
    }

    fn started(sandbox: Sandbox, command: &mut std::process::Command) -> Self {
        let vault = OpenBao::start(sandbox.upstream(), &sandbox.at(""));
        let serve = Serve::run(command);
        serve.wait_for_line(0, IN_FORCE);
        Self {
            sandbox,
            _vault: vault,
            serve,
        }
    }

    fn of(open: &[Ipv4Addr]) -> Vec<(Ipv4Addr, Verdict)> {
        let verdict = |source| {
            if open.contains(&source) {
                (source, Verdict::Allowed)
            } else {
                (source, Verdict::Denied)
            }
        };
        [ALLOWED, DENIED, ONE, TWO].map(verdict).into()
    }

    /// These clients come to be allowed, and no other.
    fn opens(&self, open: &[Ipv4Addr]) {
        self.sandbox.wait_for_verdicts(&Self::of(open));
    }

    /// Performs an action, waits for the messages about it, and checks that exactly these clients are allowed as
    /// before.
    fn only_reports(&self, open: &[Ipv4Addr], act: impl FnOnce(&Sandbox), texts: &[&str]) {
        self.sandbox.assert_verdicts(&Self::of(open));
        let said = self.serve.lines();
        act(&self.sandbox);
        self.serve.wait_for_line_with(said, texts);
        self.sandbox.assert_verdicts(&Self::of(open));
        assert!(!self.serve.log().contains("panicked"));
    }
}

#[test]
fn broken_files_change_nothing_and_are_named() {
    let protected = Protected::with(&[("main.yaml", &allowing(&[ONE_PREFIX]))]);
    let open = [ALLOWED, ONE];
    protected.opens(&open);
    let good = allowing(&[TWO_PREFIX]);
    let stays = "what it held before stays in force";
    let cases: &[(&str, &[&str])] = &[
        ("", &["main.yaml", "it is empty", stays, "delete the file"]),
        ("spec: [", &["main.yaml", "cannot be read as YAML", stays]),
        (
            &good.replace("127.10.0.1/32", "127.10.0.300"),
            &[
                "main.yaml",
                "VirtualNetwork corp",
                "spec.subnets[0].addressPrefixes[0]",
                stays,
            ],
        ),
        (
            &good.replace("port: 8200", "port: none"),
            &[
                "main.yaml",
                "VaultNetworkPolicy main",
                "spec.targetRef.port",
                stays,
            ],
        ),
        (
            &good.replace("spec:\n", "spec:\n  ipRules: [{value: 10.0.0.0/8}]\n"),
            &[
                "main.yaml",
                "VaultNetworkPolicy main",
                "spec.ipRules[0].value",
                stays,
            ],
        ),
        (
            &good.replace("vaultwall.dev/v1alpha1", "vaultwall.dev/v9"),
            &["main.yaml", "apiVersion", stays],
        ),
        (
            &[&*good, &*good].concat(),
            &["main.yaml", "stands here twice", stays],
        ),
    ];
    for (text, expected) in cases {
        protected.only_reports(&open, |sandbox| sandbox.put("main.yaml", text), expected);
        let path = protected.sandbox.path_of("main.yaml");
        protected.only_reports(&open, |_| fs::write(path, text).unwrap(), expected);
    }
    // Plain HTTP in place of TLS would be silent.
    let tls = good.replace(
        "  targetRef",
        "  proxy: {tls: {secretName: a}}\n  targetRef",
    );
    protected.only_reports(
        &open,
        |sandbox| sandbox.put("main.yaml", &tls),
        &[
            "spec.proxy.tls",
            "standalone mode cannot read",
            "stays in force",
        ],
    );
    protected.sandbox.put("main.yaml", &good);
    protected.opens(&[ALLOWED, TWO]);
}

#[test]
fn a_file_that_is_being_written_changes_nothing_until_it_is_closed() {
    let protected = Protected::with(&[("main.yaml", &allowing(&[ONE_PREFIX]))]);
    protected.opens(&[ALLOWED, ONE]);
    let new = allowing(&[TWO_PREFIX]);
    // The first part alone is a policy without a network.
    let middle = new.rfind("---").unwrap();
    let mut file = None;
    protected.only_reports(
        &[ALLOWED, ONE],
        |sandbox| {
            let mut half = File::create(sandbox.path_of("main.yaml")).unwrap();
            half.write_all(&new.as_bytes()[..middle]).unwrap();
            file = Some(half);
        },
        &[
            "main.yaml",
            "has not closed it",
            "what it held before stays in force",
        ],
    );
    let mut file = file.unwrap();
    file.write_all(&new.as_bytes()[middle..]).unwrap();
    protected
        .sandbox
        .assert_verdicts(&Protected::of(&[ALLOWED, ONE]));
    drop(file);
    protected.opens(&[ALLOWED, TWO]);
}

#[test]
fn of_several_files_one_goes_one_is_broken_and_one_is_a_copy() {
    let corp = |name: &str, prefixes: &[&str]| {
        let text = network(&[(name, prefixes)]);
        text.replace("name: corp", &format!("name: corp-{name}"))
    };
    let rules = |name: &str| {
        let rule = subnet(name).replace("corp", &format!("corp-{name}"));
        policy(name, &[&rule], "")
    };
    let one = [rules("one"), corp("one", &[ONE_PREFIX])].concat();
    let two = [rules("two"), corp("two", &[TWO_PREFIX])].concat();
    let protected = Protected::with(&[
        ("main.yaml", &allowing(&[])),
        ("one.yaml", &one),
        ("two.yaml", &two),
    ]);
    protected.opens(&[ALLOWED, ONE, TWO]);

    protected.only_reports(
        &[ALLOWED, ONE, TWO],
        |sandbox| sandbox.put("copy.yaml", &two.replace("127.37", "127.20")),
        &[
            "copy.yaml",
            "VaultNetworkPolicy vault/two",
            "stands here and in",
            "two.yaml",
            "none of it is in force",
        ],
    );
    protected.only_reports(
        &[ALLOWED, ONE, TWO],
        |sandbox| symlink("nowhere", sandbox.path_of("three.yaml")).unwrap(),
        &["three.yaml", "cannot be read", "none of it is in force"],
    );
    let path = |name: &str| protected.sandbox.path_of(name);
    fs::remove_file(path("one.yaml")).unwrap();
    protected.opens(&[ALLOWED, TWO]);
    protected.serve.wait_for_line_with(
        0,
        &["one.yaml", "the file is deleted, and its rules are removed"],
    );
    fs::remove_file(path("copy.yaml")).unwrap();
    // The link leads somewhere now.
    fs::write(path("nowhere"), &one).unwrap();
    protected.opens(&[ALLOWED, ONE, TWO]);
    // The original gives way: the same under another name, and as editors save.
    fs::rename(path("two.yaml"), path("2.yaml")).unwrap();
    fs::rename(path("2.yaml"), path("2.yaml~")).unwrap();
    fs::write(path("2.yaml"), &two).unwrap();
    fs::write(path("main.yaml"), allowing(&["127.20.0.0/16"])).unwrap();
    protected.opens(&[ALLOWED, DENIED, ONE, TWO]);
}

#[test]
fn an_empty_folder_denies_and_an_emptied_one_keeps() {
    let protected = Protected::with(&[]);
    protected.opens(&[]);
    protected.serve.wait_for_line_with(
        0,
        &[
            "no policy was found",
            "everything but health probes is denied",
        ],
    );
    let mut probe = Client::new(DENIED, protected.sandbox.data());
    probe.headers.clear();
    let answer = probe.send("GET", "/v1/sys/health", "").unwrap();
    assert_eq!(answer.status, 200, "{answer}");

    protected.sandbox.put("main.yaml", &allowing(&[ONE_PREFIX]));
    protected.opens(&[ALLOWED, ONE]);
    protected.only_reports(
        &[ALLOWED, ONE],
        |sandbox| fs::remove_file(sandbox.path_of("main.yaml")).unwrap(),
        &[
            "main.yaml",
            "last policy is gone",
            "stays in force",
            "Stop Vaultwall",
        ],
    );
    protected.only_reports(
        &[ALLOWED, ONE],
        |sandbox| sandbox.put("other.yaml", &policy_of("other", "other", &[], "")),
        &["policies of vault/other are ignored"],
    );
    // The place of the old one is taken by another policy of the same vault.
    protected.sandbox.put("new.yaml", &allowing(&[TWO_PREFIX]));
    protected.opens(&[ALLOWED, TWO]);
}

#[test]
fn a_mounted_config_map() {
    let sandbox = Sandbox::new();
    let put = |version: &str, prefixes: &[&str]| {
        fs::create_dir(sandbox.path_of(version)).unwrap();
        let file = sandbox.path_of(version).join("main.yaml");
        fs::write(file, allowing(prefixes)).unwrap();
        symlink(version, sandbox.path_of("..data_tmp")).unwrap();
        fs::rename(sandbox.path_of("..data_tmp"), sandbox.path_of("..data")).unwrap();
    };
    put("..v1", &[ONE_PREFIX]);
    symlink("..data/main.yaml", sandbox.path_of("main.yaml")).unwrap();
    let folder = sandbox.objects();
    let command = &mut Serve::command(&sandbox);
    let protected = Protected::started(sandbox, command);
    protected.opens(&[ALLOWED, ONE]);
    for (version, prefix, open) in [
        ("..v2", TWO_PREFIX, TWO),
        ("..v3", ONE_PREFIX, ONE),
        ("..v4", TWO_PREFIX, TWO),
    ] {
        let at = |name: &str| folder.join(name);
        let old = fs::read_link(at("..data")).unwrap();
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("main.yaml"), allowing(&[prefix])).unwrap();
        symlink(version, at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
        fs::remove_dir_all(folder.join(old)).unwrap();
        protected.opens(&[ALLOWED, open]);
    }
}

#[test]
fn one_file_by_a_relative_path() {
    let sandbox = Sandbox::new();
    sandbox.put("only.conf", &allowing(&[ONE_PREFIX]));
    let mut command = Serve::command_with(&sandbox, &[("-f", OsStr::new("./only.conf"))]);
    let folder = sandbox.objects();
    let protected = Protected::started(sandbox, command.current_dir(folder));
    protected.opens(&[ALLOWED, ONE]);
    protected.sandbox.put("only.conf", &allowing(&[TWO_PREFIX]));
    protected.opens(&[ALLOWED, TWO]);
    let path = protected.sandbox.path_of("only.conf");
    fs::write(&path, allowing(&[ONE_PREFIX])).unwrap();
    protected.opens(&[ALLOWED, ONE]);
    protected.only_reports(
        &[ALLOWED, ONE],
        |_| fs::remove_file(&path).unwrap(),
        &["only.conf", "cannot be read", "stays in force"],
    );
    fs::write(&path, allowing(&[TWO_PREFIX])).unwrap();
    protected.opens(&[ALLOWED, TWO]);
    // Another file in the folder is left alone.
    protected
        .sandbox
        .put("second.yaml", &allowing(&[ONE_PREFIX]));
    protected
        .sandbox
        .put("only.conf", &allowing(&[TWO_PREFIX, "127.20.0.0/16"]));
    protected.opens(&[ALLOWED, TWO, DENIED]);
}

#[test]
fn folders_that_are_linked_replaced_and_new() {
    let sandbox = Sandbox::new();
    for (release, prefix) in [("release-1", ONE_PREFIX), ("release-2", TWO_PREFIX)] {
        fs::create_dir(sandbox.at(release)).unwrap();
        fs::write(sandbox.at(release).join("main.yaml"), allowing(&[prefix])).unwrap();
    }
    let link = |sandbox: &Sandbox, release: &str| {
        symlink(release, sandbox.at("next")).unwrap();
        fs::rename(sandbox.at("next"), sandbox.at("current")).unwrap();
    };
    link(&sandbox, "release-1");
    let current = sandbox.at("current");
    let mut command = Serve::command_with(&sandbox, &[("-f", current.as_os_str())]);
    let protected = Protected::started(sandbox, &mut command);
    let sandbox = &protected.sandbox;
    protected.opens(&[ALLOWED, ONE]);
    link(sandbox, "release-2");
    protected.opens(&[ALLOWED, TWO]);

    let corp_one = network(&[("one", &[ONE_PREFIX])]).replace("name: corp", "name: more");
    let rule = subnet("one").replace("corp", "more");
    fs::create_dir_all(current.join("new/deeper")).unwrap();
    let more = Path::new("new/deeper/more.yaml");
    fs::write(
        current.join(more),
        [policy("more", &[&rule], ""), corp_one].concat(),
    )
    .unwrap();
    protected.opens(&[ALLOWED, ONE, TWO]);
    fs::remove_dir_all(current.join("new")).unwrap();
    protected.opens(&[ALLOWED, TWO]);
    // The whole folder is gone, as a volume that is not mounted, and comes back.
    protected.only_reports(
        &[ALLOWED, TWO],
        |sandbox| fs::rename(sandbox.at("release-2"), sandbox.at("aside")).unwrap(),
        &["current", "cannot be read", "stays in force"],
    );
    fs::write(sandbox.at("aside/main.yaml"), allowing(&[ONE_PREFIX])).unwrap();
    fs::rename(sandbox.at("aside"), sandbox.at("release-2")).unwrap();
    protected.opens(&[ALLOWED, ONE]);
}

#[test]
fn a_storm_of_writes_ends_with_the_last_content() {
    let protected = Protected::with(&[("main.yaml", &allowing(&[ONE_PREFIX]))]);
    protected.opens(&[ALLOWED, ONE]);
    let path = protected.sandbox.path_of("main.yaml");
    let contents = [allowing(&[]), allowing(&[ONE_PREFIX, "127.38.0.0/16"])];
    std::thread::scope(|threads| {
        let writer = threads.spawn(|| {
            for number in 0..2000 {
                fs::write(&path, &contents[number % 2]).unwrap();
            }
        });
        while !writer.is_finished() {
            let touched_by_none = [(ALLOWED, Verdict::Allowed), (DENIED, Verdict::Denied)];
            protected.sandbox.assert_verdicts(&touched_by_none);
        }
    });
    fs::write(&path, allowing(&[TWO_PREFIX])).unwrap();
    protected.opens(&[ALLOWED, TWO]);
    // Never was half a file taken for a file. That one is empty, as it is when its writer begins, is seen sometimes.
    let log = protected.serve.log();
    let mut errors = log.lines().filter(|line| line.contains("ERROR"));
    assert!(errors.all(|line| line.contains("it is empty")));
}

#[test]
fn events_that_were_lost_are_made_up_for() {
    let protected = Protected::with(&[
        ("main.yaml", &allowing(&[ONE_PREFIX])),
        ("more.yaml", &policy("more", &[], "")),
    ]);
    protected.opens(&[ALLOWED, ONE]);
    let path = |name: &str| protected.sandbox.path_of(name);
    kill_process(protected.serve.pid(), Signal::STOP).unwrap();
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let limit: usize = limit.trim().parse().unwrap();
    // Four events a round, as equal ones in a row count once.
    for _ in 0..=limit / 4 {
        for name in ["main.yaml", "more.yaml"] {
            File::options()
                .append(true)
                .open(path(name))
                .unwrap()
                .write_all(b"\n")
                .unwrap();
        }
    }
    fs::write(path("main.yaml"), allowing(&[TWO_PREFIX])).unwrap();
    protected
        .sandbox
        .assert_verdicts(&Protected::of(&[ALLOWED, ONE]));
    kill_process(protected.serve.pid(), Signal::CONT).unwrap();
    protected.opens(&[ALLOWED, TWO]);
    assert!(!protected.serve.log().contains("ERROR"));
}
