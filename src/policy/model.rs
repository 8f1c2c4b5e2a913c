//! The resolved model of one protected Service. `decide`, `compile`, `explain` and the tests all use it; it holds no
//! wire type of a custom resource's spec that still could be invalid.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use ipnet::Ipv4Net;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

pub use crate::vault_api::{Engine, EngineNamespace};
use crate::vault_api::{Profile, Table};

pub use crate::api::{
    AccessLogLevel, DefaultAction, Denial, EngineType, ManagementAccess, VaultApi,
};

/// The vault: a Service in Kubernetes, written `NAMESPACE/SERVICE`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VaultId {
    /// Namespace of the Service.
    pub namespace: String,
    /// Name of the Service.
    pub service: String,
}

impl fmt::Display for VaultId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.service)
    }
}

/// Addresses that rules let in: prefix → full name of the winning rule
/// (`<policy>/ipRules/<name or value>`, `<policy>/virtualNetworkRules/<subnet or index>`).
///
/// Where several rules hold the same prefix, the winner was chosen when the set was made: list order, then the older
/// policy. Where prefixes of different length hold an address, the longest wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressRules(pub BTreeMap<Ipv4Net, Arc<str>>);

impl AddressRules {
    /// The rule of the most specific prefix that holds `address`.
    pub fn find(&self, address: std::net::Ipv4Addr) -> Option<(Ipv4Net, &Arc<str>)> {
        (0..=32).rev().find_map(|length| {
            let prefix = Ipv4Net::new(address, length).ok()?.trunc();
            self.0.get(&prefix).map(|rule| (prefix, rule))
        })
    }

    /// Adds a prefix; the first rule that claims it keeps it.
    pub fn claim(&mut self, prefix: Ipv4Net, rule: &Arc<str>) {
        self.0.entry(prefix.trunc()).or_insert_with(|| rule.clone());
    }

    /// Number of prefixes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is let in.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A source that the network rules let in, in the form a `NetworkPolicy` can say it.
#[derive(Clone, Debug, PartialEq)]
pub enum Peer {
    /// Pods by label. Both selectors are spelled out; an empty selector selects everything. The opt-in label that the
    /// rule asks of the namespace is already part of `namespaces`.
    Pods {
        /// Selects namespaces.
        namespaces: LabelSelector,
        /// Selects pods in them.
        pods: LabelSelector,
    },
    /// Addresses.
    Block(Ipv4Net),
}

/// How the client's address is found for IP rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClientAddressSource {
    /// It is the peer of the connection.
    #[default]
    Direct,
    /// From a listed proxy, the rightmost address of `X-Forwarded-For` that is not a listed proxy's; from any other
    /// peer, the peer itself.
    XForwardedFor {
        /// The proxies that are believed.
        trusted_proxies: Vec<Ipv4Net>,
    },
}

/// The resolved firewall of one vault.
#[derive(Clone, Debug, PartialEq)]
pub struct Firewall {
    /// The vault.
    pub vault: VaultId,
    /// The Service's port of the vault's API.
    pub port: u16,
    /// Names of the accepted policies that it was made from, oldest first. Empty: deny everything.
    pub policies: Vec<String>,
    /// Dialect of the vault's API.
    pub api: VaultApi,
    /// Mounted engines.
    pub engines: Vec<Engine>,
    /// Listed vault namespaces, without slashes at either end.
    pub namespaces: Vec<String>,
    /// What happens to a request that nothing allows.
    pub default_action: DefaultAction,
    /// Looked up by the direct peer's address: pods of enabled subnets (as /32) and enabled subnets' prefixes.
    pub virtual_networks: AddressRules,
    /// Looked up by the client's address.
    pub ip_rules: AddressRules,
    /// The same sources as selectors and blocks.
    pub peers: Vec<Peer>,
    /// How the client's address is found.
    pub client_address: ClientAddressSource,
    /// Network rules on the management endpoint.
    pub management: ManagementAccess,
    /// How a denied caller is turned away.
    pub denial: Denial,
    /// What the access log records.
    pub access_log: AccessLogLevel,
}

impl Firewall {
    /// The table that classifies this vault's requests.
    pub fn table(&self) -> Table {
        Table::new(Profile::open_bao(), &self.engines, &self.namespaces)
    }

    /// The firewall of a vault that no policy describes: it denies everything but probes.
    pub fn deny_all(vault: VaultId, port: u16) -> Self {
        Self {
            vault,
            port,
            policies: Vec::new(),
            api: VaultApi::OpenBao,
            engines: Vec::new(),
            namespaces: Vec::new(),
            default_action: DefaultAction::Deny,
            virtual_networks: AddressRules::default(),
            ip_rules: AddressRules::default(),
            peers: Vec::new(),
            client_address: ClientAddressSource::Direct,
            management: ManagementAccess::Disabled,
            denial: Denial::Reject,
            access_log: AccessLogLevel::All,
        }
    }
}
