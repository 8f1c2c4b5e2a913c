//! Validation of label selectors, by the rules of Kubernetes. A selector that the API server would refuse selects
//! nothing.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use super::names::{is_subdomain, is_word};
use crate::api::PodSelector;
use crate::policy::validated::PodGroup;
use crate::policy::violation::{Findings, ViolationReason, field_of, quoted};

/// Checks `pods` of a rule or subnet. Without any selector it is refused, so that an empty field cannot allow
/// everything.
pub(super) fn pod_group(field: &str, pods: &PodSelector, findings: &mut Findings) -> PodGroup {
    if pods.namespace_selector.is_none() && pods.pod_selector.is_none() {
        findings.add(
            field,
            ViolationReason::Required,
            "selects nothing; give namespaceSelector, podSelector or both ({} selects everything)",
        );
    }
    for (name, selector) in [
        ("namespaceSelector", &pods.namespace_selector),
        ("podSelector", &pods.pod_selector),
    ] {
        if let Some(selector) = selector {
            check(&format!("{field}.{name}"), selector, findings);
        }
    }
    PodGroup {
        namespaces: pods.namespace_selector.clone(),
        pods: pods.pod_selector.clone().unwrap_or_default(),
    }
}

fn check(field: &str, selector: &LabelSelector, findings: &mut Findings) {
    if selector
        .match_labels
        .as_ref()
        .is_some_and(BTreeMap::is_empty)
    {
        findings.add(
            format!("{field}.matchLabels"),
            ViolationReason::Invalid,
            "is empty; write labels, or remove `matchLabels` if every object is meant (`kubectl apply` sends an empty \
             map in place of a label without a value)",
        );
    }
    for (key, value) in selector.match_labels.iter().flatten() {
        let field = field_of(&format!("{field}.matchLabels"), key);
        label_key(&field, key, findings);
        label_value(&field, value, findings);
    }
    for (index, requirement) in selector.match_expressions.iter().flatten().enumerate() {
        expression(
            &format!("{field}.matchExpressions[{index}]"),
            requirement,
            findings,
        );
    }
}

fn expression(field: &str, requirement: &LabelSelectorRequirement, findings: &mut Findings) {
    label_key(&format!("{field}.key"), &requirement.key, findings);
    let values = requirement.values.as_deref().unwrap_or_default();
    let list = format!("{field}.values");
    for (index, value) in values.iter().enumerate() {
        label_value(&format!("{list}[{index}]"), value, findings);
    }
    match requirement.operator.as_str() {
        operator @ ("In" | "NotIn") => {
            if values.is_empty() {
                findings.add(
                    list,
                    ViolationReason::Required,
                    format!("{operator} needs at least one value"),
                );
            }
        }
        operator @ ("Exists" | "DoesNotExist") => {
            if !values.is_empty() {
                findings.add(
                    list,
                    ViolationReason::Invalid,
                    format!("{operator} has no values; remove them"),
                );
            }
        }
        other => findings.add(
            format!("{field}.operator"),
            ViolationReason::Invalid,
            format!(
                "{} is not an operator; write In, NotIn, Exists or DoesNotExist",
                quoted(other)
            ),
        ),
    }
}

fn label_key(field: &str, key: &str, findings: &mut Findings) {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if !is_word(name) || prefix.is_some_and(|prefix| !is_subdomain(prefix)) {
        findings.add(
            field,
            ViolationReason::Invalid,
            format!(
                "{} is not the key of a label; write a name of at most 63 letters, digits, -, _ and ., after an \
                 optional DNS name and a slash, such as app.kubernetes.io/name",
                quoted(key)
            ),
        );
    }
}

fn label_value(field: &str, value: &str, findings: &mut Findings) {
    if !value.is_empty() && !is_word(value) {
        findings.add(
            field,
            ViolationReason::Invalid,
            format!(
                "{} is not the value of a label; write at most 63 letters, digits, -, _ and ., beginning and ending \
                 with a letter or digit",
                quoted(value)
            ),
        );
    }
}
