//! Starts that cannot succeed: they end within seconds, with exit code 2 and what is wrong in words.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use vaultwall::runtime::permissions::{PERMISSIONS, Permission, Scope};

use crate::roles::rules;
use testkit::ApiServer;
use testkit::own_address;

/// Longest wait for a start to fail; a connection alone may take five seconds.
const SECONDS: Duration = Duration::from_secs(20);

/// Returns the error of a start that fails, without the lines of the log.
fn fails(kubeconfig: &Path, address: Ipv4Addr) -> String {
    let started = Instant::now();
    let mut process = Command::new(env!("CARGO_BIN_EXE_vaultwall"))
        .arg("controller")
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .args(["--xds-listen", &format!("{address}:8500")])
        .args(["--operations-listen", &format!("{address}:8080")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while process.try_wait().unwrap().is_none() && started.elapsed() < SECONDS {
        std::thread::sleep(Duration::from_millis(10));
    }
    // Ends it if it runs still.
    let _ = process.kill();
    let output = process.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    let (_, error) = said
        .split_once("vaultwall: ")
        .unwrap_or_else(|| panic!("{said}"));
    println!("after {:.1} s: {error}", started.elapsed().as_secs_f32());
    error.trim_end().to_owned()
}

/// Checks that an error is one line and contains each of these.
fn says(error: &str, words: &[&str]) {
    for words in words {
        assert!(error.contains(words), "{words} is not in: {error}");
    }
    assert_eq!(error.lines().count(), 1, "{error}");
}

/// Allows a user everything that the operator needs but one verb on one resource.
fn allow_all_but(server: &ApiServer, user: &str, verb: &str, resource: &str) {
    let wanted =
        |permission: &Permission, found: &str| (found, permission.resource) != (verb, resource);
    server.bind(user, None, user, &rules(Scope::Cluster, wanted));
    let own = rules(Scope::OwnNamespace, wanted);
    server.bind(user, Some("vaultwall-system"), user, &own);
}

#[test]
fn an_error_at_the_start_is_reported_and_ends_the_operator() {
    let server = ApiServer::start();
    let address = own_address();
    let folder = tempfile::tempdir().unwrap();

    // The kubeconfig is not there, is something else, leads nowhere.
    let missing = folder.path().join("missing");
    says(
        &fails(&missing, address),
        &[missing.to_str().unwrap(), "cannot be read"],
    );
    let text = folder.path().join("text");
    std::fs::write(&text, "no kubeconfig").unwrap();
    says(
        &fails(&text, address),
        &["is not a kubeconfig", "line 1 column 1", "--kubeconfig"],
    );
    let valid = server.kubeconfig_for("operator", &["system:masters"]);
    let nowhere = folder.path().join("nowhere");
    let moved = std::fs::read_to_string(&valid).unwrap();
    std::fs::write(&nowhere, moved.replace(":6443", ":6444")).unwrap();
    says(
        &fails(&nowhere, address),
        &[":6444 cannot be reached", "Connection refused"],
    );

    // The kinds are not there.
    let remedy = "vaultwall crds | kubectl apply --server-side -f -";
    says(
        &fails(&valid, address),
        &[
            "trustedservices.vaultwall.dev",
            "vaultnetworkpolicies.vaultwall.dev",
            "virtualnetworks.vaultwall.dev",
            remedy,
        ],
    );
    server.install_crds();

    // The operator's namespace is not there.
    says(
        &fails(&valid, address),
        &[
            "Secret vaultwall-system/vaultwall-ca",
            "cannot be created",
            "kubectl create namespace vaultwall-system",
        ],
    );
    server.apply("{apiVersion: v1, kind: Namespace, metadata: {name: vaultwall-system}}");

    // Another process has a port.
    for (port, what, flag) in [
        (8080, "health and metrics", "--operations-listen"),
        (8500, "proxies", "--xds-listen"),
    ] {
        let _taken = TcpListener::bind((address, port)).unwrap();
        let place = format!("cannot listen on {address}:{port} for {what}");
        says(
            &fails(&valid, address),
            &[&place, "in use", "choose another address with", flag],
        );
    }

    // One permission is missing.
    for (verb, resource) in [
        ("watch", "pods"),
        ("list", "endpointslices"),
        ("update", "vaultnetworkpolicies/status"),
    ] {
        let user = format!("no-{verb}-{}", resource.replace('/', "-"));
        allow_all_but(&server, &user, verb, resource);
        let said = fails(&server.kubeconfig_for(&user, &[]), address);
        let missing: Vec<&str> = said.lines().skip(1).map(str::trim).collect();
        assert_eq!(missing.len(), 1, "{said}");
        assert!(
            missing[0].starts_with(&format!("{verb} {resource}")),
            "{said}"
        );
    }
    // All of them.
    let said = fails(&server.kubeconfig_for("nobody", &[]), address);
    for permission in PERMISSIONS {
        for verb in permission.verbs {
            assert!(
                said.contains(&format!("{verb} {}", permission.resource)),
                "{said}"
            );
        }
    }
}
