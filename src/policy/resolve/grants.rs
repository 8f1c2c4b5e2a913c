//! Identities of the policies of one vault, and what each of them is granted.
//!
//! A service that several policies let in has to give every proof that one of them demands. Operators and deployers
//! come from the oldest policy, like the other settings of the management endpoint.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use super::diagnostic::{Diagnostic, DiagnosticReason};
use super::found::Found;
use super::inputs::{Inputs, TrustedServices};
use super::proxies::ListedProxies;
use crate::api::{Proof, SUBSCRIPTION_LABEL};
use crate::limits::MAX_TRUSTED_PODS;
use crate::policy::accounts::Accounts;
use crate::policy::grants::{Grants, Holders, Identity, ServiceGrant};
use crate::policy::identity::ObjectName;
use crate::policy::token::{self, TokenIdentity};
use crate::policy::trusted_service::{FederatedIdentity, ServiceIdentity, ValidatedTrustedService};
use crate::policy::validated::ValidatedPolicy;

/// Resolves the identities of the accepted policies, oldest first. Identities of services count if they are
/// `reachable`.
pub(super) fn grants<M>(
    policies: &[&ValidatedPolicy],
    reachable: &dyn Fn(&ServiceIdentity) -> bool,
    inputs: &Inputs<'_, M>,
    proxies: &ListedProxies<'_>,
    found: &mut Found,
) -> Grants {
    let listed = |identities: &[ServiceIdentity], proof: Proof| {
        (!identities.is_empty()).then(|| holders(identities.iter(), proof, inputs))
    };
    let oldest = policies.first();
    let mut grants = Grants {
        pods: BTreeMap::new(),
        services: services(policies, reachable, inputs, found),
        operators: oldest.and_then(|policy| listed(&policy.operators, policy.proof)),
        deployers: oldest.and_then(|policy| listed(&policy.deployers, policy.proof)),
    };
    let accounts: BTreeSet<&Arc<ObjectName>> = grants
        .holders()
        .filter_map(|identity| match identity {
            Identity::Pod(account) => Some(account),
            Identity::Token(_) | Identity::PodAndToken(_) => None,
        })
        .collect();
    let pods = accounts.into_iter().flat_map(|account| {
        let pods = inputs.accounts.pods_of(account).into_iter();
        let pods = pods.filter(|pod| !proxies.contains(pod.address));
        pods.map(move |pod| (pod.address, Arc::clone(account)))
    });
    let pods: BTreeMap<Ipv4Addr, Arc<ObjectName>> = pods.collect();
    if pods.len() > MAX_TRUSTED_PODS {
        found.warnings.extend(oldest.map(|policy| too_many(policy)));
    } else {
        grants.pods = pods;
    }
    grants
}

/// Services that the policies let in; `None` if no policy has a bypass.
fn services<M>(
    policies: &[&ValidatedPolicy],
    reachable: &dyn Fn(&ServiceIdentity) -> bool,
    inputs: &Inputs<'_, M>,
    found: &mut Found,
) -> Option<Vec<ServiceGrant>> {
    let mut proofs: BTreeMap<&str, Proof> = BTreeMap::new();
    let mut has_bypass = false;
    for policy in policies {
        has_bypass |= policy.bypass.is_some();
        for name in named_services(policy, inputs.trusted_services) {
            let Some(service) = inputs.trusted_services.get(name) else {
                found.unresolved.push(not_found(policy, name));
                continue;
            };
            let proof = proofs.entry(name).or_insert(policy.proof);
            *proof = proof.and(policy.proof);
            found.warnings.extend(incomplete(policy, service, inputs));
        }
    }
    let grants = proofs.into_iter().filter_map(|(name, proof)| {
        let service = inputs.trusted_services.get(name)?;
        let reached = service.identities.iter();
        let reached = reached.filter(|identity| reachable(identity));
        Some(ServiceGrant {
            holders: holders(reached, proof, inputs),
            service: Arc::clone(service),
        })
    });
    has_bypass.then(|| grants.collect())
}

/// Names of the services that a policy lets in: the listed ones, which need not exist, or all.
pub(super) fn named_services<'a>(
    policy: &'a ValidatedPolicy,
    trusted_services: &'a TrustedServices,
) -> Vec<&'a str> {
    match policy.bypass.as_ref().map(|bypass| &bypass.names) {
        None => Vec::new(),
        Some(Some(names)) => names.iter().map(String::as_str).collect(),
        Some(None) => trusted_services.keys().map(String::as_str).collect(),
    }
}

fn holders<'a, M>(
    identities: impl Iterator<Item = &'a ServiceIdentity> + Clone,
    proof: Proof,
    inputs: &Inputs<'_, M>,
) -> Holders {
    let namespace = &inputs.vault.namespace;
    let accounts = identities
        .clone()
        .flat_map(|identity| accounts_of_identity(identity, namespace, inputs.accounts));
    let by_token = |account: &ObjectName| {
        // The tokens of a deleted account are valid until they expire, so the id of the existing one decides.
        let existing = inputs.accounts.existing(account)?;
        let issuer = &inputs.keys.cluster.keys()?.issuer;
        Some(token::of_account(account, existing, issuer, inputs.vault))
    };
    let accounts = accounts.filter_map(|account| match proof {
        Proof::Pod => Some(Identity::Pod(Arc::new(account))),
        Proof::Token => by_token(&account).map(Identity::Token),
        Proof::PodAndToken => by_token(&account).map(|_| Identity::PodAndToken(account)),
    });
    // A service account proves itself as one: its account must exist, and the audience is this vault's own.
    let cluster = &inputs.keys.cluster;
    let is_foreign =
        |credential: &&FederatedIdentity| !cluster.can_be(&credential.issuer, &credential.subject);
    let federated = federated(identities).filter(is_foreign);
    let federated = federated.flat_map(|credential| {
        let audiences = credential.audiences.iter();
        audiences.map(|audience| {
            Identity::Token(TokenIdentity {
                issuer: credential.issuer.clone(),
                subject: credential.subject.clone(),
                audience: audience.clone(),
                account_uid: None,
            })
        })
    });
    accounts.chain(federated).collect()
}

