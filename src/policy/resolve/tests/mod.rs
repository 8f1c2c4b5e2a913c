#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    clippy::type_complexity
)]
//! Tables of resolution: policies and facts, then the expected result, one case a line.

mod limits;
mod mode;
mod proxies;

use serde_json::json;

use super::fixtures::*;
use super::*;
use crate::limits::Limits;
use crate::policy::{
    AccessLogLevel, Denial, Engine, EngineNamespace, EngineType, ManagementAccess,
    NetworkRuleSource, Peer, ProxyResources, ProxyService, ProxySource, ServiceType, SubnetMembers,
    ValidatedVirtualNetwork, VaultApi, ViolationReason,
};

/// Three namespaces with a pod each, and two more in `shop`.
fn facts() -> PlainMembership {
    let mut facts = PlainMembership::default();
    for (name, text) in [
        ("vault", "team=vault"),
        ("shop", "team=shop,vaultwall.dev/service-endpoint=enabled"),
        ("blog", "team=blog,vaultwall.dev/service-endpoint=disabled"),
    ] {
        let mut labels = labels(text);
        labels.insert("kubernetes.io/metadata.name".into(), name.into());
        facts.namespaces.insert(name.into(), labels);
    }
    for (namespace, name, text, address) in [
        ("vault", "backup", "app=backup", "10.1.0.1"),
        ("shop", "web", "app=web", "10.1.1.1"),
        ("shop", "api", "app=api", "10.1.1.2"),
        ("blog", "web", "app=web", "10.1.2.1"),
    ] {
        let address = address.parse().unwrap();
        facts.pods.insert(
            (namespace.into(), name.into()),
            (labels(text), vec![address]),
        );
    }
    facts
}

fn corp() -> ValidatedVirtualNetwork {
    network(
        "corp",
        vec![
            subnet("web", true, SubnetMembers::Pods(pods(Some(""), "app=web"))),
            subnet(
                "closed",
                false,
                SubnetMembers::Pods(pods(Some("team=shop"), "app=api")),
            ),
            subnet("dc", true, prefixes(&["10.20.0.0/16", "10.20.7.0/24"])),
            subnet("old-dc", false, prefixes(&["10.30.0.0/16"])),
        ],
    )
}

fn resolve_all(policies: &[ValidatedPolicy]) -> Resolution {
    facts().resolve(policies, &[corp()], Limits::default(), &[])
}

/// `policy field: first words`, for a table.
fn diagnostics(diagnostics: &[Diagnostic]) -> Vec<String> {
    let words = |text: &str| text.split(',').next().unwrap_or_default().to_owned();
    diagnostics
        .iter()
        .map(|r| format!("{} {}: {}", r.policy, r.field, words(&r.message)))
        .collect()
}

#[test]
fn no_policies_deny_everything() {
    let resolution = resolve_all(&[]);
    assert_eq!(resolution.firewall, Firewall::deny_all(vault(), 8200));
    assert_eq!(resolution.accepted, [""; 0]);
}

