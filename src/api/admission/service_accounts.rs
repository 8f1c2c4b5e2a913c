//! Label of pods with their service account ([decision 37](../../../docs/decisions/0037-service-account-label.md)). A
//! `MutatingAdmissionPolicy` sets it; a `ValidatingAdmissionPolicy` refuses every other value, at every door that can
//! change labels of a pod.

use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, ValidatingAdmissionPolicy, Validation,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::{Value, json};

use super::policy::{
    IGNORE, SERVICE_ACCOUNT_LABELS, SET_VERB, constraints, is_allowed, label_changes, policy,
    writes,
};
use crate::api::labels::{ACCOUNT_LABEL_NAME_LENGTH, LABEL_VALUE_LENGTH, SERVICE_ACCOUNT_LABEL};

/// Name of the admission policies and of their bindings.
pub const SERVICE_ACCOUNT_LABEL_POLICY: &str = "service-account-label.vaultwall.dev";

/// CEL: the service account of a pod. Pods of static pods have none, and a `Binding` has no spec.
const HAS_ACCOUNT: &str = "has(object.spec) && has(object.spec.serviceAccountName)";

/// CEL: whether the object has no such label.
fn is_absent() -> String {
    format!("!object.metadata.?labels[?\"{SERVICE_ACCOUNT_LABEL}\"].hasValue()")
}

/// Refuses every value of the label but the pod's own service account. An unchanged label passes, so that no update of
/// an older pod is refused, and so does a removed one, which only takes access away. A name that no label can hold is
/// cut, with a hash that only the operator may set, because CEL cannot compute it.
///
/// It has no selector and no parameters: a request must not choose whether it is checked. Labels of a `Binding` become
/// labels of the pod.
pub fn service_account_label_guard() -> ValidatingAdmissionPolicy {
    let label = format!("object.metadata.labels[\"{SERVICE_ACCOUNT_LABEL}\"]");
    let name = "object.spec.serviceAccountName";
    let is_absent = is_absent();
    let is_cut = format!(
        "size({name}) > {LABEL_VALUE_LENGTH} && size({label}) == {LABEL_VALUE_LENGTH} && \
         {label}.startsWith({name}.substring(0, {ACCOUNT_LABEL_NAME_LENGTH}) + \"_\") && {}",
        is_allowed(SET_VERB, SERVICE_ACCOUNT_LABELS)
    );
    policy(
        SERVICE_ACCOUNT_LABEL_POLICY,
        vec![writes("", &["bindings", "pods", "pods/*"])],
        LabelSelector::default(),
        [("label-changes", label_changes(SERVICE_ACCOUNT_LABEL))],
        vec![Validation {
            expression: format!(
                "{is_absent} || ({HAS_ACCOUNT} && ({label} == {name} || ({is_cut})))"
            ),
            message: Some(format!(
                "the label {SERVICE_ACCOUNT_LABEL} of a pod names its own service account (spec.serviceAccountName), \
                 because firewalls of vaults let pods in by it; remove the label, or write that name"
            )),
            reason: Some("Forbidden".to_owned()),
            ..Validation::default()
        }],
    )
}

/// Sets the label on every pod without it that is created or updated: the `MutatingAdmissionPolicy` and its binding, as
/// JSON, because the API types of the oldest supported Kubernetes have no such kind.
///
/// It does not match `pods/status`: after a mutation the API server would check the kubelet's request again, and take
/// the label for one that the kubelet sets. Its failure is ignored: the pod starts without the label, and the operator
/// sets it. It replaces no label: a `ReplicaSet` that selects another value would create pods without end, and the
/// guard refuses them.
pub fn service_account_label_setter() -> [Value; 2] {
    let api = "admissionregistration.k8s.io/v1";
    let own = "object.spec.serviceAccountName";
    let needs_label = format!(
        "has(object.spec.serviceAccountName) && size({own}) <= {LABEL_VALUE_LENGTH} && \
         {}",
        is_absent()
    );
    let patch = format!(
        "Object{{ metadata: Object.metadata{{ labels: {{ \"{SERVICE_ACCOUNT_LABEL}\": {own} }} }} }}"
    );
    let conditions = [MatchCondition {
        name: "needs-label".to_owned(),
        expression: needs_label,
    }];
    let metadata = json!({"name": SERVICE_ACCOUNT_LABEL_POLICY});
    [
        json!({
            "apiVersion": api,
            "kind": "MutatingAdmissionPolicy",
            "metadata": metadata,
            "spec": {
                "failurePolicy": IGNORE,
                "matchConditions": conditions,
                "matchConstraints": constraints(vec![writes("", &["pods"])], LabelSelector::default()),
                "mutations": [{
                    "patchType": "ApplyConfiguration",
                    "applyConfiguration": {"expression": patch},
                }],
                "reinvocationPolicy": "Never",
            },
        }),
        json!({
            "apiVersion": api,
            "kind": "MutatingAdmissionPolicyBinding",
            "metadata": metadata,
            "spec": {"policyName": SERVICE_ACCOUNT_LABEL_POLICY},
        }),
    ]
}
