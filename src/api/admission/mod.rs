//! What no schema can say, as `ValidatingAdmissionPolicies` beside the CRDs: the API server enforces them by itself, also
//! while the operator is down.
//!
//! | module | policy | what it is |
//! |---|---|---|
//! | [`limits`] | `limits.vaultwall.dev` | how many rules an installation takes (R5) |
//! | [`namespaces`] | `namespaces.vaultwall.dev` | who may label a namespace in or out |
//! | [`generated`] | `generated-objects.vaultwall.dev` | who may wear the labels of what the operator made |
//!
//! Who may is a right like others, for things that do not exist: `set` on `serviceendpoints` in our group. RBAC gives it, and
//! the policies ask for it in the whole cluster. Who has every right in one namespace alone, as tenants do, has it not.

mod generated;
mod limits;
mod namespaces;

use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, MatchResources, NamedRuleWithOperations, ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding, ValidatingAdmissionPolicyBindingSpec,
    ValidatingAdmissionPolicySpec, Validation,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

pub use self::generated::{GENERATED_POLICY, generated_policy};
pub use self::limits::{LIMITS_POLICY, limits_policy};
pub use self::namespaces::{NAMESPACES_POLICY, namespaces_policy};

use super::GROUP;
use crate::limits::Limits;

/// Resource of the right to label what the operator makes.
pub const GENERATED_OBJECTS: &str = "generatedobjects";
/// Verb of that right.
pub const LABEL_VERB: &str = "label";
/// Resource of the right to opt a namespace in or out.
pub const SERVICE_ENDPOINTS: &str = "serviceendpoints";
/// Resource of the right to say which subscription a namespace belongs to.
pub const SUBSCRIPTIONS: &str = "subscriptions";
/// Verb of these two.
pub const SET_VERB: &str = "set";

/// All of them.
pub fn admission_policies(limits: &Limits) -> [ValidatingAdmissionPolicy; 3] {
    [
        generated_policy(),
        limits_policy(limits),
        namespaces_policy(),
    ]
}

/// Puts a policy into force everywhere.
pub fn binding_of(policy: &ValidatingAdmissionPolicy) -> ValidatingAdmissionPolicyBinding {
    ValidatingAdmissionPolicyBinding {
        metadata: policy.metadata.clone(),
        spec: Some(ValidatingAdmissionPolicyBindingSpec {
            policy_name: policy.metadata.name.clone(),
            validation_actions: Some(vec!["Deny".to_owned()]),
            ..ValidatingAdmissionPolicyBindingSpec::default()
        }),
    }
}

/// A policy that looks at what is created or changed there, under these conditions. Defaulted fields are spelled out, so that
/// applying it again changes nothing.
fn policy(
    name: &str,
    watched: Vec<NamedRuleWithOperations>,
    labelled: LabelSelector,
    conditions: impl IntoIterator<Item = (&'static str, String)>,
    validations: Vec<Validation>,
) -> ValidatingAdmissionPolicy {
    let conditions = conditions
        .into_iter()
        .map(|(name, expression)| MatchCondition {
            name: name.to_owned(),
            expression,
        });
    ValidatingAdmissionPolicy {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        spec: Some(ValidatingAdmissionPolicySpec {
            failure_policy: Some("Fail".to_owned()),
            match_constraints: Some(MatchResources {
                match_policy: Some("Equivalent".to_owned()),
                namespace_selector: Some(LabelSelector::default()),
                object_selector: Some(labelled),
                resource_rules: Some(watched),
                ..MatchResources::default()
            }),
            match_conditions: Some(conditions.collect()),
            validations: Some(validations),
            ..ValidatingAdmissionPolicySpec::default()
        }),
        ..ValidatingAdmissionPolicy::default()
    }
}

/// What is created or changed of these resources of a group.
fn writes(group: &str, resources: &[&str]) -> NamedRuleWithOperations {
    let list = |items: &[&str]| Some(items.iter().map(|item| (*item).to_owned()).collect());
    NamedRuleWithOperations {
        api_groups: list(&[group]),
        api_versions: list(&["*"]),
        operations: list(&["CREATE", "UPDATE"]),
        resources: list(resources),
        scope: Some("*".to_owned()),
        ..NamedRuleWithOperations::default()
    }
}

/// CEL: whether a label is set, changed or removed. The value does not matter, so that removing and emptying differ as well.
fn label_changes(label: &str) -> String {
    format!(
        "object.metadata.?labels[?\"{label}\"] != \
         (oldObject == null ? optional.none() : oldObject.metadata.?labels[?\"{label}\"])"
    )
}

/// CEL: whether who asks has a right in the whole cluster.
fn is_allowed(verb: &str, resource: &str) -> String {
    format!("authorizer.group(\"{GROUP}\").resource(\"{resource}\").check(\"{verb}\").allowed()")
}