#[test]
fn a_rule_allows_the_addresses_of_its_source() {
    let ignore = true;
    let by_subnet = |name: &str| NetworkRuleSource::Subnet {
        virtual_network: "corp".into(),
        subnet: name.into(),
    };
    let by_pods = |namespaces, group| NetworkRuleSource::Pods(pods(namespaces, group));
    let pods_field = |text: &str| format!("spec.virtualNetworkRules[0].pods: {text}");
    let not_opted = || pods_field("this rule selects no namespace that has opted in");
    let not_enabled = |subnet: &str| {
        format!(
            "spec.virtualNetworkRules[0].subnet: the owner of subnet `corp/{subnet}` has not enabled the Vault \
             service endpoint"
        )
    };
    let nothing = String::new;
    // rule | ignoreMissingServiceEndpoint | allowed | reported as unresolved
    let table: Vec<(NetworkRuleSource, bool, &[&str], String)> = vec![
        // a subnet of pods: its owner opted in on the subnet, the namespaces need no label
        (by_subnet("web"), false, &["10.1.1.1", "10.1.2.1"], nothing()),
        (by_subnet("closed"), false, &[], not_enabled("closed")),
        (by_subnet("closed"), ignore, &["10.1.1.2"], nothing()),
        // a subnet of prefixes
        (by_subnet("dc"), false, &["10.20.0.0/16", "10.20.7.0/24"], nothing()),
        (by_subnet("old-dc"), false, &[], not_enabled("old-dc")),
        (by_subnet("old-dc"), ignore, &["10.30.0.0/16"], nothing()),
        // inline pods: the namespace has the opt-in label
        (by_pods(Some(""), "app=web"), false, &["10.1.1.1"], nothing()),
        (by_pods(Some(""), ""), false, &["10.1.1.1", "10.1.1.2"], nothing()),
        (by_pods(Some("team=shop"), ""), false, &["10.1.1.1", "10.1.1.2"], nothing()),
        (by_pods(Some("team=blog"), ""), false, &[], not_opted()),
        (by_pods(Some("team=blog"), ""), ignore, &["10.1.2.1"], nothing()),
        (by_pods(Some(""), "app=web"), ignore, &["10.1.1.1", "10.1.2.1"], nothing()),
        // without a namespace selector: the policy's own namespace
        (by_pods(None, ""), false, &[], pods_field("the policy's own namespace has not opted in")),
        (by_pods(None, ""), ignore, &["10.1.0.1"], nothing()),
        // the same text whether a namespace is selected or not: labels of others' namespaces are not shown
        (by_pods(Some("team=nobody"), ""), false, &[], not_opted()),
        // selects no pod, which is not an error
        (by_pods(Some("team=shop"), "app=none"), false, &[], nothing()),
        // dangling
        (
            by_subnet("typo"),
            ignore,
            &[],
            "spec.virtualNetworkRules[0].subnet.name: VirtualNetwork `corp` has no subnet `typo`".into(),
        ),
        (
            NetworkRuleSource::Subnet { virtual_network: "crop".into(), subnet: "web".into() },
            ignore,
            &[],
            "spec.virtualNetworkRules[0].subnet.virtualNetwork: there is no valid VirtualNetwork `crop`".into(),
        ),
    ];
    for (source, ignore_missing, expected, unresolved) in table {
        let case = format!("{source:?} {ignore_missing}");
        // The second rule stays in force, even if the first one cannot be resolved.
        let both = policy("p", 1)
            .rule(source, ignore_missing)
            .ip("203.0.113.7");
        let resolution = resolve_all(&[both]);
        let got = lines(&resolution.firewall.virtual_networks);
        let got: Vec<&str> = got
            .iter()
            .filter_map(|line| line.split(' ').next())
            .collect();
        assert_eq!(got, expected, "{case}");
        let named = diagnostics(&resolution.unresolved).join("|");
        assert_eq!(
            named.strip_prefix("p ").unwrap_or_default(),
            unresolved,
            "{case}"
        );
        assert_eq!(
            lines(&resolution.firewall.ip_rules),
            ["203.0.113.7 p/ipRules/203.0.113.7"],
            "{case}"
        );
        assert_eq!(resolution.accepted, ["p"], "{case}");
    }
}

#[test]
fn the_first_place_and_then_the_older_policy_decide_which_rule_is_reported() {
    let web = || pods(Some(""), "app=web");
    let shop = || pods(Some("team=shop"), "");
    let named = |policies: &[ValidatedPolicy], address: &str| {
        let resolution = resolve_all(policies);
        let address = address.parse().unwrap();
        let firewall = &resolution.firewall;
        let found = firewall
            .virtual_networks
            .find(address)
            .or_else(|| firewall.ip_rules.find(address));
        found.map_or(String::new(), |(_, rule)| rule.to_string())
    };
    let old = || policy("old", 1);
    let new = || policy("new", 2);
    // policies | address | rule
    let table = [
        (
            "list order",
            vec![old().inline(web()).inline(shop())],
            "10.1.1.1",
            "old/virtualNetworkRules/0",
        ),
        (
            "list order",
            vec![old().inline(shop()).inline(web())],
            "10.1.1.1",
            "old/virtualNetworkRules/0",
        ),
        (
            "older",
            vec![new().inline(web()), old().inline(shop())],
            "10.1.1.1",
            "old/virtualNetworkRules/0",
        ),
        (
            "list order comes before age",
            vec![
                old().subnet("corp", "dc").inline(web()),
                new().inline(shop()),
            ],
            "10.1.1.1",
            "new/virtualNetworkRules/0",
        ),
        (
            "most specific comes before list order",
            vec![old().ip("198.51.100.0/24").ip("198.51.100.8/29")],
            "198.51.100.9",
            "old/ipRules/198.51.100.8/29",
        ),
        (
            "most specific comes before age",
            vec![old().ip("198.51.100.0/24"), new().ip("198.51.100.9")],
            "198.51.100.9",
            "new/ipRules/198.51.100.9",
        ),
        (
            "same time: by name",
            vec![
                policy("b", 1).ip("198.51.100.9"),
                policy("a", 1).ip("198.51.100.9"),
            ],
            "198.51.100.9",
            "a/ipRules/198.51.100.9",
        ),
        (
            "no creation time: the oldest",
            vec![
                old().ip("198.51.100.9"),
                policy("file", 1)
                    .with(|p| p.created = None)
                    .ip("198.51.100.9"),
            ],
            "198.51.100.9",
            "file/ipRules/198.51.100.9",
        ),
        (
            "a rule that opens nothing names nothing",
            vec![old().subnet("corp", "closed").inline(shop())],
            "10.1.1.2",
            "old/virtualNetworkRules/1",
        ),
    ];
    for (case, policies, address, rule) in table {
        assert_eq!(named(&policies, address), rule, "{case}");
    }
}

