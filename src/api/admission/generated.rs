//! Permission to set the labels of generated objects. The operator finds its objects by these labels and ignores
//! objects without them: otherwise a user who may edit `NetworkPolicies` could remove the label from the vault's
//! `NetworkPolicy`, and then delete it.

use std::collections::BTreeMap;

use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, Validation};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::policy::{GENERATED_OBJECTS, LABEL_VERB, is_allowed, label_changes, policy, writes};
use crate::api::labels::{MANAGED_BY, MANAGED_BY_LABEL, VAULT_LABEL};

/// Name of the admission policy and of its binding.
pub const GENERATED_POLICY: &str = "generated-objects.vaultwall.dev";

/// Refuses requests that set, change or remove the labels of generated objects, for all kinds that the operator
/// creates. Only the operator has the permission. Other changes are allowed: the operator reverts edits and recreates
/// deleted objects.
pub fn generated_policy() -> ValidatingAdmissionPolicy {
    let changes = [MANAGED_BY_LABEL, VAULT_LABEL].map(label_changes);
    policy(
        GENERATED_POLICY,
        // A request to `status` can change labels, too.
        vec![
            writes(
                "",
                &[
                    "configmaps",
                    "secrets",
                    "serviceaccounts",
                    "services",
                    "services/status",
                ],
            ),
            writes("apps", &["deployments", "deployments/status"]),
            writes("networking.k8s.io", &["networkpolicies"]),
            writes(
                "policy",
                &["poddisruptionbudgets", "poddisruptionbudgets/status"],
            ),
        ],
        // It matches if the old or the new object has the label. The operator ignores objects without it.
        LabelSelector {
            match_labels: Some(BTreeMap::from([(
                MANAGED_BY_LABEL.to_owned(),
                MANAGED_BY.to_owned(),
            )])),
            match_expressions: None,
        },
        [("labels-change", changes.join(" || "))],
        vec![Validation {
            expression: is_allowed(LABEL_VERB, GENERATED_OBJECTS),
            message: Some(format!(
                "the labels {MANAGED_BY_LABEL}: {MANAGED_BY} and {VAULT_LABEL} mark objects of Vaultwall's operator; \
                 only the operator may set, change or remove them. Keep them; to have an object recreated, delete it"
            )),
            reason: Some("Forbidden".to_owned()),
            ..Validation::default()
        }],
    )
}
