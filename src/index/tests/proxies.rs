//! Trusted proxies: events of pods that are selected, and of pods in a listed range.

use super::*;
use crate::policy::{PodsInRange, ProxySource};

#[test]
fn a_pod_changes_the_vaults_that_trust_it_or_its_range() {
    use Event::{Namespace, NamespaceDeleted, Pod, PodDeleted, Policy, PolicyDeleted};
    let by_labels = || {
        let group = pods(Some("team=edge"), "app=in");
        on("red", "labels").behind(ProxySource::Pods(group))
    };
    let range = |text| ProxySource::Range(net(text));
    let by_range = || on("green", "range").behind(range("10.1.0.0/16"));
    let by_address = || on("blue", "address").behind(range("10.1.1.1"));
    let script: Vec<(&str, Event, &[&str])> = vec![
        ("labels", Policy(by_labels()), &["red"]),
        ("range", Policy(by_range()), &["green"]),
        ("address", Policy(by_address()), &["blue"]),
        (
            "a namespace that has not opted in",
            Namespace("edge", "team=edge"),
            &[],
        ),
        (
            "selected",
            Pod("edge", "a", "app=in", "10.1.1.1"),
            &["green", "red"],
        ),
        (
            "the same again",
            Pod("edge", "a", "app=in", "10.1.1.1"),
            &[],
        ),
        (
            "in the range alone",
            Pod("edge", "b", "app=x", "10.1.1.2"),
            &["green"],
        ),
        ("labels outside", Pod("edge", "b", "app=y", "10.1.1.2"), &[]),
        (
            "selected and outside",
            Pod("edge", "c", "app=in", "10.2.0.1"),
            &["red"],
        ),
        ("contested", Pod("shop", "d", "", "10.2.0.1"), &["red"]),
        (
            "in the range of another namespace",
            Pod("shop", "d", "", "10.1.0.1"),
            &["green", "red"],
        ),
        (
            "of the vault's namespace",
            Pod("green", "e", "", "10.1.9.9"),
            &["green"],
        ),
        ("ended", Pod("edge", "a", "app=in", ""), &["green", "red"]),
        ("the namespace is gone", NamespaceDeleted("edge"), &["red"]),
        ("deleted", PodDeleted("shop", "d"), &["green"]),
        (
            "other proxies",
            Policy(on("green", "range").behind(range("10.9.0.0/16"))),
            &["green"],
        ),
        (
            "in the earlier range",
            Pod("shop", "d", "", "10.1.0.1"),
            &[],
        ),
        (
            "in the new one",
            Pod("shop", "d", "", "10.9.0.1"),
            &["green"],
        ),
        (
            "policy deleted",
            PolicyDeleted("green", "range"),
            &["green"],
        ),
        ("its range is removed with it", PodDeleted("shop", "d"), &[]),
    ];
    follow(&mut Index::default(), script);
}

/// The whole pod network is often listed, and events of most of its pods must cost nothing.
#[test]
fn in_a_range_of_many_pods_only_the_first_ones_matter() {
    let mut index = Index::default();
    let policy = policy("p", 1).behind(ProxySource::Range(net("10.1.0.0/16")));
    Event::Policy(policy).apply_to(&mut index);
    let addresses: Vec<String> = (1..=PodsInRange::MOST + 10)
        .map(|number| format!("10.1.0.{number}"))
        .collect();
    let mut reported = 0;
    for (number, address) in addresses.iter().enumerate() {
        let pod = PodFact {
            namespace: "shop".into(),
            name: format!("web-{number}"),
            uid: None,
            labels: labels(""),
            service_account: "default".into(),
            addresses: vec![address.parse().unwrap()],
        };
        index.take_changed();
        index.apply(ObservedPod::Counted(pod));
        reported += index.take_changed().len();
    }
    assert_eq!(reported, PodsInRange::MOST);
    let resolution = index.resolve(&vault()).unwrap().resolution;
    let details: Vec<_> = resolution
        .diagnostics()
        .map(|found| &*found.detail)
        .collect();
    assert_eq!(
        details,
        ["20 or more pods, for example shop/web-0 and shop/web-1"]
    );
}
