//! State of a trusted service, for its status: which of its identities can be proven and by which pods, and the
//! policies that let it in. A change is recorded with the services that it concerns, so that an event of a pod looks at
//! the services of its account alone.

use std::collections::BTreeSet;

use super::state::Index;
use super::{NamespaceFact, ObjectName, PodFact};
use crate::policy::key_set;
use crate::policy::{
    Accounts, BypassSettings, FailedFetch, FederatedIdentity, KeySource, ServiceIdentity,
    ValidatedTrustedService,
};

/// State of a trusted service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedService {
    /// Number of its scenarios.
    pub scenarios: usize,
    /// Each identity, in the order of the spec.
    pub identities: Vec<ObservedIdentity>,
    /// Number of different pods that run under its accounts.
    pub pods: usize,
    /// Policies that let it in, sorted.
    pub policies: Vec<ObjectName>,
}

/// State of an identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedIdentity {
    /// The identity, as messages show it.
    pub identity: String,
    /// State of its service accounts; `None` for a federated credential.
    pub accounts: Option<ObservedAccounts>,
    /// Checksum of the keys in use; only for a federated credential whose keys are known.
    pub keys: Option<String>,
    /// Why it lets nobody in, or may let in others than meant.
    pub problem: Option<IdentityProblem>,
}

/// Service accounts that an identity names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedAccounts {
    /// Number of those that exist.
    pub existing: usize,
    /// Number of pods that run under them.
    pub pods: usize,
    /// Namespaces of these pods, sorted.
    pub namespaces: BTreeSet<String>,
}

/// Why an identity lets nobody in, or may let in others than meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentityProblem {
    /// The namespace of the service account does not exist.
    NamespaceNotFound,
    /// The namespace of the service account is being deleted.
    NamespaceTerminating,
    /// The service account does not exist; of a registered resource, in no namespace with a subscription.
    ServiceAccountNotFound,
    /// The accounts of a registered resource are all in these namespaces, which have no subscription.
    NoSubscription(BTreeSet<String>),
    /// The keys at this URL are not known, although a policy lets the service in. The fetches that failed, if any did.
    KeysNotFetched(String, Option<FailedFetch>),
    /// The keys at this URL cannot be fetched; the last ones are in use.
    KeysNotConfirmed(String, FailedFetch),
    /// These services name other keys for the issuer, so no vault that lets in both accepts a token of it.
    KeysDiffer(BTreeSet<String>),
    /// The issuer is this cluster's own, whose tokens prove service accounts only.
    OwnIssuer,
    /// These services have the same identity, so each may do what all of them may.
    SharedByServices(BTreeSet<String>),
}

impl IdentityProblem {
    /// Whether the identity cannot be proven.
    pub fn lets_nobody_in(&self) -> bool {
        !matches!(self, Self::KeysNotConfirmed(..) | Self::SharedByServices(_))
    }
}

/// Part of a namespace that the identities in it depend on.
#[derive(PartialEq)]
pub(super) struct NamespaceState {
    exists: bool,
    terminating: bool,
    pub(super) subscription: Option<String>,
}

