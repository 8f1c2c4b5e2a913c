//! The number of rules that a policy may have.

use kube_cel::{AdmissionRequest, VapEvaluator, VapExpression};
use serde_json::{Value, json};
use vaultwall::api::{self, VaultNetworkPolicy};
use vaultwall::limits::Limits;
use vaultwall::policy::validate_policy;

use super::schemas;
use crate::crd_tables::{ACCEPTED, with_rules};

/// The schema has the ceilings.
#[test]
fn ceilings() {
    let schemas = schemas();
    let spec = &schemas["VaultNetworkPolicy"]["properties"]["spec"]["properties"];
    assert_eq!(
        spec["virtualNetworkRules"]["maxItems"],
        Limits::VIRTUAL_NETWORK_RULES_CEILING
    );
    assert_eq!(spec["ipRules"]["maxItems"], Limits::IP_RULES_CEILING);
}

/// The admission policy has the limits of the installation.
#[test]
fn limits() {
    let default = Limits::default();
    let raised = Limits {
        virtual_network_rules: 200,
        ip_rules: 1000,
        ..Limits::default()
    };
    let rows = [
        (default, 127, 127, ACCEPTED),
        (
            default,
            0,
            128,
            "spec.ipRules has 128 rules, and the limit is 127",
        ),
        (
            default,
            128,
            0,
            "spec.virtualNetworkRules has 128 rules, and the limit is 127",
        ),
        (default, 0, 128, "vaultwall crds --max-ip-rules N"),
        (
            default,
            128,
            0,
            "vaultwall crds --max-virtual-network-rules N",
        ),
        (raised, 200, 1000, ACCEPTED),
        (
            raised,
            0,
            1001,
            "spec.ipRules has 1001 rules, and the limit is 1000",
        ),
        (
            default,
            0,
            128,
            "to at most 1000: limits.ipRules in the values of the Helm chart",
        ),
    ];
    for (limits, virtual_network_rules, ip_rules, expected) in rows {
        let object = with_rules(virtual_network_rules, ip_rules);
        let refusals = refused_by_limits(&limits, &object);
        if expected == ACCEPTED {
            assert_eq!(refusals, Vec::<String>::new());
        } else {
            assert!(
                refusals.iter().any(|message| message.contains(expected)),
                "{expected}: {refusals:?}"
            );
        }
        let parsed: VaultNetworkPolicy = serde_json::from_value(object).unwrap();
        assert_eq!(
            validate_policy(&parsed, &limits).is_ok(),
            expected == ACCEPTED,
            "{expected}"
        );
    }
}

/// After a limit was lowered, a policy above it can still be labelled and finalized.
#[test]
fn limits_look_at_changes_of_the_spec_alone() {
    let conditions = api::limits_policy(&Limits::default())
        .spec
        .unwrap()
        .match_conditions
        .unwrap();
    assert_eq!(conditions.len(), 1);
    let looks_at = |old: Option<Value>, new: Value| {
        let evaluator = VapEvaluator::builder().object(new);
        let evaluator = old
            .into_iter()
            .fold(evaluator, kube_cel::VapEvaluatorBuilder::old_object)
            .build();
        let results = evaluator.evaluate(&[VapExpression {
            expression: conditions[0].expression.clone(),
            message: None,
            message_expression: None,
        }]);
        results[0].passed
    };
    let mut labelled = with_rules(0, 200);
    labelled["metadata"]["labels"] = json!({"team": "a"});
    assert!(looks_at(None, with_rules(0, 1)), "a new policy");
    assert!(
        looks_at(Some(with_rules(0, 1)), with_rules(0, 2)),
        "another spec"
    );
    assert!(
        !looks_at(Some(with_rules(0, 200)), labelled),
        "another label"
    );
}

fn refused_by_limits(limits: &Limits, object: &Value) -> Vec<String> {
    let expressions: Vec<VapExpression> = api::limits_policy(limits)
        .spec
        .unwrap()
        .validations
        .unwrap()
        .into_iter()
        .map(|validation| VapExpression {
            expression: validation.expression,
            message: validation.message,
            message_expression: validation.message_expression,
        })
        .collect();
    VapEvaluator::builder()
        .object(object.clone())
        .request(AdmissionRequest {
            operation: "CREATE".into(),
            ..AdmissionRequest::default()
        })
        .build()
        .evaluate(&expressions)
        .into_iter()
        .filter(|result| !result.passed)
        .map(|result| result.message.unwrap())
        .collect()
}
