//! The resolved model of one protected Service, which `decide`, `compile` and `explain` use. Everything in it is valid.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ipnet::Ipv4Net;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::grants::{Grants, Identity};
use super::identity::VaultId;
use super::token::{TokenProof, TokenRules};
use crate::api::{
    AccessLogLevel, DefaultAction, Denial, ManagementAccess, Mode, TokenCreation, VaultApi,
};
use crate::vault_api::{Described, Engine, Profile, Table};

/// Addresses that rules allow: prefix → full name of the rule
/// (`<policy>/ipRules/<name or value>`, `<policy>/virtualNetworkRules/<subnet or index>`).
///
/// If several rules have the same prefix, `resolve` chose one: the first by its place in the list, then by the age of
/// the policy. If prefixes of different length contain an address, the longest one applies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressRules(pub BTreeMap<Ipv4Net, Arc<str>>);

impl AddressRules {
    /// Returns the longest prefix that contains `address`, and its rule.
    pub fn find(&self, address: Ipv4Addr) -> Option<(Ipv4Net, &Arc<str>)> {
        (0..=32).rev().find_map(|length| {
            let prefix = Ipv4Net::new(address, length).ok()?.trunc();
            self.0.get(&prefix).map(|rule| (prefix, rule))
        })
    }

    /// Adds a prefix for a rule, unless another rule has it already.
    pub fn claim(&mut self, prefix: Ipv4Net, rule: &Arc<str>) {
        self.0.entry(prefix.trunc()).or_insert_with(|| rule.clone());
    }

    /// Number of prefixes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no prefix, so that no address is allowed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A source that the network rules allow, in the form that a `NetworkPolicy` can express.
#[derive(Clone, Debug, PartialEq)]
pub enum Peer {
    /// Pods by label. Both selectors are explicit; an empty selector selects everything. If the rule requires the
    /// opt-in label on the namespace, `namespaces` selects it.
    Pods {
        /// Selects namespaces by their labels.
        namespaces: LabelSelector,
        /// Selects pods in them.
        pods: LabelSelector,
    },
    /// An address range.
    Block(Ipv4Net),
}

/// Source of the client's address, to which IP rules apply.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ClientAddressSource {
    /// The peer of the connection.
    #[default]
    Direct,
    /// From a listed proxy, the rightmost address of `X-Forwarded-For` that is not a listed proxy's; from any other
    /// peer, the peer itself.
    XForwardedFor {
        /// The proxies whose header is trusted.
        trusted_proxies: TrustedProxies,
    },
}

impl ClientAddressSource {
    /// The proxies whose header is trusted; `None` if no header is.
    pub fn trusted_proxies(&self) -> Option<&TrustedProxies> {
        match self {
            Self::Direct => None,
            Self::XForwardedFor { trusted_proxies } => Some(trusted_proxies),
        }
    }
}

/// Proxies whose header is trusted. Without any, the header is not used.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrustedProxies {
    /// Listed addresses and ranges.
    pub ranges: Vec<Ipv4Net>,
    /// Current addresses of the listed pods.
    pub pods: BTreeSet<Ipv4Addr>,
    /// Selectors of these pods, for a `NetworkPolicy`.
    pub peers: Vec<Peer>,
}

impl TrustedProxies {
    /// Whether a proxy has the address.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        self.pods.contains(&address) || self.ranges.iter().any(|range| range.contains(&address))
    }

    /// All addresses, in as few ranges as hold exactly them, sorted.
    pub fn addresses(&self) -> Vec<Ipv4Net> {
        let pods = self.pods.iter().copied().map(Ipv4Net::from);
        let all: Vec<Ipv4Net> = self.ranges.iter().copied().chain(pods).collect();
        let mut addresses = Ipv4Net::aggregate(&all);
        addresses.sort_unstable();
        addresses
    }
}

impl FromIterator<Ipv4Net> for TrustedProxies {
    fn from_iter<I: IntoIterator<Item = Ipv4Net>>(ranges: I) -> Self {
        Self {
            ranges: ranges.into_iter().collect(),
            ..Self::default()
        }
    }
}

