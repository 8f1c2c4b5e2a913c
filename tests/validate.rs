//! `vaultwall validate` as people and scripts meet it: exit codes, and the keys of its JSON.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::program::Run;

fn validate(arguments: &[&str]) -> Run {
    Run::of(
        Command::new(env!("CARGO_BIN_EXE_vaultwall"))
            .arg("validate")
            .args(arguments)
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/validate")),
    )
}

/// Violations that a run with `-o json` printed.
fn violations(run: &Run) -> Vec<Value> {
    serde_json::from_value(run.json()).unwrap()
}

#[test]
fn a_wrong_log_level_is_refused_with_the_levels() {
    let run = |level: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vaultwall"));
        Run::of(command.arg("crds").env("RUST_LOG", level))
    };
    for level in ["debugg", "info,vaultwall=verbose"] {
        let refused = run(level);
        assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""));
        let message = "is no log level; write off, error, warn, info, debug or trace";
        assert!(refused.stderr.contains(message), "{}", refused.stderr);
    }
    assert_eq!(run("info,vaultwall::xds=debug").code, Some(0));
}

#[test]
fn clean_files_exit_0_and_print_an_empty_array() {
    let run = validate(&["-f", "good", "-o", "json"]);
    assert_eq!(
        (run.code, violations(&run).len()),
        (Some(0), 0),
        "{}{}",
        run.stdout,
        run.stderr
    );
    let run = validate(&["-f", "good"]);
    assert_eq!(run.code, Some(0));
    assert_eq!(
        run.stdout,
        "valid: 1 policy, 1 virtual network, 2 Kubernetes objects\n"
    );
    // unknown kinds are skipped with a message
    assert!(run.stderr.contains("ConfigMap"), "{}", run.stderr);
}

/// A warning is no violation: the exit code stays 0, and the JSON is empty.
#[test]
fn a_trusted_range_that_holds_pods_is_reported() {
    let run = validate(&["-f", "../explain/proxies.yaml", "-o", "json"]);
    assert_eq!((run.code, violations(&run).len()), (Some(0), 0));
    let warnings: Vec<_> = run.stderr.lines().collect();
    let [warning] = warnings[..] else {
        panic!("{}", run.stderr)
    };
    for words in [
        "policy vault/proxies: spec.clientAddress.trustedProxies[1]: pods have addresses in the range 10.50.0.0/16",
        "list the proxy's pods instead of the range: trustedProxies: [{pods: {",
        "(2 pods, for example ingress/controller and shop/report)",
    ] {
        assert!(warning.contains(words), "{words:?} is not in {warning}");
    }
}

#[test]
fn violations_exit_1_and_every_one_is_printed() {
    let run = validate(&["-f", "bad", "-f", "good", "-o", "json"]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    let found = violations(&run);
    for violation in &found {
        let keys: Vec<&str> = violation
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(keys, ["file", "kind", "name", "field", "reason", "message"]);
        assert!(
            violation["message"]
                .as_str()
                .is_some_and(|message| !message.is_empty())
        );
    }
    let lines: Vec<String> = found
        .iter()
        .map(|violation| {
            ["file", "kind", "name", "field", "reason"]
                .map(|key| violation[key].as_str().unwrap())
                .join("|")
        })
        .collect();
    assert_eq!(
        lines,
        [
            "bad/policies.yaml|VaultNetworkPolicy|many-mistakes|spec.targetRef.port|WrongType",
            "bad/policies.yaml|VaultNetworkPolicy|many-mistakes|spec.ipRules[5].value|WrongType",
            "bad/policies.yaml|VaultNetworkPolicy|many-mistakes|spec.ipRules[6].valeu|UnknownField",
            "bad/policies.yaml|VaultNetworkPolicy|many-mistakes|spec.vault.location|NotSupportedYet",
            "bad/policies.yaml|VaultNetworkPolicy|many-mistakes|spec.ipRules[0].value|PrivateAddress",
            "bad/policies.yaml|VaultNetworkPolicy|many-mistakes|spec.ipRules[1].value|PrefixTooLong",
            "bad/policies.yaml|VaultNetworkPolicy|many-mistakes|spec.ipRules[2].value|HostBitsSet",
            "bad/policies.yaml|VaultNetworkPolicy|many-mistakes|spec.ipRules[3].value|OnlyIpv4",
            "bad/policies.yaml|VaultNetworkPolicy|many-mistakes|spec.ipRules[4].value|Malformed",
            "bad/policies.yaml|VaultNetworkPolicy|many-mistakes|spec.ipRules[6]|Required",
            "bad/policies.yaml|TrustedService|azure-backup|spec.scenarios|Required",
            "bad/twice.yaml|VaultNetworkPolicy|many-mistakes||Duplicate",
        ]
    );
    assert!(
        found.last().unwrap()["message"]
            .as_str()
            .unwrap()
            .contains("bad/policies.yaml")
    );
}

#[test]
fn the_table_for_people_names_file_object_field_and_remedy() {
    let run = validate(&["-f", "bad"]);
    assert_eq!(run.code, Some(1));
    for words in [
        "bad/policies.yaml: VaultNetworkPolicy many-mistakes\n",
        "spec.ipRules[0].value  PrivateAddress   \"192.168.1.0/24\"",
        "subnet rule",
        "write the single address 203.0.113.7",
        "write 203.0.113.0/24",
        "only IPv4 is supported",
        "12 violations\n",
    ] {
        assert!(run.stdout.contains(words), "{words}\n{}", run.stdout);
    }
}

#[test]
fn an_unreadable_file_exits_2_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let broken = dir.path().join("broken.yaml");
    fs::write(&broken, "spec: [1\n").unwrap();
    let broken = broken.to_str().unwrap();
    // a violation elsewhere does not make the answer complete
    for arguments in [
        &["-f", broken][..],
        &["-f", "bad", "-f", broken, "-o", "json"],
        &["-f", "good", broken],
    ] {
        let run = validate(arguments);
        assert_eq!(run.code, Some(2), "{}", run.stdout);
        assert!(run.stderr.contains("broken.yaml:"), "{}", run.stderr);
    }
    let run = validate(&["-f", "nothere.yaml", "-o", "json"]);
    assert_eq!((run.code, run.stdout.trim()), (Some(2), "[]"));
    assert!(
        run.stderr.contains("nothere.yaml: cannot be read"),
        "{}",
        run.stderr
    );
    let run = validate(&["-f", "nothere.yaml", "-f", "notthere.yaml"]);
    assert!(
        run.stderr.contains("nothere.yaml") && run.stderr.contains("notthere.yaml"),
        "{}",
        run.stderr
    );
    assert_eq!(
        run.stdout,
        "nothing was checked: 2 files could not be read\n"
    );
    // wrong usage
    for arguments in [
        &[][..],
        &["-f"],
        &["-f", "good", "--max-ip-rules", "1001"],
        &["-f", "good", "--max-virtual-network-rules", "201"],
    ] {
        assert_eq!(validate(arguments).code, Some(2), "{arguments:?}");
    }
}

