//! Denials of a real Envoy: each is found in its log by `vaultwall denials`, and by `vaultwall explain --id` with the
//! id that the client received, with one and the same reason.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::program::Run;
use crate::standalone::access_log::{protected, send};
use crate::standalone::objects::{ALLOWED, DENIED};
use testkit::wait::wait_for;

fn vaultwall(arguments: &[&str], log: &Path) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vaultwall"));
    Run::of(command.args(arguments).arg("--log").arg(log))
}

/// Id of the decision in the message of a denial, `(decision ID)`.
fn decision_id(body: &str) -> String {
    let (_, rest) = body.rsplit_once("(decision ").unwrap();
    rest.split_once(')').unwrap().0.to_owned()
}

#[test]
fn a_denial_is_the_same_everywhere() {
    let (sandbox, _vault, _serve) = protected("All");
    let log = sandbox.at("access.log");
    let objects = sandbox.objects();
    let (data, management) = (sandbox.data(), sandbox.management());
    let ask = |source, server, target: &str| send(source, server, "", "GET", target);
    assert_eq!(ask(ALLOWED, data, "/v1/secret/data/app").status, 200);

    let mut ids = BTreeMap::new();
    for (reason, source, server, target, operation) in [
        (
            "ForbiddenByFirewall",
            DENIED,
            data,
            "/v1/secret/data/app",
            "secrets/get",
        ),
        (
            "ForbiddenByFirewall",
            DENIED,
            data,
            "/v1/secret/metadata/app?list=true",
            "secrets/list",
        ),
        (
            "ForbiddenByPlane",
            DENIED,
            management,
            "/v1/secret/data/app",
            "secrets/get",
        ),
        ("ForbiddenCritical", ALLOWED, data, "/v1/sys/raw/core", ""),
        ("BadRequest", ALLOWED, data, "/v1/secret/data/a;b", ""),
    ] {
        let answer = ask(source, server, target);
        assert!(answer.body.contains(reason), "{answer}");
        ids.insert(decision_id(&answer.body), (reason, operation));
    }
    // Envoy refuses it before anything is decided.
    assert_eq!(
        ask(DENIED, data, "http://vault/v1/secret/data/app").status,
        400
    );

    let denials = wait_for("all denials in the log", || {
        let run = vaultwall(&["denials", "-o", "json", "--vault", "vault/openbao"], &log);
        (run.json()["count"] == 6).then(|| run.json())
    });
    let groups = denials["groups"].as_array().unwrap();
    let undecided: Vec<&Value> = groups
        .iter()
        .filter(|group| group["reason"].is_null())
        .collect();
    assert_eq!(undecided.len(), 1, "{denials}");
    assert_eq!(undecided[0]["who"], DENIED.to_string());

    for (id, (reason, operation)) in ids {
        let group = groups
            .iter()
            .find(|group| group["decisionIds"] == json!([id]));
        assert_eq!(group.unwrap()["reason"], reason);
        let explain = [
            "explain",
            "-o",
            "json",
            "--id",
            &id,
            "-f",
            objects.to_str().unwrap(),
        ];
        let run = vaultwall(&explain, &log);
        assert_eq!(run.code, Some(1), "{run:?}");
        let answer = run.json();
        assert_eq!(
            (&answer["reason"], &answer["differs"]),
            (&json!(reason), &json!(false)),
            "{run:?}"
        );
        assert_eq!(answer["recorded"]["reason"], reason);
        if !operation.is_empty() {
            assert_eq!(answer["operations"], json!([operation]), "{run:?}");
        }
        assert!(run.stdout.contains("\"remedy\""), "{run:?}");
    }
}
