//! Entries of `spec.clientAddress.trustedProxies`. A schema cannot have rules for them, because an entry is a text or
//! an object; see [`crate::api::TrustedProxy`]. The rules are equal to those of `policy::validate`.

use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, Validation, Variable,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::Resource;
use kube::core::{Message, Rule};

use super::policy::{SPEC_CHANGES, policy, writes};
use crate::api::group::GROUP;
use crate::api::rules::{SHOWN, quote, trusted_proxy};
use crate::api::vault_network_policy::VaultNetworkPolicy;

/// Name of the admission policy and of its binding.
pub const TRUSTED_PROXIES_POLICY: &str = "trusted-proxies.vaultwall.dev";

/// Field of the list, with which every message begins.
const LIST: &str = "spec.clientAddress.trustedProxies";

/// Parts of the list: all entries, those that are texts, those that are objects, and the selectors in these.
///
/// `dyn` keeps the API server from warning that the schema gives the entries no type.
const VARIABLES: [(&str, &str); 4] = [
    (
        "entries",
        "has(object.spec.clientAddress) && has(dyn(object.spec.clientAddress).trustedProxies) ? \
         dyn(object.spec.clientAddress).trustedProxies : []",
    ),
    ("texts", "variables.entries.filter(e, type(e) == string)"),
    (
        "pods",
        "variables.entries.filter(e, type(e) == map).map(e, e.pods)",
    ),
    (
        "selectors",
        "variables.pods.filter(p, has(p.namespaceSelector)).map(p, p.namespaceSelector) + \
         variables.pods.filter(p, has(p.podSelector)).map(p, p.podSelector)",
    ),
];

/// Refuses a `VaultNetworkPolicy` whose list of trusted proxies is invalid. Of several faults it reports the first.
pub fn trusted_proxies_policy() -> ValidatingAdmissionPolicy {
    let plural = VaultNetworkPolicy::plural(&());
    let mut admission = policy(
        TRUSTED_PROXIES_POLICY,
        vec![writes(GROUP, &[&plural])],
        LabelSelector::default(),
        [SPEC_CHANGES],
        validations(),
    );
    if let Some(spec) = &mut admission.spec {
        let variables = VARIABLES.map(|(name, expression)| Variable {
            name: name.to_owned(),
            expression: expression.to_owned(),
        });
        spec.variables = Some(variables.into());
    }
    admission
}

fn validations() -> Vec<Validation> {
    let source = "(has(object.spec.clientAddress) && has(object.spec.clientAddress.source) ? \
                  object.spec.clientAddress.source : 'Direct')";
    let requirements =
        "variables.selectors.filter(s, has(s.matchExpressions)).all(s, s.matchExpressions.all(r, ";
    let values = "(has(r.values) && size(r.values) > 0)";
    let fixed = [
        (
            "variables.entries.all(e, type(e) == string || type(e) == map)".to_owned(),
            "has an entry that is neither a text nor an object; write an address or a range such as 10.0.0.0/24 in \
             quotes, or pods: with a namespaceSelector, a podSelector or both",
        ),
        (
            "variables.entries.filter(e, type(e) == map).all(e, e.all(key, key == 'pods'))".to_owned(),
            "has an entry with an unknown field; an entry that is an object has the field pods alone",
        ),
        (
            "variables.pods.all(p, has(p.namespaceSelector) || has(p.podSelector))".to_owned(),
            "has pods that select nothing; give namespaceSelector, podSelector or both ({} selects everything)",
        ),
        (
            "variables.selectors.filter(s, has(s.matchLabels)).all(s, s.matchLabels.all(key, s.matchLabels[key] != \
             null))"
                .to_owned(),
            "has pods whose matchLabels has a key without a value (null); write the value, \"\" if it is empty, or \
             remove the key",
        ),
        (
            format!("{requirements}!(r.operator in ['In', 'NotIn']) || {values}))"),
            "has pods with In or NotIn without a value; these operators need at least one",
        ),
        (
            format!("{requirements}r.operator in ['In', 'NotIn'] || !{values}))"),
            "has pods with Exists or DoesNotExist and values; remove the values",
        ),
        (
            format!("{source} != 'Direct' || size(variables.entries) == 0"),
            "is not used when the source is Direct; set source: XForwardedFor, or remove the list",
        ),
        (
            format!("{source} == 'Direct' || size(variables.entries) > 0"),
            "is empty, but this source is trusted only from listed proxies; list the proxies' addresses or pods",
        ),
    ];
    let fixed = fixed.into_iter().map(|(expression, message)| Validation {
        expression,
        message: Some(format!("{LIST} {message}")),
        reason: Some("Invalid".to_owned()),
        ..Validation::default()
    });
    fixed.chain(trusted_proxy().iter().map(of_texts)).collect()
}

/// A rule of one text, for all of them. The message is about the first one that breaks it.
fn of_texts(rule: &Rule) -> Validation {
    let broken = &rule.rule;
    let message = match &rule.message {
        Some(Message::Expression(expression)) => expression.clone(),
        Some(Message::Message(text)) => format!("{SHOWN} + {}", quote(text)),
        None => SHOWN.to_owned(),
    };
    let prefix = quote(&format!("{LIST}: "));
    Validation {
        expression: format!("variables.texts.all(self, {broken})"),
        message_expression: Some(format!(
            "{prefix} + variables.texts.filter(self, !({broken})).map(self, {message})[0]"
        )),
        reason: Some("Invalid".to_owned()),
        ..Validation::default()
    }
}
