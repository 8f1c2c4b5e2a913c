//! The filters that carry the rules: three that match addresses, and one that decides.
//!
//! Each is an ECDS resource of its own, so an edit replaces only the resource that it changes, and no listener is
//! drained. The first three are RBAC filters with a `shadow_matcher` alone: they deny nothing and write the name of the
//! matching rule into the metadata `envoy.filters.http.rbac`, where the deciding filter and the access log read it.

use std::collections::BTreeMap;
use std::sync::Arc;

use envoy_types::pb::envoy::config::rbac::v3::{Action, Rbac as Rules, rbac};
use envoy_types::pb::envoy::extensions::filters::http::rbac::v3::Rbac;
use envoy_types::pb::envoy::extensions::matching::common_inputs::network::v3::dynamic_metadata_input::{
    PathSegment, path_segment::Segment,
};
use envoy_types::pb::envoy::extensions::matching::common_inputs::network::v3::{
    DirectSourceIpInput, DynamicMetadataInput, FilterStateInput,
};
use envoy_types::pb::envoy::extensions::matching::input_matchers::metadata::v3::Metadata as MetadataMatcher;
use envoy_types::pb::envoy::r#type::matcher::v3::{
    StringMatcher, ValueMatcher, string_matcher::MatchPattern, value_matcher,
};
use envoy_types::pb::xds::r#type::matcher::v3::matcher::{MatcherTree, MatcherType, OnMatch, matcher_tree::TreeType};
use envoy_types::pb::xds::r#type::matcher::v3::Matcher;
use ipnet::Ipv4Net;

use super::client;
use super::matching::{action, exactly, first_of, fits, input, is, nested};
use super::names::{ATTEMPT, BAD_REQUEST, PLANE};
use super::wire::{CidrRange, IpMatcher, IpRangeMatcher, range};
use crate::policy::{
    AddressRules, ClientAddressSource, DefaultAction, Firewall, Listener, PlaneRule, Reason,
    TrustedProxies, Verdict, plane_rule,
};
use crate::vault_api::Plane;

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
    fn prefix(self) -> &'static str {
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
    fn reason(self) -> Reason {
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
        let mut by_rule: BTreeMap<&str, Vec<CidrRange>> = BTreeMap::new();
        for (prefix, rule) in self.rules(firewall) {
            by_rule.entry(rule).or_default().push(range(*prefix));
        }
        if by_rule.is_empty() {
            return Rbac::default();
        }
        let mut range_matchers: Vec<IpRangeMatcher> = by_rule
            .into_iter()
            .map(|(rule, ranges)| IpRangeMatcher {
                ranges,
                on_match: Some(rbac_action(rule, Verdict::Allow)),
            })
            .collect();
        let proxies = self.proxies(firewall);
        if !proxies.is_empty() {
            range_matchers.push(IpRangeMatcher {
                ranges: proxies.into_iter().map(range).collect(),
                on_match: Some(rbac_action(TRUSTED_PROXIES, Verdict::Deny)),
            });
        }
        let address = match self {
            Self::Hosts | Self::Networks => input(ATTEMPT, &DirectSourceIpInput {}),
            Self::IpRules => match firewall.client_address {
                ClientAddressSource::Direct => input(ATTEMPT, &DirectSourceIpInput {}),
                ClientAddressSource::XForwardedFor { .. } => {
                    let client = FilterStateInput {
                        key: client::STATE.into(),
                        field: String::new(),
                    };
                    input(ATTEMPT, &client)
                }
            },
        };
        let trie = input("ip", &IpMatcher { range_matchers });
        Rbac {
            shadow_rules_stat_prefix: self.prefix().into(),
            shadow_matcher: Some(Matcher {
                on_no_match: None,
                matcher_type: Some(MatcherType::MatcherTree(MatcherTree {
                    input: Some(address),
                    tree_type: Some(TreeType::CustomMatch(trie)),
                })),
            }),
            ..Rbac::default()
        }
    }
}

/// Whether a prefix is inside one of the ranges, which are sorted and do not overlap.
fn is_inside(prefix: Ipv4Net, ranges: &[Ipv4Net]) -> bool {
    let after = ranges.partition_point(|range| range.network() <= prefix.network());
    let before = after.checked_sub(1).and_then(|index| ranges.get(index));
    before.is_some_and(|range| range.contains(&prefix))
}

/// Prefix of the deciding filter's keys in the metadata.
const DECISION: &str = "decision_";

/// Metadata key that holds the reason of the decision.
pub(super) fn reason_key() -> String {
    format!("{DECISION}enforced_effective_policy_id")
}

