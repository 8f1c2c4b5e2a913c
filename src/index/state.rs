//! The state of the index: every known object, and the vaults whose firewalls may have changed.
//!
//! Objects are put in by [`Index::apply`] and removed by [`Index::delete`]; [`Index::resolve`] returns the resolution
//! of a vault. The work of an event is proportional to its changes. Applying an equal object changes nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use super::account_label::LabelIndex;
use super::accounts::AccountIndex;
use super::endpoints::Endpoints;
use super::kind::for_each_kind;
use super::membership::Membership;
use super::vault::{Policy, Vault};
use super::{
    Key, Kind, Labels, NetworkPolicyFact, NotCounted, Object, Payload, PodFact, Protected,
    ServiceFact,
};
use crate::limits::Limits;
use crate::policy::{
    IssuerKeys, ObjectName, TrustedServices, ValidatedTrustedService, VaultId, VirtualNetworks,
};

/// Facts, valid policies and virtual networks, and the groups of pods that follow from them.
#[derive(Debug, Default)]
pub struct Index {
    pub(super) limits: Limits,
    pub(super) membership: Membership,
    pub(super) not_counted: HashMap<ObjectName, NotCounted>,
    pub(super) services: BTreeMap<ObjectName, ServiceFact>,
    pub(super) endpoints: Endpoints,
    pub(super) network_policies: BTreeMap<ObjectName, NetworkPolicyFact>,
    /// Trusted services by name, each in its last valid form.
    pub(super) trusted_services: TrustedServices,
    pub(super) virtual_networks: VirtualNetworks,
    pub(super) accounts: AccountIndex,
    pub(super) labels: LabelIndex,
    /// Keys of token issuers.
    pub(super) keys: IssuerKeys,
    /// Vaults whose policies name a virtual network, which need not exist.
    pub(super) vaults_by_network: BTreeMap<String, BTreeSet<VaultId>>,
    pub(super) policies: BTreeMap<ObjectName, Policy>,
    pub(super) vaults: BTreeMap<VaultId, Vault>,
    pub(super) changed: BTreeSet<VaultId>,
    pub(super) changed_endpoints: BTreeSet<ObjectName>,
    pub(super) changed_services: BTreeSet<String>,
}

/// Effect of a kind's objects on the index.
pub trait Indexed: Payload + Into<Object> {
    /// Puts an object in place of its former state.
    fn apply(self, index: &mut Index);

    /// Removes the object with this key, which is one of this kind.
    fn delete(key: &Key, index: &mut Index);
}

macro_rules! define_apply_and_delete {
    ($($kind:ident($payload:ty),)*) => {
        impl Index {
            /// Puts an object into the index, in place of its former state.
            pub fn apply(&mut self, object: impl Into<Object>) {
                match object.into() {
                    $(Object::$kind(object) => Indexed::apply(object, self),)*
                }
            }

            /// Removes an object; one that is not known changes nothing.
            pub fn delete(&mut self, key: &Key) {
                match key.kind {
                    $(Kind::$kind => <$payload as Indexed>::delete(key, self),)*
                }
            }
        }
    };
}
for_each_kind!(define_apply_and_delete);

impl Index {
    /// An empty index.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// Vaults whose resolution, Service or endpoints may have changed since the last call.
    pub fn take_changed(&mut self) -> BTreeSet<VaultId> {
        std::mem::take(&mut self.changed)
    }

    /// Vaults that at least one policy is for.
    pub fn vaults(&self) -> impl Iterator<Item = &VaultId> {
        self.vaults.keys()
    }

    /// Vault that a policy belongs to. An invalid policy keeps the vault of its last valid form.
    pub fn vault_of(&self, policy: &ObjectName) -> Option<&VaultId> {
        self.policies.get(policy).map(|known| &known.vault)
    }

    /// The policies of a vault, valid or not, sorted by name.
    pub fn policies_of(&self, vault: &VaultId) -> Vec<ObjectName> {
        let known = self.vaults.get(vault).into_iter();
        known.flat_map(|known| &known.policies).cloned().collect()
    }

