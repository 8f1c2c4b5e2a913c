//! `vaultwall denials` and `vaultwall explain --id` as people and scripts meet them: logs of every kind, groups, and
//! decisions that are looked up.

mod decisions;
mod follow;

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::program::Run;

/// A record of the data endpoint of the quickstart's vault at this second, with these fields.
fn record(second: u32, fields: &Value) -> Value {
    let mut record = json!({
        "time": format!("2026-11-22T18:30:{second:02}.391Z"), "vault": "vault/openbao", "listener": "data",
        "decisionId": format!("id-{second}"), "reason": "ForbiddenByFirewall", "plane": "data",
        "operations": "secrets/get", "route": "secret secrets/get", "method": "GET",
        "requestUri": "/v1/secret/data/app", "directIpAddress": "127.0.30.3", "callerIpAddress": "127.0.30.3",
        "httpStatusCode": 403, "responseDetails": "rbac_access_denied_matched_policy[ForbiddenByFirewall]",
        "fieldOfAnotherVersion": [1],
    });
    let fields = fields.as_object().unwrap().clone();
    record.as_object_mut().unwrap().extend(fields);
    record
}

/// An agent that repeats, another caller, an allowed request, one that was not decided, and a line of Envoy itself.
fn log() -> String {
    let agent = |second, path: &str| record(second, &json!({"requestUri": path}));
    let records = [
        agent(1, "/v1/secret/data/app"),
        agent(2, "/v1/secret/data/app"),
        agent(3, "/v1/secret/data/other"),
        record(
            4,
            &json!({"callerIpAddress": "203.0.113.9", "directIpAddress": "127.0.20.1"}),
        ),
        record(
            5,
            &json!({"reason": "IpRule", "responseDetails": "via_upstream"}),
        ),
        record(
            6,
            &json!({
                "reason": null, "decisionId": null, "requestUri": null, "operations": null,
                "responseDetails": "http1.codec_error", "vault": "team/other",
            }),
        ),
    ];
    let mut text = String::from("[2026-11-22 18:30:00.000][1][warning] starting\n");
    for record in records {
        writeln!(text, "{record}").unwrap();
    }
    text
}

/// A log in a folder of its own.
fn written(text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    fs::write(&log, text).unwrap();
    let log = log.to_str().unwrap().to_owned();
    (folder, log)
}

fn vaultwall(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vaultwall"));
    command
        .args(arguments.split(' '))
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")));
    command
}

fn run(arguments: &str) -> Run {
    Run::of(&mut vaultwall(arguments))
}

#[test]
fn an_agent_that_repeats_is_one_row() {
    let (_folder, log) = written(&log());
    let run = run(&format!("denials --log {log} --vault vault/openbao"));
    assert_eq!(run.code, Some(0), "{run:?}");
    let rows: Vec<Vec<&str>> = run
        .stdout
        .lines()
        .map(|line| {
            line.split("  ")
                .map(str::trim)
                .filter(|cell| !cell.is_empty())
                .collect()
        })
        .collect();
    let expected: [&[&str]; 5] = [
        &[
            "LAST",
            "COUNT",
            "SINCE",
            "VAULT",
            "WHO",
            "REASON",
            "OPERATIONS",
            "REQUEST",
            "DECISION",
        ],
        &[
            "2026-11-22T18:30:04Z",
            "1",
            "2026-11-22T18:30:04Z",
            "vault/openbao",
            "203.0.113.9 through 127.0.20.1",
            "ForbiddenByFirewall",
            "secrets/get",
            "GET /v1/secret/data/app",
            "id-4",
        ],
        &[
            "2026-11-22T18:30:03Z",
            "3",
            "2026-11-22T18:30:01Z",
            "vault/openbao",
            "127.0.30.3",
            "ForbiddenByFirewall",
            "secrets/get",
            "GET /v1/secret/data/other and 1 more",
            "id-3",
        ],
        &[],
        &["4 denials since 2026-11-22T18:30:01Z"],
    ];
    assert_eq!(rows, expected);
    assert!(
        run.stderr
            .contains("1 line is no record of the access log and was skipped"),
        "{run:?}"
    );
}

