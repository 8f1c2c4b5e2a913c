//! The CRDs' own rules (CEL), evaluated as the API server does, over tables that a reader can check by eye; and their
//! agreement with `policy::validate`, which makes the same checks without an API server.

mod limits;
mod random;

use std::collections::BTreeMap;

use kube_cel::{CompiledSchema, Validator, compile_schema};
use serde_json::Value;
use vaultwall::api::{self, VaultNetworkPolicy, VirtualNetwork};
use vaultwall::limits::Limits;
use vaultwall::policy::{validate_policy, validate_virtual_network};

use crate::crd_tables::{self, ACCEPTED, Row};

/// Kind → schema.
fn schemas() -> BTreeMap<String, Value> {
    api::custom_resource_definitions()
        .into_iter()
        .map(|crd| {
            let schema = crd.spec.versions[0]
                .schema
                .clone()
                .unwrap()
                .open_api_v3_schema
                .unwrap();
            (crd.spec.names.kind, serde_json::to_value(schema).unwrap())
        })
        .collect()
}

struct Schemas(BTreeMap<String, CompiledSchema>);

impl Schemas {
    fn new() -> Self {
        Self(
            schemas()
                .into_iter()
                .map(|(kind, schema)| (kind, compile_schema(&schema)))
                .collect(),
        )
    }

    /// Field paths and messages of all refusals.
    fn refusals(&self, object: &Value) -> Vec<(String, String)> {
        let schema = &self.0[object["kind"].as_str().unwrap()];
        match Validator::new().validate_compiled(schema, object, None) {
            Ok(()) => Vec::new(),
            Err(errors) => errors
                .into_iter()
                .map(|error| {
                    let text = format!("{:?}", error.kind);
                    assert_eq!(
                        text, "ValidationFailure",
                        "a rule must not fail by itself: {error}"
                    );
                    (error.field_path, error.message)
                })
                .collect(),
        }
    }

    /// Checks one row: the rules' verdict and message, and that validation has the same verdict.
    fn check(&self, row: &Row) {
        let Row {
            label,
            object,
            field,
            expected,
        } = row;
        let refusals = self.refusals(object);
        let violations = violations(object);
        if *expected == ACCEPTED {
            assert_eq!(refusals, [], "{label}: refused by the CRD");
            assert_eq!(
                violations,
                Vec::<String>::new(),
                "{label}: refused by validation"
            );
            return;
        }
        assert!(
            refusals
                .iter()
                .any(|(path, message)| path == field && message.contains(expected)),
            "{label}: expected {expected:?} at {field}, got {refusals:#?}"
        );
        assert!(
            !violations.is_empty(),
            "{label}: accepted by validation, the CRD says {refusals:#?}"
        );
    }
}

/// Fields that `policy::validate` refuses.
fn violations(object: &Value) -> Vec<String> {
    let fields = |violations: Vec<vaultwall::policy::Violation>| {
        violations
            .into_iter()
            .map(|violation| format!("{}: {}", violation.field, violation.message))
            .collect()
    };
    if object["kind"] == "VirtualNetwork" {
        let network: VirtualNetwork = serde_json::from_value(object.clone()).unwrap();
        validate_virtual_network(&network).map_or_else(fields, |_| Vec::new())
    } else {
        let policy: VaultNetworkPolicy = serde_json::from_value(object.clone()).unwrap();
        validate_policy(&policy, &Limits::default()).map_or_else(fields, |_| Vec::new())
    }
}

fn check_all(rows: &[Row]) {
    let schemas = Schemas::new();
    for row in rows {
        schemas.check(row);
    }
}

#[test]
fn values_of_ip_rules() {
    check_all(&crd_tables::ip_rules());
}

#[test]
fn prefixes_of_subnets() {
    check_all(&crd_tables::subnet_prefixes());
}

#[test]
fn trusted_proxies() {
    check_all(&crd_tables::trusted_proxies());
}

#[test]
fn shapes_of_virtual_network_rules() {
    check_all(&crd_tables::virtual_network_rules());
}

#[test]
fn shapes_of_policies() {
    check_all(&crd_tables::policies());
}

#[test]
fn shapes_of_virtual_networks() {
    check_all(&crd_tables::virtual_networks());
}