    /// Labels of a namespace; `None` when the namespace is not known.
    pub fn namespace(&self, name: &str) -> Option<&Labels> {
        self.membership.namespace_labels(name)
    }

    /// Pod that rules can select.
    pub fn pod(&self, pod: &ObjectName) -> Option<&PodFact> {
        self.membership.pod(pod)
    }

    /// Reason why rules cannot select an existing pod.
    pub fn not_counted(&self, pod: &ObjectName) -> Option<&NotCounted> {
        self.not_counted.get(pod)
    }

    /// Counted pods that claim an address; more than one only until the older one's end is seen.
    pub fn pods_at(&self, address: Ipv4Addr) -> impl Iterator<Item = &PodFact> {
        self.membership.claimants(address)
    }

    /// The last valid form of a trusted service.
    pub fn trusted_service(&self, name: &str) -> Option<&Arc<ValidatedTrustedService>> {
        self.trusted_services.get(name)
    }

    /// Whether a valid form of a virtual network is known.
    pub fn has_virtual_network(&self, name: &str) -> bool {
        self.virtual_networks.contains_key(name)
    }

    /// The Service of a vault.
    pub fn service(&self, vault: &VaultId) -> Option<&ServiceFact> {
        self.services.get(&vault.service_name())
    }

    /// Addresses of a vault's pods behind the Service's port `port`; empty without the Service or that port.
    pub fn addresses(&self, vault: &VaultId, port: u16) -> BTreeSet<SocketAddrV4> {
        let mut ports = self
            .service(vault)
            .into_iter()
            .flat_map(|service| &service.ports);
        let Some(port) = ports.find(|fact| fact.port == port) else {
            return BTreeSet::new();
        };
        self.endpoints
            .addresses(&vault.service_name(), port.name.as_deref())
    }

    /// Names of the `NetworkPolicies` in the vault's namespace that admit others than the proxies to the API of the
    /// vault's pods. While the vault has no pods, a pod with the labels of the selector stands for them.
    pub fn openings(&self, vault: &VaultId, protected: Protected<'_>) -> Vec<String> {
        let namespace = &vault.namespace;
        let mut policies = self.network_policies_in(namespace).peekable();
        if policies.peek().is_none() {
            return Vec::new();
        }
        let addresses = self.addresses(vault, protected.port);
        let numbers = addresses.iter().map(SocketAddrV4::port).collect();
        let is_vault = |labels: &&Labels| {
            let mut wanted = protected.selector.iter();
            wanted.all(|(key, value)| labels.get(key) == Some(value))
        };
        let mut pods: Vec<&Labels> = self
            .membership
            .labels_of_pods(namespace)
            .filter(is_vault)
            .collect();
        if pods.is_empty() {
            pods.push(protected.selector);
        }
        policies
            .filter(|policy| pods.iter().any(|labels| policy.selects(labels)))
            .filter(|policy| policy.opens(protected, &numbers))
            .map(|policy| policy.id.name.clone())
            .collect()
    }

    /// `NetworkPolicies` of others in a namespace, sorted by name.
    pub(super) fn network_policies_in(
        &self,
        namespace: &str,
    ) -> impl Iterator<Item = &NetworkPolicyFact> {
        let policies = self.network_policies.range(first_in(namespace)..);
        policies
            .take_while(move |(id, _)| id.namespace == namespace)
            .map(|(_, policy)| policy)
    }

    /// Number of ready pods behind a Service, of any kind.
    pub fn ready_pods(&self, service: &ObjectName) -> usize {
        self.endpoints.count_serving(service)
    }

    /// Services whose endpoints may have changed since the last call.
    pub fn take_changed_endpoints(&mut self) -> BTreeSet<ObjectName> {
        std::mem::take(&mut self.changed_endpoints)
    }
}

/// Name that is before those of all objects of a namespace.
fn first_in(namespace: &str) -> ObjectName {
    ObjectName {
        namespace: namespace.to_owned(),
        name: String::new(),
    }
}