impl Index {
    /// Trusted services whose state may have changed since the last call.
    pub fn take_changed_services(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.changed_services)
    }

    /// State of the last valid form of a trusted service; `None` without one.
    pub fn observe_service(&self, name: &str) -> Option<ObservedService> {
        let service = self.trusted_services.get(name)?;
        let policies = self.policies_with(name);
        let identities = service.identities.iter();
        let identities = identities
            .map(|identity| self.observe_identity(name, identity, !policies.is_empty()))
            .collect();
        let accounts: BTreeSet<ObjectName> = service
            .identities
            .iter()
            .flat_map(|identity| self.accounts_named(identity))
            .collect();
        let pods = accounts
            .iter()
            .map(|account| self.pods_of_account(account).count());
        Some(ObservedService {
            scenarios: service.scenarios.len(),
            identities,
            pods: pods.sum(),
            policies,
        })
    }

    /// Policies whose bypass lets a service in, sorted.
    fn policies_with(&self, service: &str) -> Vec<ObjectName> {
        let policies = self.policies.iter().filter(|(_, policy)| {
            let valid = policy.valid.as_deref();
            let bypass = valid.and_then(|policy| policy.bypass.as_ref());
            bypass.is_some_and(|bypass| bypass.lets_in(service))
        });
        policies.map(|(id, _)| id.clone()).collect()
    }

    fn observe_identity(
        &self,
        service: &str,
        identity: &ServiceIdentity,
        is_used: bool,
    ) -> ObservedIdentity {
        let shown = identity.to_string();
        let shared = || {
            let services = self.services_with(service, identity);
            (!services.is_empty()).then_some(IdentityProblem::SharedByServices(services))
        };
        match identity {
            ServiceIdentity::FederatedCredential(credential) => {
                let keys = self.keys_of(credential);
                let is_own = self.keys.cluster.name() == Some(&credential.issuer);
                let url = match &credential.keys {
                    KeySource::Url(url) => Some(url),
                    KeySource::Inline(_) => None,
                };
                let problem = url.and_then(|url| {
                    let failed = self.keys.failed.get(url).cloned();
                    let url = url.clone();
                    match keys {
                        None => is_used.then_some(IdentityProblem::KeysNotFetched(url, failed)),
                        Some(_) => Some(IdentityProblem::KeysNotConfirmed(url, failed?)),
                    }
                });
                ObservedIdentity {
                    identity: shown,
                    accounts: None,
                    keys: keys.map(key_set::checksum),
                    problem: is_own
                        .then_some(IdentityProblem::OwnIssuer)
                        .or_else(|| self.services_with_other_keys(service, credential))
                        .or(problem)
                        .or_else(shared),
                }
            }
            ServiceIdentity::ServiceAccount(_) | ServiceIdentity::RegisteredResource(_) => {
                let accounts = self.accounts_named(identity);
                let problem = match identity {
                    ServiceIdentity::ServiceAccount(account) => self.problem_of(account),
                    _ if accounts.is_empty() => Some(self.problem_without(identity)),
                    _ => None,
                };
                ObservedIdentity {
                    identity: shown,
                    accounts: Some(self.observe_accounts(&accounts)),
                    keys: None,
                    problem: problem.or_else(shared),
                }
            }
        }
    }

    fn observe_accounts(&self, accounts: &[ObjectName]) -> ObservedAccounts {
        let existing = accounts
            .iter()
            .filter(|account| self.existing(account).is_some());
        let pods = accounts
            .iter()
            .flat_map(|account| self.pods_of_account(account));
        let pods: Vec<&PodFact> = pods.collect();
        ObservedAccounts {
            existing: existing.count(),
            pods: pods.len(),
            namespaces: pods.iter().map(|pod| pod.namespace.clone()).collect(),
        }
    }

    /// Service accounts that an identity names: its own, which need not exist, or those of a registered resource, which
    /// exist in a namespace with a subscription.
    fn accounts_named(&self, identity: &ServiceIdentity) -> Vec<ObjectName> {
        match identity {
            ServiceIdentity::ServiceAccount(account) => vec![account.clone()],
            ServiceIdentity::RegisteredResource(name) => {
                let accounts = self.accounts_with_name(name);
                let registered =
                    accounts.filter(|account| self.subscription_of(&account.namespace).is_some());
                registered.cloned().collect()
            }
            ServiceIdentity::FederatedCredential(_) => Vec::new(),
        }
    }

    fn accounts_with_name(&self, name: &str) -> impl Iterator<Item = &ObjectName> {
        let accounts = self.accounts.existing.keys();
        accounts.filter(move |account| account.name == name)
    }

    fn problem_of(&self, account: &ObjectName) -> Option<IdentityProblem> {
        let namespace = &account.namespace;
        if self.namespace(namespace).is_none() {
            Some(IdentityProblem::NamespaceNotFound)
        } else if self.accounts.terminating.contains(namespace) {
            Some(IdentityProblem::NamespaceTerminating)
        } else if self.existing(account).is_none() {
            Some(IdentityProblem::ServiceAccountNotFound)
        } else {
            None
        }
    }

    /// Why a registered resource has no account.
    fn problem_without(&self, identity: &ServiceIdentity) -> IdentityProblem {
        let accounts = account_name(identity).map(|name| self.accounts_with_name(name));
        let namespaces = accounts.into_iter().flatten();
        let namespaces: BTreeSet<String> = namespaces
            .map(|account| account.namespace.clone())
            .collect();
        if namespaces.is_empty() {
            IdentityProblem::ServiceAccountNotFound
        } else {
            IdentityProblem::NoSubscription(namespaces)
        }
    }

    fn keys_of<'a>(&'a self, credential: &'a FederatedIdentity) -> Option<&'a str> {
        match &credential.keys {
            KeySource::Inline(jwks) => Some(jwks),
            KeySource::Url(url) => self.keys.urls.get(url).map(AsRef::as_ref),
        }
    }

    /// Other services that name other keys for the issuer of a credential.
    fn services_with_other_keys(
        &self,
        service: &str,
        credential: &FederatedIdentity,
    ) -> Option<IdentityProblem> {
        let differs = |other: &ServiceIdentity| match other {
            ServiceIdentity::FederatedCredential(other) => {
                other.issuer == credential.issuer && other.keys != credential.keys
            }
            _ => false,
        };
        let services = self.other_services(service, differs);
        (!services.is_empty()).then_some(IdentityProblem::KeysDiffer(services))
    }

    /// Other services that have an identity, sorted.
    fn services_with(&self, service: &str, identity: &ServiceIdentity) -> BTreeSet<String> {
        self.other_services(service, |other| self.is_same(identity, other))
    }

    /// Other services with an identity that `fits`, sorted.
    fn other_services(
        &self,
        service: &str,
        fits: impl Fn(&ServiceIdentity) -> bool,
    ) -> BTreeSet<String> {
        let others = self.trusted_services.iter();
        let others = others
            .filter(|(name, other)| name.as_str() != service && other.identities.iter().any(&fits));
        others.map(|(name, _)| name.clone()).collect()
    }

    /// Whether a caller can be both identities.
    fn is_same(&self, one: &ServiceIdentity, other: &ServiceIdentity) -> bool {
        use ServiceIdentity::{FederatedCredential, RegisteredResource, ServiceAccount};
        match (one, other) {
            (ServiceAccount(account), RegisteredResource(name))
            | (RegisteredResource(name), ServiceAccount(account)) => {
                account.name == *name && self.subscription_of(&account.namespace).is_some()
            }
            (FederatedCredential(one), FederatedCredential(other)) => {
                one.issuer == other.issuer
                    && one.subject == other.subject
                    && !one.audiences.is_disjoint(&other.audiences)
            }
            _ => one == other,
        }
    }

    /// Records that an account, or a pod under it, was added or removed.
    pub(super) fn services_of_account_changed(&mut self, account: &ObjectName) {
        let services = self.accounts.services.get(&account.name);
        self.changed_services.extend(services.cloned());
    }

    /// Records that every service may have another state.
    pub(super) fn every_service_changed(&mut self) {
        let services = self.trusted_services.keys();
        self.changed_services.extend(services.cloned());
    }

    /// Records the services that an earlier or the current bypass of a policy lets in, if the bypass has changed.
    pub(super) fn bypass_changed(
        &mut self,
        was: Option<&BypassSettings>,
        is: Option<&BypassSettings>,
    ) {
        if was == is {
            return;
        }
        for bypass in was.into_iter().chain(is) {
            match &bypass.names {
                Some(names) => self.changed_services.extend(names.iter().cloned()),
                None => self.every_service_changed(),
            }
        }
    }

    /// Replaces the accounts by which a service is found. Other services can share its identities.
    pub(super) fn update_services_of_accounts(
        &mut self,
        was: Option<&ValidatedTrustedService>,
        is: Option<&ValidatedTrustedService>,
    ) {
        if let Some(service) = was {
            for name in service.identities.iter().filter_map(account_name) {
                let name = name.to_owned();
                self.accounts
                    .services
                    .remove(&name, &service.name.to_string());
            }
        }
        if let Some(service) = is {
            for name in service.identities.iter().filter_map(account_name) {
                let service = service.name.to_string();
                self.accounts.services.insert(name.to_owned(), service);
            }
        }
        self.every_service_changed();
    }

    /// State of a namespace that identities depend on.
    pub(super) fn namespace_state(&self, name: &str) -> NamespaceState {
        NamespaceState {
            exists: self.namespace(name).is_some(),
            terminating: self.accounts.terminating.contains(name),
            subscription: self.subscription_of(name).map(str::to_owned),
        }
    }

    /// Records whether a namespace is being deleted.
    pub(super) fn set_terminating(&mut self, name: &str, fact: Option<&NamespaceFact>) {
        if fact.is_some_and(|fact| fact.terminating) {
            self.accounts.terminating.insert(name.to_owned());
        } else {
            self.accounts.terminating.remove(name);
        }
    }
}

/// Name of the account that an identity names, without a namespace.
fn account_name(identity: &ServiceIdentity) -> Option<&str> {
    match identity {
        ServiceIdentity::ServiceAccount(account) => Some(&account.name),
        ServiceIdentity::RegisteredResource(name) => Some(name),
        ServiceIdentity::FederatedCredential(_) => None,
    }
}
