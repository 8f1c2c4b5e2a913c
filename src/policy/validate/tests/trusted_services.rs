//! Trusted services, and the fields of a policy that let them in.

use serde_json::{Value, json};

use super::{check_policy, found, policy, set};
use crate::api::{Proof, TrustedService};
use crate::policy::{ServiceIdentity, ValidatedTrustedService, Violation, validate_trusted_service};

pub(super) fn service(changes: &[(&str, Value)]) -> Result<ValidatedTrustedService, Vec<Violation>> {
    let mut object = json!({
        "apiVersion": "vaultwall.dev/v1alpha1", "kind": "TrustedService", "metadata": {"name": "azure-sql-database"},
        "spec": {
            "displayName": "Azure SQL Database",
            "scenarios": [{"name": "tde", "operations": ["keys/get", "keys/wrapKey", "keys/unwrapKey"]}],
        },
    });
    for (path, value) in changes {
        set(&mut object, path, value);
    }
    validate_trusted_service(&serde_json::from_value::<TrustedService>(object).unwrap())
}

#[test]
fn a_service_without_identities_is_valid() {
    let service = service(&[]).unwrap();
    assert_eq!(&*service.name, "azure-sql-database");
    assert_eq!(service.identities, Vec::<ServiceIdentity>::new());
    let [tde] = &service.scenarios[..] else { panic!("one scenario") };
    assert_eq!(tde.name, "tde");
    assert!(tde.operations.iter().eq(["keys/get", "keys/unwrapKey", "keys/wrapKey"]));
}

#[test]
fn invalid_services_are_refused() {
    let scenario = |name: &str, operations: Value| json!({"name": name, "operations": operations});
    let operations = "spec.scenarios[0].operations";
    let table: &[(&str, Value, &[&str])] = &[
        ("metadata.name", json!("Azure"), &["metadata.name Invalid"]),
        ("metadata.namespace", json!("vault"), &["metadata.namespace Invalid"]),
        ("spec.displayName", json!("a\nb"), &["spec.displayName Invalid"]),
        ("spec.scenarios", json!([]), &["spec.scenarios Required"]),
        ("spec.scenarios", json!([scenario("tde", json!([]))]), &["spec.scenarios[0].operations Required"]),
        ("spec.scenarios", json!([scenario("T D", json!(["keys/get"]))]), &["spec.scenarios[0].name Invalid"]),
        ("spec.scenarios", json!([scenario("*", json!(["keys/get"]))]), &["spec.scenarios[0].name Invalid"]),
        (
            "spec.scenarios",
            json!([
                scenario("a", json!(["keys/get"])),
                scenario("b", json!(["keys/get"])),
                scenario("a", json!(["keys/list"])),
            ]),
            &["spec.scenarios[2].name Duplicate"],
        ),
        ("spec.scenarios", json!([scenario("a", json!(["keys/get", "keys/sign", "keys/get"]))]),
            &["spec.scenarios[0].operations[2] Duplicate"]),
        ("spec.scenarios", json!([scenario("a", json!(["*", "keys/*", "", "Keys/Get", "keys/get "]))]), &[
            "spec.scenarios[0].operations[0] Invalid",
            "spec.scenarios[0].operations[1] Invalid",
            "spec.scenarios[0].operations[2] Invalid",
            "spec.scenarios[0].operations[3] Invalid",
            "spec.scenarios[0].operations[4] Invalid",
        ]),
    ];
    for (path, value, expected) in table {
        assert_eq!(found(service(&[(path, value.clone())])), *expected, "{path}: {value}");
    }
    for (operation, remedy) in [
        ("secret/get", "\"secret/get\" is not an operation; did you mean secrets/get or secrets/set?"),
        ("keys/unwrap", "\"keys/unwrap\" is not an operation; did you mean keys/unwrapKey?"),
        ("read", "\"read\" is not an operation; write one of Azure Key Vault, for example secrets/get: \
                  docs/reference/trustedservice.md lists them"),
    ] {
        let scenarios = json!([scenario("a", json!([operation]))]);
        let violations = service(&[("spec.scenarios", scenarios)]).unwrap_err();
        let [violation] = &violations[..] else { panic!("{violations:?}") };
        assert_eq!(violation.field, format!("{operations}[0]"));
        assert_eq!(violation.message, remedy);
    }
}

#[test]
fn a_policy_that_lets_services_in() {
    let bypass = ("spec.bypass", json!("TrustedServices"));
    let named = |names: Value| {
        let policy = policy(&[bypass.clone(), ("spec.trustedServices", json!({"names": names}))]);
        policy.unwrap().bypass.unwrap().names
    };
    assert_eq!(named(json!(null)), None);
    assert_eq!(named(json!([])), Some([].into()));
    assert_eq!(named(json!(["b", "a"])), Some(["a".to_owned(), "b".to_owned()].into()));
    let every = policy(std::slice::from_ref(&bypass)).unwrap();
    assert_eq!((every.bypass.unwrap().names, every.proof), (None, Proof::Pod));
    let proof = policy(&[bypass.clone(), ("spec.trustedServices", json!({"proof": "PodAndToken"}))]);
    assert_eq!(proof.unwrap().proof, Proof::PodAndToken);
    assert_eq!(policy(&[]).unwrap().bypass, None);
}

#[test]
fn a_restriction_of_no_bypass_has_no_effect_and_is_accepted() {
    check_policy(&[("spec.trustedServices", json!({"names": ["a", "A", "*", "a"]}), &[
        "spec.trustedServices.names[1] Invalid",
        "spec.trustedServices.names[2] Invalid",
        "spec.trustedServices.names[3] Duplicate",
    ])]);
    for settings in [json!({}), json!({"proof": "Token"}), json!({"names": []}), json!({"names": ["a"]})] {
        for (bypass, is_idle) in [("None", true), ("TrustedServices", false)] {
            let bypass = ("spec.bypass", json!(bypass));
            let with = policy(&[bypass, ("spec.trustedServices", settings.clone())]).unwrap();
            assert_eq!((with.bypass.is_none(), with.has_idle_settings), (is_idle, is_idle), "{settings}");
        }
    }
    assert!(!policy(&[]).unwrap().has_idle_settings);
    // The proof of operators and deployers is in the same field.
    let account = json!([{"serviceAccount": {"namespace": "vault", "name": "unsealer"}}]);
    for list in ["spec.management.operators", "spec.management.deployers"] {
        let proof = ("spec.trustedServices", json!({"proof": "Token"}));
        let with = policy(&[(list, account.clone()), proof]).unwrap();
        assert_eq!((with.bypass, with.proof, with.has_idle_settings), (None, Proof::Token, false));
        let names = ("spec.trustedServices", json!({"names": ["a"]}));
        assert!(policy(&[(list, account.clone()), names]).unwrap().has_idle_settings);
    }
}