#[test]
fn json_has_whole_groups() {
    let (_folder, log) = written(&log());
    let answer = run(&format!("denials --log {log} -o json")).json();
    assert_eq!(answer["since"], "2026-11-22T18:30:01.391Z");
    assert_eq!(
        (&answer["count"], &answer["forgotten"]),
        (&json!(5), &json!(0))
    );
    let [undecided, _, agent] = &answer["groups"].as_array().unwrap()[..] else {
        panic!("{answer}")
    };
    assert_eq!(
        (&undecided["reason"], &undecided["details"]),
        (&Value::Null, &json!("http1.codec_error"))
    );
    assert_eq!(
        *agent,
        json!({
            "vault": "vault/openbao", "who": "127.0.30.3", "through": null, "listener": "data",
            "reason": "ForbiddenByFirewall", "details": null, "operations": "secrets/get",
            "count": 3, "first": "2026-11-22T18:30:01.391Z", "last": "2026-11-22T18:30:03.391Z",
            "addresses": ["127.0.30.3"], "requests": ["GET /v1/secret/data/other", "GET /v1/secret/data/app"],
            "more": false, "decisionIds": ["id-3", "id-2", "id-1"], "problem": null,
        })
    );
}

#[test]
#[rustfmt::skip] // a table
fn a_part_of_the_log() {
    let (_folder, log) = written(&log());
    for (arguments, count) in [
        ("", 5),
        ("--vault openbao -n vault", 4),
        ("--vault team/other", 1),
        ("--vault team/nobody", 0),
        ("--since 2026-11-22T18:30:04Z", 2),
        ("--since 2026-11-22T19:30:04+01:00", 2),
        ("--since 2026-11-22T18:30:07Z", 0),
        ("--since 876000h", 5),
    ] {
        let run = run(format!("denials --log {log} -o json {arguments}").trim());
        assert_eq!(run.code, Some(0), "{arguments}: {run:?}");
        assert_eq!(run.json()["count"], count, "{arguments}");
    }
}

#[test]
#[rustfmt::skip] // a table
fn exit_codes_and_messages() {
    let missing = "cannot be read: No such file or directory";
    for (text, arguments, code, said) in [
        (Some(""), "", 0, "no denials since"),
        (Some("no\nlog\n"), "", 2, "has no record of the access log, but 2 other lines"),
        (Some("{\"time\":\"2026-11-22T18:30:01Z\",\"vault\":\"a/b\""), "", 2, "but 1 other line;"),
        (None, "", 2, missing),
        (None, "--follow", 2, missing),
        (Some(""), "--vault openbao", 2, "--vault openbao has no namespace"),
        (Some(""), "--vault a/openbao -n b", 2, "name two namespaces"),
        (Some(""), "--since yesterday", 2, "write a duration of at least one second"),
        (Some(""), "-n vault", 2, "--vault <SERVICE>"),
    ] {
        let (folder, log) = written(text.unwrap_or_default());
        if text.is_none() {
            fs::remove_file(&log).unwrap();
        }
        let run = run(format!("denials --log {log} {arguments}").trim());
        assert_eq!(run.code, Some(code), "{arguments}: {run:?}");
        assert!((run.stdout + &run.stderr).contains(said), "{arguments}: {said}");
        drop(folder);
    }
}

#[test]
fn logs_of_pods_are_read_from_stdin() {
    let prefix = "[pod/openbao-firewall-0/envoy] ";
    let lines: Vec<String> = log()
        .lines()
        .map(|line| format!("{prefix}{line}"))
        .collect();
    // The last line without its end, as when the log is cut.
    let lines = lines.join("\n");
    for (arguments, count) in [("-o json", 1), ("-o json --follow", 5)] {
        let mut child = vaultwall(&format!("denials --log - {arguments}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(lines.as_bytes()).unwrap();
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let values: Vec<Value> = serde_json::Deserializer::from_str(&text)
            .into_iter()
            .map(Result::unwrap)
            .collect();
        // A whole answer; or a line for each first denial, and the second of the agent.
        assert_eq!(values.len(), if count == 1 { 1 } else { 4 }, "{text}");
    }
}

#[test]
fn a_long_line_is_no_record_and_hides_none() {
    let too_long = record(1, &json!({"userAgent": "x".repeat(100_000)}));
    let (_folder, log) = written(&format!("{too_long}\n{}\n", record(2, &json!({}))));
    let run = run(&format!("denials --log {log} -o json"));
    assert_eq!(run.json()["groups"][0]["decisionIds"], json!(["id-2"]));
    assert!(run.stderr.contains("1 line is no record"), "{run:?}");
}
