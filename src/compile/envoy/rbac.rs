//! The three filters that match addresses with rules.
//!
//! Each is an ECDS resource of its own, so an edit replaces only the resource that it changes, and no listener is
//! drained. They are RBAC filters with a `shadow_matcher` alone: they deny nothing and write the name of the matching
//! rule into the metadata `envoy.filters.http.rbac`, where the deciding filter and the access log read it.

use std::collections::BTreeMap;
use std::sync::Arc;

use envoy_types::pb::envoy::config::rbac::v3::{Action, rbac};
use envoy_types::pb::envoy::extensions::filters::http::rbac::v3::Rbac;
use envoy_types::pb::envoy::extensions::matching::common_inputs::network::v3::{
    DirectSourceIpInput, FilterStateInput,
};
use envoy_types::pb::xds::core::v3::TypedExtensionConfig;
use envoy_types::pb::xds::r#type::matcher::v3::Matcher;
use envoy_types::pb::xds::r#type::matcher::v3::matcher::{
    MatcherTree, MatcherType, matcher_tree::TreeType,
};
use ipnet::Ipv4Net;

use super::client;
use super::matching::{action, input};
use super::names::ATTEMPT;
use super::wire::{IpMatcher, IpRangeMatcher, range};
use crate::policy::{AddressRules, ClientAddressSource, Firewall, Reason, TrustedProxies, Verdict};

/// Metadata namespace that RBAC filters write to.
pub(super) const METADATA: &str = "envoy.filters.http.rbac";

/// Name in place of an IP rule when the client's address is a trusted proxy's, so that the client itself is unknown.
const TRUSTED_PROXIES: &str = "clientAddress.trustedProxies";

/// A fact about a request that a filter of its own finds out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fact {
    /// Is the direct peer a single address of a virtual-network rule? Separate, because pods start and end often.
    Hosts,
    /// Is the direct peer in a wider prefix of a virtual-network rule?
    Networks,
    /// Is the client in an IP rule?
    IpRules,
}

impl Fact {
    /// Every fact, in the order of the filters.
    pub(super) const ALL: [Self; 3] = [Self::Hosts, Self::Networks, Self::IpRules];

    /// Name of the ECDS resource.
    pub(super) fn resource(self) -> &'static str {
        match self {
            Self::Hosts => "vaultwall.virtual-network-hosts",
            Self::Networks => "vaultwall.virtual-network-prefixes",
            Self::IpRules => "vaultwall.ip-rules",
        }
    }

    /// Prefix of its keys in the metadata.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::Hosts => "hosts_",
            Self::Networks => "networks_",
            Self::IpRules => "ip_rules_",
        }
    }

    /// Metadata key that names the matching rule.
    pub(super) fn rule_key(self) -> String {
        format!("{}shadow_effective_policy_id", self.prefix())
    }

    /// Reason for a request that matches.
    pub(super) fn reason(self) -> Reason {
        match self {
            Self::Hosts | Self::Networks => Reason::VirtualNetworkRule,
            Self::IpRules => Reason::IpRule,
        }
    }

    fn rules(self, firewall: &Firewall) -> impl Iterator<Item = (&Ipv4Net, &Arc<str>)> {
        let proxies = self.proxies(firewall);
        let rules: &AddressRules = match self {
            Self::Hosts | Self::Networks => &firewall.virtual_networks,
            Self::IpRules => &firewall.ip_rules,
        };
        rules.0.iter().filter(move |(prefix, _)| match self {
            Self::Hosts => prefix.prefix_len() == 32,
            Self::Networks => prefix.prefix_len() < 32,
            Self::IpRules => !is_inside(**prefix, &proxies),
        })
    }

    /// Addresses that match no rule, even inside a wider range: trusted proxies are no clients.
    fn proxies(self, firewall: &Firewall) -> Vec<Ipv4Net> {
        match self {
            Self::Hosts | Self::Networks => Vec::new(),
            Self::IpRules => firewall
                .client_address
                .trusted_proxies()
                .map(TrustedProxies::addresses)
                .unwrap_or_default(),
        }
    }

    /// The filter's configuration. Without any address it matches nothing.
    pub(super) fn filter(self, firewall: &Firewall) -> Rbac {
        let mut by_rule: BTreeMap<String, Vec<Ipv4Net>> = BTreeMap::new();
        for (prefix, rule) in self.rules(firewall) {
            let prefixes = by_rule.entry(rule.to_string()).or_default();
            prefixes.push(*prefix);
        }
        let address = match (self, &firewall.client_address) {
            (Self::IpRules, ClientAddressSource::XForwardedFor { .. }) => {
                given_state(client::STATE)
            }
            _ => direct_peer(),
        };
        if by_rule.is_empty() {
            return Rbac::default();
        }
        let of_rule =
            |(rule, prefixes): (String, _)| (rbac_action(&rule, Verdict::Allow), prefixes);
        let proxies = Some(self.proxies(firewall)).filter(|proxies| !proxies.is_empty());
        let proxies = proxies.map(|proxies| (rbac_action(TRUSTED_PROXIES, Verdict::Deny), proxies));
        let sets = by_rule.into_iter().map(of_rule).chain(proxies);
        Rbac {
            shadow_rules_stat_prefix: self.prefix().into(),
            shadow_matcher: Some(by_address(sets, address)),
            ..Rbac::default()
        }
    }
}

/// The address of the peer.
pub(super) fn direct_peer() -> TypedExtensionConfig {
    input(ATTEMPT, &DirectSourceIpInput {})
}

/// A text of the filter state; missing if nothing was written.
pub(super) fn state(key: &str) -> TypedExtensionConfig {
    input("state", &state_input(key))
}

/// The same, with the number of the attempt.
pub(super) fn given_state(key: &str) -> TypedExtensionConfig {
    input(ATTEMPT, &state_input(key))
}

/// Input of a text of the filter state.
fn state_input(key: &str) -> FilterStateInput {
    FilterStateInput {
        key: key.into(),
        field: String::new(),
    }
}

/// The action of the set with an address, found by one lookup.
pub(super) fn by_address(
    sets: impl Iterator<Item = (TypedExtensionConfig, Vec<Ipv4Net>)>,
    address: TypedExtensionConfig,
) -> Matcher {
    let range_matchers = sets.map(|(of_set, prefixes)| IpRangeMatcher {
        ranges: prefixes.into_iter().map(range).collect(),
        on_match: Some(action(of_set)),
    });
    let trie = IpMatcher {
        range_matchers: range_matchers.collect(),
    };
    Matcher {
        on_no_match: None,
        matcher_type: Some(MatcherType::MatcherTree(MatcherTree {
            input: Some(address),
            tree_type: Some(TreeType::CustomMatch(input("ip", &trie))),
        })),
    }
}

/// Whether a prefix is inside one of the ranges, which are sorted and do not overlap.
fn is_inside(prefix: Ipv4Net, ranges: &[Ipv4Net]) -> bool {
    let after = ranges.partition_point(|range| range.network() <= prefix.network());
    let before = after.checked_sub(1).and_then(|index| ranges.get(index));
    before.is_some_and(|range| range.contains(&prefix))
}

/// An action of an RBAC filter.
pub(super) fn rbac_action(name: &str, verdict: Verdict) -> TypedExtensionConfig {
    let verdict = match verdict {
        Verdict::Allow => rbac::Action::Allow,
        Verdict::Deny => rbac::Action::Deny,
    };
    input(
        "rbac",
        &Action {
            name: name.into(),
            action: verdict.into(),
        },
    )
}
