//! Common parts of the admission policies: the permissions that they check, and builders.

use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, MatchResources, NamedRuleWithOperations, ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding, ValidatingAdmissionPolicyBindingSpec,
    ValidatingAdmissionPolicySpec, Validation,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use crate::api::group::GROUP;

/// Resource of the permission to set the labels of generated objects.
pub const GENERATED_OBJECTS: &str = "generatedobjects";
/// Verb of the permission for [`GENERATED_OBJECTS`].
pub const LABEL_VERB: &str = "label";
/// Resource of the permission to opt a namespace in or out.
pub const SERVICE_ENDPOINTS: &str = "serviceendpoints";
/// Resource of the permission to set the subscription of a namespace.
pub const SUBSCRIPTIONS: &str = "subscriptions";
/// Resource of the permission to label pods of service accounts with long names.
pub const SERVICE_ACCOUNT_LABELS: &str = "serviceaccountlabels";
/// Verb of the permissions for [`SERVICE_ENDPOINTS`], [`SUBSCRIPTIONS`] and [`SERVICE_ACCOUNT_LABELS`].
pub const SET_VERB: &str = "set";

/// Condition of a policy that checks the spec: after a limit is lowered, an object above it can still be labelled,
/// finalized and deleted.
pub(super) const SPEC_CHANGES: (&str, &str) = (
    "spec-changes",
    "oldObject == null || object.spec != oldObject.spec",
);

/// Failure policy of an admission policy that only warns.
pub(super) const IGNORE: &str = "Ignore";

/// Builds the binding that enforces a policy in the whole cluster. A policy whose failure is ignored only warns.
pub fn binding_of(policy: &ValidatingAdmissionPolicy) -> ValidatingAdmissionPolicyBinding {
    let spec = policy.spec.as_ref();
    let on_failure = spec.and_then(|spec| spec.failure_policy.as_deref());
    let action = if on_failure == Some(IGNORE) {
        "Warn"
    } else {
        "Deny"
    };
    ValidatingAdmissionPolicyBinding {
        metadata: policy.metadata.clone(),
        spec: Some(ValidatingAdmissionPolicyBindingSpec {
            policy_name: policy.metadata.name.clone(),
            validation_actions: Some(vec![action.to_owned()]),
            ..ValidatingAdmissionPolicyBindingSpec::default()
        }),
    }
}

/// Builds a policy for the given resources and conditions. Fields with a default are explicit, so that applying it
/// again changes nothing.
pub(super) fn policy(
    name: &str,
    resources: Vec<NamedRuleWithOperations>,
    selector: LabelSelector,
    conditions: impl IntoIterator<Item = (&'static str, impl Into<String>)>,
    validations: Vec<Validation>,
) -> ValidatingAdmissionPolicy {
    let conditions = conditions
        .into_iter()
        .map(|(name, expression)| MatchCondition {
            name: name.to_owned(),
            expression: expression.into(),
        });
    ValidatingAdmissionPolicy {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        spec: Some(ValidatingAdmissionPolicySpec {
            failure_policy: Some("Fail".to_owned()),
            match_constraints: Some(constraints(resources, selector)),
            match_conditions: Some(conditions.collect()),
            validations: Some(validations),
            ..ValidatingAdmissionPolicySpec::default()
        }),
        ..ValidatingAdmissionPolicy::default()
    }
}

/// Matches requests for these resources in all namespaces, if the selector matches the old or the new object.
pub(super) fn constraints(
    resources: Vec<NamedRuleWithOperations>,
    selector: LabelSelector,
) -> MatchResources {
    MatchResources {
        match_policy: Some("Equivalent".to_owned()),
        namespace_selector: Some(LabelSelector::default()),
        object_selector: Some(selector),
        resource_rules: Some(resources),
        ..MatchResources::default()
    }
}

/// Matches the creation and update of resources of a group.
pub(super) fn writes(group: &str, resources: &[&str]) -> NamedRuleWithOperations {
    operations(group, resources, &["CREATE", "UPDATE"])
}

/// Matches the deletion of resources of a group.
pub(super) fn deletions(group: &str, resources: &[&str]) -> NamedRuleWithOperations {
    operations(group, resources, &["DELETE"])
}

fn operations(group: &str, resources: &[&str], operations: &[&str]) -> NamedRuleWithOperations {
    let list = |items: &[&str]| Some(items.iter().map(|item| (*item).to_owned()).collect());
    NamedRuleWithOperations {
        api_groups: list(&[group]),
        api_versions: list(&["*"]),
        operations: list(operations),
        resources: list(resources),
        scope: Some("*".to_owned()),
        ..NamedRuleWithOperations::default()
    }
}

/// CEL expression: whether a request sets, changes or removes a label. It compares optional values, so that removing a
/// label differs from setting it to an empty value.
pub(super) fn label_changes(label: &str) -> String {
    format!(
        "object.metadata.?labels[?\"{label}\"] != \
         (oldObject == null ? optional.none() : oldObject.metadata.?labels[?\"{label}\"])"
    )
}

/// CEL expression: whether the sender has a permission in the whole cluster.
pub(super) fn is_allowed(verb: &str, resource: &str) -> String {
    format!("authorizer.group(\"{GROUP}\").resource(\"{resource}\").check(\"{verb}\").allowed()")
}
