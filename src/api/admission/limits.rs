//! The limits of R5. The schema holds the ceilings; what an installation takes is a setting of its own, which no schema can
//! be.

use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, Validation};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::Resource;

use super::super::{GROUP, VaultNetworkPolicy};
use super::{policy, writes};
use crate::limits::Limits;

/// Name of the admission policy and of its binding.
pub const LIMITS_POLICY: &str = "limits.vaultwall.dev";

/// Refuses a `VaultNetworkPolicy` with more rules than `limits`.
///
/// It looks at an update only where it changes the spec: after a limit was lowered, a policy above it can still be
/// labelled, finalized and deleted.
pub fn limits_policy(limits: &Limits) -> ValidatingAdmissionPolicy {
    let plural = VaultNetworkPolicy::plural(&());
    policy(
        LIMITS_POLICY,
        vec![writes(GROUP, &[&plural])],
        LabelSelector::default(),
        [(
            "spec-changes",
            "oldObject == null || object.spec != oldObject.spec".to_owned(),
        )],
        vec![
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
        ],
    )
}

/// At the ceiling nobody reads the advice: the schema is asked first, and refuses what is above it.
fn at_most(list: &str, limit: usize, ceiling: usize, flag: &str) -> Validation {
    let field = format!("object.spec.{list}");
    Validation {
        expression: format!("!has({field}) || size({field}) <= {limit}"),
        message_expression: Some(format!(
            "\"spec.{list} has \" + string(size({field})) + \" rules, and the limit is {limit}; merge or remove rules, or \
             whoever runs this installation can raise the limit to at most {ceiling}: limits.{list} in the values of the Helm \
             chart, or vaultwall crds {flag} N | kubectl apply --server-side -f -\""
        )),
        reason: Some("Invalid".to_owned()),
        ..Validation::default()
    }
}
