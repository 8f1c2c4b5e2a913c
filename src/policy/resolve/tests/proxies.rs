//! Trusted proxies: pods that an entry selects, and pods in a range.

use std::net::Ipv4Addr;

use super::*;
use crate::limits::MAX_TRUSTED_PODS;
use crate::policy::{PodGroup, TrustedProxies};

fn selected(namespaces: Option<&str>, labels: &str) -> ProxySource {
    ProxySource::Pods(pods(namespaces, labels))
}

fn range(text: &str) -> ProxySource {
    ProxySource::Range(net(text))
}

fn behind(sources: &[ProxySource]) -> Resolution {
    let policy = sources.iter().cloned().fold(policy("p", 1), Build::behind);
    resolve_all(&[policy])
}

fn trusted(resolution: &Resolution) -> TrustedProxies {
    let proxies = resolution.firewall.client_address.trusted_proxies();
    proxies.unwrap().clone()
}

#[test]
fn an_entry_trusts_the_addresses_of_the_pods_that_it_selects() {
    let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    // sources | addresses of pods | number of peers
    let table: Vec<(Vec<ProxySource>, Vec<Ipv4Addr>, usize)> = vec![
        // no namespace needs the opt-in label
        (
            vec![selected(Some("team=blog"), "")],
            addresses(&["10.1.2.1"]),
            1,
        ),
        (
            vec![selected(Some(""), "app=web")],
            addresses(&["10.1.1.1", "10.1.2.1"]),
            1,
        ),
        // without a namespace selector: the policy's own namespace
        (vec![selected(None, "")], addresses(&["10.1.0.1"]), 1),
        (vec![selected(None, "app=web")], vec![], 1),
        (
            vec![selected(None, ""), selected(Some("team=shop"), "app=api")],
            addresses(&["10.1.0.1", "10.1.1.2"]),
            2,
        ),
        (vec![range("10.9.0.0/16")], vec![], 0),
        (
            vec![range("10.9.0.0/16"), selected(None, "")],
            addresses(&["10.1.0.1"]),
            1,
        ),
    ];
    for (sources, pods, peers) in table {
        let resolution = behind(&sources);
        let found = trusted(&resolution);
        assert_eq!(found.pods, pods.into_iter().collect(), "{sources:?}");
        assert_eq!(found.peers.len(), peers, "{sources:?}");
        // A proxy lets in nobody.
        assert_eq!(lines(&resolution.firewall.virtual_networks), [""; 0]);
        assert_eq!(resolution.firewall.peers, []);
        assert_eq!(resolution.unresolved, []);
    }
}

#[test]
fn an_address_of_two_pods_is_trusted_only_if_the_entry_selects_both() {
    let mut facts = facts();
    facts.pods.insert(
        ("shop".into(), "successor".into()),
        (labels("app=other"), vec!["10.1.1.1".parse().unwrap()]),
    );
    let resolve = |group: PodGroup| {
        let policy = policy("p", 1).behind(ProxySource::Pods(group));
        facts.resolve(&[policy], &[], Limits::default(), &[])
    };
    let some = resolve(pods(Some("team=shop"), "app=web"));
    assert_eq!(trusted(&some).pods, [].into());
    assert_eq!(
        diagnostics(&some.about_others),
        [
            "p spec.clientAddress.trustedProxies[0]: address 10.1.1.1: several pods have it and this entry selects \
             only some of them"
        ]
    );
    assert_eq!(some.warnings, []);
    let both = resolve(pods(Some("team=shop"), ""));
    assert!(trusted(&both).contains("10.1.1.1".parse().unwrap()));
    assert_eq!(both.about_others, []);
}

/// Only the own namespace's pods are a matter of the status; all readers of `detail` may see every pod.
#[test]
fn a_range_with_pods_is_reported() {
    // range | words of the warning, and of the one that is not for the status | detail
    let pods_have = "p spec.clientAddress.trustedProxies[0]: pods have addresses in the range";
    let own = "p spec.clientAddress.trustedProxies[0]: pods of this namespace have addresses in the range";
    let table = [
        (
            "10.0.0.0/8",
            Some(own),
            "4 pods, for example vault/backup and shop/web",
        ),
        ("10.1.0.0/30", Some(own), "1 pod: vault/backup"),
        (
            "10.1.1.0/24",
            None,
            "2 pods, for example shop/web and shop/api",
        ),
        ("10.1.1.2/31", None, "1 pod: shop/api"),
        ("10.2.0.0/16", None, ""),
        // a single address is a decision about one proxy
        ("10.1.0.1", None, ""),
    ];
    for (text, in_status, detail) in table {
        let resolution = behind(&[range(text)]);
        let warned = diagnostics(&resolution.warnings);
        let others = diagnostics(&resolution.about_others);
        let expected = |words: &str| vec![format!("{words} {}", net(text))];
        match in_status {
            Some(words) => assert_eq!((warned, others), (expected(words), vec![])),
            None if detail.is_empty() => assert_eq!((warned, others), (vec![], vec![])),
            None => assert_eq!((warned, others), (vec![], expected(pods_have))),
        }
        let found = resolution.diagnostics().map(|found| &*found.detail);
        assert_eq!(found.collect::<String>(), detail, "{text}");
        assert_eq!(trusted(&resolution).ranges, [net(text)]);
    }
}

#[test]
fn proxies_come_from_the_oldest_accepted_policy() {
    let old = policy("old", 1).behind(selected(None, ""));
    let young = policy("young", 2).behind(range("10.0.0.0/8"));
    let resolution = resolve_all(&[old.clone(), young]);
    assert_eq!(trusted(&resolution), trusted(&resolve_all(&[old])));
    assert_eq!(
        (resolution.warnings, resolution.about_others),
        (vec![], vec![])
    );
    let fields: Vec<_> = resolution
        .conflicts
        .iter()
        .map(|found| &*found.field)
        .collect();
    assert_eq!(fields, ["spec.clientAddress"]);
}

#[test]
fn of_too_many_selected_pods_none_is_trusted() {
    let mut facts = facts();
    let mut add = |count: usize| {
        for number in 0..count {
            let address = Ipv4Addr::from_bits(0x0a02_0000 + u32::try_from(number).unwrap());
            let name = format!("pod-{number}");
            let pod = (labels("app=in"), vec![address]);
            facts.pods.insert(("shop".into(), name), pod);
        }
        let policies = [
            policy("all", 1).behind(selected(Some("team=shop"), "app=in")),
            policy("own", 2).behind(selected(None, "")),
        ];
        facts.resolve(&policies, &[], Limits::default(), &[])
    };
    let resolution = add(MAX_TRUSTED_PODS);
    assert_eq!(trusted(&resolution).pods.len(), MAX_TRUSTED_PODS);
    let resolution = add(MAX_TRUSTED_PODS + 1);
    // Their rules stay in force: nobody edited anything.
    assert_eq!(resolution.accepted, ["all", "own"]);
    assert_eq!(trusted(&resolution).pods.len(), 0);
    let warning = &resolution.warnings[0];
    assert_eq!(warning.reason, DiagnosticReason::TooManyTrustedPods);
    assert_eq!(warning.field, "spec.clientAddress.trustedProxies");
    assert!(warning.message.contains("more than 10000 addresses"));
}
