//! An application that uses hvac 2.4.0 (Python), `tests/clients/application.py`.

use std::process::Command;

use crate::clients::scene::Scene;
use testkit::client::TOKEN;
use testkit::tool;
use testkit::tools::repository;

const ALLOWED: &str = "127.10.0.1";
const DENIED: &str = "127.20.0.1";

/// Runs the application. Returns its steps, each with its result.
fn run(endpoint: impl std::fmt::Display, from: &str) -> Vec<(String, String)> {
    let output = Command::new(tool("hvac-python"))
        .args(["-B", "-W", "ignore::DeprecationWarning"])
        .arg(repository().join("tests/clients/application.py"))
        .args([&format!("http://{endpoint}"), from, TOKEN])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let text = String::from_utf8(output.stdout).unwrap();
    let steps = text.lines().map(|line| line.split_once(' ').unwrap());
    steps
        .map(|(name, result)| (name.into(), result.into()))
        .collect()
}

fn scene() -> Scene {
    let scene = Scene::start(&[&format!("{ALLOWED}/32")]);
    scene.owner("POST sys/auth/approle", r#"{"type": "approle"}"#);
    scene.owner("POST sys/mounts/transit", r#"{"type": "transit"}"#);
    scene.owner("POST sys/namespaces/team-a", "{}");
    scene.owner_in("team-a", "POST sys/mounts/kv", r#"{"type": "kv"}"#);
    scene
}

#[test]
fn an_application_with_hvac_works_from_an_allowed_address() {
    let scene = scene();
    let expected = [
        ("authenticated", "True"),
        ("health", "False"),
        ("lookup", "['root']"),
        ("read", "correct horse"),
        ("write", "['a', 'c']"),
        ("list", "['one']"),
        ("transit", "aG9yc2U="),
        ("approle", "True True hvac"),
        ("wrapped", "['default']"),
        ("namespace", "team-a"),
        (
            "mounts",
            "['cubbyhole/', 'identity/', 'secret/', 'sys/', 'transit/']",
        ),
    ];
    let expected = expected.map(|(name, result)| (name.to_owned(), result.to_owned()));
    assert_eq!(run(scene.sandbox.data(), ALLOWED), expected);
}

/// The library raises the exception of a 403, with the firewall's text. Its `is_authenticated` is false for any error.
#[test]
fn a_denied_application_gets_the_reason_in_hvacs_exception() {
    let scene = scene();
    for (endpoint, from, served, reason, address) in [
        (
            scene.sandbox.data(),
            DENIED,
            &["health"][..],
            "ForbiddenByFirewall",
            DENIED,
        ),
        (
            scene.sandbox.management(),
            DENIED,
            &["authenticated", "health", "lookup", "mounts"],
            "ForbiddenByPlane",
            "Use the data endpoint",
        ),
    ] {
        for (name, result) in run(endpoint, from) {
            if served.contains(&name.as_str()) {
                assert!(!result.contains("Vaultwall"), "{name}: {result}");
                continue;
            }
            if name == "authenticated" {
                assert_eq!(result, "False");
                continue;
            }
            let denied = "Forbidden Vaultwall denied this request to vault/openbao";
            assert!(result.starts_with(denied), "{name}: {result}");
            for text in [reason, address, "decision"] {
                assert!(result.contains(text), "{name}: {text} is not in: {result}");
            }
        }
    }
}
