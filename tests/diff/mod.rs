//! `vaultwall diff` of two sets of files, as people and scripts meet it: exit codes, the keys of its JSON, its words.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::program::Run;

const OLD: &str = include_str!("old.yaml");
const FACTS: &str = "tests/diff/facts.yaml";
const CLIENTS: &str = "tests/diff/clients.jsonl";

/// Files after a change: the old ones with texts replaced.
struct Change(TempDir);

impl Change {
    fn of(edits: &[(&str, &str)]) -> Self {
        let mut text = OLD.to_owned();
        for (old, new) in edits {
            assert!(text.contains(old), "{old}");
            text = text.replace(old, new);
        }
        Self::with(&text)
    }

    fn with(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("new.yaml"), text).unwrap();
        Self(folder)
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("new.yaml")
    }

    /// Compares with the old file and these further arguments.
    fn diff(&self, more: &[&str]) -> Run {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vaultwall"));
        command
            .arg("diff")
            .arg("-f")
            .arg(self.file())
            .arg("--against")
            .arg("tests/diff/old.yaml");
        Run::of(command.args(more).current_dir(env!("CARGO_MANIFEST_DIR")))
    }

    /// The same, with the pods on both sides.
    fn diff_with_pods(&self, more: &[&str]) -> Run {
        self.diff(&[&["-f", FACTS, "--against", FACTS], more].concat())
    }
}

const NO_RUNNERS: (&str, &str) = ("  - subnet: {virtualNetwork: corp, name: build}\n", "");
const HALF_OFFICE: (&str, &str) = ("198.51.100.0/24", "198.51.100.0/25");

/// Edits, with pods or without, exit code, parts of the text that are there, parts that are not.
type Row = (
    &'static [(&'static str, &'static str)],
    bool,
    i32,
    &'static [&'static str],
    &'static [&'static str],
);

