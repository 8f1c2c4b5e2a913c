//! Permission to set the labels of namespaces that allow access. An inline pod rule normally applies only to
//! namespaces with such a label: it belongs to the network's admin, not to every user who may edit the namespace.

use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, Validation};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::policy::{
    SERVICE_ENDPOINTS, SET_VERB, SUBSCRIPTIONS, is_allowed, label_changes, policy, writes,
};
use crate::api::group::GROUP;
use crate::api::labels::{SERVICE_ENDPOINT_LABEL, SUBSCRIPTION_LABEL};

/// Name of the admission policy and of its binding.
pub const NAMESPACES_POLICY: &str = "namespaces.vaultwall.dev";

/// Refuses requests that set, change or remove the labels of a namespace that determine the access of its pods, unless
/// the sender has the permission. It also guards their removal, which would disconnect clients.
pub fn namespaces_policy() -> ValidatingAdmissionPolicy {
    let guarded = [
        (SERVICE_ENDPOINT_LABEL, SERVICE_ENDPOINTS),
        (SUBSCRIPTION_LABEL, SUBSCRIPTIONS),
    ];
    let changes = guarded.map(|(label, _)| label_changes(label)).join(" || ");
    policy(
        NAMESPACES_POLICY,
        // Requests to these subresources can change labels, too.
        vec![writes(
            "",
            &["namespaces", "namespaces/finalize", "namespaces/status"],
        )],
        LabelSelector::default(),
        [("labels-change", changes)],
        guarded
            .map(|(label, resource)| requires_permission(label, resource))
            .into(),
    )
}

fn requires_permission(label: &str, resource: &str) -> Validation {
    Validation {
        expression: format!(
            "!({}) || {}",
            label_changes(label),
            is_allowed(SET_VERB, resource)
        ),
        message: Some(format!(
            "the label {label} of a namespace belongs to the network admins: setting, changing or removing it needs \
             the permission to {SET_VERB} {resource} in the API group {GROUP}, in the whole cluster; ask them, or keep \
             the label unchanged"
        )),
        reason: Some("Forbidden".to_owned()),
        ..Validation::default()
    }
}
