//! Arguments that cannot work are refused at the start, with the reason and the remedy. Exit code 2.

use std::ffi::OsStr;
use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Output};
use std::thread;

use rustix::process::Signal;

use crate::standalone::objects::{ALLOWED, DENIED, allowing, policy, policy_of};
use crate::standalone::sandbox::Sandbox;
use crate::standalone::serve::Serve;
use crate::standalone::sockets::answer_all;
use testkit::client::{SECRET, TOKEN, Verdict};
use testkit::wait::wait_until;
use testkit::{OpenBao, Process, tool};

/// Runs with these options until it ends, which must be with an error that contains all of these.
fn refused(sandbox: &Sandbox, other: &[(&str, &OsStr)], expected: &[&str]) {
    let output = Serve::command_with(sandbox, other).output().unwrap();
    let Output { status, stderr, .. } = output;
    let said = String::from_utf8_lossy(&stderr);
    assert_eq!(status.code(), Some(2), "{other:?}: {said}");
    for text in expected {
        assert!(said.contains(text), "{other:?}: {text} is not in: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
    assert_eq!(sandbox.envoy(), None, "no Envoy is left behind");
}

#[test]
fn values_that_mean_nothing() {
    let sandbox = Sandbox::new();
    for (option, value, expected) in [
        ("--upstream", "openbao", "HOST:PORT"),
        ("--upstream", "openbao:0", "65535"),
        ("--upstream", "https://openbao:8200", "plain HTTP"),
        ("--upstream", "http://openbao", "openbao:8200"),
        ("--upstream", "[::1]:8200", "only IPv4"),
        ("--upstream", "10.0.0.256:8200", "not an IPv4 address"),
        ("--data-listen", "8300", "IPv4 address and a port"),
        ("--data-listen", ":8300", "0.0.0.0:8300"),
        ("--data-listen", "localhost:8300", "127.0.0.1:8300"),
        ("--data-listen", "0.0.0.0", "0.0.0.0:8300"),
        ("--data-listen", "127.0.0.1:0", "IPv4 address and a port"),
        (
            "--management-listen",
            "[::1]:8400",
            "IPv4 address and a port",
        ),
        ("--vault", "openbao", "NAMESPACE/SERVICE"),
    ] {
        let value_of = [(option, OsStr::new(value))];
        refused(&sandbox, &value_of, &[option, value, expected]);
    }
}

/// The node that Envoy asks for is the address, so every spelling of it is the same vault.
#[test]
fn the_vaults_address_as_a_url_and_as_a_name() {
    let sandbox = Sandbox::new();
    let _vault = OpenBao::start(sandbox.upstream(), &sandbox.at(""));
    sandbox.put("main.yaml", &allowing(&[]));
    let url = format!("http://{}/", sandbox.upstream());
    let mut serve = Serve::run(&mut Serve::command_with(
        &sandbox,
        &[("--upstream", OsStr::new(&url))],
    ));
    sandbox.wait_for_verdicts(&[(ALLOWED, Verdict::Allowed), (DENIED, Verdict::Denied)]);
    let envoy = sandbox.envoy();
    serve.kill();
    drop(serve);
    let mut serve = Serve::start(&sandbox);
    assert_eq!(sandbox.envoy(), envoy, "it is taken over");
    serve.stop(Signal::TERM);

    // `localhost` has the address 127.0.0.1, and often ::1, which Envoy does not use.
    let vault = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = vault.local_addr().unwrap().port();
    thread::spawn(move || vault.incoming().flatten().for_each(answer_all));
    let name = format!("localhost:{port}");
    let serve = Serve::run(&mut Serve::command_with(
        &sandbox,
        &[("--upstream", OsStr::new(&name))],
    ));
    sandbox.wait_for_verdicts(&[(ALLOWED, Verdict::Allowed), (DENIED, Verdict::Denied)]);
    assert!(!serve.log().contains("does not answer"), "{}", serve.log());
}

/// Without the message, clients get the vault's own 400, and nobody knows which connection it is about.
#[test]
fn a_vault_that_expects_tls_is_named() {
    let sandbox = Sandbox::new();
    sandbox.put("main.yaml", &allowing(&[]));
    let home = sandbox.at("tls");
    fs::create_dir(&home).unwrap();
    let mut command = Command::new(tool("bao"));
    command
        .args(["server", "-dev-tls", "-dev-no-store-token"])
        .arg(format!("-dev-root-token-id={TOKEN}"))
        .arg(format!("-dev-listen-address={}", sandbox.upstream()))
        .env("HOME", &home);
    let _vault = Process::start("openbao", command, &home);
    wait_until("the vault listens", || {
        TcpStream::connect(sandbox.upstream()).is_ok()
    });
    let serve = Serve::start(&sandbox);
    let upstream = sandbox.upstream().to_string();
    let expected = [
        "expects TLS",
        &upstream,
        "--upstream",
        "spec.proxy.upstreamTls",
    ];
    serve.wait_for_line_with(0, &expected);
    let answer = sandbox.client(ALLOWED).send("GET", SECRET, "").unwrap();
    assert_eq!(answer.status, 400, "{answer}");
}

#[test]
fn a_name_that_cannot_be_resolved_is_named() {
    let sandbox = Sandbox::new();
    sandbox.put("main.yaml", &allowing(&[]));
    // No name under `invalid` exists (RFC 6761).
    let name = [("--upstream", OsStr::new("vault.invalid:8200"))];
    let serve = Serve::run(&mut Serve::command_with(&sandbox, &name));
    serve.wait_for_line_with(0, &["vault.invalid:8200", "--upstream", "does not answer"]);
    sandbox.wait_for_verdicts(&[(DENIED, Verdict::Denied)]);
    assert_eq!(
        sandbox
            .client(ALLOWED)
            .send("GET", SECRET, "")
            .unwrap()
            .status,
        503
    );
}

#[test]
fn an_envoy_that_is_none() {
    let sandbox = Sandbox::new();
    sandbox.put("main.yaml", &allowing(&[]));
    let missing = sandbox.at("nowhere/envoy");
    let missing = missing.as_os_str();
    refused(
        &sandbox,
        &[("--envoy", missing)],
        &[
            missing.to_str().unwrap(),
            "not found",
            "install Envoy",
            "--envoy",
        ],
    );
    refused(
        &sandbox,
        &[("--envoy", OsStr::new("no-such-envoy"))],
        &["no-such-envoy", "not found", "--envoy"],
    );
    let text = sandbox.at("envoy.txt");
    fs::write(&text, "not a program").unwrap();
    refused(
        &sandbox,
        &[("--envoy", text.as_os_str())],
        &[text.to_str().unwrap(), "cannot be run", "--envoy"],
    );
}

#[test]
fn an_envoy_that_ends_at_once_is_tried_again() {
    let sandbox = Sandbox::new();
    sandbox.put("main.yaml", &allowing(&[]));
    let other = [("--envoy", OsStr::new("/bin/false"))];
    let mut serve = Serve::run(&mut Serve::command_with(&sandbox, &other));
    for _ in 0..3 {
        let (_, line) = serve.wait_for_line(0, "Envoy ended");
        assert!(line.contains("exit code 1"), "{line}");
    }
    assert_eq!(sandbox.verdict(ALLOWED), Verdict::Refused);
    assert_eq!(serve.stop(Signal::TERM).code(), Some(0));
}

#[test]
fn addresses_that_are_taken() {
    let sandbox = Sandbox::new();
    sandbox.put("main.yaml", &allowing(&[]));
    for (address, option) in [
        (sandbox.data(), "--data-listen"),
        (sandbox.management(), "--management-listen"),
    ] {
        let _taken = TcpListener::bind(address).unwrap();
        let address = address.to_string();
        refused(
            &sandbox,
            &[],
            &["cannot listen", &address, option, "in use"],
        );
    }
    let data = sandbox.data().to_string();
    refused(
        &sandbox,
        &[("--management-listen", OsStr::new(&data))],
        &[
            "--data-listen and --management-listen are the same address; choose another port for one",
        ],
    );
    // An address of the documentation, which no machine has.
    refused(
        &sandbox,
        &[("--data-listen", OsStr::new("192.0.2.1:8300"))],
        &["192.0.2.1:8300", "--data-listen"],
    );
}

#[test]
fn paths_that_cannot_be_used() {
    let sandbox = Sandbox::new();
    sandbox.put("main.yaml", &allowing(&[]));
    let missing = sandbox.at("missing.yaml");
    let dangling = sandbox.at("dangling.yaml");
    symlink("nowhere", &dangling).unwrap();
    for path in [&missing, &dangling] {
        let name = path.to_str().unwrap();
        let expected = [name, "cannot be read", "check that the path exists"];
        refused(&sandbox, &[("-f", path.as_os_str())], &expected);
    }

    let beneath_a_file = sandbox.path_of("main.yaml").join("state");
    let open = sandbox.at("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    let long = sandbox.at(&"x".repeat(120));
    for (path, expected) in [
        (&beneath_a_file, "--state-dir"),
        (&sandbox.path_of("main.yaml"), "--state-dir"),
        (&open, "other users"),
        (&long, "short name"),
    ] {
        let name = path.to_str().unwrap();
        refused(
            &sandbox,
            &[("--state-dir", path.as_os_str())],
            &[name, expected],
        );
    }

    let folder = sandbox.objects();
    refused(
        &sandbox,
        &[("--access-log", folder.as_os_str())],
        &[folder.to_str().unwrap(), "--access-log"],
    );
}

#[test]
fn another_vaultwall_in_the_same_folder() {
    let sandbox = Sandbox::new();
    sandbox.put("main.yaml", &allowing(&[]));
    let serve = Serve::start(&sandbox);
    let envoy = sandbox.envoy().unwrap();
    let output = Serve::command(&sandbox).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("xds.sock: another process serves"), "{said}");
    assert_eq!(
        sandbox.envoy(),
        Some(envoy),
        "the first one is not disturbed"
    );
    assert!(!serve.log().contains("ERROR"));
}

#[test]
fn several_vaults() {
    let sandbox = Sandbox::new();
    let address = Ipv4Addr::new(127, 35, 0, 1);
    sandbox.put("main.yaml", &allowing(&[&format!("{address}/32")]));
    sandbox.put("other.yaml", &policy_of("other", "other", &[], ""));
    refused(
        &sandbox,
        &[],
        &["vault/openbao, vault/other", "--vault NAMESPACE/SERVICE"],
    );
    let serve = Serve::run(&mut Serve::command_with(
        &sandbox,
        &[("--vault", OsStr::new("vault/openbao"))],
    ));
    let ignored = "policies of vault/other are ignored";
    let file = sandbox.path_of("other.yaml").display().to_string();
    let remedy = "correct metadata.namespace or spec.targetRef.name of policy other in";
    serve.wait_for_line_with(0, &[ignored, remedy, &file, "--vault vault/other"]);
    serve.wait_for_line(0, "in force at vault/openbao");
    // Without its policy, there is nothing to ignore.
    fs::remove_file(sandbox.path_of("other.yaml")).unwrap();
    serve.wait_for_line_with(0, &["the file is deleted", &file]);
    let said = serve.lines();
    sandbox.put("main.yaml", &allowing(&[]));
    serve.wait_for_line(said, "in force at vault/openbao");
    assert_eq!(serve.log().matches(ignored).count(), 1, "{}", serve.log());
}

/// The vault would be another one than that of `kubectl apply`.
#[test]
fn a_policy_without_a_namespace_is_reported_once() {
    let sandbox = Sandbox::new();
    let unnamed = |name: &str, labels: &str| {
        policy(name, &[], "").replace("namespace: vault", &format!("labels: {labels}"))
    };
    sandbox.put("main.yaml", &unnamed("main", "{}"));
    let serve = Serve::start(&sandbox);
    let warned = "has no namespace: default is assumed here";
    let file = |name: &str| sandbox.path_of(name).display().to_string();
    serve.wait_for_line_with(0, &[warned, &file("main.yaml"), "write metadata.namespace"]);
    let said = serve.lines();
    sandbox.put("more.yaml", &unnamed("more", "{}"));
    serve.wait_for_line_with(said, &[warned, &file("more.yaml")]);
    let said = serve.lines();
    sandbox.put("main.yaml", &unnamed("main", "{edited: again}"));
    sandbox.put("last.yaml", &unnamed("last", "{}"));
    serve.wait_for_line_with(said, &[warned, &file("last.yaml")]);
    let of_main = serve.log();
    let of_main = of_main
        .lines()
        .filter(|line| line.contains(warned) && line.contains(&file("main.yaml")));
    assert_eq!(of_main.count(), 1, "{}", serve.log());
}
