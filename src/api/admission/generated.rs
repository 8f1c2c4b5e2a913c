//! Who may wear the labels of what the operator made. It finds its objects by them and leaves alone what lacks them: without
//! this, who may edit a `NetworkPolicy` could take the label off the wall and then the wall down.

use std::collections::BTreeMap;

use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, Validation};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::super::{MANAGED_BY, MANAGED_BY_LABEL, VAULT_LABEL};
use super::{GENERATED_OBJECTS, LABEL_VERB, is_allowed, label_changes, policy, writes};

/// Name of the admission policy and of its binding.
pub const GENERATED_POLICY: &str = "generated-objects.vaultwall.dev";

/// Refuses to put the labels of generated objects on anything of the kinds that the operator makes, to change them or to
/// take them off, but for the operator. Everything else is free: what is edited is put back, and what is deleted made again.
pub fn generated_policy() -> ValidatingAdmissionPolicy {
    let changes = [MANAGED_BY_LABEL, VAULT_LABEL].map(label_changes);
    policy(
        GENERATED_POLICY,
        // Labels can be changed by way of `status`, too.
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
        // It fits when the object fits as it was or as it is to be. What does not wear it means nothing to the operator.
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
                "the label {MANAGED_BY_LABEL}: {MANAGED_BY}, with {VAULT_LABEL} beside it, marks what Vaultwall's operator made; \
                 only the operator sets, changes or removes them. Leave them as they are; to have an object made anew, delete it"
            )),
            reason: Some("Forbidden".to_owned()),
            ..Validation::default()
        }],
    )
}