#[rustfmt::skip] // read by eye
const ANSWERS: &[Row] = &[
    (&[], true, 0, &["no firewall changes"], &["loses:"]),
    // Another spelling of the same.
    (&[("team: build", "\"team\": \"build\"")], true, 0, &["no firewall changes"], &["edited"]),
    (&[HALF_OFFICE], true, 1, &[
        "edited: VaultNetworkPolicy vault/main\n",
        "  spec.ipRules[0].value: \"198.51.100.0/24\" is now \"198.51.100.0/25\"",
        "  loses: 198.51.100.128/25\n         by main/ipRules/office, data endpoint: control, data, session",
    ], &["gains"]),
    (&[("198.51.100.0/24", "198.51.100.0/23")], true, 0, &[
        "  gains: 198.51.101.0/24\n         by main/ipRules/office, data endpoint: control, data, session",
    ], &["loses:"]),
    (&[NO_RUNNERS], true, 1, &[
        "spec.virtualNetworkRules[0]: removed",
        "  loses: pods of build, service account runner (10.1.0.1, 10.1.0.2)\n         by main/virtual",
    ], &["none is known", "everybody"]),
    // Without pods, one stands for those of the rule.
    (&[NO_RUNNERS], false, 1, &["loses: pods selected by namespaces team=build", "pods app=runner (none is known)"], &[]),
    (&[("  bypass: TrustedServices\n  trustedServices: {names: [payroll]}\n", "")], true, 1, &[
        "setting bypass: -TrustedServices, +None",
        "setting trustedServices.scenarios: -TrustedService/payroll/read-secrets (secrets/get)",
        "loses: pod of payroll, service account worker (10.1.0.7)\n         by TrustedService/payroll/read-secrets, \
         data endpoint: data (secrets/get) with a token of the vault",
    ], &[]),
    (&[("  bypass: TrustedServices\n  trustedServices: {names: [payroll]}\n", "")], false, 1, &[
        "loses: pods of payroll, service account worker (none is known)",
    ], &[]),
    (&[("operations: [secrets/get]", "operations: [secrets/set]")], true, 1, &[
        "data (secrets/get) with a token of the vault", "gains: pod of payroll", "(secrets/set",
    ], &[]),
    // An identity by token, from any address that no rule allows; its keys need not be known.
    (&[("  identities: [", "  identities: [{federatedCredential: {issuer: \"https://ci.example\", \
        subject: \"repo:shop\", audiences: [vault], jwksUri: \"https://ci.example/jwks\"}}, ")], true, 0, &[
        "setting trustedServices.identities: +TrustedService/payroll: subject repo:shop of issuer https://ci.example",
        "gains: everybody else, with a token of repo:shop\n         by TrustedService/payroll",
        "data (secrets/get) with a token",
    ], &["loses:", "gains: 10.20.0.0/16"]),
    // A service account by its token in place of its pod.
    (&[("names: [payroll]", "names: [payroll], proof: Token")], true, 1, &[
        "loses: pod of payroll, service account worker (10.1.0.7), except with a token of \
         system:serviceaccount:payroll:worker",
        "gains: everybody else, with a token of system:serviceaccount:payroll:worker",
    ], &[]),
    // The subnet's owner takes the key back.
    (&[("  - {name: dc, serviceEndpoints: [Vault]", "  - {name: dc")], true, 1, &[
        "edited: VirtualNetwork corp", "loses: 10.20.0.0/16\n         by main/virtualNetworkRules/dc",
    ], &[]),
    (&[("  bypass:", "  defaultAction: Allow\n  bypass:")], true, 0, &[
        "setting defaultAction: -Deny, +Allow", "gains: everybody else\n         by DefaultAction",
    ], &["loses:"]),
    (&[("  bypass:", "  management: {access: Disabled}\n  bypass:")], true, 1, &[
        "setting management.access: -Unrestricted, +Disabled",
        "loses: everybody else\n         by ControlPlane, management endpoint: control, session",
    ], &[]),
    (&[("  bypass:", "  denial: Drop\n  bypass:")], true, 0, &["setting denial: -Reject, +Drop", "nobody loses or gains"], &[]),
    // The path of the engine changes, and with it the operation of the old path.
    (&[("path: secret", "path: kv")], true, 1, &["setting vault.engines: -secret (KvV2), +kv (KvV2)", "loses: pod of payroll"], &[]),
];

#[test]
fn answers_name_who_loses_and_who_gains() {
    for (edits, with_pods, code, parts, absent) in ANSWERS {
        let change = Change::of(edits);
        let run = if *with_pods {
            change.diff_with_pods(&[])
        } else {
            change.diff(&[])
        };
        assert_eq!(run.code, Some(*code), "{edits:?}\n{run:?}");
        for part in *parts {
            assert!(
                run.stdout.contains(part),
                "{edits:?}: {part}\n{}",
                run.stdout
            );
        }
        for part in *absent {
            assert!(
                !run.stdout.contains(part),
                "{edits:?}: {part}\n{}",
                run.stdout
            );
        }
        assert!(
            run.stdout
                .starts_with("the author of the change was not checked"),
            "{run:?}"
        );
    }
}

