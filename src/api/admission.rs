//! The limits of R5 as a `ValidatingAdmissionPolicy` beside the CRDs. The schema holds the ceilings; what an installation
//! takes is a setting of its own, which no schema can be.

use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, MatchResources, NamedRuleWithOperations, ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding, ValidatingAdmissionPolicyBindingSpec,
    ValidatingAdmissionPolicySpec, Validation,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::Resource;

use super::{GROUP, VaultNetworkPolicy};
use crate::policy::Limits;

/// Name of the admission policy and of its binding.
pub const LIMITS_POLICY: &str = "limits.vaultwall.dev";

/// Refuses a `VaultNetworkPolicy` with more rules than `limits`.
///
/// It looks at an update only where it changes the spec: after a limit was lowered, a policy above it can still be
/// labelled, finalized and deleted. Defaulted fields are spelled out, so that applying it again changes nothing.
pub fn limits_policy(limits: &Limits) -> ValidatingAdmissionPolicy {
    ValidatingAdmissionPolicy {
        metadata: named(),
        spec: Some(ValidatingAdmissionPolicySpec {
            failure_policy: Some("Fail".to_owned()),
            match_constraints: Some(MatchResources {
                match_policy: Some("Equivalent".to_owned()),
                namespace_selector: Some(LabelSelector::default()),
                object_selector: Some(LabelSelector::default()),
                resource_rules: Some(vec![NamedRuleWithOperations {
                    api_groups: Some(vec![GROUP.to_owned()]),
                    api_versions: Some(vec!["*".to_owned()]),
                    operations: Some(vec!["CREATE".to_owned(), "UPDATE".to_owned()]),
                    resources: Some(vec![VaultNetworkPolicy::plural(&()).into_owned()]),
                    scope: Some("*".to_owned()),
                    ..NamedRuleWithOperations::default()
                }]),
                ..MatchResources::default()
            }),
            match_conditions: Some(vec![MatchCondition {
                name: "spec-changes".to_owned(),
                expression: "oldObject == null || object.spec != oldObject.spec".to_owned(),
            }]),
            validations: Some(vec![
                at_most(
                    "virtualNetworkRules",
                    limits.virtual_network_rules,
                    Limits::VIRTUAL_NETWORK_RULES_CEILING,
                    "--max-virtual-network-rules",
                ),
                at_most(
                    "ipRules",
                    limits.ip_rules,
                    Limits::IP_RULES_CEILING,
                    "--max-ip-rules",
                ),
            ]),
            ..ValidatingAdmissionPolicySpec::default()
        }),
        ..ValidatingAdmissionPolicy::default()
    }
}

/// Puts [`limits_policy`] into force for every namespace.
pub fn limits_policy_binding() -> ValidatingAdmissionPolicyBinding {
    ValidatingAdmissionPolicyBinding {
        metadata: named(),
        spec: Some(ValidatingAdmissionPolicyBindingSpec {
            policy_name: Some(LIMITS_POLICY.to_owned()),
            validation_actions: Some(vec!["Deny".to_owned()]),
            ..ValidatingAdmissionPolicyBindingSpec::default()
        }),
    }
}

fn named() -> ObjectMeta {
    ObjectMeta {
        name: Some(LIMITS_POLICY.to_owned()),
        ..ObjectMeta::default()
    }
}

fn at_most(list: &str, limit: usize, ceiling: usize, flag: &str) -> Validation {
    let field = format!("object.spec.{list}");
    let advice = if limit < ceiling {
        format!(
            "whoever runs this installation can raise the limit to at most {ceiling}: \
             vaultwall crds {flag} N | kubectl apply --server-side -f -"
        )
    } else {
        "this is the highest limit there is".to_owned()
    };
    Validation {
        expression: format!("!has({field}) || size({field}) <= {limit}"),
        message_expression: Some(format!(
            "\"spec.{list} has \" + string(size({field})) + \" rules, and the limit is {limit}; merge or remove rules, \
             or {advice}\""
        )),
        reason: Some("Invalid".to_owned()),
        ..Validation::default()
    }
}