/// Federated credentials among identities.
pub(super) fn federated<'a>(
    identities: impl Iterator<Item = &'a ServiceIdentity>,
) -> impl Iterator<Item = &'a FederatedIdentity> {
    identities.filter_map(|identity| match identity {
        ServiceIdentity::FederatedCredential(credential) => Some(credential),
        _ => None,
    })
}

/// Service accounts of this cluster that an identity names for a vault in a namespace.
pub fn accounts_of_identity(
    identity: &ServiceIdentity,
    namespace: &str,
    accounts: &dyn Accounts,
) -> Vec<ObjectName> {
    match identity {
        ServiceIdentity::ServiceAccount(account) => vec![account.clone()],
        ServiceIdentity::RegisteredResource(name) => {
            let subscription = accounts.subscription_of(namespace);
            let namespaces = subscription.map(|subscription| accounts.namespaces_of(subscription));
            let namespaces = namespaces.into_iter().flatten();
            namespaces
                .map(|namespace| ObjectName {
                    namespace: namespace.to_owned(),
                    name: name.clone(),
                })
                .collect()
        }
        ServiceIdentity::FederatedCredential(_) => Vec::new(),
    }
}

/// Identities of a policy, and of the services that it lets in.
pub fn referenced_identities<'a>(
    policy: &'a ValidatedPolicy,
    trusted_services: &'a TrustedServices,
) -> impl Iterator<Item = &'a ServiceIdentity> {
    let services = named_services(policy, trusted_services).into_iter();
    let services = services.filter_map(|name| trusted_services.get(name));
    let identities = services.flat_map(|service| &service.identities);
    identities.chain(&policy.operators).chain(&policy.deployers)
}

/// Service accounts that the resolution of a policy depends on, so that the index can track their pods.
pub fn referenced_accounts(
    policy: &ValidatedPolicy,
    trusted_services: &TrustedServices,
    directory: &dyn Accounts,
) -> BTreeSet<ObjectName> {
    referenced_identities(policy, trusted_services)
        .flat_map(|identity| accounts_of_identity(identity, &policy.vault.namespace, directory))
        .collect()
}

fn not_found(policy: &ValidatedPolicy, name: &str) -> Diagnostic {
    Diagnostic {
        policy: policy.name.clone(),
        reason: DiagnosticReason::TrustedServiceNotFound,
        field: "spec.trustedServices.names".to_owned(),
        message: format!(
            "there is no valid TrustedService `{name}`, so this name lets nobody in; correct the name or ask the \
             platform's admin to create it"
        ),
        detail: String::new(),
    }
}

/// Warns of a listed service that lets nobody in. A policy that lets in all services is about none in particular.
fn incomplete<M>(
    policy: &ValidatedPolicy,
    service: &ValidatedTrustedService,
    inputs: &Inputs<'_, M>,
) -> Option<Diagnostic> {
    policy.bypass.as_ref()?.names.as_ref()?;
    let name = &service.name;
    let registered =
        |identity: &ServiceIdentity| matches!(identity, ServiceIdentity::RegisteredResource(_));
    let namespace = &policy.vault.namespace;
    let (reason, message) = if service.identities.is_empty() {
        let message = format!(
            "TrustedService `{name}` has no identities, so it lets nobody in; ask the platform's admin to map one"
        );
        (DiagnosticReason::NoIdentities, message)
    } else if service.identities.iter().any(registered)
        && inputs.accounts.subscription_of(namespace).is_none()
    {
        let message = format!(
            "TrustedService `{name}` has registered resources, and namespace {namespace} has no subscription, so they \
             let nobody in; ask the cluster's admin to run `kubectl label namespace {namespace} \
             {SUBSCRIPTION_LABEL}=NAME`"
        );
        (DiagnosticReason::NoSubscription, message)
    } else {
        return None;
    };
    Some(Diagnostic {
        policy: policy.name.clone(),
        reason,
        field: "spec.trustedServices.names".to_owned(),
        message,
        detail: String::new(),
    })
}

/// Reports that no pod proves an identity. The policy is not refused: pods of others that start must not take away what
/// its rules allow.
pub(super) fn too_many(policy: &ValidatedPolicy) -> Diagnostic {
    Diagnostic {
        policy: policy.name.clone(),
        reason: DiagnosticReason::TooManyTrustedPods,
        field: "spec.trustedServices".to_owned(),
        message: format!(
            "more than {MAX_TRUSTED_PODS} addresses of pods belong to its identities, the most that a firewall can \
             have, so no pod proves an identity; narrow spec.trustedServices.names"
        ),
        detail: String::new(),
    }
}
