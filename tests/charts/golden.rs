//! Golden files: for each folder of `tests/charts/golden`, the rendered chart and its notes with the values of the
//! folder. `UPDATE_GOLDEN=1 cargo test --test with_api_server charts::golden` writes them again; read the difference
//! before you commit it.

use std::path::Path;
use std::{env, fs};

use vaultwall::api::VaultNetworkPolicy;
use vaultwall::limits::Limits;
use vaultwall::policy::validate_policy;

use crate::charts::helm::{DEFINITIONS, NAMESPACE, OPERATOR, chart, helm_prints, rendered};

/// Notes that Helm prints after the operator's chart is installed.
pub(crate) fn notes(arguments: &[&str]) -> String {
    let folder = chart(OPERATOR);
    let first = [
        "install",
        OPERATOR,
        folder.to_str().unwrap(),
        "--namespace",
        NAMESPACE,
        "--dry-run=client",
    ];
    let said = helm_prints(&[&first, arguments].concat());
    let (_, notes) = said.split_once("\nNOTES:\n").expect("notes");
    notes.to_owned()
}

#[test]
fn golden() {
    let update = env::var_os("UPDATE_GOLDEN").is_some_and(|value| value != "0");
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/charts/golden");
    let mut names = Vec::new();
    let mut wrong = Vec::new();
    for entry in fs::read_dir(&cases).unwrap() {
        let folder = entry.unwrap().path();
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let values = folder.join("values.yaml");
        let arguments = ["--values", values.to_str().unwrap()];
        let files = [
            ("notes.txt", notes(&arguments)),
            ("rendered.yaml", rendered(OPERATOR, &arguments)),
        ];
        let mut present: Vec<_> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        present.sort();
        for (file, content) in files {
            let path = folder.join(file);
            if update {
                fs::write(&path, &content).unwrap();
            }
            if fs::read_to_string(&path).ok().as_ref() != Some(&content) {
                wrong.push(path.display().to_string());
            }
        }
        if !update {
            assert_eq!(
                present,
                ["notes.txt", "rendered.yaml", "values.yaml"],
                "{name}"
            );
        }
        names.push(name);
    }
    names.sort();
    assert_eq!(names, ["default", "everything"]);
    assert!(
        wrong.is_empty(),
        "not as it was: {wrong:#?}\nIf this is intended: UPDATE_GOLDEN=1 cargo test --test with_api_server \
            charts::golden"
    );
}

#[test]
fn lint() {
    for name in [OPERATOR, DEFINITIONS] {
        let said = helm_prints(&["lint", "--strict", chart(name).to_str().unwrap()]);
        assert!(
            said.contains("1 chart(s) linted, 0 chart(s) failed"),
            "{said}"
        );
    }
}

/// The objects in the notes are valid.
#[test]
fn the_policy_in_the_notes_is_valid() {
    let notes = notes(&[]);
    let (_, policy) = notes.split_once("     apiVersion: ").unwrap();
    let (policy, _) = policy.split_once("\n   The vault's pods").unwrap();
    let policy: VaultNetworkPolicy =
        serde_saphyr::from_str(&format!("     apiVersion: {policy}")).unwrap();
    let validated = validate_policy(&policy, &Limits::default());
    assert!(validated.is_ok(), "{validated:?}");
}

#[test]
fn notes_warn() {
    for (arguments, warning) in [
        (&[][..], None),
        (&["--set=replicas=1"], Some("with one replica")),
        (&["--set=proxy.digest="], Some("proxy.image has no digest")),
        (
            &["--set=networkPolicy.enabled=false"],
            Some("without its NetworkPolicy"),
        ),
        (
            &["--set=serviceMonitor.enabled=true"],
            Some("networkPolicy.monitoring is empty"),
        ),
        (
            &["--set=admissionPolicies.create=false"],
            Some("the chart does not create the admission policies"),
        ),
        (
            &["--set=rbac.create=false"],
            Some("the operator needs the permissions"),
        ),
    ] {
        let digest = format!("--set=proxy.digest=sha256:{}", "0".repeat(64));
        let notes = notes(&[&[digest.as_str()][..], arguments].concat());
        let warnings: Vec<&str> = notes
            .lines()
            .filter_map(|line| line.strip_prefix("WARNING: "))
            .collect();
        // Without a cluster, the kinds are unknown.
        assert!(warnings[0].contains("before the chart vaultwall-crds is installed"));
        assert_eq!(warnings.len(), 1 + warning.iter().count(), "{warnings:?}");
        if let Some(warning) = warning {
            assert!(warnings[1].starts_with(warning), "{warnings:?}");
        }
    }
}
