//! The CRDs' own rules (CEL), evaluated as the API server does, over tables that a reader can check by eye; and their
//! agreement with `policy::validate`, which makes the same checks without an API server.

mod limits;
mod random;

use std::collections::BTreeMap;

use kube_cel::{CompiledSchema, Validator, compile_schema};
use serde_json::Value;
use vaultwall::api::{self, TrustedService, VaultNetworkPolicy, VirtualNetwork};
use vaultwall::limits::Limits;
use vaultwall::policy::{validate_policy, validate_trusted_service, validate_virtual_network};

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
    if object["kind"] == "TrustedService" {
        let service: TrustedService = serde_json::from_value(object.clone()).unwrap();
        validate_trusted_service(&service).map_or_else(fields, |_| Vec::new())
    } else if object["kind"] == "VirtualNetwork" {
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

/// An admission policy checks trusted proxies, because an entry has no type. `kube-cel` lacks functions of it, so that
/// `tests/api_server` alone evaluates it.
#[test]
fn validation_of_trusted_proxies() {
    for row in crd_tables::trusted_proxies() {
        let violations = violations(&row.object);
        let Row {
            label, expected, ..
        } = row;
        let accepted = expected == ACCEPTED;
        assert_eq!(violations.is_empty(), accepted, "{label}: {violations:?}");
    }
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

#[test]
fn shapes_of_identities() {
    check_all(&crd_tables::identities());
}

/// The API server sets a default in the stored object. Below an item of a list it would differ from the applied object
/// for ever, because tools compare lists as a whole.
#[test]
fn no_default_below_an_item_of_a_list() {
    fn defaults(path: &str, schema: &Value, below_item: bool, found: &mut Vec<String>) {
        if below_item && schema.get("default").is_some() {
            found.push(path.to_owned());
        }
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            defaults(&format!("{path}.{name}"), field, below_item, found);
        }
        defaults_of_items(path, &schema["items"], found);
    }
    fn defaults_of_items(path: &str, items: &Value, found: &mut Vec<String>) {
        if items.is_object() {
            defaults(&format!("{path}[]"), items, true, found);
        }
    }
    for (kind, schema) in schemas() {
        let mut found = Vec::new();
        defaults(&kind, &schema, false, &mut found);
        assert_eq!(found, Vec::<String>::new());
    }
}

/// A value without a type can be a text or an object. The API server would accept rules there, and not evaluate them.
#[test]
fn no_rule_below_a_value_without_a_type() {
    fn below(path: &str, schema: &Value, mut dead: bool, found: &mut (usize, Vec<String>)) {
        if schema["x-kubernetes-preserve-unknown-fields"] == true {
            // Only a value with a type has its own rules evaluated.
            dead = schema.get("type").is_none();
            found.0 += usize::from(dead);
        }
        if dead && schema.get("x-kubernetes-validations").is_some() {
            found.1.push(path.to_owned());
        }
        for (key, part) in schema.as_object().into_iter().flatten() {
            below(&format!("{path}/{key}"), part, dead, found);
        }
    }
    let mut found = (0, Vec::new());
    for (kind, schema) in schemas() {
        below(&kind, &schema, false, &mut found);
    }
    assert_eq!(found, (1, Vec::new()), "the trusted proxies");
}

/// Null is absent, and no value of a map; see `api::definitions`. `kube-cel` lacks the function of the rule, so that
/// `tests/api_server` alone evaluates it.
#[test]
fn null_is_kept_in_maps_alone() {
    fn nullable(path: &str, schema: &Value, found: &mut Vec<String>) {
        match schema {
            Value::Object(object) => {
                if object.get("nullable") == Some(&Value::Bool(true)) {
                    found.push(path.to_owned());
                }
                for (key, value) in object {
                    nullable(&format!("{path}/{key}"), value, found);
                }
                if object
                    .get("additionalProperties")
                    .is_some_and(Value::is_object)
                {
                    // Below a trusted proxy, the admission policy has the rule.
                    if !path.contains("/trustedProxies/items/") {
                        let rules = object["x-kubernetes-validations"].to_string();
                        assert!(rules.contains("!= null"), "{path}: {rules}");
                    }
                    assert!(object.contains_key("maxProperties"), "{path}");
                }
            }
            Value::Array(list) => list.iter().for_each(|value| nullable(path, value, found)),
            _ => {}
        }
    }
    for (kind, schema) in schemas() {
        let mut found = Vec::new();
        nullable(&kind, &schema, &mut found);
        // A trusted service has no maps.
        assert_eq!(found.is_empty(), kind == "TrustedService", "{kind}");
        assert!(
            found
                .iter()
                .all(|path| path.ends_with("/additionalProperties")),
            "{found:?}"
        );
    }
}