/// Metadata key of the deciding filter's result, which every request has that reached it.
pub(super) fn result_key() -> String {
    format!("{DECISION}enforced_engine_result")
}

/// Name of the ECDS resource of a listener's deciding filter.
pub(super) fn decision_resource(listener: Listener) -> &'static str {
    match listener {
        Listener::Data => "vaultwall.decision.data",
        Listener::Management => "vaultwall.decision.management",
    }
}

/// Whether network rules decide any plane of a listener, so that it needs the facts.
pub(super) fn needs_facts(firewall: &Firewall, listener: Listener) -> bool {
    Plane::ALL
        .iter()
        .any(|plane| plane_rule(listener, firewall.management, *plane) == PlaneRule::NetworkRules)
}

/// The deciding filter. It denies an unknown plane.
pub(super) fn decision(firewall: &Firewall, listener: Listener) -> Rbac {
    let plane_is = |plane: &str, name: &str| {
        let state = FilterStateInput {
            key: PLANE.into(),
            field: String::new(),
        };
        is(input(name, &state), exactly(plane))
    };
    let is_bad_request = plane_is(BAD_REQUEST, ATTEMPT);
    let bad_request = (is_bad_request, reason_action(Reason::BadRequest));
    let planes = Plane::ALL.iter().map(|plane| {
        let decided = match plane_rule(listener, firewall.management, *plane) {
            PlaneRule::Always(reason) => reason_action(reason),
            PlaneRule::NetworkRules => nested(network_rules(firewall)),
        };
        (plane_is(plane.name(), "plane"), decided)
    });
    Rbac {
        rules_stat_prefix: DECISION.into(),
        matcher: Some(first_of(
            planes.chain(std::iter::once(bad_request)).collect(),
            None,
        )),
        ..Rbac::default()
    }
}

fn network_rules(firewall: &Firewall) -> Matcher {
    let facts = Fact::ALL.iter().map(|fact| {
        let key = format!("{}shadow_engine_result", fact.prefix());
        let result = DynamicMetadataInput {
            filter: METADATA.into(),
            path: vec![PathSegment {
                segment: Some(Segment::Key(key)),
            }],
        };
        let allowed = MetadataMatcher {
            value: Some(ValueMatcher {
                match_pattern: Some(value_matcher::MatchPattern::StringMatch(StringMatcher {
                    match_pattern: Some(MatchPattern::Exact("allowed".into())),
                    ..StringMatcher::default()
                })),
            }),
            invert: false,
        };
        (
            fits(input("fact", &result), input("allowed", &allowed)),
            reason_action(fact.reason()),
        )
    });
    let default = match firewall.default_action {
        DefaultAction::Allow => Reason::DefaultAction,
        DefaultAction::Deny => Reason::ForbiddenByFirewall,
    };
    first_of(facts.collect(), Some(reason_action(default)))
}

fn reason_action(reason: Reason) -> OnMatch {
    rbac_action(reason.name(), reason.verdict())
}

fn rbac_action(name: &str, verdict: Verdict) -> OnMatch {
    let verdict = match verdict {
        Verdict::Allow => rbac::Action::Allow,
        Verdict::Deny => rbac::Action::Deny,
    };
    action(input(
        "rbac",
        &Action {
            name: name.into(),
            action: verdict.into(),
        },
    ))
}

/// Denies everything, until Envoy has received the first configuration of a filter.
pub(super) fn deny_all() -> Rbac {
    Rbac {
        rules: Some(Rules::default()),
        rules_stat_prefix: DECISION.into(),
        ..Rbac::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;

    use crate::policy::VaultId;

    #[test]
    fn every_filter_that_envoy_could_refuse_differs_in_each_attempt() {
        let mut firewall = Firewall::deny_all(
            VaultId {
                namespace: "team-a".into(),
                service: "openbao".into(),
            },
            8200,
        );
        let rule: Arc<str> = "rule".into();
        for (rules, prefixes) in [
            (
                &mut firewall.virtual_networks,
                &["10.0.0.1/32", "10.1.0.0/16"][..],
            ),
            (&mut firewall.ip_rules, &["203.0.113.7/32"]),
        ] {
            let prefixes = prefixes.iter().filter_map(|prefix| prefix.parse().ok());
            rules
                .0
                .extend(prefixes.map(|prefix| (prefix, Arc::clone(&rule))));
        }
        let facts = Fact::ALL.map(|fact| fact.filter(&firewall));
        let decisions = [Listener::Data, Listener::Management].map(|on| decision(&firewall, on));
        for filter in facts.iter().chain(&decisions) {
            let bytes = filter.encode_to_vec();
            assert!(String::from_utf8_lossy(&bytes).contains(ATTEMPT));
        }
    }
}