#[test]
fn an_address_of_two_pods_is_allowed_only_if_the_rule_selects_both() {
    let mut facts = facts();
    let address = "10.1.1.1".parse().unwrap();
    facts.pods.insert(
        ("shop".into(), "successor".into()),
        (labels("app=other"), vec![address]),
    );
    let web = policy("p", 1).inline(pods(Some(""), "app=web"));
    let all = policy("p", 1).inline(pods(Some(""), ""));
    let resolve = |policy| facts.resolve(&[policy], &[], Limits::default(), &[]);

    let resolution = resolve(web);
    assert_eq!(lines(&resolution.firewall.virtual_networks), [""; 0]);
    let expected = "p spec.virtualNetworkRules[0]: address 10.1.1.1: several pods have it and this rule selects only \
                    some of them";
    // The rule selects pods of other namespaces, so its policy's owner is not informed.
    assert_eq!(diagnostics(&resolution.about_others), [expected]);
    assert_eq!(resolution.warnings, []);

    let resolution = resolve(all);
    assert!(resolution.firewall.virtual_networks.find(address).is_some());
    assert_eq!(resolution.about_others, []);

    let own = policy("p", 1).rule(NetworkRuleSource::Pods(pods(None, "app=backup")), true);
    facts.pods.insert(
        ("shop".into(), "successor".into()),
        (labels("app=other"), vec!["10.1.0.1".parse().unwrap()]),
    );
    let resolution = facts.resolve(&[own], &[], Limits::default(), &[]);
    assert_eq!(
        diagnostics(&resolution.warnings),
        [expected.replace("10.1.1.1", "10.1.0.1")]
    );
}

#[test]
fn deny_of_one_policy_is_enough() {
    let allow =
        |name: &str, day| policy(name, day).with(|p| p.default_action = DefaultAction::Allow);
    let deny = |name: &str, day| policy(name, day);
    let (none, bad) = (&[][..], &["broken".to_owned()][..]);
    // policies | unreadable | default action | policies with a warning that Allow does not apply
    let table: Vec<(Vec<ValidatedPolicy>, &[String], DefaultAction, &[&str])> = vec![
        (vec![deny("a", 1)], none, DefaultAction::Deny, &[]),
        (vec![allow("a", 1)], none, DefaultAction::Allow, &[]),
        (
            vec![allow("a", 1), allow("b", 2)],
            none,
            DefaultAction::Allow,
            &[],
        ),
        (
            vec![allow("a", 1), deny("b", 2)],
            none,
            DefaultAction::Deny,
            &["a"],
        ),
        (
            vec![deny("a", 1), allow("b", 2)],
            none,
            DefaultAction::Deny,
            &["b"],
        ),
        // the unreadable policy could require Deny
        (vec![allow("a", 1)], bad, DefaultAction::Deny, &["a"]),
        // refused because it has too many rules, but its Deny counts
        (
            vec![allow("a", 1), limits::many_ip_rules("b", 2, 128)],
            none,
            DefaultAction::Deny,
            &["a"],
        ),
    ];
    for (policies, unreadable, expected, warned) in table {
        let resolution = facts().resolve(&policies, &[], Limits::default(), unreadable);
        let case = format!("{:?} {unreadable:?}", resolution.accepted);
        assert_eq!(resolution.firewall.default_action, expected, "{case}");
        let found: Vec<&str> = resolution
            .warnings
            .iter()
            .map(|warning| warning.policy.as_str())
            .collect();
        assert_eq!(found, warned, "{case}");
    }
}

type Change = Box<dyn FnOnce(&mut ValidatedPolicy)>;

