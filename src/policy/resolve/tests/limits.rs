//! Limits of an installation, of `NetworkPolicies` and of Envoy: policies that exceed them are refused.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::*;
use crate::limits::{MAX_DROP_BLOCKS, MAX_RANGES};

pub(super) fn many_ip_rules(name: &str, day: u8, count: usize) -> ValidatedPolicy {
    (0..count).fold(policy(name, day), |policy, i| {
        policy.ip(&format!("198.51.{}.{}", i / 200, i % 200))
    })
}

fn many_subnets(name: &str, day: u8, count: usize) -> ValidatedPolicy {
    (0..count).fold(policy(name, day), |policy, _| policy.subnet("corp", "dc"))
}

#[test]
fn the_youngest_policy_that_exceeds_a_limit_is_refused() {
    let ips = many_ip_rules;
    let nets = many_subnets;
    let raised = Limits {
        virtual_network_rules: 200,
        ip_rules: 1_000,
        ..Limits::default()
    };
    let usual = Limits::default();
    // policies | limits | accepted | refused, with the field
    let table: Vec<(Vec<ValidatedPolicy>, Limits, &[&str], &[&str])> = vec![
        (vec![ips("a", 1, 127)], usual, &["a"], &[]),
        (vec![ips("a", 1, 128)], usual, &[], &["a spec.ipRules"]),
        (vec![ips("a", 1, 128)], raised, &["a"], &[]),
        (
            vec![ips("a", 1, 1_000), ips("b", 2, 1)],
            raised,
            &["a"],
            &["b spec.ipRules"],
        ),
        (
            vec![ips("a", 1, 100), ips("b", 2, 27)],
            usual,
            &["a", "b"],
            &[],
        ),
        (
            vec![ips("a", 1, 100), ips("b", 2, 28)],
            usual,
            &["a"],
            &["b spec.ipRules"],
        ),
        // the age decides, not the order of the input
        (
            vec![ips("b", 2, 100), ips("a", 1, 28)],
            usual,
            &["a"],
            &["b spec.ipRules"],
        ),
        // a younger and smaller one is accepted
        (
            vec![ips("a", 1, 100), ips("b", 2, 28), ips("c", 3, 27)],
            usual,
            &["a", "c"],
            &["b spec.ipRules"],
        ),
        // one without rules cannot exceed the limit
        (
            vec![ips("a", 1, 127), policy("b", 2)],
            usual,
            &["a", "b"],
            &[],
        ),
        (
            vec![nets("a", 1, 127), ips("b", 2, 127)],
            usual,
            &["a", "b"],
            &[],
        ),
        (
            vec![nets("a", 1, 100), nets("b", 2, 28)],
            usual,
            &["a"],
            &["b spec.virtualNetworkRules"],
        ),
        (vec![nets("a", 1, 200)], raised, &["a"], &[]),
        // settings come from the oldest accepted policy
        (
            vec![ips("a", 1, 128), policy("b", 2)],
            usual,
            &["b"],
            &["a spec.ipRules"],
        ),
    ];
    for (policies, limits, accepted, expected) in table {
        let resolution = facts().resolve(&policies, &[corp()], limits, &[]);
        let refused = resolution.refused.iter();
        let refused: Vec<String> = refused
            .map(|r| format!("{} {}", r.policy, r.violation.field))
            .collect();
        assert_eq!(
            (resolution.accepted.as_slice(), refused.as_slice()),
            (&owned(accepted)[..], &owned(expected)[..])
        );
        assert!(
            resolution
                .refused
                .iter()
                .all(|r| r.violation.reason == ViolationReason::LimitExceeded)
        );
    }
    let resolution = resolve_all(&[ips("a", 1, 100), ips("b", 2, 28)]);
    let expected = "the vault vault/openbao may have at most 127 IP rules: its accepted policies already have 100 and \
                    this one has 28; remove rules from any of them, or ask the cluster's admin for a higher limit";
    assert_eq!(resolution.refused[0].violation.message, expected);
    assert_eq!(resolution.firewall.ip_rules.len(), 100);
}

fn owned(list: &[&str]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

/// Single addresses with a gap between them, so that no two can be joined into one block.
fn apart(count: usize) -> SubnetMembers {
    let start = u32::from(Ipv4Addr::new(10, 64, 0, 0));
    let address = |i: usize| Ipv4Addr::from(start + 2 * u32::try_from(i).unwrap());
    SubnetMembers::Prefixes((0..count).map(|i| Ipv4Net::from(address(i))).collect())
}

#[test]
fn more_ranges_than_a_network_policy_or_envoy_accepts_are_refused() {
    let all = || policy("p", 1).subnet("big", "all");
    let drop = || all().with(|p| p.denial = Denial::Drop);
    let open = |policy: ValidatedPolicy| policy.with(|p| p.default_action = DefaultAction::Allow);
    let neighbours = || {
        let addresses =
            (0..=15).flat_map(|third| (0..=255).map(move |last| Ipv4Addr::new(10, 0, third, last)));
        SubnetMembers::Prefixes(addresses.map(Ipv4Net::from).collect())
    };
    // policy | subnet | refused for
    let table = [
        (drop(), apart(MAX_DROP_BLOCKS), ""),
        (drop(), apart(MAX_DROP_BLOCKS + 1), "spec.denial"),
        (
            drop().ip("198.51.100.0/24"),
            apart(MAX_DROP_BLOCKS),
            "spec.denial",
        ),
        (drop(), neighbours(), ""),
        (all(), apart(MAX_DROP_BLOCKS + 1), ""),
        (open(drop()), apart(MAX_DROP_BLOCKS + 1), ""),
        (all(), apart(MAX_RANGES), ""),
        (all(), apart(MAX_RANGES + 1), "spec.virtualNetworkRules"),
    ];
    for (policy, members, expected) in table {
        let denial = policy.denial;
        let big = network("big", vec![subnet("all", true, members)]);
        let resolution = facts().resolve(&[policy], &[big], Limits::default(), &[]);
        let refused = resolution
            .refused
            .iter()
            .map(|r| r.violation.field.as_str())
            .collect::<Vec<_>>()
            .join(" ");
        assert_eq!(refused, expected);
        if !expected.is_empty() {
            assert_eq!(resolution.firewall, Firewall::deny_all(vault(), 8200));
            let advice = if denial == Denial::Drop {
                "use `denial: Reject`"
            } else {
                "use subnets with address prefixes"
            };
            assert!(resolution.refused[0].violation.message.contains(advice));
        }
    }
}
