//! Who may label a namespace in: the second key of rules that select pods inline is the network's admin's, not that of
//! whoever may edit the namespace.

use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, Validation};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::super::{SERVICE_ENDPOINT_LABEL, SUBSCRIPTION_LABEL};
use super::{
    GROUP, SERVICE_ENDPOINTS, SET_VERB, SUBSCRIPTIONS, is_allowed, label_changes, policy, writes,
};

/// Name of the admission policy and of its binding.
pub const NAMESPACES_POLICY: &str = "namespaces.vaultwall.dev";

/// Refuses to set, change or remove the labels of a namespace that say what its pods may reach, but for who has the right.
/// Removing them is guarded as well: it cuts clients off.
pub fn namespaces_policy() -> ValidatingAdmissionPolicy {
    let guarded = [
        (SERVICE_ENDPOINT_LABEL, SERVICE_ENDPOINTS),
        (SUBSCRIPTION_LABEL, SUBSCRIPTIONS),
    ];
    let changes = guarded.map(|(label, _)| label_changes(label)).join(" || ");
    policy(
        NAMESPACES_POLICY,
        // Labels can be changed by way of these subresources, too.
        vec![writes(
            "",
            &["namespaces", "namespaces/finalize", "namespaces/status"],
        )],
        LabelSelector::default(),
        [("labels-change", changes)],
        guarded
            .map(|(label, resource)| keeps(label, resource))
            .into(),
    )
}

fn keeps(label: &str, resource: &str) -> Validation {
    Validation {
        expression: format!(
            "!({}) || {}",
            label_changes(label),
            is_allowed(SET_VERB, resource)
        ),
        message: Some(format!(
            "the label {label} of a namespace is the network admins': to set, change or remove it needs the right to {SET_VERB} \
             {resource} in the API group {GROUP}, in the whole cluster; ask them, or leave the label as it is"
        )),
        reason: Some("Forbidden".to_owned()),
        ..Validation::default()
    }
}
