//! A warning about the removal of a firewall, as the answer to the deletion of a `VaultNetworkPolicy`.

use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, Validation};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::Resource;

use super::policy::{IGNORE, deletions, policy};
use crate::api::group::GROUP;
use crate::api::vault_network_policy::VaultNetworkPolicy;

/// Name of the admission policy and of its binding.
pub const REMOVAL_POLICY: &str = "removal.vaultwall.dev";

/// Warns about every deletion of a `VaultNetworkPolicy`, and refuses none. Admission cannot count the other policies of
/// the vault, so the warning names the condition. Controllers of Kubernetes, which delete a whole namespace, read no
/// warnings.
pub fn removal_policy() -> ValidatingAdmissionPolicy {
    let plural = VaultNetworkPolicy::plural(&());
    let mut policy = policy(
        REMOVAL_POLICY,
        vec![deletions(GROUP, &[&plural])],
        LabelSelector::default(),
        [(
            "not-by-kubernetes",
            "!request.userInfo.username.startsWith(\"system:serviceaccount:kube-system:\")".to_owned(),
        )],
        vec![Validation {
            expression: "false".to_owned(),
            message_expression: Some(
                "\"the Service \" + oldObject.spec.targetRef.name + \" in the namespace \" + \
                 oldObject.metadata.namespace + \" is unprotected without a VaultNetworkPolicy: if this was its last \
                 one, its firewall is being removed, and every client that no other NetworkPolicy stops can reach \
                 the vault's pods. `kubectl get vnp -n \" + oldObject.metadata.namespace + \"` lists the others\""
                    .to_owned(),
            ),
            ..Validation::default()
        }],
    );
    if let Some(spec) = &mut policy.spec {
        spec.failure_policy = Some(IGNORE.to_owned());
    }
    policy
}
