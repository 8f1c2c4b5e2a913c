//! Identities in the index: which pods prove a service account, and which vaults a change of an account, a subscription
//! or a trusted service affects. An event looks only at the accounts that it names.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use super::accounts::PodsAt;
use super::state::Index;
use super::{ObjectName, PodFact};
use crate::api::{Proof, SUBSCRIPTION_LABEL};
use crate::policy::{
    AccountPod, Accounts, ExistingAccount, FederatedIdentity, IssuerKeys, KeySource,
    ServiceIdentity, ValidatedPolicy, ValidatedTrustedService, VaultId, referenced_accounts,
    referenced_identities,
};

impl PodFact {
    /// The service account that the pod runs under.
    pub fn account(&self) -> ObjectName {
        ObjectName {
            namespace: self.namespace.clone(),
            name: self.service_account.clone(),
        }
    }
}

impl Accounts for Index {
    fn existing(&self, account: &ObjectName) -> Option<&ExistingAccount> {
        self.accounts.existing.get(account)
    }

    fn pods_of(&self, account: &ObjectName) -> Vec<AccountPod> {
        let pods = self.pods_of_account(account);
        let addresses = pods.flat_map(|pod| pod.addresses.iter().copied());
        let is_own = |address: &Ipv4Addr| self.account_at(*address).as_ref() == Some(account);
        addresses
            .filter(is_own)
            .map(|address| {
                let mut pods = self.pods_at(address);
                let uid = pods.next().and_then(|pod| pod.uid.clone());
                AccountPod {
                    address,
                    uid: uid.filter(|_| pods.next().is_none()),
                }
            })
            .collect()
    }

    fn subscription_of(&self, namespace: &str) -> Option<&str> {
        let labels = self.namespace(namespace)?;
        let subscription = labels.get(SUBSCRIPTION_LABEL).map(String::as_str);
        subscription.filter(|name| !name.is_empty())
    }

    fn namespaces_of(&self, subscription: &str) -> Vec<&str> {
        let namespaces = self.accounts.subscriptions.get(&subscription.to_owned());
        namespaces.map(String::as_str).collect()
    }
}

impl Index {
    /// Replaces the keys of token issuers, and reports the vaults whose identities can depend on them.
    pub fn set_keys(&mut self, keys: IssuerKeys) {
        if self.keys == keys {
            return;
        }
        let is_same = self.keys.cluster == keys.cluster && self.keys.urls == keys.urls;
        self.keys = keys;
        self.every_service_changed();
        if !is_same {
            self.identities_changed(Self::depends_on_keys);
        }
    }

    /// Whether any vault's identities can depend on the issuer of this cluster.
    pub fn needs_cluster_issuer(&self) -> bool {
        let policies = self
            .vaults
            .keys()
            .flat_map(|vault| self.dependent_policies(vault));
        policies
            .into_iter()
            .any(|policy| self.depends_on_keys(policy))
    }

    fn depends_on_keys(&self, policy: &ValidatedPolicy) -> bool {
        let federated = |identity| matches!(identity, &ServiceIdentity::FederatedCredential(_));
        let mut identities = referenced_identities(policy, &self.trusted_services);
        policy.proof != Proof::Pod || identities.any(federated)
    }

    /// Issuers of federated credentials that any vault's identities depend on.
    pub fn issuers(&self) -> BTreeSet<String> {
        let credentials = self.credentials();
        credentials
            .map(|credential| credential.issuer.clone())
            .collect()
    }

    /// URLs of the key sets that any vault's identities depend on.
    pub fn key_urls(&self) -> BTreeSet<String> {
        // Only trusted services name URLs. Most clusters have none, and every event of a policy asks.
        let services = self.trusted_services.values();
        let mut identities = services.flat_map(|service| &service.identities);
        if !identities.any(ServiceIdentity::has_key_url) {
            return BTreeSet::new();
        }
        let urls = self
            .credentials()
            .filter_map(|credential| match &credential.keys {
                KeySource::Url(url) => Some(url.clone()),
                KeySource::Inline(_) => None,
            });
        urls.collect()
    }

    fn credentials(&self) -> impl Iterator<Item = &FederatedIdentity> {
        let vaults = self.vaults.keys();
        let policies = vaults.flat_map(|vault| self.dependent_policies(vault));
        let identities =
            policies.flat_map(|policy| referenced_identities(policy, &self.trusted_services));
        identities.filter_map(|identity| match identity {
            ServiceIdentity::FederatedCredential(credential) => Some(credential),
            _ => None,
        })
    }

    /// Counted pods that run under a service account, sorted by name.
    pub fn pods_of_account(&self, account: &ObjectName) -> impl Iterator<Item = &PodFact> {
        let pods = self.accounts.pods.get(account);
        pods.filter_map(|pod| self.pod(pod))
    }

    /// Account of all pods that have an address; `None` if there is no pod, or they have several accounts.
    fn account_at(&self, address: Ipv4Addr) -> Option<ObjectName> {
        let mut accounts = self.pods_at(address).map(PodFact::account);
        let first = accounts.next()?;
        accounts.all(|other| other == first).then_some(first)
    }

