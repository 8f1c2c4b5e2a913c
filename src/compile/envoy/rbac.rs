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
use envoy_types::pb::envoy::r#type::matcher::v3::HttpRequestHeaderMatchInput;
use envoy_types::pb::xds::core::v3::TypedExtensionConfig;
use envoy_types::pb::xds::r#type::matcher::v3::Matcher;
use envoy_types::pb::xds::r#type::matcher::v3::matcher::matcher_list::Predicate;
use envoy_types::pb::xds::r#type::matcher::v3::matcher::{MatcherTree, MatcherType, OnMatch, matcher_tree::TreeType};
use ipnet::Ipv4Net;

use super::matching::{
    action, any_of, begins_with, both, exactly, first_of, fits, input, is, matches, nested,
};
use super::names::{ATTEMPT, BAD_REQUEST, PLANE};
use super::wire::{IpMatcher, IpRangeMatcher, range};
use super::{client, grants};
use crate::policy::{
    AddressRules, BEARER, ClientAddressSource, DefaultAction, Firewall, Listener, PlaneRule,
    Reason, TrustedProxies, Verdict, plane_rule,
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
        by_address(self.prefix(), by_rule, self.proxies(firewall), address)
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

fn state_input(key: &str) -> FilterStateInput {
    FilterStateInput {
        key: key.into(),
        field: String::new(),
    }
}

/// A filter that finds the name of the set with an address, and denies nothing. Addresses of trusted proxies match no
/// name. Without any name, the filter matches nothing.
pub(super) fn by_address(
    prefix: &str,
    sets: BTreeMap<String, Vec<Ipv4Net>>,
    proxies: Vec<Ipv4Net>,
    address: TypedExtensionConfig,
) -> Rbac {
    if sets.is_empty() {
        return Rbac::default();
    }
    let matcher = |name: &str, prefixes: Vec<Ipv4Net>, verdict| IpRangeMatcher {
        ranges: prefixes.into_iter().map(range).collect(),
        on_match: Some(action(rbac_action(name, verdict))),
    };
    let mut range_matchers: Vec<IpRangeMatcher> = sets
        .into_iter()
        .map(|(name, prefixes)| matcher(&name, prefixes, Verdict::Allow))
        .collect();
    if !proxies.is_empty() {
        range_matchers.push(matcher(TRUSTED_PROXIES, proxies, Verdict::Deny));
    }
    let trie = input("ip", &IpMatcher { range_matchers });
    Rbac {
        shadow_rules_stat_prefix: prefix.into(),
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
    Plane::ALL.iter().any(|plane| {
        matches!(
            plane_rule(listener, firewall, *plane),
            PlaneRule::NetworkRules | PlaneRule::OperatorsInNetworks
        )
    })
}

/// The deciding filter. It denies an unknown plane.
pub(super) fn decision(firewall: &Firewall, listener: Listener) -> Rbac {
    let plane_is = |plane: &str, name: &str| is(input(name, &state_input(PLANE)), exactly(plane));
    let is_bad_request = plane_is(BAD_REQUEST, ATTEMPT);
    let bad_request = (is_bad_request, reason_action(Reason::BadRequest));
    let planes = Plane::ALL.iter().map(|plane| {
        let decided = by_plane(plane_rule(listener, firewall, *plane), firewall, *plane);
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

fn by_plane(rule: PlaneRule, firewall: &Firewall, plane: Plane) -> OnMatch {
    let grants = &firewall.grants;
    let only = |holders, allowed: OnMatch, otherwise: Reason| {
        let listed = grants::holds(holders).map(|listed| (listed, allowed));
        nested(first_of(
            listed.into_iter().collect(),
            Some(reason_action(otherwise)),
        ))
    };
    match rule {
        PlaneRule::Always(reason) => reason_action(reason),
        PlaneRule::NetworkRules => {
            let bypass = if grants::has_bypass(firewall) {
                bypass(firewall, plane)
            } else {
                Vec::new()
            };
            let facts = facts(Fact::reason);
            nested(first_of(
                facts.chain(bypass).collect(),
                Some(default_action(firewall, Reason::ForbiddenByFirewall)),
            ))
        }
        PlaneRule::Operators => only(
            grants.operators.as_ref(),
            reason_action(Reason::Operator),
            Reason::ForbiddenCritical,
        ),
        PlaneRule::OperatorsInNetworks => {
            let default = match firewall.default_action {
                DefaultAction::Allow => Reason::Operator,
                DefaultAction::Deny => Reason::ForbiddenByFirewall,
            };
            let in_networks = first_of(
                facts(|_| Reason::Operator).collect(),
                Some(reason_action(default)),
            );
            only(
                grants.operators.as_ref(),
                nested(in_networks),
                Reason::ForbiddenCritical,
            )
        }
        PlaneRule::Deployers => {
            let deploys = first_of(
                vec![(grants::deploys(firewall), reason_action(Reason::Deployer))],
                Some(reason_action(Reason::ForbiddenByPlane)),
            );
            only(
                grants.deployers.as_ref(),
                nested(deploys),
                Reason::ForbiddenByPlane,
            )
        }
    }
}

/// Network rules, each with the reason for a request that it allows.
fn facts(reason: fn(Fact) -> Reason) -> impl Iterator<Item = (Predicate, OnMatch)> {
    Fact::ALL.into_iter().map(move |fact| {
        let key = format!("{}shadow_engine_result", fact.prefix());
        (result_is(&key, ALLOWED), reason_action(reason(fact)))
    })
}

/// The bypass, for a request that no network rule allows.
fn bypass(firewall: &Firewall, plane: Plane) -> Vec<(Predicate, OnMatch)> {
    let key = grants::service_result_key();
    let is_inside = || result_is(&key, ALLOWED);
    let is_service = || any_of(vec![is_inside(), result_is(&key, DENIED)]);
    let denied = |reason| default_action(firewall, reason);
    match plane {
        Plane::Session => vec![(is_service(), reason_action(Reason::TrustedService))],
        Plane::Data => vec![
            (
                both(is_inside(), carries_token()),
                reason_action(Reason::TrustedService),
            ),
            (is_inside(), denied(Reason::ForbiddenByMissingToken)),
            (is_service(), denied(Reason::ForbiddenByScenario)),
        ],
        _ => vec![(is_service(), denied(Reason::ForbiddenByPlane))],
    }
}

/// Holds if the request carries the vault's token (see [`Caller::carries_token`]).
fn carries_token() -> Predicate {
    let header = |name: &str| {
        input(
            name,
            &HttpRequestHeaderMatchInput {
                header_name: name.into(),
            },
        )
    };
    any_of(vec![
        is(header("x-vault-token"), matches(r"[^,]\C*")),
        is(header("authorization"), begins_with(BEARER)),
    ])
}

/// Texts of a filter's result in the metadata.
const ALLOWED: &str = "allowed";
const DENIED: &str = "denied";

/// Holds if a filter's result in the metadata is this text.
fn result_is(key: &str, text: &str) -> Predicate {
    let result = DynamicMetadataInput {
        filter: METADATA.into(),
        path: vec![PathSegment {
            segment: Some(Segment::Key(key.into())),
        }],
    };
    let expected = MetadataMatcher {
        value: Some(ValueMatcher {
            match_pattern: Some(value_matcher::MatchPattern::StringMatch(StringMatcher {
                match_pattern: Some(MatchPattern::Exact(text.into())),
                ..StringMatcher::default()
            })),
        }),
        invert: false,
    };
    fits(input("fact", &result), input(text, &expected))
}

/// The default action, for a request that is denied for a reason otherwise.
fn default_action(firewall: &Firewall, denied: Reason) -> OnMatch {
    reason_action(match firewall.default_action {
        DefaultAction::Allow => Reason::DefaultAction,
        DefaultAction::Deny => denied,
    })
}

fn reason_action(reason: Reason) -> OnMatch {
    action(rbac_action(reason.name(), reason.verdict()))
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
