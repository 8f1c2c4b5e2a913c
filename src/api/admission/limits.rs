//! Limits of the number of rules. The schema contains the ceilings; the limits of an installation are a setting, which
//! a schema cannot have.

use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, Validation};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::Resource;

use super::policy::{SPEC_CHANGES, policy, writes};
use crate::api::group::GROUP;
use crate::api::vault_network_policy::VaultNetworkPolicy;
use crate::limits::Limits;

/// Name of the admission policy and of its binding.
pub const LIMITS_POLICY: &str = "limits.vaultwall.dev";

/// Refuses a `VaultNetworkPolicy` with more rules than `limits`.
///
/// It checks an update only if the spec changes: after a limit is lowered, a policy above it can still be labelled,
/// finalized and deleted.
pub fn limits_policy(limits: &Limits) -> ValidatingAdmissionPolicy {
    let plural = VaultNetworkPolicy::plural(&());
    policy(
        LIMITS_POLICY,
        vec![writes(GROUP, &[&plural])],
        LabelSelector::default(),
        [SPEC_CHANGES],
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

/// Limits the length of a list. If the limit is the ceiling, this message is never sent: the schema refuses the object
/// first.
fn at_most(list: &str, limit: usize, ceiling: usize, flag: &str) -> Validation {
    let field = format!("object.spec.{list}");
    Validation {
        expression: format!("!has({field}) || size({field}) <= {limit}"),
        message_expression: Some(format!(
            "\"spec.{list} has \" + string(size({field})) + \" rules, and the limit is {limit}; merge or remove rules, \
             or ask the cluster's admin to raise the limit to at most {ceiling}: limits.{list} in the values of the \
             Helm chart, or vaultwall crds {flag} N | kubectl apply --server-side -f -\""
        )),
        reason: Some("Invalid".to_owned()),
        ..Validation::default()
    }
}