    /// Sets or, with none, removes a service account.
    pub(super) fn set_account(&mut self, account: &ObjectName, existing: Option<ExistingAccount>) {
        let accounts = &mut self.accounts.existing;
        let is_changed = accounts.get(account) != existing.as_ref();
        match existing {
            Some(existing) => accounts.insert(account.clone(), existing),
            None => accounts.remove(account),
        };
        if is_changed {
            self.account_changed(account);
            self.services_of_account_changed(account);
        }
    }

    /// Pods at the addresses of a pod, before it changes.
    pub(super) fn pods_before(&self, id: &ObjectName, fact: Option<&PodFact>) -> PodsAt {
        let pods = self.pod(id).into_iter().chain(fact);
        let addresses = pods.flat_map(|pod| pod.addresses.iter().copied());
        addresses
            .map(|address| (address, self.accounts_at(address)))
            .collect()
    }

    /// Accounts of the pods that have an address, and the ids of these pods.
    fn accounts_at(&self, address: Ipv4Addr) -> Vec<(ObjectName, Option<String>)> {
        let pods = self.pods_at(address);
        pods.map(|pod| (pod.account(), pod.uid.clone())).collect()
    }

    /// Records the account of a pod that changed, and reports the vaults of accounts with an address that has
    /// other pods now.
    pub(super) fn update_accounts(
        &mut self,
        id: &ObjectName,
        was: Option<&ObjectName>,
        before: PodsAt,
    ) {
        let is = self.pod(id).map(PodFact::account);
        if was != is.as_ref() {
            if let Some(was) = was {
                self.accounts.pods.remove(was, id);
                self.services_of_account_changed(was);
            }
            if let Some(is) = is {
                self.services_of_account_changed(&is);
                self.accounts.pods.insert(is, id.clone());
            }
        }
        for (address, before) in before {
            let after = self.accounts_at(address);
            if before != after {
                for (account, _) in before.iter().chain(&after) {
                    self.account_changed(account);
                }
            }
        }
    }

    fn account_changed(&mut self, account: &ObjectName) {
        let vaults = self.accounts.vaults.get(account);
        self.changed.extend(vaults.cloned());
    }

    /// Moves a namespace to its subscription, and reports the vaults that have registered resources.
    pub(super) fn update_subscription(&mut self, namespace: &str, was: Option<String>) {
        let is = self.subscription_of(namespace).map(str::to_owned);
        if was == is {
            return;
        }
        let namespace = namespace.to_owned();
        if let Some(was) = was {
            self.accounts.subscriptions.remove(&was, &namespace);
        }
        if let Some(is) = is {
            self.accounts.subscriptions.insert(is, namespace);
        }
        self.identities_changed(|index, policy| {
            let services = &index.trusted_services;
            let mut identities = referenced_identities(policy, services);
            identities.any(|identity| matches!(identity, ServiceIdentity::RegisteredResource(_)))
        });
    }

    /// Sets or, with none, removes a trusted service, and reports the vaults whose policies let it in.
    pub(super) fn set_trusted_service(
        &mut self,
        name: &str,
        service: Option<Arc<ValidatedTrustedService>>,
    ) {
        if self.trusted_services.get(name) == service.as_ref() {
            return;
        }
        let is = service.clone();
        let was = match service {
            Some(service) => self.trusted_services.insert(name.to_owned(), service),
            None => self.trusted_services.remove(name),
        };
        self.update_services_of_accounts(was.as_deref(), is.as_deref());
        self.identities_changed(|_, policy| {
            let bypass = policy.bypass.as_ref();
            bypass.is_some_and(|bypass| bypass.lets_in(name))
        });
    }

    fn identities_changed(&mut self, depends: impl Fn(&Self, &ValidatedPolicy) -> bool) {
        let touched = self.vaults.keys().filter(|vault| {
            let mut policies = self.dependent_policies(vault);
            policies.any(|policy| depends(self, policy))
        });
        let touched: Vec<VaultId> = touched.cloned().collect();
        for vault in touched {
            self.update_dependencies(&vault);
            self.changed.insert(vault);
        }
    }

    /// Service accounts that a vault's resolution depends on; none without a policy.
    pub(super) fn accounts_of(&self, vault: &VaultId) -> BTreeSet<ObjectName> {
        let known = self.vaults.get(vault);
        let is_used = known.is_some_and(|known| !known.policies.is_empty());
        let policies = is_used.then(|| self.dependent_policies(vault));
        let policies = policies.into_iter().flatten();
        policies
            .flat_map(|policy| referenced_accounts(policy, &self.trusted_services, self))
            .collect()
    }

    /// Makes a vault depend on exactly the accounts in `wanted`, in place of `had`.
    pub(super) fn depend_on_accounts(
        &mut self,
        vault: &VaultId,
        had: &BTreeSet<ObjectName>,
        wanted: &BTreeSet<ObjectName>,
    ) {
        for account in had.difference(wanted) {
            self.accounts.vaults.remove(account, vault);
            self.update_labels_of(account);
        }
        for account in wanted.difference(had) {
            self.accounts.vaults.insert(account.clone(), vault.clone());
            self.update_labels_of(account);
        }
    }
}