/// Trusted proxies that are pods, of which none is in the files.
#[test]
fn clients_of_proxies_that_are_not_known_are_compared() {
    let behind = |proxies: &str| {
        let settings = format!(
            "  clientAddress: {{source: XForwardedFor, trustedProxies: [{proxies}]}}\n  bypass:"
        );
        Change::of(&[("  bypass:", &settings)])
    };
    let pods = "{pods: {namespaceSelector: {}, podSelector: {matchLabels: {app: ingress}}}}";
    let (with, without) = (behind(&format!("10.9.0.7, {pods}")), behind("10.9.0.7"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_vaultwall"));
    command
        .arg("diff")
        .arg("-f")
        .arg(without.file())
        .arg("--against")
        .arg(with.file());
    let run = Run::of(&mut command);
    assert_eq!(run.code, Some(1), "{run:?}");
    let line = "loses: 198.51.100.0/24, through trusted proxies that are pods (none is known)\n         by main/ip";
    assert!(run.stdout.contains(line), "{}", run.stdout);
    assert!(!run.stdout.contains("240."), "{}", run.stdout);
}

#[test]
fn long_answers_are_cut_in_the_text_alone() {
    let rule = |number: u8| format!("  - {{name: r{number}, value: 203.0.113.{number}}}\n");
    let rules: String = (0..60).step_by(2).map(rule).collect();
    let office = "  - {name: office, value: 198.51.100.0/24}\n";
    let change = Change::of(&[(office, &format!("{office}{rules}"))]);
    let run = change.diff(&[]);
    assert_eq!(run.code, Some(0), "{run:?}");
    for part in [
        "  … and 10 more fields; -o json has all",
        "  … and 10 more groups that gain access; -o json has all",
    ] {
        assert!(run.stdout.contains(part), "{part}\n{}", run.stdout);
    }
    let json = change.diff(&["-o", "json"]).json();
    assert_eq!(json["vaults"][0]["gains"].as_array().unwrap().len(), 30);
}

#[test]
fn the_author_is_checked_first() {
    let change = Change::of(&[NO_RUNNERS, HALF_OFFICE]);
    for (who, first) in [
        (
            &["--source-ip", "198.51.100.200"][..],
            "YOU WOULD LOCK YOURSELF OUT: 198.51.100.200 loses vault vault/openbao",
        ),
        (
            &["--pod", "build/runner-1"],
            "YOU WOULD LOCK YOURSELF OUT: pod build/runner-1 loses vault vault/openbao",
        ),
        (
            &["--source-ip", "198.51.100.1"],
            "the author of the change loses nothing",
        ),
        (
            &["--source-ip", "198.51.100.1", "--pod", "build/runner-2"],
            "YOU WOULD LOCK YOURSELF OUT: pod build/runner-2",
        ),
    ] {
        let run = change.diff_with_pods(who);
        assert_eq!(run.code, Some(1), "{run:?}");
        assert!(run.stdout.starts_with(first), "{who:?}\n{}", run.stdout);
    }
    let unknown = change.diff(&["--pod", "build/runner-1"]);
    assert_eq!(unknown.code, Some(2), "{unknown:?}");
    assert!(
        unknown
            .stderr
            .contains("there is no pod build/runner-1 with an address"),
        "{unknown:?}"
    );
    // One who loses the address of the firewall itself.
    let gone = Change::with("# no objects\n").diff_with_pods(&["--source-ip", "10.20.0.1"]);
    assert!(
        gone.stdout
            .starts_with("YOU WOULD LOCK YOURSELF OUT: 10.20.0.1"),
        "{gone:?}"
    );
}

#[test]
fn a_vault_without_policies_is_said_loudly() {
    let gone = Change::with("# no objects\n").diff(&[]);
    assert_eq!(gone.code, Some(1), "{gone:?}");
    for part in [
        "removed: VaultNetworkPolicy vault/main",
        "LOSES ITS FIREWALL: no policy is left. The vault is open to everybody who can reach it",
        "the clients of Service openbao-firewall are cut off",
    ] {
        assert!(gone.stdout.contains(part), "{part}\n{}", gone.stdout);
    }
    let text = OLD
        .replace("name: openbao", "name: second")
        .replace("name: main", "name: second");
    let two = Change::with(&format!("{OLD}---\n{}", text.split("---").next().unwrap()));
    let run = two.diff(&[]);
    assert_eq!(run.code, Some(1), "{run:?}");
    for part in [
        "added: VaultNetworkPolicy vault/second",
        "vault vault/second\n  GETS A FIREWALL",
        "loses: everybody else\n         by no firewall",
    ] {
        assert!(run.stdout.contains(part), "{part}\n{}", run.stdout);
    }
}

#[test]
fn an_allowed_client_that_is_no_longer_known_is_not_passed_as_allowed() {
    // Without the pods, no rule has the addresses of the runners, neither before nor after the change.
    let run = Change::of(&[NO_RUNNERS]).diff(&["--clients", CLIENTS]);
    assert_eq!(run.code, Some(2), "{run:?}");
    assert!(
        run.stdout
            .contains("  3 recent requests could not be compared"),
        "{}",
        run.stdout
    );
}

#[test]
fn a_clock_that_is_ahead_hides_no_recent_client() {
    let change = Change::of(&[NO_RUNNERS]);
    let log = change.0.path().join("clients.jsonl");
    let records = fs::read_to_string(CLIENTS).unwrap();
    let ahead = records
        .lines()
        .next()
        .unwrap()
        .replace("2026-11-22", "9999-12-30");
    fs::write(&log, format!("{ahead}\n{records}")).unwrap();
    let run = change.diff_with_pods(&["--clients", log.to_str().unwrap()]);
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(run.stdout.contains("CUT OFF: "), "{}", run.stdout);
}

#[test]
fn recent_clients_decide_the_exit_code() {
    // Nobody of the last hour is in the half that goes; the client of the office is older.
    let half = Change::of(&[HALF_OFFICE]);
    let run = half.diff_with_pods(&["--clients", CLIENTS]);
    assert_eq!(run.code, Some(0), "{run:?}");
    for part in [
        "recent clients: those of the records from 2026-11-22T17:14:00Z to 2026-11-22T18:14:00Z",
        "1 lines of --clients are no records",
        "loses: 198.51.100.128/25",
        "none of 3 recent requests would be denied",
    ] {
        assert!(run.stdout.contains(part), "{part}\n{}", run.stdout);
    }
    let longer = half.diff_with_pods(&["--clients", CLIENTS, "--since", "3h"]);
    assert_eq!(longer.code, Some(1), "{longer:?}");
    let line = "CUT OFF: 198.51.100.200, 1 requests, last at 2026-11-22T16:00:00Z
         \
                by main/ipRules/office, data endpoint: data secrets/get";
    assert!(longer.stdout.contains(line), "{longer:?}");
    // Most requests first, pods as groups.
    let both = Change::of(&[
        NO_RUNNERS,
        (
            "  bypass: TrustedServices\n  trustedServices: {names: [payroll]}\n",
            "",
        ),
    ]);
    let run = both.diff_with_pods(&["--clients", CLIENTS, "-o", "json"]);
    assert_eq!(run.code, Some(1), "{run:?}");
    let cut_off = &run.json()["vaults"][0]["cutOff"];
    let expected = json!([
        {
            "vault": "vault/openbao", "client": "pods of build, service account runner", "listener": "data",
            "plane": "data", "operations": ["secrets/get"], "by": "main/virtualNetworkRules/build",
            "reason": "ForbiddenByFirewall", "requests": 2, "last": "2026-11-22T18:10:00Z",
        },
        {
            "vault": "vault/openbao", "client": "pods of payroll, service account worker", "listener": "data",
            "plane": "data", "operations": ["secrets/get"], "by": "TrustedService/payroll/read-secrets",
            "reason": "ForbiddenByFirewall", "requests": 1, "last": "2026-11-22T18:11:00Z",
        },
    ]);
    assert_eq!(*cut_off, expected);
    // The author counts as well.
    let author = half.diff_with_pods(&["--clients", CLIENTS, "--source-ip", "198.51.100.200"]);
    assert_eq!(author.code, Some(1), "{author:?}");
    // The table changes, and the request with it: the engine's old path is no secret.
    let engine = Change::of(&[("path: secret", "path: kv")]);
    let run = engine.diff_with_pods(&["--clients", CLIENTS]);
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(
        run.stdout
            .contains("CUT OFF: pods of payroll, service account worker, 1 requests"),
        "{}",
        run.stdout
    );
}

#[test]
fn without_records_of_the_vault_there_is_no_answer() {
    let half = Change::of(&[HALF_OFFICE]);
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other.jsonl");
    let line = fs::read_to_string(CLIENTS)
        .unwrap()
        .lines()
        .find(|line| line.contains("other/openbao"))
        .unwrap()
        .to_owned();
    fs::write(&other, line).unwrap();
    let run = half.diff(&["--clients", other.to_str().unwrap()]);
    assert_eq!(run.code, Some(2), "{run:?}");
    assert!(
        run.stderr
            .contains("--clients has no request of the vault that can be compared"),
        "{run:?}"
    );
    fs::write(&other, "no record\n").unwrap();
    let run = half.diff(&["--clients", other.to_str().unwrap()]);
    assert_eq!(run.code, Some(2), "{run:?}");
    assert!(
        run.stderr.contains("has no record of the access log"),
        "{run:?}"
    );
    let run = half.diff(&["--clients", "/nonexistent"]);
    assert_eq!(run.code, Some(2), "{run:?}");
}

#[test]
fn invalid_and_unreadable_files_are_no_change() {
    let invalid = Change::of(&[("198.51.100.0/24", "10.0.0.0/8")]);
    let run = invalid.diff(&[]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""), "{run:?}");
    assert!(run.stderr.contains("spec.ipRules[0].value"), "{run:?}");
    let json = invalid.diff(&["-o", "json"]);
    assert_eq!(json.code, Some(1), "{json:?}");
    assert_eq!(
        json.json()["violations"][0]["field"],
        "spec.ipRules[0].value"
    );
    let unreadable = Change::with("a: [");
    assert_eq!(unreadable.diff(&[]).code, Some(2));
    // Before the change: the rules in force may be earlier ones.
    let valid = Change::of(&[]);
    let run = Run::of(
        Command::new(env!("CARGO_BIN_EXE_vaultwall"))
            .arg("diff")
            .arg("-f")
            .arg(valid.file())
            .arg("--against")
            .arg(invalid.file()),
    );
    assert_ne!(run.code, Some(0), "{run:?}");
}

#[test]
fn the_json_has_these_keys() {
    let change = Change::of(&[NO_RUNNERS, HALF_OFFICE]);
    let run = change.diff_with_pods(&["-o", "json", "--clients", CLIENTS]);
    let keys =
        |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    let found = run.json();
    assert_eq!(
        keys(&found),
        [
            "author",
            "objects",
            "vaults",
            "clients",
            "violations",
            "unknown"
        ]
    );
    assert_eq!(found["author"], json!({"checked": false, "lockedOut": []}));
    assert_eq!(
        keys(&found["objects"][0]),
        [
            "change",
            "kind",
            "namespace",
            "name",
            "file",
            "vaults",
            "fields"
        ]
    );
    assert_eq!(
        keys(&found["objects"][0]["fields"][0]),
        ["path", "old", "new"]
    );
    let vault = &found["vaults"][0];
    let expected = [
        "vault",
        "firewall",
        "settings",
        "loses",
        "gains",
        "cutOff",
        "comparedRequests",
        "unclearRequests",
    ];
    assert_eq!(keys(vault), expected);
    let access = ["control", "data", "session"].map(
        |plane| json!({"listener": "data", "plane": plane, "operations": [], "vaultToken": null}),
    );
    let expected = json!({
        "kind": "Addresses", "namespace": null, "serviceAccount": null, "selector": null,
        "addresses": ["198.51.100.128/25"], "through": [], "token": null, "exceptTokens": [],
        "by": "main/ipRules/office",
        "access": access,
    });
    assert_eq!(vault["loses"][0], expected, "{vault:#}");
    assert_eq!(found["clients"]["unreadable"], 1);
}