#[test]
fn a_path_without_its_flag_is_answered_by_the_command_to_write() {
    let run = validate(&["good"]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""));
    assert!(
        run.stderr
            .contains("tip: files are given with -f: vaultwall validate -f good\n"),
        "{}",
        run.stderr
    );
    // Another flag that does not exist is no path.
    let run = validate(&["--good"]);
    assert!(!run.stderr.contains("files are given"), "{}", run.stderr);
}

#[test]
fn an_empty_folder_is_reported_as_clean() {
    let dir = tempfile::tempdir().unwrap();
    let run = validate(&["-f", dir.path().to_str().unwrap()]);
    assert_eq!(
        (run.code, run.stdout.as_str()),
        (
            Some(0),
            "valid: 0 policies, 0 virtual networks, 0 Kubernetes objects\n"
        )
    );
    assert!(run.stderr.contains("no objects"), "{}", run.stderr);
}

#[test]
fn limits_are_the_installations() {
    let dir = tempfile::tempdir().unwrap();
    let policy = |list: &str, rules: usize| {
        let mut text =
            "apiVersion: vaultwall.dev/v1alpha1\nkind: VaultNetworkPolicy\nmetadata: {name: main, \
            namespace: vault}\n\
                        spec:\n  targetRef: {name: openbao, port: 8200}\n"
                .to_owned();
        writeln!(text, "  {list}:").unwrap();
        for n in 0..rules {
            match list {
                "ipRules" => writeln!(text, "  - value: 203.{}.{}.7", n / 250, n % 250).unwrap(),
                _ => writeln!(text, "  - subnet: {{virtualNetwork: corp, name: s{n}}}").unwrap(),
            }
        }
        let file = dir.path().join(format!("{list}-{rules}.yaml"));
        fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    };
    // list | flag | rules | the limit that refuses them
    let table: &[(&str, &[&str], usize, Option<&str>)] = &[
        ("ipRules", &[], 127, None),
        ("ipRules", &[], 128, Some("127")),
        ("ipRules", &["--max-ip-rules", "1000"], 1000, None),
        ("ipRules", &["--max-ip-rules", "1000"], 1001, Some("1000")),
        ("ipRules", &["--max-ip-rules", "3"], 4, Some("3")),
        ("virtualNetworkRules", &[], 127, None),
        ("virtualNetworkRules", &[], 128, Some("127")),
        (
            "virtualNetworkRules",
            &["--max-virtual-network-rules", "200"],
            200,
            None,
        ),
        (
            "virtualNetworkRules",
            &["--max-virtual-network-rules", "200"],
            201,
            Some("200"),
        ),
    ];
    for (list, flags, rules, limit) in table {
        let file = policy(list, *rules);
        let run = validate(&[&["-f", &file, "-o", "json"], *flags].concat());
        let found = violations(&run);
        match limit {
            None => assert_eq!(
                (run.code, found.len()),
                (Some(0), 0),
                "{list} {rules}: {}",
                run.stdout
            ),
            Some(limit) => {
                assert_eq!(
                    (run.code, found.len()),
                    (Some(1), 1),
                    "{list} {rules}: {}",
                    run.stdout
                );
                assert_eq!(found[0]["field"], format!("spec.{list}"));
                assert_eq!(found[0]["reason"], "LimitExceeded");
                let message = found[0]["message"].as_str().unwrap();
                assert!(
                    message.contains(&format!("the limit is {limit}")),
                    "{message}"
                );
            }
        }
    }
}
