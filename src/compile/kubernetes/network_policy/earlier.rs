//! `NetworkPolicies` of pods that a vault's Service selected earlier.
//!
//! When the Service's selector changes, the vault's `NetworkPolicy` selects the new pods. The earlier ones may still be
//! the vault: the change may be a mistake. They stay isolated by a policy of their own, until somebody deletes it. The
//! earlier selectors are in the annotations of the generated policies, so that they survive a restart of the operator.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde_json::Value;

use super::vault_policy;
use crate::api::SELECTOR_ANNOTATION;
use crate::compile::kubernetes::protected_service::ProtectedService;
use crate::compile::names::{earlier_vault_name, vault_name};
use crate::policy::VaultId;

/// Labels that select pods.
pub type Selector = BTreeMap<String, String>;

/// The vault's policy, with its selector in the annotation.
pub fn current_policy(vault: &VaultId, service: &ProtectedService) -> NetworkPolicy {
    annotated(vault_policy(vault, service), service.selector())
}

/// The policy of pods that the Service selected earlier. It admits the same as it did then: the proxies, and pods with
/// these labels.
pub fn earlier_policy(
    vault: &VaultId,
    service: &ProtectedService,
    selector: Selector,
) -> NetworkPolicy {
    let name = earlier_name(vault, &selector);
    let service = service.with_selector(selector);
    let mut policy = current_policy(vault, &service);
    policy.metadata.name = Some(name);
    policy
}

/// Name of the policy of pods that the Service selected earlier.
pub fn earlier_name(vault: &VaultId, selector: &Selector) -> String {
    earlier_vault_name(&vault.service, &text(selector))
}

/// Adds the selector to a policy of the vault's pods.
fn annotated(mut policy: NetworkPolicy, selector: &Selector) -> NetworkPolicy {
    let annotations = policy.metadata.annotations.get_or_insert_default();
    annotations.insert(SELECTOR_ANNOTATION.to_owned(), text(selector));
    policy
}

/// The selector as JSON; labels are sorted.
fn text(selector: &Selector) -> String {
    serde_json::json!(selector).to_string()
}

/// Returns the pods that a generated `NetworkPolicy` is for, if it is one of the vault's pods. A policy of an earlier
/// version of the operator has no annotation.
pub fn selector_of(vault: &VaultId, policy: &Value) -> Option<Selector> {
    let name = policy.pointer("/metadata/name")?.as_str()?;
    let annotations = policy.pointer("/metadata/annotations");
    let annotation = annotations
        .and_then(|annotations| annotations.get(SELECTOR_ANNOTATION)?.as_str())
        .and_then(|text| serde_json::from_str::<Selector>(text).ok());
    let selector = match annotation {
        Some(selector) => selector,
        None if name == vault_name(&vault.service) => {
            let labels = policy.pointer("/spec/podSelector/matchLabels")?;
            serde_json::from_value(labels.clone()).ok()?
        }
        None => return None,
    };
    // An empty selector would select every pod of the namespace.
    (!selector.is_empty()).then_some(selector)
}

/// Whether a Service with the current selector selects every pod that the earlier one selects.
pub fn is_covered(earlier: &Selector, current: &Selector) -> bool {
    let mut current = current.iter();
    current.all(|(label, value)| earlier.get(label) == Some(value))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing, clippy::unwrap_used)]
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
    use serde_json::json;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Selector {
        let pairs = pairs.iter();
        pairs
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn a_selector_survives_in_the_policy() {
        let vault = VaultId {
            namespace: "team-a".into(),
            service: "openbao".into(),
        };
        let [old, new] = ["old", "new"].map(|app| labels(&[("app", app)]));
        let service = ProtectedService::new(new.clone(), IntOrString::Int(8200), None).unwrap();
        let mut current = json!(current_policy(&vault, &service));
        let earlier = json!(earlier_policy(&vault, &service, old.clone()));
        assert_eq!(selector_of(&vault, &current), Some(new));
        assert_eq!(selector_of(&vault, &earlier), Some(old.clone()));
        assert_eq!(earlier["spec"]["podSelector"]["matchLabels"], json!(old));
        assert_ne!(earlier["metadata"]["name"], current["metadata"]["name"]);
        // Somebody edited the selector itself.
        let edited = &mut current["spec"]["podSelector"]["matchLabels"];
        *edited = json!({"app": "edited"});
        assert_eq!(
            selector_of(&vault, &current),
            Some(labels(&[("app", "new")]))
        );
        // The annotation is missing, or selects everything.
        current["metadata"]["annotations"] = json!({});
        assert_eq!(
            selector_of(&vault, &current),
            Some(labels(&[("app", "edited")]))
        );
        current["metadata"]["annotations"] = json!({SELECTOR_ANNOTATION: "{}"});
        assert_eq!(selector_of(&vault, &current), None);
        let other = json!({"metadata": {"name": "openbao-firewall"}, "spec": current["spec"]});
        assert_eq!(selector_of(&vault, &other), None);
    }

    #[test]
    fn fewer_labels_select_more_pods() {
        let [none, one, two] = [&[][..], &[("a", "1")], &[("a", "1"), ("b", "1")]].map(labels);
        assert!(is_covered(&two, &one) && is_covered(&one, &one) && is_covered(&one, &none));
        assert!(!is_covered(&one, &two) && !is_covered(&one, &labels(&[("a", "2")])));
    }
}