#[test]
fn settings_come_from_the_oldest_accepted_policy() {
    let engine = |path: &str| Engine {
        path: path.into(),
        engine_type: EngineType::KvV2,
        namespace: EngineNamespace::Root,
    };
    let oldest = policy("oldest", 1).with(|p| {
        p.engines = vec![engine("secret")];
        p.namespaces = vec!["team-a".into()];
    });
    // setting of the younger policy | fields with a conflict
    let table: Vec<(Change, &[&str])> = vec![
        (Box::new(|_| {}), &[]),
        (Box::new(move |p| p.engines = vec![engine("secret")]), &[]),
        (
            Box::new(move |p| p.engines = vec![engine("other")]),
            &["spec.vault.engines"],
        ),
        (
            Box::new(|p| p.namespaces = vec!["team-b".into()]),
            &["spec.vault.namespaces"],
        ),
        (Box::new(|p| p.port = 8300), &["spec.targetRef.port"]),
        (Box::new(|p| p.denial = Denial::Drop), &["spec.denial"]),
        (
            Box::new(|p| *p = p.clone().behind(ProxySource::Range(net("10.9.0.0/16")))),
            &["spec.clientAddress"],
        ),
        (
            Box::new(|p| p.management = ManagementAccess::Disabled),
            &["spec.management.access"],
        ),
        (
            Box::new(|p| p.access_log = AccessLogLevel::Denied),
            &["spec.accessLog.level"],
        ),
        (
            Box::new(|p| {
                p.api = VaultApi::AzureKeyVault;
                p.port = 443;
            }),
            &["spec.targetRef.port", "spec.vault.api"],
        ),
        (
            Box::new(|p| p.proxy.replicas = Some(3)),
            &["spec.proxy.replicas"],
        ),
        (
            Box::new(|p| {
                p.proxy.resources = Some(ProxyResources {
                    requests: labels("cpu=1"),
                    limits: labels(""),
                });
            }),
            &["spec.proxy.resources"],
        ),
        (
            Box::new(|p| {
                p.proxy.service = Some(ProxyService {
                    service_type: ServiceType::NodePort,
                    ..ProxyService::default()
                });
            }),
            &["spec.proxy.service"],
        ),
        // an explicit default does not differ from an absent setting
        (Box::new(|p| p.proxy.replicas = Some(2)), &[]),
        // not settings: the rules of all policies apply, and the stricter default action
        (Box::new(|p| p.default_action = DefaultAction::Allow), &[]),
    ];
    let alone = resolve_all(std::slice::from_ref(&oldest)).firewall;
    for (change, expected) in table {
        let younger = policy("younger", 2).with(change);
        let resolution = resolve_all(&[younger, oldest.clone()]);
        let fields: Vec<&str> = resolution
            .conflicts
            .iter()
            .map(|conflict| conflict.field.as_str())
            .collect();
        assert_eq!(fields, expected);
        assert!(
            resolution
                .conflicts
                .iter()
                .all(|c| c.policy == "younger" && c.message.contains("`oldest`"))
        );
        assert_eq!(resolution.accepted, ["oldest", "younger"]);
        let expected = Firewall {
            policies: resolution.accepted.clone(),
            ..alone.clone()
        };
        assert_eq!(resolution.firewall, expected);
    }
}

#[test]
fn peers_have_the_sources_of_all_rules_with_the_opt_in_label() {
    let first = policy("a", 1)
        .ip("198.51.100.0/24")
        .inline(pods(None, "app=backup"))
        .inline(pods(Some("team=shop"), ""))
        .subnet("corp", "web")
        .subnet("corp", "dc")
        .subnet("corp", "closed");
    let second = policy("b", 2)
        .rule(NetworkRuleSource::Pods(pods(Some("team=shop"), "")), true)
        .inline(pods(Some("team=shop"), ""))
        .ip("198.51.100.0/24");
    let resolution = resolve_all(&[first.clone(), second.clone()]);
    let peers = resolution.firewall.peers.iter().map(|peer| match peer {
        Peer::Pods { namespaces, pods } => json!([namespaces, pods]),
        Peer::Block(prefix) => json!(prefix.to_string()),
    });
    let by = |labels: serde_json::Value| json!({"matchLabels": labels});
    let expected = json!([
        [{}, by(json!({"app": "web"}))],
        [
            by(
                json!({"kubernetes.io/metadata.name": "vault", "vaultwall.dev/service-endpoint": "enabled"})
            ),
            by(json!({"app": "backup"})),
        ],
        [by(json!({"team": "shop"})), {}],
        [
            by(json!({"team": "shop", "vaultwall.dev/service-endpoint": "enabled"})),
            {}
        ],
        "10.20.0.0/16",
        "10.20.7.0/24",
        "198.51.100.0/24",
    ]);
    assert_eq!(json!(peers.collect::<Vec<_>>()), expected);
    // The order of the input does not matter.
    assert_eq!(resolve_all(&[second, first]), resolution);
}
