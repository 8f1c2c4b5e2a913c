//! `vaultwall explain --id`: the recorded decision, that of today, and what is not known.

use serde_json::json;

use crate::denials::{record, run, written};

const FILES: &str = "-f examples/quickstart";

fn log() -> String {
    let records = [
        record(1, &json!({})),
        // Today a rule lets this pod in.
        record(
            2,
            &json!({"directIpAddress": "127.0.30.1", "callerIpAddress": "127.0.30.1"}),
        ),
        // A list by a query, which is not in the log.
        record(
            3,
            &json!({
                "requestUri": "/v1/secret/metadata/app", "route": "secret secrets/list", "operations": "secrets/list",
            }),
        ),
        record(
            4,
            &json!({"directIpAddress": "127.0.20.1", "callerIpAddress": "203.0.113.9"}),
        ),
        record(
            5,
            &json!({"listener": "management", "reason": "ForbiddenByPlane"}),
        ),
        record(6, &json!({"vault": "team/other"})),
        record(7, &json!({"directIpAddress": null})),
        record(
            8,
            &json!({"reason": "BadRequest", "requestUri": "/v1/secret/data/a;b", "clientAddressWarning": "entry 1"}),
        ),
    ];
    records.map(|record| record.to_string()).join("\n")
}

#[test]
#[rustfmt::skip] // a table
fn a_decision_is_explained() {
    let (_folder, log) = written(&log());
    for (id, code, reason, differs, parts) in [
        ("id-1", 1, "ForbiddenByFirewall", false,
            "ForbiddenByFirewall at 2026-11-22T18:30:01.391Z, for 127.0.30.3 at the data endpoint\
             |the log has no query; it does not show a token of the vault, so that one is taken as sent\
             |Ask the owner of policy vault/quickstart to add an entry"),
        ("id-2", 0, "VirtualNetworkRule", true, "the address of pod build/runner-1"),
        ("id-3", 1, "ForbiddenByFirewall", false, "data plane, by secret secrets/list"),
        ("id-4", 1, "ForbiddenByFirewall", false, "quickstart/ipRules/hq, but 203.0.113.9 is not in 203.0.113.7/32"),
        ("id-5", 1, "ForbiddenByPlane", false, "management endpoint, access Unrestricted"),
        ("id-8", 1, "BadRequest", false, "entry 1|only one meaning"),
    ] {
        let run = run(&format!("explain {FILES} --log {log} --id {id} -o json"));
        assert_eq!(run.code, Some(code), "{id}: {run:?}");
        let answer = run.json();
        assert_eq!((&answer["reason"], &answer["differs"]), (&json!(reason), &json!(differs)), "{id}");
        assert_eq!(answer["recorded"]["decisionId"], id);
        for part in parts.split('|') {
            let steps = answer["trace"].as_array().unwrap();
            assert!(steps.iter().any(|step| step["found"].as_str().unwrap().contains(part)), "{part}: {}", run.stdout);
        }
    }
}

#[test]
fn the_text_begins_with_the_record() {
    let (_folder, log) = written(&log());
    for (id, today, verdict) in [
        ("id-1", "the same reason", "Deny"),
        ("id-2", "another reason", "Allow"),
    ] {
        let run = run(&format!(
            "explain {FILES} --log {log} --id {id} --vault openbao"
        ));
        let lines: Vec<&str> = run.stdout.lines().take(3).collect();
        let number = id.trim_start_matches("id-");
        let recorded =
            format!("recorded    ForbiddenByFirewall at 2026-11-22T18:30:0{number}.391Z");
        assert_eq!(
            lines,
            [
                recorded,
                format!("today       {today}"),
                format!("verdict     {verdict}")
            ]
        );
    }
}

#[test]
#[rustfmt::skip] // a table
fn what_cannot_be_explained() {
    let (_folder, log) = written(&log());
    for (arguments, said) in [
        ("--id nothing", "has no such decision among its 8 records from 2026-11-22T18:30:01.391Z to \
                          2026-11-22T18:30:08.391Z"),
        ("--id id-1 --vault team/other", "the decision is one of the vault vault/openbao, and --vault is team/other"),
        ("--id id-6", "no policy in the files of -f is for the vault team/other"),
        ("--id id-7", "has no valid field directIpAddress"),
        ("--id id-1 --source-ip 10.0.0.1", "cannot be used with"),
        ("--id id-1 --method GET", "cannot be used with"),
    ] {
        let run = run(&format!("explain {FILES} --log {log} {arguments}"));
        assert_eq!(run.code, Some(2), "{arguments}: {run:?}");
        assert!(run.stderr.contains(said), "{arguments}: {}", run.stderr);
    }
    let without_log = run(&format!("explain {FILES} --id id-1"));
    assert_eq!(without_log.code, Some(2));
    assert!(without_log.stderr.contains("--log <FILE>"), "{without_log:?}");
}
