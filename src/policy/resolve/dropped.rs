//! Trusted services of a firewall with `denial: Drop`: a `NetworkPolicy` drops the packets of everybody whom it does
//! not select, so a service is let in only if it selects the service's pods.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use super::diagnostic::{Diagnostic, DiagnosticReason};
use super::grants::{accounts_of_identity, named_services};
use super::inputs::Inputs;
use crate::api::{DefaultAction, Denial, NAMESPACE_NAME_LABEL, SERVICE_ACCOUNT_LABEL};
use crate::policy::account_label::{AccountLabels, account_label_value};
use crate::policy::grants::Grants;
use crate::policy::model::Peer;
use crate::policy::trusted_service::ServiceIdentity;
use crate::policy::validated::ValidatedPolicy;

/// Whether packets of clients that nothing allows are dropped: by the oldest accepted policy, unless the default is to
/// allow.
pub(super) fn applies(oldest: &ValidatedPolicy, default_action: DefaultAction) -> bool {
    oldest.denial == Denial::Drop && default_action == DefaultAction::Deny
}

/// Whether a `NetworkPolicy` can select the pods of an identity. The holder of a federated credential has none.
pub(super) fn selects<M>(identity: &ServiceIdentity, inputs: &Inputs<'_, M>) -> bool {
    inputs.account_labels == AccountLabels::InForce && !is_federated(identity)
}

fn is_federated(identity: &ServiceIdentity) -> bool {
    matches!(identity, ServiceIdentity::FederatedCredential(_))
}

/// Warns of identities of a policy's services that a `NetworkPolicy` cannot select.
pub(super) fn report<M>(policy: &ValidatedPolicy, inputs: &Inputs<'_, M>) -> Option<Diagnostic> {
    let services = named_services(policy, inputs.trusted_services).into_iter();
    let services = services.filter_map(|name| inputs.trusted_services.get(name));
    let diagnostic = |reason, message| Diagnostic {
        policy: policy.name.clone(),
        reason,
        field: "spec.denial".to_owned(),
        message,
        detail: String::new(),
    };
    if let AccountLabels::NotInForce(why) = inputs.account_labels {
        let mut identities = services.flat_map(|service| &service.identities);
        let is_concerned = identities.any(|identity| !is_federated(identity));
        return is_concerned.then(|| {
            let message = format!(
                "with Drop, trusted services are let in by a label on their pods, and no NetworkPolicy selects it, so \
                 their packets are dropped: {why}; or write Reject"
            );
            diagnostic(DiagnosticReason::AccountLabelMissing, message)
        });
    }
    let federated: Vec<String> = services
        .filter(|service| service.identities.iter().any(is_federated))
        .map(|service| format!("`{}`", service.name))
        .collect();
    (!federated.is_empty()).then(|| {
        let message = format!(
            "with Drop, federated credentials let nobody in, because a NetworkPolicy cannot select who holds one; \
             TrustedService {} has some: write Reject, or leave the service out of spec.trustedServices.names",
            federated.join(", ")
        );
        diagnostic(DiagnosticReason::FederatedDropped, message)
    })
}

/// Selectors of the pods of the services that hold a grant, sorted: one for each name of a service account.
pub(super) fn service_peers<M>(grants: &Grants, inputs: &Inputs<'_, M>) -> Vec<Peer> {
    let services = grants.services().map(|grant| &grant.service);
    let identities = services.flat_map(|service| &service.identities);
    let selected = identities.filter(|identity| selects(identity, inputs));
    let namespace = &inputs.vault.namespace;
    let accounts =
        selected.flat_map(|identity| accounts_of_identity(identity, namespace, inputs.accounts));
    let mut namespaces: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for account in accounts {
        let value = account_label_value(&account.name);
        namespaces
            .entry(value)
            .or_default()
            .insert(account.namespace);
    }
    let peer = |(value, namespaces): (String, BTreeSet<String>)| Peer::Pods {
        namespaces: LabelSelector {
            match_labels: None,
            match_expressions: Some(vec![LabelSelectorRequirement {
                key: NAMESPACE_NAME_LABEL.to_owned(),
                operator: "In".to_owned(),
                values: Some(namespaces.into_iter().collect()),
            }]),
        },
        pods: LabelSelector {
            match_labels: Some(BTreeMap::from([(SERVICE_ACCOUNT_LABEL.to_owned(), value)])),
            match_expressions: None,
        },
    };
    namespaces.into_iter().map(peer).collect()
}
