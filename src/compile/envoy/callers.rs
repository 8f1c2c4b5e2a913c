//! Callers by their address, before they send anything: a connection from an address that a rule lists has limits and
//! budgets of its own, so that nobody else can take its place. It decides nothing else. A request is judged by the same
//! filters wherever its connection is counted.
//!
//! Each listener has one filter chain for each group. A change of the addresses replaces the listener's matcher alone:
//! Envoy keeps both chains and all their connections. An open connection stays in the group that it began in.

use std::collections::BTreeSet;

use envoy_types::pb::envoy::extensions::matching::common_inputs::network::v3::DirectSourceIpInput;
use envoy_types::pb::google::protobuf::StringValue;
use envoy_types::pb::xds::r#type::matcher::v3::Matcher;
use envoy_types::pb::xds::r#type::matcher::v3::matcher::matcher_tree::TreeType;
use envoy_types::pb::xds::r#type::matcher::v3::matcher::{MatcherTree, MatcherType, OnMatch};
use ipnet::Ipv4Net;

use super::matching::{action, input};
use super::wire::{IpMatcher, IpRangeMatcher, range};
use crate::policy::{Firewall, TrustedProxies};

/// A group of callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Callers {
    /// The direct peer is in a rule, is a trusted proxy, or is a pod of an identity. With `defaultAction: Allow` or
    /// `mode: Audit`, everybody.
    Listed,
    /// Everybody else.
    Unlisted,
}

impl Callers {
    /// Both groups.
    pub(super) const ALL: [Self; 2] = [Self::Listed, Self::Unlisted];

    /// Name of the group's filter chain.
    pub(super) fn chain(self) -> &'static str {
        match self {
            Self::Listed => "listed",
            Self::Unlisted => "unlisted",
        }
    }

    fn chosen(self) -> OnMatch {
        action(input(
            "chain",
            &StringValue {
                value: self.chain().into(),
            },
        ))
    }
}

/// Choice of the filter chain of a connection: the only part of a listener that rules affect.
pub fn filter_chain_matcher(firewall: &Firewall) -> Matcher {
    let everybody = Ipv4Net::default();
    let ranges = if firewall.is_open() {
        vec![everybody]
    } else {
        listed(firewall)
    };
    let tree = (!ranges.is_empty()).then(|| {
        let trie = IpMatcher {
            range_matchers: vec![IpRangeMatcher {
                ranges: ranges.into_iter().map(range).collect(),
                on_match: Some(Callers::Listed.chosen()),
            }],
        };
        MatcherType::MatcherTree(MatcherTree {
            input: Some(input("address", &DirectSourceIpInput {})),
            tree_type: Some(TreeType::CustomMatch(input("ip", &trie))),
        })
    });
    Matcher {
        on_no_match: Some(Box::new(Callers::Unlisted.chosen())),
        matcher_type: tree,
    }
}

/// Addresses of all rules, of trusted proxies and of pods with an identity, in as few ranges as hold exactly them.
fn listed(firewall: &Firewall) -> Vec<Ipv4Net> {
    let rules = [&firewall.virtual_networks, &firewall.ip_rules];
    let rules = rules.into_iter().flat_map(|rules| rules.0.keys().copied());
    let proxies = firewall.client_address.trusted_proxies().into_iter();
    let proxies = proxies.flat_map(TrustedProxies::addresses);
    let pods_of_tokens = firewall.tokens.iter().flat_map(|tokens| tokens.pods.keys());
    let pods = firewall.grants.pods.keys().chain(pods_of_tokens);
    let pods = pods.copied().map(Ipv4Net::from);
    let all: BTreeSet<Ipv4Net> = rules.chain(proxies).chain(pods).collect();
    Ipv4Net::aggregate(&all.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::policy::{ClientAddressSource, DefaultAction, Mode, ObjectName, VaultId};

    fn nets(texts: &[&str]) -> Vec<Ipv4Net> {
        texts.iter().filter_map(|text| text.parse().ok()).collect()
    }

    fn firewall(virtual_networks: &[&str], ip_rules: &[&str]) -> Firewall {
        let vault = VaultId {
            namespace: "team-a".into(),
            service: "openbao".into(),
        };
        let mut firewall = Firewall::deny_all(vault, 8200);
        let rule: Arc<str> = "rule".into();
        for prefix in nets(virtual_networks) {
            firewall.virtual_networks.claim(prefix, &rule);
        }
        for prefix in nets(ip_rules) {
            firewall.ip_rules.claim(prefix, &rule);
        }
        firewall
    }

    #[test]
    fn addresses_of_rules_proxies_and_identities_are_listed_and_no_others() {
        let mut firewall = firewall(
            &["10.0.0.2/32", "10.0.0.3/32", "10.1.0.0/16", "10.1.2.3/32"],
            &["203.0.113.7/32"],
        );
        let rules = ["10.0.0.2/31", "10.1.0.0/16", "203.0.113.7/32"];
        assert_eq!(listed(&firewall), nets(&rules));
        firewall.client_address = ClientAddressSource::XForwardedFor {
            trusted_proxies: TrustedProxies {
                ranges: nets(&["192.0.2.0/24"]),
                pods: "10.0.0.4".parse().into_iter().collect(),
                ..TrustedProxies::default()
            },
        };
        let account = ObjectName {
            namespace: "sql".into(),
            name: "tde".into(),
        };
        let pod = "10.0.0.5".parse().map(|address| (address, account.into()));
        firewall.grants.pods.extend(pod);
        let all = [
            "10.0.0.2/31",
            "10.0.0.4/31",
            rules[1],
            "192.0.2.0/24",
            rules[2],
        ];
        assert_eq!(listed(&firewall), nets(&all));
    }

    #[test]
    fn without_rules_everybody_is_unlisted() {
        let matcher = filter_chain_matcher(&firewall(&[], &[]));
        assert_eq!(matcher.matcher_type, None);
        let otherwise = matcher.on_no_match.map(|otherwise| *otherwise);
        assert_eq!(otherwise, Some(Callers::Unlisted.chosen()));
    }

    #[test]
    fn where_requests_without_a_rule_are_forwarded_everybody_is_listed() {
        let every_address = firewall(&[], &["0.0.0.0/0"]);
        let by_default = Firewall {
            default_action: DefaultAction::Allow,
            ..firewall(&[], &[])
        };
        let in_audit = Firewall {
            mode: Mode::Audit,
            ..firewall(&[], &[])
        };
        for everybody in [by_default, in_audit] {
            assert_eq!(
                filter_chain_matcher(&everybody),
                filter_chain_matcher(&every_address)
            );
        }
    }
}