/// The resolved firewall of one vault.
#[derive(Clone, Debug, PartialEq)]
pub struct Firewall {
    /// The vault that it protects.
    pub vault: VaultId,
    /// Port of the Service for the vault's API.
    pub port: u16,
    /// Names of the accepted policies, oldest first. If there is none, the firewall denies everything.
    pub policies: Vec<String>,
    /// Dialect of the vault's API.
    pub api: VaultApi,
    /// Engines of `spec.vault.engines`, which classify data requests.
    pub engines: Vec<Engine>,
    /// Mount paths of auth methods of `spec.vault.authMounts`, which have several segments.
    pub auth_mounts: Vec<String>,
    /// Listed vault namespaces, without slashes at either end.
    pub namespaces: Vec<String>,
    /// Whether requests that the network rules deny are blocked, or only recorded.
    pub mode: Mode,
    /// Action for a request that no rule allows.
    pub default_action: DefaultAction,
    /// Virtual-network rules, by the peer's address: pods of enabled subnets (as /32) and the prefixes of enabled
    /// subnets.
    pub virtual_networks: AddressRules,
    /// IP rules, by the client's address.
    pub ip_rules: AddressRules,
    /// The sources of both kinds of rules, as selectors and blocks for a `NetworkPolicy`.
    pub peers: Vec<Peer>,
    /// Selectors of the pods of trusted services; only with `denial: Drop`, which drops all other packets.
    pub service_peers: Vec<Peer>,
    /// Identities, and what they are granted.
    pub grants: Grants,
    /// Tokens that prove an identity; `None` if no rule accepts one.
    pub tokens: Option<TokenRules>,
    /// Source of the client's address.
    pub client_address: ClientAddressSource,
    /// Which network rules apply to the management endpoint.
    pub management: ManagementAccess,
    /// Tokens that the management endpoint may hand out.
    pub token_creation: TokenCreation,
    /// How a denied caller is refused.
    pub denial: Denial,
    /// Which requests the access log records.
    pub access_log: AccessLogLevel,
}

impl Firewall {
    /// Whether a `NetworkPolicy` drops the packets of clients that nothing allows.
    pub fn drops(&self) -> bool {
        self.denial == Denial::Drop && !self.is_open()
    }

    /// Whether requests that no rule allows are forwarded: by the default action, or because they are only recorded.
    pub fn is_open(&self) -> bool {
        self.default_action == DefaultAction::Allow || self.mode == Mode::Audit
    }

    /// Identities that a request proves, in the order in which they count.
    pub fn proven(&self, peer: IpAddr, token: &TokenProof) -> Vec<Identity> {
        let pod = self.grants.account_at(peer).cloned().map(Identity::Pod);
        let identified = self
            .tokens
            .as_ref()
            .map(|rules| rules.identify(peer, token));
        let identified = identified.unwrap_or_default();
        let token = identified.token.map(Identity::Token);
        let both = identified.pod_and_token.map(Identity::PodAndToken);
        [pod, token, both].into_iter().flatten().collect()
    }

    /// Table of the vault's API, without its engines.
    pub fn profile(&self) -> &'static Profile {
        Profile::of(self.api)
    }

    /// Builds the table that classifies this vault's requests.
    pub fn table(&self) -> Table {
        let described = Described {
            engines: &self.engines,
            auth_mounts: &self.auth_mounts,
            namespaces: &self.namespaces,
            token_creation: self.token_creation,
        };
        Table::new(self.profile(), &described)
    }

    /// Builds the firewall of a vault without an accepted policy. It denies everything except health probes.
    pub fn deny_all(vault: VaultId, port: u16) -> Self {
        Self {
            vault,
            port,
            policies: Vec::new(),
            api: VaultApi::OpenBao,
            engines: Vec::new(),
            auth_mounts: Vec::new(),
            namespaces: Vec::new(),
            mode: Mode::Enforced,
            default_action: DefaultAction::Deny,
            virtual_networks: AddressRules::default(),
            ip_rules: AddressRules::default(),
            peers: Vec::new(),
            service_peers: Vec::new(),
            grants: Grants::default(),
            tokens: None,
            client_address: ClientAddressSource::Direct,
            management: ManagementAccess::Disabled,
            token_creation: TokenCreation::Disabled,
            denial: Denial::Reject,
            access_log: AccessLogLevel::All,
        }
    }
}
